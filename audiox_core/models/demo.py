"""Demo models: each released architecture at a tiny size with random weights made on the spot. Their sound is noise."""

from __future__ import annotations

import copy
import math
import zlib
from typing import Any

import torch
from torch import Tensor

from .audiox import BASE_CONFIG
from .maf import MAF_CONFIG
from .mmdit import MMDIT_CONFIG
from .turbo import TURBO_CONFIG

NOISE = "random weights, so the sound is noise; it shows that everything runs."
VISION = {
    "hidden_size": 768,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "projection_dim": 512,
}
T5 = {
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 12,
    "vocab_size": 512,
    "feed_forward_proj": "relu",
}
# Features of motion are as wide as tokens; a single block is enough to wait for.
SYNCHFORMER = {"width": 768, "depth": 1, "heads": 12}
GATE = {"num_experts_per_modality": 4, "num_heads": 24, "num_fusion_layers": 2}
# The sizes of a backbone of each type.
NETWORKS: dict[str, dict[str, int]] = {
    "dit": {"embed_dim": 768, "depth": 2, "num_heads": 12, "global_cond_dim": 768},
    "mmdit": {"embed_dim": 96, "depth": 2, "num_heads": 8},
}


def small(config: dict[str, Any]) -> dict[str, Any]:
    """A released configuration with few and narrow layers; widths of tokens and latents are the real ones."""
    data = copy.deepcopy(config)
    model = data["model"]
    parts = [c["config"] for c in model["conditioning"]["configs"]]
    for autoencoder in (
        model["pretransform"],
        *(p["pretransform_config"] for p in parts if "pretransform_config" in p),
    ):
        for half in ("encoder", "decoder"):
            autoencoder["config"][half]["config"]["channels"] = 8
    for entry, part in zip(model["conditioning"]["configs"], parts, strict=True):
        if "clip_model_name" in part:
            part["clip_vision_config"] = dict(VISION)
        if "sync" in entry["type"]:
            part["synchformer_config"] = dict(SYNCHFORMER)
        if "t5_model_name" in part:
            part["t5_config"] = dict(T5)
    diffusion = model["diffusion"]
    if diffusion.get("gate"):
        diffusion["gate_type_config"] = dict(GATE)
    diffusion["config"] |= NETWORKS[diffusion["type"]]
    return data


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


CONFIGS = {
    "demo": small(BASE_CONFIG),
    "demo-maf": small(MAF_CONFIG),
    "demo-mmdit": small(MMDIT_CONFIG),
    "demo-turbo": small(TURBO_CONFIG),
}
