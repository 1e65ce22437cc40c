"""From noise to latents in one call, `sample`: schedule, start, noise source and sampler put together.

Here also lie the samplers by the names of the released recipes. Which of them can run a model is its objective's word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, SamplingError
from .dpm_solver import sample_dpm_adaptive, sample_dpm_fast
from .noise import BrownianNoise, GaussianNoise, brownian_from_seed, draw_entropy, gaussian_from_seed
from .objective import Objective, Velocity, find_objective
from .regions import Held
from .solvers import (
    sample_dmd,
    sample_dpm_2,
    sample_dpmpp_2m_sde,
    sample_dpmpp_2s_ancestral,
    sample_dpmpp_3m_sde,
    sample_heun,
    sample_lms,
    sample_rectified_flow,
)
from .steps import Callback, Model, NoiseSampler, Sampler

SAMPLERS: Mapping[str, Sampler] = MappingProxyType(
    {
        "dpmpp-3m-sde": sample_dpmpp_3m_sde,
        "dpmpp-2m-sde": sample_dpmpp_2m_sde,
        "k-heun": sample_heun,
        "k-dpm-2": sample_dpm_2,
        "k-lms": sample_lms,
        "k-dpmpp-2s-ancestral": sample_dpmpp_2s_ancestral,
        "k-dpm-fast": sample_dpm_fast,
        "k-dpm-adaptive": sample_dpm_adaptive,
        "rectified-flow": sample_rectified_flow,
        "dmd": sample_dmd,
    }
)
"""All samplers, of every objective."""

ENDS_AT_SIGMA_MIN = frozenset({"k-dpm-fast", "k-dpm-adaptive"})
"""Samplers that take sigma_min as an option and stop there instead of at 0."""


def _brownian(x: Tensor, sigmas: Tensor, generator: torch.Generator) -> NoiseSampler:
    return BrownianNoise(x, sigmas[-2].item(), sigmas[0].item(), draw_entropy(generator))


def _gaussian(x: Tensor, sigmas: Tensor, generator: torch.Generator) -> NoiseSampler:
    return GaussianNoise(x, generator)


# What the samplers that need noise make of a generator (drawing one integer, or a tensor a step), and of a seed where
# none goes on drawing.
_NOISE: Mapping[str, tuple[Callable[[Tensor, Tensor, torch.Generator], NoiseSampler], Callable[..., NoiseSampler]]] = {
    "dpmpp-3m-sde": (_brownian, brownian_from_seed),
    "dpmpp-2m-sde": (_brownian, brownian_from_seed),
    "k-dpmpp-2s-ancestral": (_gaussian, gaussian_from_seed),
    "dmd": (_gaussian, gaussian_from_seed),
}


def sampler_of_takes(name: str, seeds: Sequence[int]) -> Sampler:
    """The sampler for a batch whose items have seeds of their own: each sees the noise that it would see alone."""
    if name not in _NOISE or len(seeds) == 1:
        return SAMPLERS[name]

    def run(model: Model, x: Tensor, sigmas: Tensor, *given: Any, **options: Any) -> Tensor:
        levels = [float(sigma) for sigma in sigmas]
        seeded = _NOISE[name][1]
        each = [seeded(x[i : i + 1], levels, {"seed": seed}, name) for i, seed in enumerate(seeds)]

        def noise(sigma: float, sigma_next: float) -> Tensor:
            return torch.cat([own(sigma, sigma_next) for own in each])

        return SAMPLERS[name](model, x, sigmas, *given, **options, noise_sampler=noise)

    return run


def sampler(name: str, objective: str | Objective = "v") -> Sampler:
    """The sampler of that name; InputError, offering those that can run the objective, if it is none of them."""
    return SAMPLERS[find_objective(objective).choose(name)]


@torch.no_grad()
def sample(
    velocity: Velocity,
    noise: Tensor,
    *,
    objective: str | Objective = "v",
    steps: int,
    sampler: str | None = None,
    sigma_min: float = 0.3,
    sigma_max: float = 500.0,
    rho: float = 1.0,
    generator: torch.Generator | None = None,
    init: Tensor | None = None,
    source: Tensor | None = None,
    mask: Tensor | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Latents (B, C, L), float32, of a network velocity(x (B, C, L), t (B,) in 0..1, **extra_args) -> like x.

    objective says what velocity predicts; sampler is one of objective.samplers, None its default. noise (B, C, L) is
    standard normal. init (1 or B, C, L) is latents to vary, and sigma_max then says how far a variation may go: a
    rectified flow starts at (1 - t) init + t noise with t = sigma_max, v at init + sigma_max * noise.
    For a rectified flow sigma_max above 1 means 1; sigma_min and rho are not used. source (like init) is latents that
    the answer keeps where mask, (L,) or as source or broadcast to it, is 0; where it is 1, all is made anew, fitting
    the rest.

    generator (CPU) gives the noise of the samplers that add some: one integer for dpmpp-3m-sde and dpmpp-2m-sde, a
    tensor a step for k-dpmpp-2s-ancestral, and for dmd a tensor for each step but the first. callback is told of each
    step (see Callback); what it raises ends the run. Raises InputError for settings as objective.check does and for
    init, source or mask that don't fit, SamplingError when the result is not finite.
    """
    chosen = find_objective(objective)
    name = chosen.choose(sampler)
    chosen.check_schedule(steps, sigma_min, sigma_max, rho)
    noise = noise.float()
    sigmas = chosen.schedule(steps, sigma_min, sigma_max, rho)
    x = chosen.start(noise, sigmas[0].item(), None if init is None else _fitting(init, noise))

    options: dict[str, Any] = {}
    if name in _NOISE:
        options["noise_sampler"] = _NOISE[name][0](x, sigmas, _required(generator, name))
    if name in ENDS_AT_SIGMA_MIN:
        options["sigma_min"] = sigma_min
    model: Model = chosen.denoiser(velocity)
    if source is not None:
        model = Held(model, chosen, _fitting(source, noise, "source"), _mask(mask, noise), noise)
    latents = SAMPLERS[name](model, x, sigmas, extra_args, callback, **options)
    if isinstance(model, Held):
        latents = model.kept(latents)
    if not torch.isfinite(latents).all():
        raise SamplingError(
            f"The latents became NaN or infinite while sampling with {name}: use float32 for the network, "
            "check the checkpoint and the inputs for NaN, or lower the guidance."
        )
    return latents


def _required(generator: torch.Generator | None, sampler: str) -> torch.Generator:
    if generator is None:
        raise InputError(
            f"Sampler {sampler!r} needs noise and got no generator: pass torch.Generator().manual_seed(seed)."
        )
    return generator


def _mask(mask: Tensor | None, noise: Tensor) -> Tensor:
    """mask in float32 beside noise. Raises InputError where there is none or it doesn't fit."""
    given = None if mask is None else tuple(mask.shape)
    if mask is None or mask.ndim not in (1, 3) or mask.shape[-1] != noise.shape[-1]:
        raise InputError(f"mask has shape {given}, the noise {tuple(noise.shape)}: give (L,) or (1, 1, L), as long.")
    return mask.to(noise.device, torch.float32)


def _fitting(init: Tensor, noise: Tensor, name: str = "init") -> Tensor:
    """init in float32 beside noise; one item may serve a whole batch."""
    if init.shape[1:] != noise.shape[1:] or init.shape[0] not in (1, noise.shape[0]):
        raise InputError(
            f"{name} latents have shape {tuple(init.shape)}, the noise {tuple(noise.shape)}: make them equally long."
        )
    return init.to(noise.device, torch.float32)
