"""Regenerating part of a sound: soft masks, placing a cut of the source, and holding the rest to it.

A mask (L,) holds 0 where the source is kept and 1 where the sound is made anew. A value m between is made
anew during the first part m of the steps, then held to the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .objective import Objective
from .steps import Callback, Model


def build_mask(
    length: int,
    *,
    start: float,
    end: float,
    softness_left: float = 0.0,
    softness_right: float = 0.0,
    marination: float = 0.0,
) -> Tensor:
    """The mask (length,), float32, of a region from start to end, both in percent of the length.

    The region's first softness_left and last softness_right percent rise and fall as halves of a Hann window;
    marination in 0..1 lowers the whole mask to 1 - marination, so that the source steers the last steps
    everywhere. Raises InputError for an empty region, or an edge wider than the region.
    """
    _check_span("mask start", start, "end", end)
    if not 0 <= marination <= 1:
        raise InputError(f"marination must be within 0..1, got {marination}: 0 makes the region entirely anew.")
    first, last = math.floor(start / 100.0 * length), math.ceil(end / 100.0 * length)
    rise, fall = round(softness_left / 100.0 * length), round(softness_right / 100.0 * length)
    if not (0 <= rise <= last - first and 0 <= fall <= last - first):
        raise InputError(
            f"mask softness must lie between 0 and the region's width of {end - start:g} percent, got "
            f"{softness_left:g} left and {softness_right:g} right: lower the softness or widen the region."
        )
    mask = torch.zeros(length)
    mask[first:last] = 1
    mask[first : first + rise] = torch.hann_window(2 * rise, periodic=False)[:rise]
    mask[last - fall : last] = torch.hann_window(2 * fall, periodic=False)[fall:]
    return mask * (1 - marination)


def over_time(mask: Tensor, length: int) -> Tensor:
    """A host's mask as one of a sound: (B, 1, length), float32, 0 where the source is kept and 1 where it is made anew.

    Masks over time are (L,) or (B, 1, L). Of a picture's, (H, W), (B, H, W) or (B, 1, H, W), time runs to the right as
    in a spectrogram, and the mean of its rows counts. Other lengths are stretched. Raises InputError for other shapes
    and for values outside 0..1.
    """
    given = tuple(mask.shape)
    fits = mask.numel() > 0 and mask.ndim in (1, 2, 3, 4) and (mask.ndim < 4 or given[1] == 1)
    if not fits:
        raise InputError(
            f"the mask has shape {given}. Give one over time, (batch, 1, length), or a picture's, "
            "(batch, height, width)."
        )
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise InputError(
            "the mask holds values outside 0 to 1. Give 1 where the sound is regenerated, 0 where it is kept."
        )
    rows = mask.float()
    rows = rows[None, None] if mask.ndim == 1 else rows.reshape(-1, *given[-2:]).mean(dim=1, keepdim=True)
    if rows.shape[-1] == length:
        return rows
    mode = "area" if rows.shape[-1] > length else "linear"
    return torch.nn.functional.interpolate(rows, size=length, mode=mode)


def crop_and_paste(latents: Tensor, *, crop_from: float, paste_from: float, paste_to: float) -> Tensor:
    """Latents (B, C, L) that are zero but for a cut of the given ones, moved: positions in percent of L.

    The cut begins at crop_from and fills paste_from to paste_to, or less where it would run past the end.
    Raises InputError for an empty target or positions outside 0..100.
    """
    _check_span("paste_from", paste_from, "paste_to", paste_to)
    if not 0 <= crop_from <= 100:
        raise InputError(f"crop_from must be within 0..100 percent, got {crop_from}: 0 cuts from the beginning.")
    length = latents.shape[-1]
    source = math.floor(crop_from / 100.0 * length)
    first, last = math.floor(paste_from / 100.0 * length), math.ceil(paste_to / 100.0 * length)
    cut = latents[..., source : source + last - first]  # (B, C, <= last - first)
    pasted = torch.zeros_like(latents)
    pasted[..., first : first + cut.shape[-1]] = cut
    return pasted


@dataclass(frozen=True)
class Held:
    """A denoiser that makes anew what the mask leaves free, and knows the rest: model(x, sigma) -> denoised.

    Where the mask (broadcast to x, 0 to 1) is 0, each call sees the source noised to its own level, and the answer is
    the source itself. noise (like x) is the run's first one, so that the kept part falls with the rest.
    """

    model: Model
    objective: Objective
    source: Tensor  # (1 or B, C, L)
    mask: Tensor
    noise: Tensor  # (B, C, L)

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        level: Any = sigma.reshape(-1, *[1] * (x.ndim - 1))
        noised = self.objective.start(self.noise, level, self.source)
        return self.kept(self.model(x * self.mask + noised * (1 - self.mask), sigma, **extra_args))

    def kept(self, latents: Tensor) -> Tensor:
        """The latents with the source in the place of what is kept."""
        return latents * self.mask + self.source * (1 - self.mask)


@dataclass(frozen=True)
class KeepSource:
    """A sampler's callback that holds x to the source, noised to the step's level, where the mask keeps it.

    The run starts from start() as `init`. x is overwritten in place after the model call, so a step goes on
    from the new x with the denoised latents of the old one; where the last step returns those (dpmpp-2m-sde,
    dpmpp-3m-sde), it doesn't see the source again. randn_like(source) gives the noise; `then` is the callback
    to call next.
    """

    source: Tensor  # (B, C, L)
    mask: Tensor  # (L,)
    steps: int
    randn_like: Callable[[Tensor], Tensor]
    then: Callback | None = None

    def kept(self, step: int) -> Tensor:
        """1 where a step holds x to the source, else 0: (L,), like source."""
        return (self.mask <= (step + 1) / self.steps).to(self.source)

    def start(self) -> Tensor:
        """What the initial noise is added to: (B, C, L)."""
        return self.kept(0) * self.source

    def __call__(self, info: dict[str, Any]) -> None:
        """Overwrites info["x"]."""
        x, kept = info["x"], self.kept(info["i"])
        noised = self.source + self.randn_like(self.source) * info["sigma"]
        x.copy_(kept * noised + (1 - kept) * x)
        if self.then is not None:
            self.then(info)


def _check_span(first_name: str, first: float, last_name: str, last: float) -> None:
    if not 0 <= first < last <= 100:
        raise InputError(
            f"{first_name} and {last_name} must rise within 0..100 percent, got {first} and {last}: "
            f"put {last_name} after {first_name}."
        )
