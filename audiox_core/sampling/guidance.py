"""Classifier-free guidance (arXiv:2207.12598), with a negative condition and rescale (arXiv:2305.08891)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.dit import Context, DiffusionTransformer


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

    positive and negative are condition tokens (1 or B, M, D). Without a negative the null condition is used,
    whose cross-attention is exactly zero and therefore skipped. scale 1 runs the positive branch alone.
    """

    def __init__(
        self,
        network: DiffusionTransformer,
        positive: Tensor,
        negative: Tensor | None = None,
        *,
        scale: float = 7.0,
        rescale: float = 0.0,
    ):
        self.network, self.scale, self.rescale = network, scale, rescale
        self.positive = network.prepare(positive)
        self.negative = network.prepare(negative) if negative is not None and scale != 1.0 else None
        self._batched: Context | None = None

    def _context(self, rows: int) -> Context:
        """The condition for the network's whole batch, joined once and kept."""
        wanted = rows if self.negative is None else 2 * rows
        if self._batched is None or self._batched.rows != wanted:
            context = self.positive.expand(rows)
            self._batched = context if self.negative is None else context.cat(self.negative.expand(rows))
        return self._batched

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        context = self._context(x.shape[0])
        if self.scale == 1.0:
            return self.network(x, t, context)
        positive, negative = self.network(torch.cat([x, x]), torch.cat([t, t]), context).chunk(2)
        return guide(positive, negative, self.scale, self.rescale)


def guide_denoised(
    positive: Tensor, negative: Tensor, x: Tensor, sigma: Tensor, scale: float, rescale: float
) -> Tensor:
    """guide() for a host that guides denoised latents (B, C, L): rescale still measures velocities.

    x and sigma (B,) are what the latents were denoised from, in the convention of sampling.VDenoiser.
    """
    sigma = sigma.reshape(-1, *[1] * (x.ndim - 1))  # (B, 1, 1)
    variance = sigma**2 + 1
    factor = sigma * variance.rsqrt()
    # denoised = x / variance - factor v
    velocities = [(x / variance - denoised) / factor for denoised in (positive, negative)]
    return x / variance - factor * guide(velocities[0], velocities[1], scale, rescale)
