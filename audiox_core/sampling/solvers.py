"""Solvers for the samplers' differential equations, but for DPM-Solver's: one signature, a function each.

Heun, DPM-Solver-2 and ancestral DPM-Solver++ look ahead within a step; DPM-Solver++ SDE and linear multistep remember
past steps; Euler and DMD run rectified flows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .noise import brownian_from_seed, gaussian_from_seed
from .steps import Callback, Model, NoiseSampler, Run

# How much k-lms may magnify the slopes' rounding errors, of 1e-7 in float32. Slopes from crowded noise levels exceed
# it in a long last step: then fewer of them are used, down to Euler's one.
_MAX_GROWTH = 1e6


@torch.no_grad()
def sample_heun(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Latents by Heun's method (Karras et al., arXiv:2206.00364, algorithm 1); 2n - 1 calls for n steps.

    No noise. disable, a host's switch for its progress bar, is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        slope = (x - denoised) / sigma
        run.report(i, x, sigma, denoised)
        if sigma_next > 0:
            ahead = x + (sigma_next - sigma) * slope
            slope = (slope + (ahead - run.denoise(ahead, sigma_next)) / sigma_next) / 2
        x = x + (sigma_next - sigma) * slope
    return x


@torch.no_grad()
def sample_dpm_2(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Latents by the midpoint method, the midpoint in log sigma as in DPM-Solver-2; 2n - 1 calls for n steps.

    No noise. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        slope = (x - denoised) / sigma
        run.report(i, x, sigma, denoised)
        if sigma_next > 0:
            middle = math.sqrt(sigma * sigma_next)
            halfway = x + (middle - sigma) * slope
            slope = (halfway - run.denoise(halfway, middle)) / middle
        x = x + (sigma_next - sigma) * slope
    return x


@torch.no_grad()
def sample_dpmpp_2s_ancestral(
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
    """Latents by DPM-Solver++(2S) (arXiv:2211.01095) with ancestral noise; 2n - 1 calls for n steps.

    Each step goes below its target and climbs back with fresh noise; eta 0 doesn't, s_noise scales that
    noise. Without noise_sampler, extra_args["seed"] seeds normal noise. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    if eta and noise_sampler is None:
        noise_sampler = gaussian_from_seed(x, run.sigmas, run.extra_args, "k-dpmpp-2s-ancestral")
    for i, (sigma, sigma_next) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        run.report(i, x, sigma, denoised)
        down, up = _ancestral(sigma, sigma_next, eta)
        if down == 0:
            x = denoised
        else:
            middle = math.sqrt(sigma * down)
            halfway = denoised + (middle / sigma) * (x - denoised)
            x_0 = run.denoise(halfway, middle)
            x = x_0 + (down / sigma) * (x - x_0)
        if up > 0 and noise_sampler is not None:
            x = x + noise_sampler(sigma, sigma_next) * (s_noise * up)
    return x


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
        if sigma_next == sigma:
            continue  # a level given twice, as extreme schedules do, is no step and no second point in the past
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
        if sigma_next == sigma:
            continue
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

    order, at most 4, is the number of slopes remembered; fewer are used where rounding errors would drown a step
    far beyond crowded noise levels. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    plan = _adams_plan(run.steps, order)
    slopes: list[Tensor] = []  # newest first
    for i, (sigma, _) in enumerate(run.steps):
        denoised = run.denoise(x, sigma)
        slope = (x - denoised) / sigma
        run.report(i, x, sigma, denoised)
        if not plan[i]:
            continue
        slopes = [slope, *slopes][:order]
        for weight, past in zip(plan[i], slopes, strict=False):
            x = x + weight * past
    return x


@torch.no_grad()
def sample_rectified_flow(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Latents by x += (t_next - t) v along the times in sigmas, noise at 1, data at 0; n calls for n steps.

    The velocity is v = (x - denoised) / t (Liu et al., arXiv:2209.03003). No noise. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    for i, (t, t_next) in enumerate(run.steps):
        denoised = run.denoise(x, t)
        velocity = (x - denoised) / t
        run.report(i, x, t, denoised)
        x = x + (t_next - t) * velocity
    return x


@torch.no_grad()
def sample_dmd(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    noise_sampler: NoiseSampler | None = None,
) -> Tensor:
    """Latents of a rectified flow distilled to few steps (DMD2, Yin et al., arXiv:2405.14867); n calls for n steps.

    sigmas are times, noise at 1, data at 0. Each step denoises x entirely and noises it afresh to the next time t:
    (1 - t) denoised + t noise. Without noise_sampler, extra_args["seed"] seeds normal noise; the last step, to 0,
    draws none. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    if noise_sampler is None:
        noise_sampler = gaussian_from_seed(x, run.sigmas, run.extra_args, "dmd")
    for i, (t, t_next) in enumerate(run.steps):
        denoised = run.denoise(x, t)
        run.report(i, x, t, denoised)
        x = denoised
        if t_next > 0:
            x = t_next * noise_sampler(t, t_next) + (1 - t_next) * denoised
    return x


def _ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(down, up): the level to denoise to and the noise to add, with down^2 + up^2 = sigma_next^2."""
    fresh = eta * sigma_next * math.sqrt(max(1 - (sigma_next / sigma) ** 2, 0.0))
    up = min(sigma_next, fresh)
    return math.sqrt(sigma_next**2 - up**2), up


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


def _adams_plan(steps: list[tuple[float, float]], order: int) -> list[list[float]]:
    """The weights of the slopes, newest first, for each step; none for a step that leads nowhere."""
    plan: list[list[float]] = []
    levels: list[float] = []  # newest first, each once
    for sigma, sigma_next in steps:
        weights: list[float] = []
        if sigma_next != sigma:
            levels = [sigma, *levels][:order]
            for known in range(len(levels), 0, -1):
                weights = _adams_weights(levels[:known], sigma_next)
                if sum(map(abs, weights)) <= _MAX_GROWTH * abs(sigma_next - sigma):
                    break
        plan.append(weights)
    return plan


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
