"""Noise levels and times at which the network is called."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..errors import InputError


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: torch.device | str = "cpu"
) -> Tensor:
    """n noise levels from sigma_max down to sigma_min, then 0: (n + 1,), float32.

    log sigma follows a ramp from 1 to 0 raised to rho; rho 1 gives a geometric series. Raises InputError
    unless n >= 1, 0 < sigma_min < sigma_max and rho > 0.
    """
    _check_steps(n)
    if not 0 < sigma_min < math.inf:
        raise InputError(f"sigma_min must be above 0, got {sigma_min}: the released recipe uses 0.3.")
    if not sigma_min < sigma_max < math.inf:
        raise InputError(
            f"sigma_max must be above sigma_min, got sigma_max {sigma_max} and sigma_min {sigma_min}: "
            "raise sigma_max (the released recipe uses 500) or lower sigma_min."
        )
    if not 0 < rho < math.inf:
        raise InputError(f"rho must be above 0, got {rho}: 1 spaces the noise levels evenly in log sigma.")
    low, high = math.log(sigma_min), math.log(sigma_max)
    ramp = torch.linspace(1, 0, n, dtype=torch.float32, device=device) ** rho
    return torch.cat([torch.exp(ramp * (high - low) + low), ramp.new_zeros(1)])


def get_times_linear(n: int, t_max: float = 1.0, device: torch.device | str = "cpu") -> Tensor:
    """n + 1 evenly spaced times of a rectified flow from t_max (1 is pure noise) down to 0 (data): float32.

    A t_max above 1 means 1, so that the noise level of another objective can stay in place. Raises InputError
    unless n >= 1 and t_max > 0.
    """
    _check_steps(n)
    if not t_max > 0:
        raise InputError(f"sigma_max must be above 0, got {t_max}: 1 starts a rectified flow from pure noise.")
    return torch.linspace(min(t_max, 1.0), 0, n + 1, dtype=torch.float32, device=device)


def _check_steps(n: int) -> None:
    if n < 1:
        raise InputError(f"steps must be at least 1, got {n}: the released recipe uses 250.")
