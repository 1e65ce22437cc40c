"""config.json to dataclasses: released files read, everything unknown refused by name."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audiox_core.errors import ConfigError
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import AudioConfig, TextConfig, VideoConfig, parse_config, read_config

GOLDEN = Path(__file__).parents[1] / "golden" / "audiox"


def changed(path: str, value: Any) -> dict[str, Any]:
    """The base configuration with one value changed; None removes the key."""
    data = copy.deepcopy(BASE_CONFIG)
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


def test_built_in_base_config_is_the_released_one() -> None:
    assert parse_config(BASE_CONFIG) == read_config(GOLDEN / "config.full.json")


def test_released_numbers() -> None:
    config = read_config(GOLDEN / "config.full.json")
    assert (config.dit.embed_dim, config.dit.depth, config.dit.num_heads) == (1536, 24, 24)
    assert config.autoencoder.encoder.widths == (128, 128, 256, 512, 1024, 2048)
    assert config.conditioner(VideoConfig).vision["hidden_size"] == 768
    assert config.conditioner(TextConfig).max_length == 128
    assert config.conditioner(AudioConfig).sample_rate == 44100
    assert config.objective == "v"


def test_config_is_frozen() -> None:
    config = parse_config(BASE_CONFIG)
    with pytest.raises(AttributeError):
        config.sample_rate = 48000  # type: ignore[misc]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("sample_rate", None, "sample_rate.*missing"),
        ("sample_rate", "44100", "sample_rate.*positive integer"),
        ("sample_rate", True, "sample_rate.*positive integer"),
        ("model_type", "autoencoder", "model_type.*not supported"),
        ("surprise", 1, "unknown keys: surprise"),
        ("model.diffusion.type", "mmdit", "'mmdit' is not supported; known: dit"),
        ("model.diffusion.config.depth", 0, "depth.*positive integer"),
        ("model.diffusion.config.surprise", 1, "unknown keys: surprise"),
        ("model.diffusion.global_cond_ids", ["seconds"], "global_cond_ids"),
        ("model.diffusion.cross_attention_cond_ids", ["text_prompt"], "cross_attention_cond_ids"),
        ("model.conditioning.configs.0.type", "clip-with-sync", "not supported; known: clip, t5"),
        ("model.conditioning.configs.0.config.clip_model_name", "vit-x", "unknown 'vit-x'"),
        ("model.conditioning.configs.1.config.t5_model_name", "t5-huge", "unknown 't5-huge'"),
        ("model.conditioning.configs.2.config.latent_seq_len", 215, "unknown keys: latent_seq_len"),
        ("model.pretransform.config.decoder.config.final_tanh", True, "final_tanh"),
        ("model.pretransform.config.downsampling_ratio", 1024, "downsampling_ratio"),
        ("model.pretransform.config.decoder.config.strides", [2, -1], "positive integers"),
        ("model.pretransform", 5, "pretransform.*expected Mapping"),
    ],
)
def test_errors_name_the_key(path: str, value: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(changed(path, value))


def test_family_members_are_refused(tmp_path: Path) -> None:
    data = changed("model.diffusion.type", "mmdit")
    file = tmp_path / "config.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config\.json\.model\.diffusion\.type"):
        read_config(file)


@pytest.mark.parametrize("content", [b"", b"not json", b"[1, 2]", b"\xff\xfe\x00", b"null"])
def test_broken_files(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"config\.json"):
        read_config(file)


def test_missing_file() -> None:
    with pytest.raises(ConfigError, match="not readable"):
        read_config("no/such/config.json")


def leaves(data: Any, prefix: str = "") -> list[str]:
    """The paths of all values inside objects."""
    if isinstance(data, dict):
        return [p for k, v in data.items() for p in [f"{prefix}{k}", *leaves(v, f"{prefix}{k}.")]]
    if isinstance(data, list):
        return [p for i, v in enumerate(data) for p in leaves(v, f"{prefix}{i}.")]
    return []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


@settings(max_examples=150, deadline=None)
@given(path=st.sampled_from(leaves(BASE_CONFIG)), value=JSON)
def test_any_damage_is_a_config_error_or_harmless(path: str, value: Any) -> None:
    try:
        parse_config(changed(path, value))
    except ConfigError as error:
        assert "config" in str(error)
