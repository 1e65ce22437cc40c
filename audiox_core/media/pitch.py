"""The frequencies that a spectrogram's rows stand for: in equal ratios, or as far apart as they are heard (mel)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOWEST_HZ = 40.0  # of the logarithmic scale, which has no 0
SCALES = ("log", "mel")
# Hz worth a number, in the order in which they get the room there is.
NUMBERED = [step * 10**power for step in (1, 5, 2) for power in range(1, 6)]


def row_hertz(height: int, sample_rate: int, scale: str = "log") -> Tensor:
    """The middle frequency in Hz of each row, lowest first, (height,): up to half the sample rate."""
    steps = torch.linspace(0, 1, height)
    if scale == "log":
        return LOWEST_HZ * (sample_rate / 2 / LOWEST_HZ) ** steps
    return 700 * (10 ** (steps * _mel(sample_rate / 2) / 2595) - 1)


def place_of(hertz: float, sample_rate: int, scale: str = "log") -> float:
    """Where a frequency lies between the lowest row (0) and the highest (1); outside, where it isn't shown."""
    if scale == "log":
        return math.log(hertz / LOWEST_HZ) / math.log(sample_rate / 2 / LOWEST_HZ)
    return _mel(hertz) / _mel(sample_rate / 2)


def _mel(hertz: float) -> float:
    return 2595 * math.log10(1 + hertz / 700)
