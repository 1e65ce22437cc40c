"""Conditioning: encoders of text, video and audio, and how their tokens are joined for the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from ..errors import InputError


def join(tokens: Mapping[str, Tensor], order: Sequence[str]) -> Tensor:
    """Tokens of each conditioner (1 or B, M, D) in the network's order -> (B, sum of M, D), float32 on the CPU.

    For the released model: video 128, text 128, audio 215 = 471 tokens of 768. Raises InputError when a
    conditioner of the order is missing or widths or batches do not fit.
    """
    missing = [name for name in order if name not in tokens]
    if missing:
        raise InputError(
            f"conditioning: no tokens for {', '.join(missing)}; each of {', '.join(order)} is needed"
        )
    parts = [tokens[name].float() for name in order]
    batch = max(p.shape[0] for p in parts)
    if any(p.shape[0] not in (1, batch) or p.shape[2] != parts[0].shape[2] for p in parts):
        shapes = ", ".join(f"{name} {tuple(p.shape)}" for name, p in zip(order, parts, strict=True))
        raise InputError(f"conditioning: tokens do not fit together: {shapes}")
    return torch.cat([p.expand(batch, -1, -1) for p in parts], dim=1)
