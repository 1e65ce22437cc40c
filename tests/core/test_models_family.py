"""AudioX-MAF, AudioX-MAF-MMDiT and AudioX-Turbo as rows: layout, recipe, draws, what a config may and may not say."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core.errors import ConfigError
from audiox_core.models import member, members
from audiox_core.models.config import parse_config, read_config
from audiox_core.models.parts import Hearing, Sight
from audiox_core.models.settings import Settings
from audiox_core.networks.hidden_span import draw_spans
from audiox_core.weights.layout import companion_keys, expected_keys, recognise, slots_of
from tests.core.family import ALL, FOLDER, golden_set
from tests.core.small_family import CONFIGS, SYNCHFORMER, small_family_data, small_member

NAMES = {"audiox_maf": "AudioX-MAF", "audiox_maf_mmdit": "AudioX-MAF-MMDiT", "audiox_turbo": "AudioX-Turbo"}
FLOW = "rectified_flow"


def shapes(name: str, file: str) -> dict[str, tuple[int, ...]]:
    return {key: tuple(shape) for key, (shape, _) in json.loads((FOLDER / name / file).read_text()).items()}


@pytest.mark.parametrize(("keys", "config"), [("keys.full", "config.full"), ("keys.tiny", "config")])
@pytest.mark.parametrize("name", ALL)
def test_layout_is_the_released_one(name: str, keys: str, config: str) -> None:
    golden_set(name)
    model = read_config(FOLDER / name / f"{config}.json")
    assert expected_keys(model) == shapes(name, f"{keys}.json")
    assert companion_keys(model, SYNCHFORMER) == shapes("audiox_maf", "keys.synchformer.full.json")


@pytest.mark.parametrize("name", ALL)
def test_members_have_the_layout_of_their_name(name: str) -> None:
    golden_set(name)
    found = member(NAMES[name])
    assert found is not None and found.released is not None
    assert found.released.repo == f"HKUSTAudio/{found.name}" and len(found.released.revision) == 40
    assert found.weights in found.released.files
    ours, theirs = parse_config(found.config()), read_config(FOLDER / name / "config.full.json")
    assert expected_keys(ours) == expected_keys(theirs)
    assert (ours.recipe, ours.length, ours.timing) == (theirs.recipe, theirs.length, theirs.timing)
    for modality in ("text", "video", "audio"):
        one, other = ours.condition(modality), theirs.condition(modality)
        assert (one.reads, one.tokens, one.hides) == (other.reads, other.tokens, other.hides)


def test_recipes() -> None:
    maf, mmdit, turbo = (parse_config(CONFIGS[name]) for name in ("maf", "mmdit", "turbo"))
    for model in (maf, mmdit):
        assert (model.recipe.objective, model.recipe.sampler, model.recipe.steps) == ("v", "dpmpp-3m-sde", 250)
        assert (model.recipe.guidance, model.recipe.sigma_min, model.recipe.sigma_max) == (7.0, 0.3, 500.0)
    assert (turbo.recipe.objective, turbo.recipe.sampler, turbo.recipe.steps) == (FLOW, "dmd", 4)
    assert (turbo.recipe.guidance, turbo.recipe.sigma_max) == (1.0, 1.0)
    assert (maf.length, mmdit.length, turbo.length) == (None, 236, 236)
    six = copy.deepcopy(CONFIGS["turbo"])
    six["training"]["dmd_sample_steps"] = 6
    assert parse_config(six).recipe.steps == 6
    del six["training"]
    teacher = parse_config(six).recipe
    assert (teacher.sampler, teacher.guidance, teacher.sigma_max) == ("rectified-flow", 6.0, 1.0)


def test_what_the_conditioners_read() -> None:
    maf, turbo = (parse_config(CONFIGS[name]) for name in ("maf", "turbo"))
    for model in (maf, turbo):
        video = model.condition("video")
        assert video.reads == Sight(224, ((5.0, 50), (25.0, 250))) and video.tokens == 128
        assert video.nothing == "video.empty_visual_feat" and model.condition("audio").nothing is None
        assert model.condition("audio").reads == Hearing(44100, 441000)
    assert (maf.condition("audio").tokens, turbo.condition("audio").tokens) == (1723, 128)
    assert (maf.condition("audio").hides, turbo.condition("audio").hides) == ((0.7, 1.0), (0.25, 0.75))
    assert parse_config(CONFIGS["mmdit"]).condition("audio").hides is None


def test_dead_weights_are_not_kept() -> None:
    """118 million numbers of the network's file: queries, keys and embeddings that change nothing."""
    part = parse_config(CONFIGS["turbo"]).backbone
    network = part.build(device="meta")
    kept = sum(p.numel() for p in network.parameters())
    rows = slots_of(part)
    assert sum(torch.Size(s.shape).numel() for s in rows) - kept == 117_964_800
    halves = [s for s in rows if s.take is not None]
    assert len(halves) == 24 and all(s.take(torch.arange(6)).tolist() == [0, 2, 4] for s in halves if s.take)
    dead = {s.key for s in rows if s.name is None}
    assert {"model.model.to_cond_embed.0.weight", "model.model.transformer.layers.23.cross_attn.to_q.weight"} <= dead


@pytest.mark.parametrize("name", list(CONFIGS))
def test_every_weight_of_a_network_has_its_place(name: str) -> None:
    for part in small_member(name).parts.values():
        network = part.build(device="meta")
        names = [slot.name for slot in slots_of(part) if slot.name is not None and not slot.key.endswith("weight_g")]
        assert sorted(names) == sorted(network.state_dict(keep_vars=True))


def test_draws_of_the_mel_prompt() -> None:
    draw = parse_config(CONFIGS["maf"]).condition("audio").draw
    spans = draw(torch.Generator().manual_seed(3))
    assert torch.equal(spans, draw_spans(1, 1723, (0.7, 1.0), torch.Generator().manual_seed(3)))
    assert 0.69 * 1723 <= spans[0, 1] - spans[0, 0] <= 1723
    generator = torch.Generator().manual_seed(3)
    state = generator.get_state()
    assert draw(generator, 0.0) is None and torch.equal(generator.get_state(), state)
    half = draw(torch.Generator().manual_seed(3), 0.5)
    assert half[0, 1] - half[0, 0] == int(0.5 * 1723)


def test_draws_of_the_fixed_prompt() -> None:
    """First the span, where one is hidden, then the noise of the latents."""
    turbo, mmdit = (parse_config(CONFIGS[name]).condition("audio").draw for name in ("turbo", "mmdit"))
    spans, noise = turbo(torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(3)
    assert torch.equal(spans, draw_spans(1, 441000, (0.25, 0.75), generator))
    assert torch.equal(noise, torch.randn(1, 64, 215, generator=generator))
    plain = torch.randn(1, 64, 215, generator=torch.Generator().manual_seed(3))
    for draw, hidden in ((mmdit, ()), (turbo, (0.0,))):
        none, first = draw(torch.Generator().manual_seed(3), *hidden)
        assert none is None and torch.equal(first, plain)
    spans, _ = mmdit(torch.Generator().manual_seed(3), 1.0)
    assert spans.tolist() == [[0, 441000]]


def changed(name: str, path: str, value: Any) -> dict[str, Any]:
    data = small_family_data(name)
    *steps, last = path.split(".")
    place: Any = data
    for step in steps:
        place = place[int(step) if step.isdigit() else step]
    place[last] = value
    return data


GATE, AUDIO, VIDEO = (
    "model.diffusion.gate",
    "model.conditioning.configs.2.config",
    "model.conditioning.configs.0.config",
)


@pytest.mark.parametrize(
    ("name", "path", "value", "message"),
    [
        ("maf", f"{GATE}_type", "SAF", "'SAF' is not supported; known: MAF"),
        ("maf", f"{GATE}_type_config.num_heads", 5, "5 does not divide the width, 32"),
        ("turbo", GATE, False, "only known behind the gate MAF"),
        ("turbo", "model.diffusion.config._latent_seq_len", 200, "485100 samples are 236 latents.*exactly 199"),
        ("turbo", "model.diffusion.config.num_heads", 7, "num_heads: 7 must be even and divide 64"),
        ("turbo", "model.diffusion.config.project_cond_tokens", True, "only false"),
        ("turbo", f"{AUDIO}.mask_ratio_start", 0.8, "0.8 is more than mask_ratio_end 0.75"),
        ("turbo", f"{AUDIO}.sample_rate", 48000, "48000 differs from the model's 44100"),
        ("maf", f"{AUDIO}.win_length", 2048, "2048 is more than n_fft, 1024"),
        ("maf", f"{AUDIO}.mel_spec_type", "stft", "known: mel_features"),
        ("maf", f"{VIDEO}.synchformer_config", {"width": 64}, "can't be added to tokens 32 wide"),
        ("maf", "video_fps", 6, "video_fps gives 60"),
        ("mmdit", "model.conditioning.configs.1.config.max_length", 100, "give 356 tokens, this network takes 384"),
        ("mmdit", "model.pretransform.scale", 2.0, "scale: only 1"),
        ("mmdit", "model.diffusion.config.sparkle", 1, "unknown keys: sparkle"),
    ],
)
def test_errors_name_the_key(name: str, path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(changed(name, path, value))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.pretransform.scale", 1.0),
        ("model.diffusion.config.condition_mask_type", "cat"),
        ("model.diffusion.config._latent_seq_len", 237),
        ("training", {"learning_rate": 1e-5}),
        (f"{AUDIO}.mask_ratio_end", 0.5),
        (f"{VIDEO}.sync_type", "add"),
    ],
)
def test_what_a_released_file_may_say_besides(path: str, value: Any) -> None:
    assert parse_config(changed("mmdit", path, value)).length == 236


def test_the_older_names_mean_the_same() -> None:
    old = changed("maf", "model.conditioning.configs.2.type", "mel_spec-w-empty-feature")
    assert parse_config(old).condition("audio").hides == (0.7, 1.0)
    two = changed("mmdit", "model.conditioning.configs.2.type", "audio_autoencoder")
    assert expected_keys(parse_config(two)) == expected_keys(small_member("mmdit"))
    del two["model"]["conditioning"]["configs"][2]["config"]["latent_seq_len"]
    with pytest.raises(ConfigError, match="give 471 tokens"):  # without it the type is the base model's: 215 of sound
        parse_config(two)


def test_a_gate_that_is_off_is_none() -> None:
    data = changed("maf", GATE, False)
    assert not any(key.startswith("maf_block.") for key in expected_keys(parse_config(data)))


def meta(name: str) -> dict[str, torch.Tensor]:
    keys = expected_keys(parse_config(members()[name].config()))
    return {key: torch.empty(shape, device="meta") for key, shape in keys.items()}


@pytest.mark.parametrize(
    ("name", "alike"),
    [
        ("AudioX", ["AudioX"]),
        ("AudioX-MAF", ["AudioX-MAF"]),
        ("AudioX-MAF-MMDiT", ["AudioX-MAF-MMDiT", "AudioX-Turbo"]),
        ("AudioX-Turbo", ["AudioX-MAF-MMDiT", "AudioX-Turbo"]),
    ],
)
def test_recognised_by_keys_and_shapes(name: str, alike: list[str]) -> None:
    assert [found.name for found in recognise(meta(name))] == alike


def test_doubts_about_settings_that_can_hardly_be_meant() -> None:
    base, turbo = parse_config(members()["AudioX"].config()), parse_config(CONFIGS["turbo"])
    assert not Settings(text="x").resolved(turbo).doubts(turbo)
    (doubt,) = Settings(text="x", guidance=7.0).resolved(turbo).doubts(turbo)
    assert "guidance" in doubt and "doubles its work" in doubt
    assert not Settings(text="x", guidance=5.0, prompt_hidden=0.0).resolved(base).doubts(base)
    (doubt,) = Settings(text="x", prompt_hidden=0.5).resolved(base).doubts(base)
    assert doubt.startswith("prompt_hidden: this model was not trained")


def test_no_member_is_named_outside_the_tables() -> None:
    core = Path(__file__).parents[2] / "audiox_core"
    files = [path for path in core.rglob("*.py") if path.parent.name in ("audiox_core", "memory", "weights")]
    named = [
        path.name for path in files if any(word in path.read_text() for word in ("maf_block", "AudioX-MAF", "Turbo"))
    ]
    assert not named
