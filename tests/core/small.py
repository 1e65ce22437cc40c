"""A model of the released architecture with about two million weights, and its files, for the tests of loading."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import ModelConfig, TextConfig, parse_config
from audiox_core.networks.t5 import TextEncoder
from audiox_core.weights.load import expected_keys


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


def small_config() -> ModelConfig:
    return parse_config(small_data(), "small")


def random_tensors(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {key: torch.randn(shape, generator=generator) * 0.3 for key, shape in shapes.items()}


def small_tensors() -> dict[str, Tensor]:
    """A checkpoint of the small model in the released layout."""
    return random_tensors(expected_keys(small_config()))


def small_text_tensors() -> dict[str, Tensor]:
    """A text encoder's file for the small model."""
    encoder = TextEncoder(small_config().conditioner(TextConfig), device="meta")
    return random_tensors({k: tuple(v.shape) for k, v in encoder.t5.state_dict().items() if "embed_tokens" not in k})
