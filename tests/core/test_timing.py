"""Seconds, samples, latents and frames."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import InputError
from audiox_core.models.timing import Timing


def test_released_numbers() -> None:
    timing = Timing()
    assert (timing.latents, timing.samples, timing.frames) == (236, 483328, 50)
    assert (timing.prompt_samples, timing.prompt_latents) == (441000, 215)
    assert timing.max_seconds == pytest.approx(10.9598, abs=1e-4)


@given(st.floats(0.001, 1000))
def test_latents_cover_the_seconds_and_no_more(seconds: float) -> None:
    timing = Timing()
    latents = timing.to_latents(seconds)
    samples = timing.to_samples(seconds)
    assert (latents - 1) * 2048 < samples <= latents * 2048
    assert abs(samples / 44100 - seconds) <= 0.5 / 44100 + 1e-9


@pytest.mark.parametrize("seconds", [0, -1, 10.97, 60, math.nan, math.inf, "10", None])
def test_seconds_outside_the_window(seconds: object) -> None:
    with pytest.raises(InputError, match=r"at most 10\.96 seconds"):
        Timing().check_seconds(seconds)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [0.01, 1, 10, 10.95])
def test_seconds_inside_the_window(seconds: float) -> None:
    assert Timing().check_seconds(seconds) == seconds
