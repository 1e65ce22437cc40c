"""From noise to latents in one call: schedule, start, noise source and sampler put together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, SamplingError
from . import registry
from .noise import BrownianNoise, GaussianNoise, draw_entropy
from .objective import FlowDenoiser, VDenoiser, Velocity
from .schedules import get_sigmas_polyexponential, get_times_linear
from .steps import Callback


@torch.no_grad()
def sample(
    velocity: Velocity,
    noise: Tensor,
    *,
    steps: int,
    sigma_min: float,
    sigma_max: float,
    sampler: str,
    rho: float = 1.0,
    generator: torch.Generator | None = None,
    init: Tensor | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Latents (B, C, L), float32, of a v-prediction network velocity(x, t, **extra_args); t (B,) is in 0..1.

    noise (B, C, L) is standard normal; the run starts at noise * sigma_max, or at init + noise * sigma_max
    for a variation of the latents init, where sigma_max says how far it may go. generator (CPU) gives the
    further noise of the samplers that need some: one integer for dpmpp-3m-sde and dpmpp-2m-sde, a tensor a
    step for k-dpmpp-2s-ancestral. callback is told of each step ({"i", "x", "sigma", "sigma_hat",
    "denoised"}); what it raises ends the run. Raises InputError for options out of range, SamplingError when
    the result is not finite.
    """
    solve = registry.sampler(sampler)
    if sampler == "rectified-flow":
        valid = ", ".join(name for name in registry.SAMPLERS if name != sampler)
        raise InputError(f"Sampler 'rectified-flow' cannot run this model, which predicts v. Use one of: {valid}.")
    sigmas = get_sigmas_polyexponential(steps, sigma_min, sigma_max, rho)
    start = noise.float() * sigmas[0].item()  # (B, C, L)
    x = start if init is None else _fitting(init, noise) + start

    options: dict[str, Any] = {}
    if sampler in registry.BROWNIAN:
        entropy = draw_entropy(_required(generator, sampler))
        options["noise_sampler"] = BrownianNoise(x, sigmas[-2].item(), sigmas[0].item(), entropy)
    elif sampler in registry.ANCESTRAL:
        options["noise_sampler"] = GaussianNoise(x, _required(generator, sampler))
    elif sampler in registry.ENDS_AT_SIGMA_MIN:
        options["sigma_min"] = sigma_min
    latents = solve(VDenoiser(velocity), x, sigmas, extra_args, callback, **options)
    return _finite(latents, sampler)


@torch.no_grad()
def sample_flow(
    velocity: Velocity,
    noise: Tensor,
    *,
    steps: int,
    sigma_max: float = 1.0,
    init: Tensor | None = None,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
) -> Tensor:
    """Latents (B, C, L), float32, of a rectified-flow network: velocity(x, t, **extra_args) -> noise - data.

    The run starts at t = sigma_max (above 1 means 1) from noise, or for a variation from
    (1 - sigma_max) * init + sigma_max * noise. Draws nothing. callback and errors as in sample.
    """
    times = get_times_linear(steps, sigma_max)
    t = times[0].item()
    x = noise.float()  # (B, C, L)
    if init is not None:
        x = _fitting(init, noise) * (1 - t) + x * t
    latents = registry.SAMPLERS["rectified-flow"](FlowDenoiser(velocity), x, times, extra_args, callback)
    return _finite(latents, "rectified-flow")


def _required(generator: torch.Generator | None, sampler: str) -> torch.Generator:
    if generator is None:
        raise InputError(
            f"Sampler {sampler!r} needs noise and got no generator: pass torch.Generator().manual_seed(seed)."
        )
    return generator


def _fitting(init: Tensor, noise: Tensor) -> Tensor:
    """init in float32 beside noise; one item may serve a whole batch."""
    if init.shape[1:] != noise.shape[1:] or init.shape[0] not in (1, noise.shape[0]):
        raise InputError(
            f"init latents have shape {tuple(init.shape)}, the noise {tuple(noise.shape)}: make them equally long."
        )
    return init.to(noise.device, torch.float32)


def _finite(latents: Tensor, sampler: str) -> Tensor:
    if not torch.isfinite(latents).all():
        raise SamplingError(
            f"The latents became NaN or infinite while sampling with {sampler}: use float32 for the network, "
            "check the checkpoint and the inputs for NaN, or lower the guidance."
        )
    return latents
