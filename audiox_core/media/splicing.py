"""New stretches in a sound that otherwise stays as it is, sample by sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Piece:
    """Samples (2, end - start + 2) for a stretch of a sound, with one more at both ends than they fill."""

    start: int
    end: int
    samples: Tensor


def splice(sound: Tensor, pieces: Sequence[Piece], *, inside: tuple[int, int], feather: int) -> Tensor:
    """The sound (2, N) with pieces in it. `inside`: the original's first sample, and the one after its last.

    Beside the original a piece comes in and goes out over `feather` samples: with equal power where the original lies
    under it; where it carries the original on, the step between the two dies away. All other samples are kept bit for
    bit. Pieces are clipped to -1..1.
    """
    out = sound.clone()
    for piece in pieces:
        start, end = piece.start, piece.end
        body, old = piece.samples[:, 1:-1].clone(), sound[:, start:end]
        most = min(feather, (end - start) // 2)
        if start > inside[0]:
            step = sound[:, start - 1 : start] - piece.samples[:, :1]
            body = _come_in(body, old, step, inside[1] - start, most)
        if end < inside[1]:
            step = sound[:, end : end + 1] - piece.samples[:, -1:]
            body = _come_in(body.flip(-1), old.flip(-1), step, end - inside[0], most).flip(-1)
        out[:, start:end] = body.clamp(-1.0, 1.0)
    return out


def _come_in(new: Tensor, old: Tensor, step: Tensor, under: int, most: int) -> Tensor:
    """new (2, n), coming in over what is old for `under` samples, or, where that is none, without the step (2, 1)."""
    count = min(most, under) if under > 0 else most
    if count < 1:
        return new
    angle = (torch.arange(count) + 0.5) * (math.pi / 2 / count)
    edge = new[:, :count] * angle.sin() + old[:, :count] * angle.cos()
    if under <= 0:
        edge = new[:, :count] + step * angle.cos().square()
    return torch.cat([edge, new[:, count:]], dim=-1)
