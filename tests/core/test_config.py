"""config.json to a model: released files read, everything unknown or out of bounds refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import ConfigError
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import LARGEST_FILE, parse_config, read_config
from audiox_core.models.parts import Hearing, Model, Sight, Words
from audiox_core.models.section import Section
from tests.core.small import changed, small_data
from tests.examples import examples

GOLDEN = Path(__file__).parents[1] / "golden" / "audiox"
CLIP = "model.conditioning.configs.0.config"
T5 = "model.conditioning.configs.1.config"
PROMPT = "model.conditioning.configs.2.config"


def built(model: Model, name: str) -> Any:
    return model.parts[name].build(device="meta")


def test_built_in_base_config_is_the_released_one() -> None:
    """Value by value, but for a switch of training that some of the released files carry."""
    released = json.loads((GOLDEN / "config.full.json").read_text())
    audio = released["model"]["conditioning"]["configs"][2]["config"]["pretransform_config"]
    for autoencoder in (released["model"]["pretransform"], audio):
        assert autoencoder["config"]["encoder"].pop("requires_grad") is False
    assert released == BASE_CONFIG


def test_released_numbers() -> None:
    model = read_config(GOLDEN / "config.full.json")
    assert list(model.parts) == ["video", "text", "audio", "dit", "autoencoder"]
    config = built(model, "dit").config
    assert (config.embed_dim, config.depth, config.num_heads) == (1536, 24, 24)
    assert (config.io_channels, config.cond_token_dim, config.project_cond_tokens) == (64, 768, False)
    assert config.order == ("video", "text", "audio")
    assert built(model, "autoencoder").config.encoder.widths == (128, 128, 256, 512, 1024, 2048)
    assert model.channels == 64 and model.length is None
    assert (model.timing.sample_rate, model.timing.sample_size, model.timing.latents) == (44100, 485100, 236)
    conditions = {part.name: part.condition for part in model.conditioners}
    assert {name: (c.tokens, c.width) for name, c in conditions.items()} == {
        "video": (128, 768),
        "text": (128, 768),
        "audio": (215, 768),
    }
    assert conditions["video"].reads == Sight(224, ((5.0, 50),))
    assert conditions["text"].reads == Words(128)
    assert conditions["audio"].reads == Hearing(44100, 441000)
    recipe = model.recipe
    assert (recipe.objective, recipe.sampler, recipe.steps, recipe.guidance) == ("v", "dpmpp-3m-sde", 250, 7.0)
    assert (recipe.sigma_min, recipe.sigma_max, recipe.rho) == (0.3, 500.0, 1.0)


def test_a_model_is_frozen() -> None:
    model = parse_config(BASE_CONFIG)
    with pytest.raises(AttributeError):
        model.channels = 32  # type: ignore[misc]
    with pytest.raises(AttributeError):
        model.timing.sample_rate = 48000  # type: ignore[misc]
    with pytest.raises(TypeError):
        model.parts["dit"] = model.autoencoder  # type: ignore[index]


def test_reading_leaves_the_data_alone() -> None:
    data = small_data()
    before = copy.deepcopy(data)
    parse_config(data)
    assert data == before


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sample_rate", None, "sample_rate.*missing"),
        ("sample_rate", "44100", "sample_rate.*positive integer"),
        ("sample_rate", True, "sample_rate.*positive integer"),
        ("sample_size", 2047, r"sample_size: 2047 samples are less than one latent"),
        ("audio_channels", 1, r"audio_channels: 1 is not supported, only 2"),
        ("model_type", "autoencoder", "model_type.*not supported"),
        ("surprise", 1, "unknown keys: surprise"),
        ("model.io_channels", 32, "io_channels differs from the autoencoder's latent_dim"),
        ("model.diffusion.type", "mmdit-of-tomorrow", "'mmdit-of-tomorrow' is not supported; known: dit"),
        ("model.diffusion.config.depth", 0, "depth.*positive integer"),
        ("model.diffusion.config.surprise", 1, "unknown keys: surprise"),
        ("model.diffusion.config.io_channels", 32, "takes 32 channels and tokens 768 wide, the model gives 64 and 768"),
        ("model.diffusion.config.num_heads", 7, r"widths 1536 and 768 do not divide into 7 heads"),
        ("model.diffusion.config.num_heads", 64, "heads are 24 wide; 32 is the least"),
        ("model.diffusion.config.project_cond_tokens", 0, "project_cond_tokens.*expected bool"),
        ("model.diffusion.diffusion_objective", "epsilon", "'epsilon' is not supported; known: v, rectified_flow"),
        ("model.diffusion.global_cond_ids", ["seconds"], "global_cond_ids"),
        ("model.diffusion.cross_attention_cond_ids", ["text_prompt"], "cross_attention_cond_ids"),
        ("model.diffusion.cross_attention_cond_ids", [1, 2, 3], "cross_attention_cond_ids"),
        ("model.conditioning.configs.0.type", "clip-of-tomorrow", "not supported; known: clip, t5"),
        (f"{CLIP}.clip_model_name", "vit-x", "unknown 'vit-x'"),
        (f"{T5}.t5_model_name", "t5-huge", "unknown 't5-huge'"),
        (f"{PROMPT}.latent_len", 215, "unknown keys: latent_len"),
        (f"{PROMPT}.sample_rate", 48000, "48000 differs from the model's 44100"),
        ("model.pretransform.config.decoder.config.final_tanh", True, "final_tanh"),
        ("model.pretransform.config.decoder.config.use_snake", False, "use_snake: only true"),
        ("model.pretransform.config.downsampling_ratio", 1024, "downsampling_ratio"),
        ("model.pretransform.config.decoder.config.strides", [2, -1], "up to 12 whole numbers"),
        ("model.pretransform.config.decoder.config.c_mults", [1, 2], "c_mults and strides differ in length"),
        ("model.pretransform.config.encoder.config.latent_dim", 64, "latent_dim 64 asks for 128 in the encoder"),
        ("model.pretransform", 5, "pretransform.*expected Mapping"),
        ("video_fps", 6, "this conditioner takes 50 frames, video_fps gives 60"),
    ],
)
def test_errors_name_the_key(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(changed(path, value))


NUMBERS = [
    "sample_rate",
    "sample_size",
    "video_fps",
    "model.conditioning.cond_dim",
    "model.diffusion.config.embed_dim",
    "model.diffusion.config.depth",
    "model.diffusion.config.num_heads",
    "model.diffusion.config.global_cond_dim",
    "model.pretransform.config.latent_dim",
    "model.pretransform.config.decoder.config.channels",
    f"{CLIP}.clip_vision_config.hidden_size",
    f"{CLIP}.clip_vision_config.num_hidden_layers",
    f"{CLIP}.clip_vision_config.image_size",
    f"{T5}.t5_config.d_ff",
    f"{T5}.t5_config.num_layers",
    f"{T5}.t5_config.vocab_size",
    f"{T5}.max_length",
]


@pytest.mark.parametrize("value", [-1, 0, 1 << 40, 10**400, 2.5, float("nan"), float("inf"), True, "8", [8], {}])
@pytest.mark.parametrize("path", NUMBERS)
def test_numbers_have_bounds(path: str, value: Any) -> None:
    """Beyond them a network would fill any memory, or a library would say something of its own."""
    with pytest.raises(ConfigError) as error:
        parse_config(changed(path, value, small_data()))
    assert path.rsplit(".", 1)[-1] in str(error.value)


@pytest.mark.parametrize(
    ("path", "low", "high"),
    [
        ("sample_rate", 1000, 1_000_000),
        ("sample_size", 1, 1 << 32),
        ("model.conditioning.cond_dim", 1, 1 << 16),
        ("video_fps", 1, 1000),
        ("conditioning_seconds", 1, 1000),
    ],
)
def test_bounds_are_inside(path: str, low: int, high: int) -> None:
    """The numbers at the bounds are in range, though others may contradict them."""
    for value in (*([low - 1] if low > 1 else []), low, high, high + 1):
        try:
            parse_config(changed(path, value, small_data()))
            said = ""
        except ConfigError as error:
            said = str(error)
        told = f"{path.rsplit('.', 1)[-1]}: {value} is out of range; {low} to {high} is supported"
        assert (told in said) is not (low <= value <= high), said


def test_a_window_has_at_least_a_latent() -> None:
    assert parse_config(changed("sample_size", 2048, small_data())).timing.latents == 1
    with pytest.raises(ConfigError, match="sample_size: 2047 samples are less than one latent"):
        parse_config(changed("sample_size", 2047, small_data()))


@pytest.mark.parametrize("values", [[], [1] * 13, [2, 4, 4, 8, 65], [2, 4, 4, 8, 2.0], [2, 4, 4, 8, True], "24488"])
def test_lists_of_numbers_have_bounds(values: Any) -> None:
    with pytest.raises(ConfigError, match=r"decoder\.config\.strides: expected"):
        parse_config(changed("model.pretransform.config.decoder.config.strides", values))


def test_sections_of_training_change_nothing() -> None:
    extra: dict[str, Any] = {"training": {"lr": "1e-4", "demo": [None]}, "dataset": {"path": "/secret"}}
    plain, trained = parse_config(BASE_CONFIG), parse_config({**BASE_CONFIG, **extra})
    assert list(plain.parts) == list(trained.parts)
    assert (plain.timing, plain.recipe, plain.channels) == (trained.timing, trained.recipe, trained.channels)
    assert built(plain, "dit").config == built(trained, "dit").config


def test_another_objective_has_a_recipe_of_its_own() -> None:
    recipe = parse_config(changed("model.diffusion.diffusion_objective", "rectified_flow")).recipe
    assert (recipe.objective, recipe.sampler, recipe.sigma_max) == ("rectified_flow", "rectified-flow", 1.0)


def test_unknown_members_are_refused(tmp_path: Path) -> None:
    data = changed("model.diffusion.type", "mmdit-of-tomorrow")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json\.model\.diffusion\.type"):
        read_config(file)


@pytest.mark.parametrize("content", [b"", b"not json", b"[1, 2]", b"\xff\xfe\x00", b"null", b"[" * 100_000])
def test_broken_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_config(file)


def test_large_files_are_not_read(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    padding = LARGEST_FILE - len(json.dumps(BASE_CONFIG))
    file.write_text(json.dumps(BASE_CONFIG) + " " * padding)
    assert read_config(file).channels == 64
    file.write_text(json.dumps(BASE_CONFIG) + " " * (padding + 1))
    with pytest.raises(ConfigError, match="too large for a config"):
        read_config(file)


@pytest.mark.parametrize("name", ["no/such/config.json", ".", "null\0byte.json", "n" * 5000])
def test_missing_file(name: str) -> None:
    with pytest.raises(ConfigError, match=r"no such file|not readable"):
        read_config(name)


@pytest.mark.parametrize(("value", "fine"), [(0, True), (1, True), (0.25, True), (1.01, False), (-0.1, False)])
def test_shares(value: float, fine: bool) -> None:
    section = Section({"x": value}, "config")
    if fine:
        assert section.share("x") == value
        return
    with pytest.raises(ConfigError, match=r"config\.x: expected a number from 0 to 1"):
        section.share("x")


def leaves(data: Any, prefix: str = "") -> list[str]:
    """The paths of all values inside objects."""
    if isinstance(data, dict):
        return [p for k, v in data.items() for p in [f"{prefix}{k}", *leaves(v, f"{prefix}{k}.")]]
    if isinstance(data, list):
        return [p for i, v in enumerate(data) for p in leaves(v, f"{prefix}{i}.")]
    return []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def test_a_model_without_conditioners_is_no_model() -> None:
    """It parsed, and failed much later: nothing could be followed."""
    data = changed("model.conditioning.configs", [])
    data["model"]["diffusion"]["cross_attention_cond_ids"] = []
    with pytest.raises(ConfigError, match=r"conditioning\.configs: is empty: nothing could be followed"):
        parse_config(data)


@examples(150)
@given(path=st.sampled_from(leaves(small_data())), value=JSON)
def test_any_damage_is_a_config_error_or_harmless(path: str, value: Any) -> None:
    """What is harmless can be built: nothing is left to another library to refuse."""
    try:
        model = parse_config(changed(path, value, small_data()))
    except ConfigError as error:
        assert "config" in str(error)
    else:
        for part in model.parts.values():
            part.build(device="meta")
