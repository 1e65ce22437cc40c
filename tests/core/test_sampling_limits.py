"""The bounds of steps, levels and seeds: what lies on them is allowed, what lies beyond is told."""

from __future__ import annotations

import hashlib
import math
from typing import Any

import pytest
import torch

from audiox_core.errors import InputError
from audiox_core.sampling.noise import draw_entropy, generator_from
from audiox_core.sampling.schedules import (
    MAX_STEPS,
    RHO_CEILING,
    RHO_FLOOR,
    SIGMA_CEILING,
    SIGMA_FLOOR,
    check_schedule,
    check_times,
    get_times_linear,
)

LEVELS: dict[str, Any] = {"steps": 10, "sigma_min": 0.3, "sigma_max": 500.0, "rho": 1.0}


def test_the_bounds_are_those_of_the_documentation() -> None:
    assert (MAX_STEPS, SIGMA_FLOOR, SIGMA_CEILING, RHO_FLOOR, RHO_CEILING) == (10_000, 1e-6, 1e6, 0.01, 100.0)


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("steps", [1, 10_000], [0, 10_001]),
        ("sigma_min", [1e-6], [0.99e-6]),
        ("sigma_max", [1e6], [1.01e6]),
        ("rho", [0.01, 100.0], [0.0099, 100.1]),
    ],
)
def test_levels_on_the_bounds(name: str, inside: list[Any], outside: list[Any]) -> None:
    for value in inside:
        check_schedule(**LEVELS | {name: value})
    for value in outside:
        with pytest.raises(InputError, match=f"^{name} must be a"):
            check_schedule(**LEVELS | {name: value})


@pytest.mark.parametrize("name", ["sigma_min", "rho"])
def test_a_flow_asks_only_for_finite_numbers(name: str) -> None:
    check_times(**LEVELS | {name: -1e300})
    for value in (math.inf, -math.inf, math.nan, True, "1", None):
        with pytest.raises(InputError, match=f"^{name} must be a number, got"):
            check_times(**LEVELS | {name: value})


def test_times_begin_with_pure_noise_at_most() -> None:
    assert get_times_linear(4).tolist() == get_times_linear(4, 500.0).tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert get_times_linear(2, 0.5).tolist() == [0.5, 0.25, 0]


def test_seeds_of_more_than_32_bits_are_scattered() -> None:
    def first(seed: int) -> int:
        return generator_from(seed).initial_seed()

    assert [first(seed) for seed in (0, 1, 2**32 - 1)] == [0, 1, 2**32 - 1]
    for seed in (2**32, 2**32 + 1, 2**63 - 1, 2**64 - 1):
        assert first(seed) == int.from_bytes(hashlib.sha256(str(seed).encode()).digest()[:4], "big")


def test_the_entropy_of_a_tree_has_63_bits() -> None:
    drawn = [draw_entropy(torch.Generator().manual_seed(seed)) for seed in range(200)]
    again = torch.randint(0, 2**63 - 1, [200], generator=torch.Generator().manual_seed(0))
    assert drawn[0] == int(again[0]) and len(set(drawn)) == 200
    assert 0 <= min(drawn) < 2**58 and 2**62 < max(drawn) < 2**63 - 1
