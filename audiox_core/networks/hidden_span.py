"""The span that newer models hide from their audio prompt at random, also when generating: drawing and applying it."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import InputError


def draw_spans(batch: int, length: int, share: tuple[float, float], generator: torch.Generator | None) -> Tensor | None:
    """First index and end of a span for each item (batch, 2), int64 on the CPU; None when nothing is ever hidden.

    The span covers a share of the length that is uniform in (low, high), and lies anywhere. Draws in the released
    pipeline's order: all shares (one rand of the batch), then each item's start (a randint each); none for (0, 0).
    """
    low, high = share
    if not 0 <= low <= high <= 1:
        raise InputError(f"hidden share: {low} to {high}; two numbers in 0..1, the smaller first, are needed")
    if high == 0:
        return None
    shares = torch.rand(batch, generator=generator) * (high - low) + low
    spans = torch.empty(batch, 2, dtype=torch.long)
    for i, size in enumerate((shares * length).long().tolist()):
        start = torch.randint(0, length - size + 1, (1,), generator=generator)
        spans[i, 0], spans[i, 1] = start[0], start[0] + size
    return spans


def hide(x: Tensor, spans: Tensor | None) -> Tensor:
    """x (B, ..., N) with zeros from each item's first index up to its end; spans (1 or B, 2), or None for none."""
    if spans is None:
        return x
    at = torch.arange(x.shape[-1], device=x.device)
    first, end = spans.to(x.device)[..., None].unbind(1)  # (B, 1)
    hidden = (at >= first) & (at < end)  # (B, N)
    return x.masked_fill(hidden.view(hidden.shape[0], *[1] * (x.ndim - 2), -1), 0.0)
