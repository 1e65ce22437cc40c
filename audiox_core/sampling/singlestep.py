"""Samplers that look ahead within a step and remember nothing: Heun, DPM-Solver-2, ancestral DPM-Solver++."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .noise import gaussian_from_seed
from .steps import Callback, Model, NoiseSampler, Run


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
        noise_sampler = gaussian_from_seed(x, run.extra_args, "k-dpmpp-2s-ancestral")
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


def _ancestral(sigma: float, sigma_next: float, eta: float) -> tuple[float, float]:
    """(down, up): the level to denoise to and the noise to add, with down^2 + up^2 = sigma_next^2."""
    fresh = eta * sigma_next * math.sqrt(max(1 - (sigma_next / sigma) ** 2, 0.0))
    up = min(sigma_next, fresh)
    return math.sqrt(sigma_next**2 - up**2), up
