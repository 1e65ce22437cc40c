"""Classifier-free guidance (arXiv:2207.12598), with a negative condition and rescale (arXiv:2305.08891)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .objective import Objective, find_objective


def guide(positive: Tensor, negative: Tensor, scale: float, rescale: float = 0.0) -> Tensor:
    """negative + scale (positive - negative), on velocities or denoised latents (B, C, L).

    rescale in 0..1 draws the standard deviation over the channels, at each time step, back to the
    positive answer's: 0 leaves the guided answer, 1 takes over the deviation entirely.
    """
    return guide_in_steps([positive, negative], [scale], rescale)


def guide_in_steps(answers: Sequence[Tensor], scales: Sequence[float], rescale: float = 0.0) -> Tensor:
    """Guidance with a scale for each of several conditions, on velocities or denoised latents (B, C, L).

    answers are those to the full condition, to ever smaller parts of it, and last to the negative; each scale, in the
    same order, multiplies what its answer adds to the next one. Equal scales give guide()'s answer.
    """
    guided = answers[-1]
    for answer, less, scale in zip(answers[:-1], answers[1:], scales, strict=True):
        guided = guided + scale * (answer - less)
    if rescale == 0.0:
        return guided
    factor = answers[0].std(dim=1, keepdim=True) / guided.std(dim=1, keepdim=True)
    return rescale * (factor * guided) + (1.0 - rescale) * guided


Tokens = Mapping[str, Tensor]  # (1 or B, W, M, D) by modality


class GuidedVelocity:
    """A velocity function v(x, t) with its conditions baked in: one network call a step.

    network is any with prepare and forward (see networks/__init__.py). positive and negative are condition tokens by
    modality, each (1 or B, W, M, D); without a negative, the network's null condition. scale 1 runs the positive
    branch alone. parts are ever smaller parts of the positive, each with the scale of what it adds to the next one (see
    guide_in_steps); `scale` is then that of what the whole adds to the first of them. between are the times, from and
    to, between which there is guidance at all: outside, the positive branch runs alone, at half the work. All rows of
    a call have the same time then, and a GPU is waited for once a step to read it.
    """

    def __init__(
        self,
        network: Any,
        positive: Tokens | None,
        negative: Tokens | None = None,
        *,
        scale: float = 7.0,
        rescale: float = 0.0,
        parts: Sequence[tuple[Tokens, float]] = (),
        between: tuple[float, float] | None = None,
    ):
        self.between = between
        self.network, self.scale, self.rescale = network, scale, rescale
        device = next((tokens.device for given in (positive, negative) if given for tokens in given.values()), None)
        self.scales = [scale, *(own for _, own in parts)]
        self.positive = network.prepare(positive, device=device)
        guided = any(own != 1.0 for own in self.scales)
        self.parts = [network.prepare(tokens, device=device) for tokens, _ in parts] if guided else []
        self.negative = network.prepare(negative, device=device) if guided else None
        self._joined: dict[int, Any] = {}  # by rows, so that a batch that stays the same is joined once

    def _context(self, rows: int) -> Any:
        """The conditions of the network's whole batch, the positive ones first."""
        if rows not in self._joined:
            context = self.positive.expand(rows)
            for other in (*self.parts, *(() if self.negative is None else (self.negative,))):
                context = context.cat(other.expand(rows))
            self._joined = {rows: context}
        return self._joined[rows]

    def _guides(self, t: Tensor) -> bool:
        """Whether there is guidance at this time."""
        return self.between is None or self.between[0] <= t[0].item() <= self.between[1]

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        if self.negative is None or not self._guides(t):
            return self.network(x, t, self.positive.expand(x.shape[0]))
        context = self._context(x.shape[0])
        count = 2 + len(self.parts)
        answers = self.network(torch.cat([x] * count), torch.cat([t] * count), context).chunk(count)
        return guide_in_steps(answers, self.scales, self.rescale)


@dataclass(frozen=True)
class Guidance:
    """All that a run is guided by: tokens (1 or B, W, M, D) by modality, W windows or 1, and how strongly."""

    positive: Tokens
    negative: Tokens | None = None
    scale: float = 7.0
    rescale: float = 0.0
    parts: tuple[tuple[Tokens, float], ...] = ()
    between: tuple[float, float] | None = None

    def velocity(self, network: Any, numbers: Sequence[int], device: torch.device) -> GuidedVelocity:
        """The velocity function of these windows at once: a row for each item and window, windows running faster."""

        def theirs(tokens: Tokens | None) -> Tokens | None:
            return None if tokens is None else {name: _windows_of(t, numbers).to(device) for name, t in tokens.items()}

        parts = [(theirs(tokens) or {}, own) for tokens, own in self.parts]
        return GuidedVelocity(
            network,
            theirs(self.positive),
            theirs(self.negative),
            scale=self.scale,
            rescale=self.rescale,
            parts=parts,
            between=self.between,
        )


def _windows_of(tokens: Tensor, numbers: Sequence[int]) -> Tensor:
    """The tokens (B, W, M, D) of some windows. What is the same in all of them has one for all, if it has one item."""
    if tokens.shape[1] > 1:
        return tokens[:, list(numbers)]
    return tokens if tokens.shape[0] == 1 else tokens.expand(-1, len(numbers), -1, -1)


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
