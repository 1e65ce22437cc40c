"""Noise levels and times at which the network is called, and the checks of the numbers that shape them."""

from __future__ import annotations

import math
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError

MAX_STEPS = 10_000
# Beyond these, float32 latents of deviation 1 hold nothing of the noise, or nothing of the data.
SIGMA_FLOOR, SIGMA_CEILING = 1e-6, 1e6
RHO_FLOOR, RHO_CEILING = 0.01, 100.0

_LONGEST = 1_000_000  # a host that runs the last part of a schedule asks for the whole of it
_STEPS_HINT = "the authors take 250 for AudioX and 4 for AudioX-Turbo."
_MIN_HINT = "the released recipe uses 0.3."
_MAX_HINT = "the released recipe uses 500."
_TIME_HINT = "1 starts a rectified flow from pure noise, and above 1 means 1."
_RHO_HINT = "1 spaces the noise levels evenly in log sigma."


def get_sigmas_polyexponential(
    n: int, sigma_min: float, sigma_max: float, rho: float = 1.0, device: torch.device | str = "cpu"
) -> Tensor:
    """n noise levels from sigma_max down to sigma_min, then 0: (n + 1,), float32.

    log sigma follows a ramp from 1 to 0 raised to rho; rho 1 gives a geometric series. A rho far from 1 may give
    neighbours that are equal in float32. Raises InputError as check_schedule, but for n up to a million.
    """
    _whole("steps", n, _LONGEST)
    _levels(sigma_min, sigma_max, rho)
    low, high = math.log(sigma_min), math.log(sigma_max)
    ramp = torch.linspace(1, 0, n, dtype=torch.float32, device=device) ** rho
    return torch.cat([torch.exp(ramp * (high - low) + low), ramp.new_zeros(1)])


def get_times_linear(n: int, t_max: float = 1.0, device: torch.device | str = "cpu") -> Tensor:
    """n + 1 evenly spaced times of a rectified flow from t_max (1 is pure noise) down to 0 (data): float32.

    A t_max above 1 means 1, so that the noise level of another objective can stay in place. Raises InputError
    as check_times, but for n up to a million.
    """
    _whole("steps", n, _LONGEST)
    _number("sigma_max", t_max, SIGMA_FLOOR, SIGMA_CEILING, _TIME_HINT)
    return torch.linspace(min(t_max, 1.0), 0, n + 1, dtype=torch.float32, device=device)


def check_schedule(steps: int, sigma_min: float, sigma_max: float, rho: float = 1.0) -> None:
    """Raises InputError for what get_sigmas_polyexponential should not be asked for; makes no tensors.

    steps is a whole number in 1..10000, both sigmas lie in 1e-6..1e6, sigma_max 0.1 % or more above sigma_min, rho
    in 0.01..100. True, text, NaN and infinity are no numbers.
    """
    _whole("steps", steps, MAX_STEPS)
    _levels(sigma_min, sigma_max, rho)


def check_times(steps: int, sigma_max: float, sigma_min: float = 0.0, rho: float = 1.0) -> None:
    """Raises InputError for what get_times_linear should not be asked for; makes no tensors.

    steps is a whole number in 1..10000, sigma_max lies in 1e-6..1e6. sigma_min and rho shape no times: they need
    only be finite numbers.
    """
    _whole("steps", steps, MAX_STEPS)
    _number("sigma_max", sigma_max, SIGMA_FLOOR, SIGMA_CEILING, _TIME_HINT)
    for name, value in (("sigma_min", sigma_min), ("rho", rho)):
        if not (_is_number(value) and abs(value) < math.inf):
            raise InputError(f"{name} must be a number, got {shown(value)}: leave it out, a rectified flow has none.")


def shown(value: Any) -> str:
    """A value for an error message, on one short line."""
    try:
        text = str(value) if _is_number(value) else repr(value)
    except Exception:  # whole numbers of more than 4300 digits, and objects of strangers
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}..."


def _levels(sigma_min: float, sigma_max: float, rho: float) -> None:
    _number("sigma_min", sigma_min, SIGMA_FLOOR, SIGMA_CEILING, _MIN_HINT)
    _number("sigma_max", sigma_max, SIGMA_FLOOR, SIGMA_CEILING, _MAX_HINT)
    if sigma_max < 1.001 * sigma_min:
        raise InputError(
            f"sigma_max must be above sigma_min, by 0.1 % or more, got sigma_max {shown(sigma_max)} and sigma_min "
            f"{shown(sigma_min)}: raise sigma_max (the released recipe uses 500) or lower sigma_min."
        )
    _number("rho", rho, RHO_FLOOR, RHO_CEILING, _RHO_HINT)


def _whole(name: str, value: Any, most: int) -> None:
    if not (_is_number(value) and isinstance(value, Integral) and 1 <= int(value) <= most):
        raise InputError(f"{name} must be a whole number from 1 to {most}, got {shown(value)}: {_STEPS_HINT}")


def _number(name: str, value: Any, low: float, high: float, hint: str) -> None:
    if not (_is_number(value) and low <= value <= high):  # NaN fails both comparisons
        raise InputError(f"{name} must be a number from {low:g} to {high:g}, got {shown(value)}: {hint}")


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
