"""AudioX, the released base model: the row of its backbone, its files and its configuration."""

from __future__ import annotations

from functools import partial
from typing import Any, cast

from torch import nn

from ..errors import ConfigError
from ..memory.estimate import keys_held, network_work
from ..memory.formats import network_format
from ..networks.dit import DiffusionTransformer, DiTConfig
from .config import Backbone, Given
from .parts import Part, Recipe, Slot, slots
from .section import Section

NETWORK_PREFIX = "model.model."


def read_network_sizes(s: Section, order: tuple[str, ...], given: Given) -> tuple[DiTConfig, int]:
    """A network's sizes from its config, and the width of the global condition that it no longer reads."""
    s.ignore("video_fps", "condition_mask_type")
    s.choice("transformer_type", ("continuous_transformer",))
    config = DiTConfig(
        io_channels=s.number("io_channels", 1, 4096),
        embed_dim=s.number("embed_dim", 1, 1 << 15),
        depth=s.number("depth", 1, 512),
        num_heads=s.number("num_heads", 1, 1024),
        cond_token_dim=s.number("cond_token_dim", 1, 1 << 15),
        project_cond_tokens=s.take("project_cond_tokens", bool),
        order=order,
    )
    unread = s.number("global_cond_dim", 1, 1 << 15)
    if config.io_channels != given.channels or config.cond_token_dim != given.width:
        raise ConfigError(
            f"{s.path}: takes {config.io_channels} channels and tokens {config.cond_token_dim} wide, the model gives "
            f"{given.channels} and {given.width}"
        )
    return config, unread


def read_dit_sizes(s: Section, order: tuple[str, ...], given: Given) -> tuple[DiTConfig, int]:
    """The same for a DiT, whose heads must fit its widths."""
    config, unread = read_network_sizes(s, order, given)
    if config.embed_dim % config.num_heads or config.context_dim % config.head_dim:
        raise ConfigError(
            f"{s.path}: widths {config.embed_dim} and {config.context_dim} do not divide into {config.num_heads} heads"
        )
    if config.num_heads % (config.context_dim // config.head_dim):
        raise ConfigError(f"{s.path}: {config.context_dim} and {config.embed_dim} give heads that can't be grouped")
    if config.head_dim < 32:
        raise ConfigError(f"{s.path}: heads are {config.head_dim} wide; 32 is the least that can be rotated")
    return config, unread


def dit_slots(module: nn.Module, unread: int) -> list[Slot]:
    """The DiT's part of the released layout: no condition is global, and the rotary table is made anew."""
    dit = cast(DiffusionTransformer, module)
    width, before = dit.config.embed_dim, NETWORK_PREFIX
    return [
        *slots(dit, before, norms=True),
        Slot(f"{before}to_global_embed.0.weight", (width, unread), None),
        Slot(f"{before}to_global_embed.2.weight", (width, width), None),
        Slot(f"{before}transformer.rotary_pos_emb.inv_freq", (dit.transformer.rotary_dims // 2,), None),
    ]


def read_dit(diffusion: Section, conditioners: tuple[Part, ...], given: Given) -> Backbone:
    """Backbone type "dit", the base model's: it takes the tokens in the config's order."""
    objective = diffusion.choice("diffusion_objective", ("v", "rectified_flow"), "v")
    with diffusion.section("config") as s:
        config, unread = read_dit_sizes(s, tuple(part.name for part in conditioners), given)
    tokens = sum(part.condition.tokens for part in conditioners if part.condition)
    keys = (config.embed_dim, config.context_dim, config.depth, tokens)
    part = Part(
        name="dit",
        label="transformer",
        build=lambda **options: DiffusionTransformer(config, **options),
        layout=lambda module: dit_slots(module, unread),
        format=network_format,
        work=partial(network_work, config.embed_dim, config.num_heads, *keys[1:]),
        held=partial(keys_held, *keys) if config.context_dim < config.embed_dim else None,
    )
    return Backbone(part, RECIPES[objective])


# The authors' own for the objective they trained; a flow of the same architecture is integrated by Euler's method.
RECIPES = {
    "v": Recipe(),
    "rectified_flow": Recipe(objective="rectified_flow", sampler="rectified-flow", steps=100, sigma_max=1.0),
}
BACKBONES = {"dit": read_dit}


def half(io_key: str, latent_dim: int, **extra: Any) -> dict[str, Any]:
    """One half of the autoencoder: io_key is in_channels for the encoder, out_channels for the decoder."""
    return {
        "type": "oobleck",
        "config": {
            io_key: 2,
            "channels": 128,
            "c_mults": [1, 2, 4, 8, 16],
            "strides": [2, 4, 4, 8, 8],
            "latent_dim": latent_dim,
            "use_snake": True,
            **extra,
        },
    }


def autoencoder_data() -> dict[str, Any]:
    return {
        "type": "autoencoder",
        "iterate_batch": True,
        "config": {
            "encoder": half("in_channels", 128),
            "decoder": half("out_channels", 64, final_tanh=False),
            "bottleneck": {"type": "vae"},
            "latent_dim": 64,
            "downsampling_ratio": 2048,
            "io_channels": 2,
        },
    }


BASE_CONFIG: dict[str, Any] = {
    "model_type": "diffusion_cond",
    "sample_size": 485100,
    "sample_rate": 44100,
    "video_fps": 5,
    "audio_channels": 2,
    "model": {
        "pretransform": autoencoder_data(),
        "conditioning": {
            "configs": [
                {"id": "video_prompt", "type": "clip", "config": {"clip_model_name": "clip-vit-base-patch32"}},
                {"id": "text_prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 128}},
                {
                    "id": "audio_prompt",
                    "type": "audio_autoencoder",
                    "config": {"sample_rate": 44100, "pretransform_config": autoencoder_data()},
                },
            ],
            "cond_dim": 768,
        },
        "diffusion": {
            "cross_attention_cond_ids": ["video_prompt", "text_prompt", "audio_prompt"],
            "global_cond_ids": [],
            "type": "dit",
            "config": {
                "io_channels": 64,
                "embed_dim": 1536,
                "depth": 24,
                "num_heads": 24,
                "cond_token_dim": 768,
                "global_cond_dim": 1536,
                "project_cond_tokens": False,
                "transformer_type": "continuous_transformer",
                "video_fps": 5,
            },
        },
        "io_channels": 64,
    },
}
