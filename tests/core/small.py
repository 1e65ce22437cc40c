"""A model of the released architecture with about two million weights, and its files, for the tests of loading."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from audiox_core.models import demo
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Model
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.layout import companion_keys, expected_keys
from audiox_core.weights.open import Opened

T5 = "t5."  # what stands before the text encoder's keys in a model's layout


def small_data() -> dict[str, Any]:
    """The config.json of the small model."""
    data = copy.deepcopy(BASE_CONFIG)
    model = data["model"]
    video, text, audio = (c["config"] for c in model["conditioning"]["configs"])
    for autoencoder in (model["pretransform"], audio["pretransform_config"]):
        for half in ("encoder", "decoder"):
            autoencoder["config"][half]["config"]["channels"] = 2
    video["clip_vision_config"] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 32,
        "projection_dim": 16,
    }
    text["t5_config"] = {
        "d_model": 32,
        "d_kv": 8,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 4,
        "vocab_size": 260,
        "feed_forward_proj": "relu",
    }
    model["conditioning"]["cond_dim"] = 32
    model["diffusion"]["config"].update(embed_dim=64, depth=2, num_heads=2, cond_token_dim=32, global_cond_dim=64)
    return data


def changed(path: str, value: Any, base: Mapping[str, Any] = BASE_CONFIG) -> dict[str, Any]:
    """A configuration with one value changed; None removes the key."""
    data: Any = copy.deepcopy(base)
    *parents, last = path.split(".")
    place: Any = data
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return data


@lru_cache(maxsize=1)
def small_model() -> Model:
    return parse_config(small_data(), "small")


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def small_tensors() -> dict[str, Tensor]:
    """A checkpoint of the small model in the released layout."""
    return random_tensors(expected_keys(small_model()))


def small_text_tensors() -> dict[str, Tensor]:
    """A text encoder's file for the small model."""
    return random_tensors(companion_keys(small_model(), T5))


def small_weights() -> Bundle:
    """The checkpoint and the text encoder's file under one table of keys."""
    weights = Bundle(small_tensors(), "small")
    weights.add(small_text_tensors(), "small t5", T5)
    return weights


def small_opened() -> Opened:
    """The small model with weights that make a sound of sensible size."""
    model = small_model()
    weights = Bundle({key: demo.random_weight(key, shape) for key, shape in expected_keys(model).items()}, "small")
    weights.add(small_text_tensors(), "small t5", T5)
    return Opened("small", model, weights, notice=f"small: {demo.NOISE}", tokenizer=ByteTokenizer())
