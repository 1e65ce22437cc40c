"""Latents as a picture: time to the right, one row a channel, colours from dark blue over red to pale yellow."""

from __future__ import annotations

import torch
from torch import Tensor

# Colours (red, green, blue in 0..1) at equal distances.
PALETTE = ((0.03, 0.03, 0.13), (0.33, 0.06, 0.43), (0.73, 0.21, 0.33), (0.98, 0.55, 0.16), (0.99, 0.99, 0.75))
# Latents beyond so many standard deviations of the whole are painted in the end colours.
REACH = 2.5


def colours(values: Tensor) -> Tensor:
    """Values (..., H, W) in 0..1 -> red, green and blue (..., 3, H, W) in 0..1, interpolated in PALETTE."""
    palette = torch.tensor(PALETTE, dtype=torch.float32, device=values.device)
    place = values.float().clamp(0, 1) * (len(PALETTE) - 1)
    low = place.floor().long().clamp(max=len(PALETTE) - 2)
    part = (place - low)[..., None]
    mixed = palette[low] * (1 - part) + palette[low + 1] * part  # (..., H, W, 3)
    return mixed.movedim(-1, -3)


def latent_picture(latents: Tensor) -> Tensor:
    """Latents (B, C, L) -> pictures (B, 3, C, L) in 0..1, each item's own loudest values at the ends of the palette."""
    x = torch.nan_to_num(latents.detach().float())
    scale = x.flatten(1).std(dim=1).clamp(min=1e-6)[:, None, None] * REACH
    return colours((x / scale + 1) / 2)
