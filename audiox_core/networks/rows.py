"""Condition tokens by modality, with a window axis, to one row per batch item and window."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from ..errors import InputError


def rows_of(tokens: Mapping[str, Tensor], order: Sequence[str]) -> dict[str, Tensor]:
    """Tokens (B, W, M, D) of each modality -> (B W, M, D) in float32, in the given order, windows running faster.

    A modality with B or W of 1 serves all items or windows. Raises InputError when one of the order is missing, or
    batches, windows or widths do not fit.
    """
    missing = [name for name in order if name not in tokens]
    if missing:
        raise InputError(f"conditioning: no tokens for {', '.join(missing)}; each of {', '.join(order)} is needed")
    parts = [tokens[name] for name in order]
    fits = all(part.ndim == 4 for part in parts)
    batch, windows = (max((part.shape[axis] for part in parts if fits), default=1) for axis in (0, 1))
    for part in parts if fits else []:
        width = part.shape[-1] == parts[0].shape[-1]
        fits = fits and width and part.shape[0] in (1, batch) and part.shape[1] in (1, windows)
    if not fits:
        shapes = ", ".join(f"{name} {tuple(part.shape)}" for name, part in zip(order, parts, strict=True))
        raise InputError(f"conditioning: tokens do not fit together: {shapes}; (batch, windows, tokens, width) needed")
    return {
        name: part.float().expand(batch, windows, -1, -1).reshape(batch * windows, *part.shape[2:])
        for name, part in zip(order, parts, strict=True)
    }
