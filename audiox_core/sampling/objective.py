"""From what the network was trained to predict to the denoised latents that samplers ask for."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Velocity = Callable[..., Tensor]
"""velocity(x, t, **extra_args) -> like x; t is (B,), float32, in [0, 1]."""


class VDenoiser:
    """A v-prediction network as a model(x, sigma, **extra_args) -> denoised.

    The network works on z = cos(a) data + sin(a) noise and predicts v = cos(a) noise - sin(a) data, at time t
    = 2 a / pi (Salimans & Ho, arXiv:2202.00512). With sigma = tan(a), x = z / cos(a) = data + sigma * noise,
    and the data is cos(a) z - sin(a) v = x / (sigma^2 + 1) - v sigma / sqrt(sigma^2 + 1).
    """

    def __init__(self, velocity: Velocity) -> None:
        self.velocity = velocity

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """The denoised latents (B, ...) of x (B, ...) at noise level sigma (B,), at least as precise as x."""
        t = torch.atan(sigma) * (2 / math.pi)  # (B,)
        sigma = _beside(sigma, x)  # (B, 1, ...)
        variance = sigma**2 + 1
        v = self.velocity(x * variance.rsqrt(), t, **extra_args)
        return x / variance - v * (sigma * variance.rsqrt())


class FlowDenoiser:
    """A rectified-flow network as a model(x, sigma, **extra_args) -> denoised.

    The network works on x = (1 - t) data + t noise and predicts noise - data (Liu et al., arXiv:2209.03003),
    so the data is x - t v. Here sigma is t itself, in (0, 1].
    """

    def __init__(self, velocity: Velocity) -> None:
        self.velocity = velocity

    def __call__(self, x: Tensor, sigma: Tensor, **extra_args: Any) -> Tensor:
        """The denoised latents (B, ...) of x (B, ...) at time sigma (B,), at least in the precision of x."""
        return x - _beside(sigma, x) * self.velocity(x, sigma, **extra_args)


def _beside(values: Tensor, x: Tensor) -> Tensor:
    """One value per batch item, shaped to multiply x."""
    return values.reshape(-1, *[1] * (x.ndim - 1))  # (B,) -> (B, 1, ...)
