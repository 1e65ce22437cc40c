"""Noise for stochastic samplers, drawn on the CPU from a seed, so that it doesn't depend on the device.

The global random number generators are neither read nor moved.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..errors import AudioXError, InputError

_DIGITS = 6  # to which the tree rounds sigma; it warns about ends that are not rounded so


class BrownianNoise:
    """Increments of one Brownian motion W over noise levels, as a noise_sampler(sigma, sigma_next).

    The answer is (W(sigma_next) - W(sigma)) / sqrt(|sigma_next - sigma|), like x: for falling sigmas MINUS
    the forward increment. W belongs to the whole batch tensor and to `entropy`, not to the steps: finer steps
    see the same path. Raises AudioXError when torchsde, whose Brownian tree this is, is not installed.
    """

    def __init__(self, x: Tensor, sigma_min: float, sigma_max: float, entropy: int) -> None:
        if entropy < 0:
            raise InputError(f"The seed of the Brownian noise must not be negative, got {entropy}: use 0 or more.")
        try:
            import torchsde
        except ImportError as error:
            raise AudioXError(
                "This sampler's Brownian noise needs the package torchsde, which is not installed: "
                "run `pip install torchsde`, or choose a sampler without it, such as k-heun."
            ) from error
        self._torchsde = torchsde
        self._like = x.new_empty(0)
        self._shape = x.shape
        self._ends = (round(float(sigma_min), _DIGITS), round(float(sigma_max), _DIGITS))
        self._entropy = int(entropy)

    @cached_property
    def _tree(self) -> Any:
        # Built at the first draw: a run of one step draws nothing, and its interval would be empty.
        low, high = self._ends
        start = torch.zeros(self._shape, dtype=torch.float32, device="cpu")
        return self._torchsde.BrownianTree(t0=low, w0=start, t1=high, entropy=self._entropy, tol=10**-_DIGITS)

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Noise of unit variance between two different levels within [sigma_min, sigma_max]."""
        low, high = sorted((float(sigma), float(sigma_next)))
        forward = self._tree(round(low, _DIGITS), round(high, _DIGITS)) / math.sqrt(high - low)
        return (forward if sigma < sigma_next else -forward).to(self._like)


class GaussianNoise:
    """Independent standard normal noise from a CPU torch.Generator, as a noise_sampler(sigma, sigma_next)."""

    def __init__(self, x: Tensor, generator: torch.Generator) -> None:
        self._like = x.new_empty(0)
        self._shape = x.shape
        self._generator = generator

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """Noise of unit variance, whatever the levels are."""
        noise = torch.randn(self._shape, generator=self._generator, dtype=torch.float32, device="cpu")
        return noise.to(self._like)


def generator_from(seed: int) -> torch.Generator:
    """A CPU generator for a seed of 0 or more.

    torch heeds only the lowest 32 bits of a seed. Seeds below 2**32 are taken as they are; larger ones are scattered
    over these 32 bits, so that seed and seed + 2**32 differ, though there are no more than 2**32 different generators.
    """
    if seed >= 2**32:
        seed = int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")
    return torch.Generator().manual_seed(seed)


def window_seed(seed: int, number: int) -> int:
    """A seed for the added noise of a window, by the order in which they are made: that of the run for the first."""
    if not number:
        return seed
    return int.from_bytes(hashlib.sha256(f"{seed}/{number}".encode()).digest()[:8], "big")


def randn_like_from(generator: torch.Generator) -> Callable[[Tensor], Tensor]:
    """A torch.randn_like that draws from this CPU generator instead of the global one."""
    return lambda x: GaussianNoise(x, generator)(0, 0)


def draw_entropy(generator: torch.Generator) -> int:
    """A seed for BrownianNoise: one integer below 2^63 - 1 from the generator."""
    return int(torch.randint(0, 2**63 - 1, [], generator=generator, device="cpu").item())


def brownian_from_seed(x: Tensor, sigmas: list[float], extra_args: Mapping[str, Any], sampler: str) -> BrownianNoise:
    """The default noise_sampler of an SDE sampler: Brownian noise from the host's extra_args["seed"]."""
    levels = [sigma for sigma in sigmas if sigma > 0]
    return BrownianNoise(x, min(levels), max(levels), _host_seed(extra_args, sampler))


def gaussian_from_seed(x: Tensor, sigmas: list[float], extra_args: Mapping[str, Any], sampler: str) -> GaussianNoise:
    """The default noise_sampler of an ancestral sampler: normal noise from the host's extra_args["seed"]."""
    # Hosts draw the initial noise from this very seed: one more keeps the steps' noise independent of it.
    seed = (_host_seed(extra_args, sampler) + 1) % 2**64
    return GaussianNoise(x, torch.Generator().manual_seed(seed))


def _host_seed(extra_args: Mapping[str, Any], sampler: str) -> int:
    seed = extra_args.get("seed")
    if seed is None:
        raise InputError(
            f"{sampler} needs noise, and got neither noise_sampler nor extra_args['seed']: "
            "pass one of them (the global random number generator is never used)."
        )
    return int(seed)
