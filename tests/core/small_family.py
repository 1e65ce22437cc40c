"""Small models of the newer members with random weights, and their files, for tests of reading, loading and running."""

from __future__ import annotations

import copy
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from audiox_core.models import demo
from audiox_core.models.config import parse_config
from audiox_core.models.maf import MAF_CONFIG
from audiox_core.models.mmdit import MMDIT_CONFIG
from audiox_core.models.parts import Model
from audiox_core.models.turbo import TURBO_CONFIG
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.layout import companion_keys, expected_keys
from audiox_core.weights.open import Opened
from tests.core.small import small_data

CONFIGS = {"maf": MAF_CONFIG, "mmdit": MMDIT_CONFIG, "turbo": TURBO_CONFIG}
VAE, PROMPT_VAE = "pretransform.model.", "conditioner.conditioners.audio_prompt.pretransform.model."
CLIP = "conditioner.conditioners.video_prompt.visual_encoder_model."
SYNCHFORMER = "synchformer."


def small_family_data(name: str) -> dict[str, Any]:
    """The config.json of a member at the sizes of the small base model."""
    data, base = copy.deepcopy(CONFIGS[name]), small_data()["model"]
    model = data["model"]
    video, text, audio = (entry["config"] for entry in model["conditioning"]["configs"])
    small_video, small_text, small_audio = (entry["config"] for entry in base["conditioning"]["configs"])
    video |= small_video | {"synchformer_config": {"width": 32, "depth": 1, "heads": 2}}
    text |= small_text
    if "pretransform_config" in audio:
        audio["pretransform_config"] = small_audio["pretransform_config"]
    model["pretransform"] = base["pretransform"]
    model["conditioning"]["cond_dim"] = 32
    model["diffusion"]["gate_type_config"] = {"num_experts_per_modality": 2, "num_heads": 2, "num_fusion_layers": 1}
    heads = 2 if model["diffusion"]["type"] == "dit" else 8
    sizes = {"embed_dim": 64, "depth": 2, "num_heads": heads, "cond_token_dim": 32, "global_cond_dim": 32}
    model["diffusion"]["config"] |= sizes
    return data


@lru_cache(maxsize=3)
def small_member(name: str) -> Model:
    return parse_config(small_family_data(name), name)


def made(shapes: dict[str, tuple[int, ...]], before: str = "") -> dict[str, Tensor]:
    return {key: demo.random_weight(before + key, shape) for key, shape in shapes.items()}


def member_tensors(name: str) -> dict[str, Tensor]:
    """A checkpoint of a small member in the released layout; its autoencoder is in it twice, as in the release."""
    tensors = made(expected_keys(small_member(name)))
    for key in tensors:
        if key.startswith(PROMPT_VAE):
            tensors[key] = tensors[VAE + key.removeprefix(PROMPT_VAE)]
    return tensors


def companion_tensors(name: str, prefix: str) -> dict[str, Tensor]:
    """A file beside the checkpoint by its own names."""
    return made(companion_keys(small_member(name), prefix), prefix)


def small_opened(name: str) -> Opened:
    weights = Bundle(member_tensors(name), name)
    for companion in small_member(name).companions:
        if not companion.fills:
            weights.add(companion_tensors(name, companion.prefix), name, companion.prefix)
    return Opened(name, small_member(name), weights, tokenizer=ByteTokenizer())


def pixels(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
