"""Conditioning: encoders of text, video and audio, and how their tokens are joined for the network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from .errors import InputError


def join(tokens: Mapping[str, Tensor], order: Sequence[str]) -> Tensor:
    """Tokens of each conditioner (1 or B, M, D) in the network's order -> (B, sum of M, D) in float32.

    For the released model: video 128, text 128, audio 215 = 471 tokens of 768. Raises InputError when a
    conditioner of the order is missing or widths or batches do not fit.
    """
    missing = [name for name in order if name not in tokens]
    if missing:
        raise InputError(f"conditioning: no tokens for {', '.join(missing)}; each of {', '.join(order)} is needed")
    parts = [tokens[name].float() for name in order]
    batch = max(p.shape[0] for p in parts)
    if any(p.shape[0] not in (1, batch) or p.shape[2] != parts[0].shape[2] for p in parts):
        shapes = ", ".join(f"{name} {tuple(p.shape)}" for name, p in zip(order, parts, strict=True))
        raise InputError(f"conditioning: tokens do not fit together: {shapes}")
    return torch.cat([p.expand(batch, -1, -1) for p in parts], dim=1)


def fit(tokens: Tensor, like: Tensor, name: str = "text") -> Tensor:
    """Tokens (B, any, D), cut or padded with zeros to as many as `like` (1, M, D) has -> (B, M, D).

    For tokens of other encoders, which don't stop at M. Raises InputError when the widths differ.
    """
    count, width = like.shape[1:]
    if tokens.ndim != 3 or tokens.shape[2] != width:
        raise InputError(
            f"{name}: condition of shape {tuple(tokens.shape)}, this model takes tokens {width} wide. Use AudioX's "
            "own encoder, or the T5-base text encoder that Stable Audio has."
        )
    cut = tokens[:, :count]
    return torch.nn.functional.pad(cut, (0, 0, 0, count - cut.shape[1]))


def complete(
    given: Mapping[str, Tensor | None], empty: Mapping[str, Tensor], order: Sequence[str], *, null: bool = False
) -> Tensor:
    """All condition tokens (B, sum of M, D) where only some modalities are given: the others take their empty tokens.

    null gives the null condition instead, which is zero everywhere (and not the empty tokens).
    """
    tokens = {}
    for name in order:
        found = given.get(name)
        tokens[name] = empty[name] if found is None else found.to(empty[name].device)
    joined = join(tokens, order)
    return torch.zeros_like(joined) if null else joined
