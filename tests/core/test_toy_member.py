"""A model is a row of a table: a toy member, written in tests/toy.py, goes everywhere without a change of the core."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError, ConfigError, InputError, ModelNotFound
from audiox_core.media import write_audio, write_picture
from audiox_core.memory import streaming
from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.memory.plan import Plan, make_plan
from audiox_core.memory.residence import Residence, Step
from audiox_core.models import register
from audiox_core.models.config import BACKBONES, CONDITIONERS, parse_config
from audiox_core.models.parts import Model
from audiox_core.models.settings import Settings
from audiox_core.networks.layers import torch_attention
from audiox_core.pipeline import Pipeline, load_pipeline
from audiox_core.weights.load import load_part
from audiox_core.weights.tensors import read_tensors, write_tensors
from tests import toy
from tests.core.card import changed, fake_card
from tests.core.fake_allocator import Allocator, host_memory
from tests.core.small import random_tensors

SEEDED: dict[str, Any] = {"seed": 3, "normalize": False}


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """The toy among the models, and afterwards nowhere."""
    tables = (CONDITIONERS, BACKBONES)
    parse_config(import_module("audiox_core.models.audiox").BASE_CONFIG)  # all others are there first
    before = [dict(table) for table in tables]
    register(toy.make(import_module))
    yield
    for table, entries in zip(tables, before, strict=True):
        table.clear()
        table.update(entries)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its files: checkpoint, configuration, ears, text encoder, and a tokenizer of single letters."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    found = tmp_path_factory.mktemp("toy")
    toy.write(import_module, found)
    letters = Tokenizer(models.WordLevel({"_": 0, "</s>": 1, **{chr(97 + i): 2 + i for i in range(26)}}, unk_token="_"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    letters.post_processor = processors.TemplateProcessing("$A </s>", special_tokens=[("</s>", 1)])
    letters.save(str(found / "tokenizer.json"))
    return found


def load(folder: Path, **options: Any) -> Pipeline:
    return load_pipeline(folder / toy.CHECKPOINT, device="cpu", models_dirs=[folder], download=False, **options)


@pytest.fixture(scope="module")
def pipeline(folder: Path) -> Pipeline:
    return load(folder)


@pytest.fixture(scope="module")
def model(pipeline: Pipeline) -> Model:
    return pipeline.model


def copied(folder: Path, target: Path, *names: str) -> Path:
    """Some of the toy's files in another folder."""
    for name in names:
        shutil.copy(folder / name, target / name)
    return target


def test_it_is_told_by_its_config(model: Model, pipeline: Pipeline) -> None:
    assert list(model.parts) == ["text", "audio", "video", "toy", "autoencoder"]
    assert pipeline.residence.networks["toy"].order == ("audio", "text", "video")
    assert model.condition("audio").tokens == 7 and model.condition("audio").nothing is None
    assert (model.length, model.timing.latents, model.recipe.steps) == (toy.LENGTH, toy.LENGTH, toy.STEPS)
    assert "toy" in pipeline.report


def test_its_weights_lie_in_several_files(folder: Path, model: Model, pipeline: Pipeline) -> None:
    checkpoint, ears = read_tensors(folder / toy.CHECKPOINT), read_tensors(folder / toy.EARS)
    assert not any(key.startswith(("ears.", "net.", "t5.")) for key in checkpoint)
    networks = pipeline.residence.networks
    assert torch.equal(networks["audio"].proj.weight, ears["net.proj.weight"])
    assert torch.equal(networks["toy"].fusion.place, checkpoint["toy_fusion.place"])
    assert torch.equal(networks["toy"].nothing, checkpoint["model.model.nothing"])


def test_what_is_missing_or_wrong_is_named(folder: Path, tmp_path: Path) -> None:
    rest = ("config.json", "tokenizer.json", "t5-base.safetensors")
    copied(folder, tmp_path, toy.CHECKPOINT, *rest)
    with pytest.raises(ModelNotFound, match=r"toy-ears: toy_ears\.safetensors not found .*\n.*nobody/toy-ears"):
        load(tmp_path)
    write_tensors(random_tensors({"net.proj.weight": (32, 3), "net.proj.size": (32,)}), tmp_path / toy.EARS)
    with pytest.raises(CheckpointError, match=r"(?s)toy_ears.*proj\.bias: expected \(32,\).*proj\.size: not expected"):
        load(tmp_path)
    tensors = dict(read_tensors(folder / toy.CHECKPOINT))
    tensors["toy_fusion.mixed.weight"] = tensors.pop("toy_fusion.mix.weight")
    (tmp_path / toy.CHECKPOINT).unlink()
    write_tensors(tensors, tmp_path / toy.CHECKPOINT)
    with pytest.raises(CheckpointError, match=r"(?s)toy_fusion\.mix\.weight: expected.*mixed\.weight: not expected"):
        load(tmp_path)


def test_a_wrong_config_is_refused() -> None:
    data = toy.config(import_module)
    with pytest.raises(ConfigError, match=r"are 21 latents, and the network makes exactly 20"):
        parse_config({**data, "sample_size": 21 * 2048})
    data["model"]["diffusion"]["config"]["gate"] = True
    with pytest.raises(ConfigError, match=r"model\.diffusion\.config: unknown keys: gate"):
        parse_config(data)


def planned(model: Model, vram: int, **options: Any) -> Plan:
    return make_plan(fake_card(vram), model, precision="fp32", **options)


def test_concessions_grow_as_cards_shrink(model: Model) -> None:
    megabyte = 1 << 20
    plans = [planned(model, size * megabyte) for size in (1000, 26, 12, 11, 9, 8)]
    counts = [len(plan.streamed_blocks) for plan in plans]
    assert counts[:3] == [0, 0, 0] and 0 < counts[3] < counts[4] < counts[5] == 8
    assert [plan.places["toy"].where for plan in plans] == ["device", "device", *["stage"] * 4]
    assert not plans[0].offload and all(plan.offload for plan in plans[1:])
    for plan in plans:
        assert not plan.problems and plan.peak <= plan.budget
        assert plan.backbone == "toy" and plan.depth == 8
    weights = weights_of(model.backbone, Format())
    assert weights.depth == 8
    assert weights.total - sum(weights.blocks) > 8 * 2 * 128 * 32 * 4  # what only prepare() needs is not streamed
    assert planned(model, megabyte).problems


def work(network: Any, step: Step) -> Tensor:
    """Three guided steps over given tokens."""
    from audiox_core.sampling.guidance import GuidedVelocity

    generator = torch.Generator().manual_seed(1)
    tokens = {
        name: torch.randn(1, 1, count, toy.WIDTH, generator=generator)
        for name, count in (("video", 128), ("text", 16), ("audio", 7))
    }
    x, velocity = torch.randn(1, 64, toy.LENGTH, generator=generator), GuidedVelocity(network, tokens, scale=3.0)
    for i in range(3):
        x = x - 0.3 * velocity(x, torch.full((1,), 1 - 0.3 * i))
    return x


def test_streaming_changes_no_bit(pipeline: Pipeline, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "host_memory", host_memory)
    peaks, places = {}, {}
    with torch.no_grad():
        expected = work(pipeline.residence.networks["toy"], Step(torch.device("cpu"), torch.float32, None, 0))
        for count in (0, 1, 3, 8):
            network: Any = load_part(model.backbone, pipeline.opened.weights, dtype=torch.float32)
            seen = places[count] = set()
            for block in network.blocks:  # where the weights are with which a block computes
                block.up.register_forward_hook(lambda up, *_, s=seen: s.add(up.weight.untyped_storage().data_ptr()))
            runner = Residence({"toy": network}, changed(planned(model, 1 << 30), "stage", count), device="cpu")
            with Allocator() as allocator:
                assert torch.equal(runner.run("toy", work), expected)
            assert runner.held == ()
            peaks[count] = allocator.peak
    assert {count: len(seen) for count, seen in places.items()} == {0: 8, 1: 8, 3: 7, 8: 2}  # two slots are enough
    assert peaks[0] - peaks[8] == pytest.approx(6 * weights_of(model.backbone, Format()).block, rel=0.02)


def test_a_plan_keeps_its_word(pipeline: Pipeline, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """A card smaller than the network: planned, applied, and counted."""
    monkeypatch.setattr(streaming, "host_memory", host_memory)
    network: Any = load_part(model.backbone, pipeline.opened.weights, dtype=torch.float32)
    plan = planned(model, 11 << 20)
    assert plan.streamed_blocks and not plan.problems
    with torch.no_grad(), Allocator(plan.budget) as allocator:
        Residence({"toy": network}, plan, device="cpu").run("toy", work)
    assert allocator.peak > plan.budget // 3  # the estimate is one


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A picture and a sound."""
    place, generator = tmp_path_factory.mktemp("given"), torch.Generator().manual_seed(0)
    write_picture(place / "image.png", torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=generator))
    write_audio(place / "audio.wav", 0.3 * torch.randn(2, 44100, generator=generator), 44100)
    return {"image": place / "image.png", "audio": place / "audio.wav"}


def test_it_makes_sounds(pipeline: Pipeline, given: dict[str, Path]) -> None:
    inputs = [{"text": "rain"}, {"image": given["image"]}, {"audio": given["audio"]}, {"text": "rain", **given}]
    sounds = [pipeline(**what, **SEEDED).waveform for what in inputs]
    assert all(sound.shape == (2, toy.LENGTH * 2048) and sound.isfinite().all() for sound in sounds)
    for i, sound in enumerate(sounds):
        assert all(not torch.allclose(sound, other, atol=1e-3) for other in sounds[:i])
    assert torch.equal(pipeline("rain", **SEEDED).waveform, sounds[0])
    assert not torch.allclose(pipeline("rain", **{**SEEDED, "seed": 4}).waveform, sounds[0], atol=1e-2)


def test_offloaded_and_streamed_it_makes_the_same(pipeline: Pipeline, folder: Path, model: Model) -> None:
    opened = pipeline.opened
    networks = {name: load_part(part, opened.weights, dtype=torch.float32) for name, part in model.parts.items()}
    residence = Residence(networks, changed(planned(model, 1 << 30), "stage", 5), device="cpu")
    moved = Pipeline(opened, residence, machine=pipeline.machine)
    assert torch.equal(moved("rain", **SEEDED).waveform, pipeline("rain", **SEEDED).waveform)
    assert residence.held == ()


def test_its_chance_matters_even_without_a_sound(pipeline: Pipeline) -> None:
    draws = pipeline.draw(3)
    generator = torch.Generator().manual_seed(3)
    noise, phase = torch.randn(1, 64, toy.LENGTH, generator=generator), torch.rand(1, generator=generator)
    assert torch.equal(draws.noise, noise) and torch.equal(draws.conditions["audio"], phase * torch.pi * 2)
    settings = Settings(text="rain").resolved(pipeline.model)
    mine = pipeline.encode(settings, draws.conditions)
    other = pipeline.encode(settings, {"audio": draws.conditions["audio"] + 1.0})
    assert torch.equal(mine["text"], other["text"]) and not torch.allclose(mine["audio"], other["audio"], atol=1e-2)
    first, second = (pipeline.sample(tokens, None, draws, settings) for tokens in (mine, other))
    assert not torch.allclose(first, second, atol=1e-4)


@torch.inference_mode()
def test_it_is_integrated_as_a_flow_against_its_own_null(pipeline: Pipeline, given: dict[str, Path]) -> None:
    """By hand: Euler's method over even times, guided away from the learned vector of nothing."""
    network: Any = pipeline.residence.networks["toy"]
    settings, draws = Settings(text="rain", **given).resolved(pipeline.model), pipeline.draw(3)
    tokens = pipeline.encode(settings, draws.conditions)
    joined = torch.cat([tokens[name][:, 0] for name in ("audio", "text", "video")], dim=1)
    contexts = [network.fusion(joined), network.nothing.expand(1, 151, toy.WIDTH)]

    def by_hand(contexts: list[Tensor]) -> Tensor:
        known = [toy.Context(tuple(block.to_kv(tokens) for block in network.blocks)) for tokens in contexts]
        x, times = draws.noise, [i / toy.STEPS for i in range(toy.STEPS, -1, -1)]
        for t, after in pairwise(times):
            c, u = (network(x, torch.full((1,), t), context) for context in known)
            x = x + (after - t) * (u + toy.GUIDANCE * (c - u))
        return x

    made, expected = pipeline.sample(tokens, None, draws, settings), by_hand(contexts)
    assert (made - expected).abs().max() <= 1e-6 * expected.abs().max()
    zero = by_hand([contexts[0], torch.zeros(1, 151, toy.WIDTH)])
    assert (made - zero).abs().max() > 1e-3 * expected.abs().max()


@torch.inference_mode()
def test_the_order_is_the_config_s(folder: Path, tmp_path: Path, pipeline: Pipeline) -> None:
    copied(folder, tmp_path, toy.CHECKPOINT, toy.EARS, "tokenizer.json", "t5-base.safetensors")
    data = toy.config(import_module)
    data["model"]["diffusion"]["cross_attention_cond_ids"].reverse()
    (tmp_path / "config.json").write_text(json.dumps(data), encoding="utf-8")
    other, settings = load(tmp_path), Settings(text="rain").resolved(pipeline.model)
    assert other.residence.networks["toy"].order == ("video", "text", "audio")
    first, second = (
        p.sample(p.encode(settings, p.draw(3).conditions), None, p.draw(3), settings) for p in (pipeline, other)
    )
    assert not torch.allclose(first, second, atol=1e-4)


@torch.inference_mode()
def test_the_attention_of_a_host_is_used(pipeline: Pipeline) -> None:
    network: Any = pipeline.residence.networks["toy"]
    x, t, calls = torch.randn(1, 64, toy.LENGTH), torch.ones(1), []

    def spy(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(tuple(k.shape))
        return torch_attention(q, k, v)

    context = network.prepare(None, device=x.device)
    assert torch.equal(network(x, t, context, spy), network(x, t, context))
    assert calls == [(1, 4, 151, 32)] * 8


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"sampler": "dpmpp-3m-sde"}, "cannot run this model, which predicts the velocity of a rectified flow"),
        ({"sampler": "euler"}, r"Valid: .*rectified-flow"),
        ({"seconds": 3601}, "at most 3600 s"),
        ({"steps": 0}, "steps"),
    ],
)
def test_what_it_cannot_do_is_refused(pipeline: Pipeline, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pipeline("rain", **settings)


def test_another_length_is_refused(pipeline: Pipeline) -> None:
    with pytest.raises(InputError, match="makes exactly 20, not 19"):
        pipeline.draw(1, 19)
    assert pipeline("rain", seconds=2.5, steps=1).waveform.shape == (2, 110250)  # in windows of that length
    loop = pipeline("rain", seconds=0.4, loop=True, steps=1)  # a window sees it more than once
    assert loop.seconds == pytest.approx(0.4, abs=0.1) and loop.waveform.isfinite().all()


def test_its_objective_decides_how_it_is_sampled(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the sampler's name or a default: the same network as v would be refused its sampler."""
    as_v = replace(pipeline.model, recipe=replace(pipeline.model.recipe, objective="v"))
    monkeypatch.setattr(pipeline, "model", as_v)
    with pytest.raises(InputError, match="'rectified-flow' cannot run this model, which predicts v"):
        pipeline("rain")
