"""Samplers that call the model once a step and remember past steps: DPM-Solver++ SDE, linear multistep."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .noise import brownian_from_seed
from .steps import Callback, Model, NoiseSampler, Run


@torch.no_grad()
def sample_dpmpp_3m_sde(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    noise_sampler: NoiseSampler | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Latents by the three-step SDE solver DPM-Solver++(3M) (arXiv:2211.01095); n calls for n steps.

    eta 0 solves the ODE, 1 the SDE; s_noise scales the added noise. Without noise_sampler, extra_args["seed"]
    seeds Brownian noise. disable, a host's switch for its progress bar, is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    if eta and noise_sampler is None:
        noise_sampler = brownian_from_seed(x, run.sigmas, run.extra_args, "dpmpp-3m-sde")
    past: list[tuple[float, Tensor]] = []  # (sigma, denoised), newest first
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        run.report(i, x, sigma, denoised)
        past = [(sigma, denoised), *past[:2]]
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)  # step in lambda = -log sigma
        decay = h * (1 + eta)
        phi_2 = math.expm1(-decay) / decay + 1
        x = math.exp(-decay) * x - math.expm1(-decay) * denoised
        if len(past) > 1:
            slope, bend = _differences(past, h)
            x = x + phi_2 * slope
            if bend is not None:
                # The Taylor series asks for twice this term; the released recipe adds it once.
                x = x - (phi_2 / decay - 0.5) * bend
        if eta and noise_sampler is not None:
            x = x + noise_sampler(sigma, sigma_next) * _added(sigma_next, h, eta, s_noise)
    return x


@torch.no_grad()
def sample_dpmpp_2m_sde(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    noise_sampler: NoiseSampler | None = None,
    eta: float = 1.0,
    s_noise: float = 1.0,
) -> Tensor:
    """Latents by the second-order multistep SDE solver DPM-Solver++(2M), midpoint form; n calls for n steps.

    Options as in sample_dpmpp_3m_sde.
    """
    run = Run(model, sigmas, extra_args, callback)
    if eta and noise_sampler is None:
        noise_sampler = brownian_from_seed(x, run.sigmas, run.extra_args, "dpmpp-2m-sde")
    past: list[tuple[float, Tensor]] = []  # (sigma, denoised), newest first
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        run.report(i, x, sigma, denoised)
        past = [(sigma, denoised), *past[:1]]
        if sigma_next == 0:
            x = denoised
            continue
        h = math.log(sigma / sigma_next)
        decay = h * (1 + eta)
        target = denoised
        if len(past) > 1:
            slope, _ = _differences(past, h)
            target = denoised + slope / 2  # the denoised latents expected half a step ahead
        x = math.exp(-decay) * x - math.expm1(-decay) * target
        if eta and noise_sampler is not None:
            x = x + noise_sampler(sigma, sigma_next) * _added(sigma_next, h, eta, s_noise)
    return x


@torch.no_grad()
def sample_lms(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    order: int = 4,
) -> Tensor:
    """Latents by the linear multistep (Adams-Bashforth) method on dx/dsigma; n calls for n steps, no noise.

    order, at most 4, is the number of slopes remembered. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    levels: list[float] = []  # newest first, like slopes
    slopes: list[Tensor] = []
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        levels = [sigma, *levels][:order]
        slopes = [(x - denoised) / sigma, *slopes][:order]
        run.report(i, x, sigma, denoised)
        for weight, slope in zip(_adams_weights(levels, sigma_next), slopes, strict=True):
            x = x + weight * slope
    return x


def _differences(past: list[tuple[float, Tensor]], h: float) -> tuple[Tensor, Tensor | None]:
    """h D' and, with three points, h^2 D'' / 2 at the newest, where D(lambda) interpolates the denoised."""
    (sigma, now), (sigma_1, before), *older = past
    back = math.log(sigma_1 / sigma) / h  # distance to the step before, in steps
    slope = (now - before) / back
    if not older:
        return slope, None
    sigma_2, oldest = older[0]
    back_2 = math.log(sigma_2 / sigma_1) / h
    bend = (slope - (before - oldest) / back_2) / (back + back_2)
    return slope + back * bend, bend


def _added(sigma_next: float, h: float, eta: float, s_noise: float) -> float:
    """Standard deviation of the noise that an SDE step of h down to sigma_next adds."""
    return sigma_next * math.sqrt(-math.expm1(-2 * eta * h)) * s_noise


def _adams_weights(levels: list[float], end: float) -> list[float]:
    """Weights of the slopes at `levels`: integrals of their Lagrange polynomials from levels[0] to end."""
    middle, half = (levels[0] + end) / 2, (end - levels[0]) / 2
    # Two Gauss-Legendre points are exact up to degree 3, so up to four slopes.
    points = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    weights = []
    for j, level in enumerate(levels):
        others = levels[:j] + levels[j + 1 :]
        weights.append(half * sum(math.prod((p - o) / (level - o) for o in others) for p in points))
    return weights
