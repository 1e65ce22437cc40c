"""What a network was trained to predict, and all that follows from it for sampling: see OBJECTIVES.

An Objective leads from velocity(x, t) to the denoised latents that samplers ask for, from settings to noise levels,
from noise to where a run starts; it names the samplers that can run it and finds wrong settings early.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, nearest
from .schedules import check_schedule, check_times, get_sigmas_polyexponential, get_times_linear, shown
from .steps import Model

Velocity = Callable[..., Tensor]
"""velocity(x, t, **extra_args) -> like x; t is (B,), float32, in [0, 1]."""


@dataclass(frozen=True)
class Objective(ABC):
    """One objective of training. The base of VPrediction and RectifiedFlow, whose instances lie in OBJECTIVES."""

    name: str  # as in a config's diffusion_objective
    predicts: str  # what the network's answer is, in words for errors
    samplers: tuple[str, ...]  # that can run it, by name
    default_sampler: str

    @abstractmethod
    def denoiser(self, velocity: Velocity) -> Model:
        """The network as a model(x (B, ...), sigma (B,), **extra_args) -> denoised (B, ...)."""

    @abstractmethod
    def time(self, sigma: float) -> float:
        """The time in 0..1 that the network is told at a noise level."""

    @abstractmethod
    def parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        """(origin, factor) with denoised = origin - factor * velocity, for x (B, ...) at noise levels sigma (B,)."""

    @abstractmethod
    def schedule(self, steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
        """The noise levels of a run, falling to 0: (steps + 1,), float32. Raises InputError out of range."""

    @abstractmethod
    def start(self, noise: Tensor, sigma: float, init: Tensor | None = None) -> Tensor:
        """Where a run from level sigma begins: from standard normal noise (B, C, L), or from init noised so far."""

    @abstractmethod
    def variation(self, strength: float, sigma_min: float, sigma_max: float) -> float:
        """The level from which to vary a sound, strength 0 (it stays) to 1 (sigma_max: nothing of it is left)."""

    @abstractmethod
    def check_schedule(self, steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> None:
        """Raises InputError for numbers that make no schedule. Makes no tensors."""

    def choose(self, sampler: str | None = None) -> str:
        """The name of a sampler that can run this objective; None means its default.

        Raises InputError, which lists only those that can, for any other.
        """
        if sampler is None:
            return self.default_sampler
        if isinstance(sampler, str) and sampler in self.samplers:
            return sampler
        others = {name for objective in OBJECTIVES.values() for name in objective.samplers}
        if isinstance(sampler, str) and sampler in others:
            raise InputError(
                f"Sampler {sampler!r} cannot run this model, which predicts {self.predicts}: take "
                f"{self.default_sampler!r}, its usual one. Valid: {', '.join(self.samplers)}."
            )
        known = list(self.samplers)
        if not isinstance(sampler, str):
            raise InputError(f"sampler must be a name, got {shown(sampler)}.{nearest('', known)}")
        raise InputError(f"Unknown sampler {shown(sampler)}.{nearest(sampler[:60], known)}")

    def check(
        self, *, steps: int, sampler: str | None = None, sigma_min: float, sigma_max: float, rho: float = 1.0
    ) -> None:
        """Raises InputError for any setting that `sample` would refuse. Makes no tensors and needs no model."""
        self.choose(sampler)
        self.check_schedule(steps, sigma_min, sigma_max, rho)


class VPrediction(Objective):
    """The base model's objective: sigma = tan(angle), x = data + sigma * noise, polyexponential noise levels."""

    def denoiser(self, velocity: Velocity) -> Model:
        return VDenoiser(velocity)

    def time(self, sigma: float) -> float:
        return math.atan(sigma) * (2 / math.pi)

    def parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        sigma = _beside(sigma, x)  # (B, 1, ...)
        variance = sigma**2 + 1
        return x / variance, sigma * variance.rsqrt()

    def schedule(self, steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> Tensor:
        return get_sigmas_polyexponential(steps, sigma_min, sigma_max, rho)

    def start(self, noise: Tensor, sigma: float, init: Tensor | None = None) -> Tensor:
        return noise * sigma if init is None else init + noise * sigma

    def variation(self, strength: float, sigma_min: float, sigma_max: float) -> float:
        # Even steps in log sigma, as the recipe's own levels are.
        return float(sigma_min * (sigma_max / sigma_min) ** strength)

    def check_schedule(self, steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> None:
        check_schedule(steps, sigma_min, sigma_max, rho)


class RectifiedFlow(Objective):
    """AudioX-Turbo's objective: sigma is the time t itself, x = (1 - t) data + t noise, evenly spaced times.

    A sigma_max above 1 means 1; sigma_min and rho are not used. Without init, a run starts from pure noise.
    """

    def denoiser(self, velocity: Velocity) -> Model:
        return FlowDenoiser(velocity)

    def time(self, sigma: float) -> float:
        return sigma

    def parts(self, x: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
        return x, _beside(sigma, x)

    def schedule(self, steps: int, sigma_min: float = 0.0, sigma_max: float = 1.0, rho: float = 1.0) -> Tensor:
        return get_times_linear(steps, sigma_max)

    def start(self, noise: Tensor, sigma: float, init: Tensor | None = None) -> Tensor:
        # A copy, because callbacks may overwrite x in place.
        return noise.clone() if init is None else init * (1 - sigma) + noise * sigma

    def variation(self, strength: float, sigma_min: float = 0.0, sigma_max: float = 1.0) -> float:
        return strength * min(sigma_max, 1.0)

    def check_schedule(self, steps: int, sigma_min: float = 0.0, sigma_max: float = 1.0, rho: float = 1.0) -> None:
        check_times(steps, sigma_max, sigma_min, rho)


_V_SAMPLERS = (
    "dpmpp-3m-sde",
    "dpmpp-2m-sde",
    "k-heun",
    "k-dpm-2",
    "k-lms",
    "k-dpmpp-2s-ancestral",
    "k-dpm-fast",
    "k-dpm-adaptive",
)

OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "v": VPrediction("v", "v", _V_SAMPLERS, "dpmpp-3m-sde"),
        "rectified_flow": RectifiedFlow(
            "rectified_flow", "the velocity of a rectified flow", ("rectified-flow", "dmd"), "rectified-flow"
        ),
    }
)
"""The objectives by the names that configs use."""


def find_objective(name: str | Objective) -> Objective:
    """The objective of that name; InputError, listing the names, if there is none. An Objective is itself."""
    if isinstance(name, Objective):
        return name
    if not isinstance(name, str) or name not in OBJECTIVES:
        asked = name[:60] if isinstance(name, str) else ""
        raise InputError(f"Unknown objective {shown(name)}.{nearest(asked, list(OBJECTIVES))}")
    return OBJECTIVES[name]


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
