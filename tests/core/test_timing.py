"""Seconds, samples, latents and frames."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import InputError
from audiox_core.models.timing import Timing
from tests.examples import examples


def test_released_numbers() -> None:
    timing = Timing()
    assert (timing.latents, timing.samples, timing.frames) == (236, 483328, 50)
    assert (timing.prompt_samples, timing.prompt_latents) == (441000, 215)
    assert timing.max_seconds == pytest.approx(10.9598, abs=1e-4)


@examples(100)
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


def test_latents_and_seconds_convert_both_ways() -> None:
    timing = Timing()
    assert timing.to_seconds(236) == timing.max_seconds == 236 * 2048 / 44100
    assert [timing.nearest_latents(timing.to_seconds(latents)) for latents in (1, 118, 5000)] == [1, 118, 5000]
    assert [timing.nearest_latents(2048 * share / 44100) for share in (0.4, 0.6, 1.4)] == [0, 1, 1]


def test_the_longest_durations_are_allowed() -> None:
    timing = Timing()
    assert timing.check_seconds(timing.max_seconds) == timing.max_seconds
    assert timing.check_length(3600) == 3600.0 and timing.check_length(0.5) == 0.5
    for seconds in (3600.1, 0, -1, math.nan, "60", None):
        with pytest.raises(InputError, match="more than 0 and at most 3600 seconds"):
            timing.check_length(seconds)  # type: ignore[arg-type]


def test_windows_share_half_unless_told() -> None:
    timing = Timing()
    assert timing.windows(236) == timing.windows(1) == (0,)
    assert timing.windows(472) == timing.windows(472, 118) == (0, 118, 236)
    assert timing.windows(472, 1) == (0, 118, 236) and timing.windows(471, 1) == (0, 235)
    for kept in (0, 236):
        with pytest.raises(InputError, match=f"kept: {kept} latents of 236 in a window"):
            timing.windows(472, kept)
