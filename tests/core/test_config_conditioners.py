"""Conditioners in a config.json: what reaches other libraries, sizes that fit, names, modalities, orders."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from audiox_core.errors import ConfigError, InputError
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Model, Sight, Words
from audiox_core.models.settings import Settings
from tests.core.small import changed, small_data

CLIP = "model.conditioning.configs.0.config"
T5 = "model.conditioning.configs.1.config"


def built(model: Model, name: str) -> Any:
    return model.parts[name].build(device="meta")


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        (f"{CLIP}.clip_vision_config", "attn_implementation", "kernels-community/some-kernel"),
        (f"{CLIP}.clip_vision_config", "_attn_implementation", "eager"),
        (f"{CLIP}.clip_vision_config", "hidden_act", "gelu"),
        (f"{CLIP}.clip_vision_config", "layer_norm_eps", 1e-6),
        (f"{CLIP}.clip_vision_config", "auto_map", {"AutoModel": "owner/repo--file.Class"}),
        (f"{T5}.t5_config", "attn_implementation", "kernels-community/some-kernel"),
        (f"{T5}.t5_config", "num_decoder_layers", 2),
        (f"{T5}.t5_config", "torch_dtype", "float64"),
        (f"{T5}.t5_config", "quantization_config", {"load_in_8bit": True}),
    ],
)
def test_nothing_unknown_reaches_another_library(path: str, key: str, value: Any) -> None:
    """transformers takes some arguments for things to fetch and run."""
    with pytest.raises(ConfigError, match=f"unknown keys: {key}"):
        parse_config(changed(f"{path}.{key}", value, small_data()))


@pytest.mark.parametrize("value", ["gated-gelu", "os.system", "kernels-community/some-kernel", ""])
def test_words_for_another_library_are_the_known_ones(value: str) -> None:
    with pytest.raises(ConfigError, match=r"feed_forward_proj: .* is not supported; known: relu"):
        parse_config(changed(f"{T5}.t5_config.feed_forward_proj", value, small_data()))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (f"{CLIP}.clip_vision_config.num_attention_heads", 3, "heads must divide the width"),
        (f"{CLIP}.clip_vision_config.patch_size", 33, "patches the image"),
        (f"{CLIP}.clip_vision_config.image_size", 8192, "larger than any known vision tower"),
        (f"{CLIP}.clip_vision_config.num_hidden_layers", 257, "larger than any known vision tower"),
        (f"{T5}.t5_config.num_layers", 257, "257 is more than any known text encoder has"),
        (f"{CLIP}.clip_vision_config.hidden_size", 64, "gives tokens 64 wide, cond_dim is 32"),
        (f"{T5}.t5_config.d_model", 64, "gives tokens 64 wide, cond_dim is 32"),
    ],
)
def test_sizes_of_encoders_fit_together(path: str, value: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        parse_config(changed(path, value, small_data()))


def test_left_out_sizes_are_the_librarys_defaults() -> None:
    data = changed(f"{T5}.t5_config", {"d_model": 32, "num_layers": 1})
    data = changed(f"{CLIP}.clip_vision_config", {"hidden_size": 32, "num_attention_heads": 2}, data)
    model = data["model"]
    model["conditioning"]["cond_dim"] = 32
    model["diffusion"]["config"].update(embed_dim=64, num_heads=2, cond_token_dim=32)
    parsed = parse_config(data)
    t5, clip = built(parsed, "text").t5.config, built(parsed, "video").visual_encoder_model.config
    assert (t5.d_model, t5.num_layers, t5.d_kv, t5.d_ff, t5.num_heads) == (32, 1, 64, 2048, 8)
    assert (clip.hidden_size, clip.num_attention_heads, clip.num_hidden_layers) == (32, 2, 12)


@pytest.mark.parametrize("id", ["video_prompt", "", "a b", "a.b", "1st", "../x"])
def test_ids_are_plain_names_given_once(id: str) -> None:
    with pytest.raises(ConfigError, match=r"configs\[1\]\.id: .* is taken or no plain name"):
        parse_config(changed("model.conditioning.configs.1.id", id))


def test_two_conditioners_of_one_modality() -> None:
    data = copy.deepcopy(BASE_CONFIG)
    conditioning = data["model"]["conditioning"]["configs"]
    conditioning.append({**copy.deepcopy(conditioning[1]), "id": "other_text"})
    data["model"]["diffusion"]["cross_attention_cond_ids"].append("other_text")
    with pytest.raises(ConfigError, match=r"configs\[3\]: is a second conditioner of text; only one can be used"):
        parse_config(data)


@pytest.mark.parametrize("what", [{"text": "x"}, {"video": __file__}, {"audio": torch.zeros(2, 9)}])
def test_a_model_without_conditioners_follows_nothing(what: dict[str, Any]) -> None:
    data = changed("model.conditioning.configs", [])
    data["model"]["diffusion"]["cross_attention_cond_ids"] = []
    with pytest.raises((ConfigError, InputError), match=f"{next(iter(what))}: this model cannot follow it|configs"):
        Settings(**what).resolved(parse_config(data))


def test_a_model_may_have_fewer_conditioners() -> None:
    data = small_data()
    data["model"]["conditioning"]["configs"] = data["model"]["conditioning"]["configs"][1:2]
    data["model"]["diffusion"]["cross_attention_cond_ids"] = ["text_prompt"]
    model = parse_config(data)
    assert list(model.parts) == ["text", "dit", "autoencoder"]
    assert built(model, "dit").config.order == ("text",)
    assert model.reader(Words) == "text"
    with pytest.raises(ConfigError, match="no conditioner that reads sight"):
        model.reader(Sight)
    with pytest.raises(ConfigError, match="video: this model has no such conditioner; it has text"):
        model.condition("video")


def test_conditioners_and_their_tokens_have_orders_of_their_own() -> None:
    """Chance follows the conditioners' order, the network's tokens that of cross_attention_cond_ids."""
    order = ["audio_prompt", "video_prompt", "text_prompt"]
    model = parse_config(changed("model.diffusion.cross_attention_cond_ids", order))
    assert [part.name for part in model.conditioners] == ["video", "text", "audio"]
    assert built(model, "dit").config.order == ("audio", "video", "text")
