"""The demo model: the released architecture at a tiny size with random weights made on the spot. Its sound is noise."""

from __future__ import annotations

import copy
import math
import zlib
from typing import Any

import torch
from torch import Tensor

from .audiox import BASE_CONFIG
from .config import ModelConfig, TextConfig, parse_config

NAME = "demo"
NOTICE = "demo: random weights, so the sound is noise; it shows that everything runs."


def demo_config() -> ModelConfig:
    """The released configuration with few and narrow layers; widths of tokens and latents are the real ones."""
    data: dict[str, Any] = copy.deepcopy(BASE_CONFIG)
    model = data["model"]
    video, text, audio = (c["config"] for c in model["conditioning"]["configs"])
    for autoencoder in (model["pretransform"], audio["pretransform_config"]):
        for half in ("encoder", "decoder"):
            autoencoder["config"][half]["config"]["channels"] = 8
    video["clip_vision_config"] = {
        "hidden_size": 768,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "projection_dim": 512,
    }
    text["t5_config"] = {
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 64,
        "num_layers": 2,
        "num_heads": 12,
        "vocab_size": 512,
        "feed_forward_proj": "relu",
    }
    model["diffusion"]["config"].update(embed_dim=768, depth=2, num_heads=12, global_cond_dim=768)
    return parse_config(data, NAME)


def random_weight(key: str, shape: tuple[int, ...]) -> Tensor:
    """Weights of order one through every layer, a function of name and shape alone."""
    generator = torch.Generator().manual_seed(zlib.crc32(key.encode()))
    noise = torch.randn(shape, generator=generator)
    last = key.rsplit(".", 1)[-1]
    if last == "inv_freq":
        return 10000.0 ** -(torch.arange(shape[0]) / shape[0])
    if last == "weight_g":  # below one, because the residuals of the autoencoder add up
        return 0.55 + 0.05 * noise
    if last == "gamma" or (last == "weight" and len(shape) == 1):
        return 1.0 + 0.05 * noise
    if len(shape) >= 2 and "empty" not in last and "embedding" not in key.lower():
        strength = 0.2 if key.endswith("project_out.weight") else 1.0  # guidance multiplies it again
        return strength * noise / math.sqrt(math.prod(shape[1:]))
    return 0.1 * noise


def demo_tensors(config: ModelConfig) -> dict[str, Tensor]:
    """A checkpoint in the released layout for demo_config(), the same on every machine."""
    from ..weights.load import expected_keys

    return {key: random_weight(key, shape) for key, shape in expected_keys(config).items()}


def demo_text_tensors(config: ModelConfig) -> dict[str, Tensor]:
    """A T5 encoder's file for demo_config()."""
    from ..networks.t5 import TextEncoder

    encoder = TextEncoder(config.conditioner(TextConfig), device="meta")
    keys = {k: tuple(v.shape) for k, v in encoder.t5.state_dict().items() if "embed_tokens" not in k}
    return {key: random_weight("t5." + key, shape) for key, shape in keys.items()}
