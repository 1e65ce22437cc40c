"""Classifier-free guidance (arXiv:2207.12598), with a negative condition and rescale (arXiv:2305.08891)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .objective import Objective, find_objective


def guide(positive: Tensor, negative: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """negative + scale (positive - negative), on velocities or denoised latents (B, C, L).

    rescale in 0..1 draws the standard deviation over the channels, at each time step, back to the
    positive answer's: 0 leaves the guided answer, 1 takes over the deviation entirely.
    """
    guided = negative + scale * (positive - negative)
    if rescale == 0.0:
        return guided
    factor = positive.std(dim=1, keepdim=True) / guided.std(dim=1, keepdim=True)
    return rescale * (factor * guided) + (1.0 - rescale) * guided


class GuidedVelocity:
    """A velocity function v(x, t) with its conditions baked in: one network call a step.

    network is any with prepare and forward (see networks/__init__.py). positive and negative are condition tokens by
    modality, each (1 or B, W, M, D); without a negative, the network's null condition. scale 1 runs the positive
    branch alone.
    """

    def __init__(
        self,
        network: Any,
        positive: Mapping[str, Tensor] | None,
        negative: Mapping[str, Tensor] | None = None,
        *,
        scale: float = 7.0,
        rescale: float = 0.0,
    ):
        self.network, self.scale, self.rescale = network, scale, rescale
        device = next((tokens.device for given in (positive, negative) if given for tokens in given.values()), None)
        self.positive = network.prepare(positive, device=device)
        self.negative = network.prepare(negative, device=device) if scale != 1.0 else None
        self._joined: dict[int, Any] = {}  # by rows, so that a batch that stays the same is joined once

    def _context(self, rows: int) -> Any:
        """The conditions of the network's whole batch, the positive ones first."""
        if rows not in self._joined:
            context = self.positive.expand(rows)
            self._joined = {rows: context if self.negative is None else context.cat(self.negative.expand(rows))}
        return self._joined[rows]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        context = self._context(x.shape[0])
        if self.negative is None:
            return self.network(x, t, context)
        positive, negative = self.network(torch.cat([x, x]), torch.cat([t, t]), context).chunk(2)
        return guide(positive, negative, self.scale, self.rescale)


def guide_denoised(
    positive: Tensor,
    negative: Tensor,
    x: Tensor,
    sigma: Tensor,
    scale: float,
    rescale: float,
    objective: str | Objective = "v",
) -> Tensor:
    """guide() for a host that guides denoised latents (B, C, L): rescale still measures velocities.

    x and sigma (B,) are what the latents were denoised from, in the convention of the objective.
    """
    # denoised = origin - factor v
    origin, factor = find_objective(objective).parts(x, sigma)
    velocities = [(origin - denoised) / factor for denoised in (positive, negative)]
    return origin - factor * guide(velocities[0], velocities[1], scale, rescale)
