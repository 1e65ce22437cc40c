"""DPM-Solver (Lu et al., arXiv:2206.00927): the fixed mix of orders, "fast", and the one with adaptive steps.

Time is lambda = -log sigma, and the model is read as the noise eps(x) = (x - denoised) / sigma. Both samplers
run from the first sigma to the last one above 0, so noise of that level stays in the latents.

Unlike elsewhere, lambda and h are float32 scalars on the CPU: while the steps of k-dpm-adaptive are small
their error is mostly rounding, and its step control would turn another rounding of lambda into latents that
differ by 4e-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, SamplingError
from .steps import Callback, Model, Run

_Eps = Callable[[Tensor, Tensor], Tensor]


@torch.no_grad()
def sample_dpm_fast(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    sigma_min: float | None = None,
) -> Tensor:
    """Latents with noise of level sigma_min left, by n model calls for n + 1 sigmas; no noise is added.

    Only the number of sigmas, the first and the last above 0 (or sigma_min) count. floor(n / 3) + 1 steps of
    even length in log sigma, third order except the last one or two. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    start, end = _span(run.sigmas, sigma_min, "k-dpm-fast")
    predict, calls = _noise_of(run), len(run.steps)
    orders = [3] * (calls // 3 - 1) + [2, 1] if calls % 3 == 0 else [3] * (calls // 3) + [calls % 3]
    grid = torch.linspace(start.item(), end.item(), len(orders) + 1, dtype=torch.float32, device="cpu")
    for i, order in enumerate(orders):
        lam, h = grid[i], grid[i + 1] - grid[i]
        eps = _report_eps(run, i, x, lam, (i + 1) / len(orders))
        if order == 1:
            x = _first(x, eps, lam, h)
        elif order == 2:
            x, _ = _second(predict, x, eps, lam, h)
        else:
            _, change = _second(predict, x, eps, lam, h, part=1 / 3)
            x = _third(predict, x, eps, lam, h, change)
    return x


@torch.no_grad()
def sample_dpm_adaptive(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
    *,
    sigma_min: float | None = None,
    rtol: float = 0.01,
    atol: float = 0.01,
    h_init: float = 0.05,
    accept_safety: float = 0.81,
) -> Tensor:
    """Latents with noise of level sigma_min left, by as many model calls as the error needs; adds no noise.

    Only the first sigma and the last above 0 (or sigma_min) count. A step of third order is accepted when it
    differs from the second order within it by little more than max(atol, rtol |x|), in root mean square over
    the whole batch. Raises SamplingError when the model's answer is NaN. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    start, end = _span(run.sigmas, sigma_min, "k-dpm-adaptive")
    predict = _noise_of(run)
    lam, wanted, step, previous, done = start, h_init, 0, x, 0.0
    stop = end - 1e-5
    while lam < stop:
        # How far the step wants to go, as a share of all; where it then goes less far, the next one doesn't fall back.
        done = max(done, min(1.0, ((lam + wanted - start) / (stop - start)).item()))
        eps = _report_eps(run, step, x, lam, done)
        while True:
            reached = torch.minimum(lam + wanted, end)
            h = reached - lam
            low, change = _second(predict, x, eps, lam, h, part=1 / 3)
            high = _third(predict, x, eps, lam, h, change)
            allowed = torch.maximum(low.abs(), previous.abs()).mul(rtol).clamp(min=atol)
            error = ((low - high) / allowed).square().mean().sqrt().item()
            if not (math.isfinite(error) and h > 0):
                raise SamplingError(
                    f"k-dpm-adaptive found no step size at sigma {_sigma(lam):.4g} (error {error}): "
                    "the network's answer is NaN, infinite or jumps. Use float32, "
                    "check the checkpoint, or choose k-heun."
                )
            factor = 1 + math.atan((error + 1e-8) ** (-1 / 3) - 1)  # an integral controller, softly limited
            wanted *= factor  # not h, which the end may have cut short
            if factor >= accept_safety:
                break
        x, previous, lam, step = high, low, reached, step + 1
    return x


def _span(sigmas: list[float], sigma_min: float | None, sampler: str) -> tuple[Tensor, Tensor]:
    """The first and the last lambda."""
    levels = [sigma for sigma in sigmas if sigma > 0]
    end = levels[-1] if sigma_min is None and levels else sigma_min
    if not levels or end is None or not 0 < end < levels[0]:
        raise InputError(
            f"{sampler} needs a sigma above 0 to end at, below the first one, got sigmas {sigmas[:4]} "
            f"and sigma_min {sigma_min}: take 2 steps or more, or pass sigma_min."
        )
    ends = torch.tensor([levels[0], end], dtype=torch.float32, device="cpu")
    first, last = -ends.log()
    return first, last


def _sigma(lam: Tensor) -> float:
    return torch.exp(-lam).item()


def _noise_of(run: Run) -> _Eps:
    def predict(x: Tensor, lam: Tensor) -> Tensor:
        sigma = _sigma(lam)
        return (x - run.denoise(x, sigma)) / sigma

    return predict


def _report_eps(run: Run, step: int, x: Tensor, lam: Tensor, done: float) -> Tensor:
    """The noise in x at the start of a step, after telling the callback."""
    sigma = _sigma(lam)
    denoised = run.denoise(x, sigma)
    eps = (x - denoised) / sigma
    run.report(step, x, sigma, denoised, done)
    return eps


def _first(x: Tensor, eps: Tensor, lam: Tensor, h: Tensor) -> Tensor:
    """DPM-Solver-1 from lam to lam + h (equation 3.7, with alpha = 1)."""
    return x - (torch.exp(-lam - h) * torch.expm1(h)).item() * eps


def _second(predict: _Eps, x: Tensor, eps: Tensor, lam: Tensor, h: Tensor, part: float = 0.5) -> tuple[Tensor, Tensor]:
    """DPM-Solver-2 with its inner point at `part` of the step (one call), and the change of eps there."""
    change = predict(_first(x, eps, lam, part * h), lam + part * h) - eps
    weight = torch.exp(-lam - h) * torch.expm1(h) / (2 * part)
    return _first(x, eps, lam, h) - weight.item() * change, change


def _third(predict: _Eps, x: Tensor, eps: Tensor, lam: Tensor, h: Tensor, change: Tensor) -> Tensor:
    """DPM-Solver-3 (algorithm 2), given the change of eps up to 1/3 of the step (one more call, at 2/3)."""
    g = 2 / 3 * h
    weight = torch.exp(-lam - g) * 2 * (torch.expm1(g) / g - 1)
    change = predict(_first(x, eps, lam, g) - weight.item() * change, lam + g) - eps
    weight = torch.exp(-lam - h) * 1.5 * (torch.expm1(h) / h - 1)
    return _first(x, eps, lam, h) - weight.item() * change
