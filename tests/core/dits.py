"""A small random diffusion transformer and inputs for it, for the tests of the network and of guidance."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiox_core.networks.dit import DiffusionTransformer, DiTConfig

ORDER = ("video", "text", "audio")
SMALL = DiTConfig(io_channels=8, embed_dim=128, depth=2, num_heads=2, cond_token_dim=64, order=ORDER)
COUNTS = (4, 3, 2)  # tokens of video, text and audio


def random_network(config: DiTConfig = SMALL, **options: Any) -> DiffusionTransformer:
    generator = torch.Generator().manual_seed(0)
    network = DiffusionTransformer(config, **options).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * max(parameter[0].numel(), 4) ** -0.5)
    return network


def inputs(batch: int = 2, length: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Latents, times, and condition tokens that are joined already."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 8, length, generator=generator)
    tokens = torch.randn(batch, 9, 64, generator=generator)
    return x, torch.full((batch,), 0.4), tokens


def by_modality(tokens: Tensor) -> dict[str, Tensor]:
    """Joined tokens (B, 9, D) as (B, 1, M, D) of each modality."""
    return dict(zip(SMALL.order, tokens[:, None].split(COUNTS, dim=2), strict=True))


def close(a: Tensor, b: Tensor, bound: float = 1e-5) -> bool:
    return bool((a - b).norm() / b.norm() <= bound)
