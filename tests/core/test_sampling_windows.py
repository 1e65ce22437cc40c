"""Windows: where they lie on a sound and on a loop, in which order they are made, and how they are blended."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.models.timing import Timing
from audiox_core.sampling import sample
from audiox_core.sampling.in_turn import InTurn
from audiox_core.sampling.objective import Velocity
from audiox_core.sampling.windows import Together, Windows, around
from tests.examples import examples

TIMING = Timing()


def evenly(latents: int, kept: int | None = None, *, loop: bool = False) -> Windows:
    return Windows(latents, TIMING.latents, TIMING.windows(latents, kept, loop=loop), loop)


@examples(200)
@given(st.floats(0.05, 300), st.integers(1, 235))
def test_a_loop_is_covered_by_windows_that_lie_evenly(seconds: float, kept: int) -> None:
    latents = TIMING.loop_latents(seconds, kept)
    windows = evenly(latents, kept, loop=True)
    hops = {b - a for a, b in zip(windows.starts, [*windows.starts[1:], latents], strict=True)}
    assert len(hops) == 1 and hops.pop() <= TIMING.latents - kept
    assert abs(latents - seconds * 44100 / 2048) <= 1.5 * len(windows.starts)
    assert TIMING.loop_latents(TIMING.to_seconds(latents), kept) == latents


@pytest.mark.parametrize("latents", [1, 7, 100, 236, 354, 600])
def test_a_window_of_a_loop_goes_on_at_its_beginning(latents: int) -> None:
    windows, sound = evenly(latents, loop=True), torch.arange(latents).float()[None]
    for number, start in enumerate(windows.starts):
        there = (start + torch.arange(236)) % latents
        assert torch.equal(windows.cut(sound, number)[0], there.float())
        added = torch.zeros(1, latents)
        windows.add(added, number, torch.ones(1, 236))
        assert torch.equal(added[0], torch.bincount(there, minlength=latents).float())
        put = torch.zeros(1, latents)
        windows.put(put, number, there.float()[None])
        assert torch.equal(put[0, there], there.float())


def test_windows_are_made_from_what_is_known() -> None:
    """From the beginning where nothing is, backwards before a sound, outwards from its middle."""
    windows = evenly(700)
    everything, nothing = torch.ones(700), torch.zeros(700)
    assert windows.order(everything) == list(range(len(windows.starts)))
    assert windows.order(nothing) == []
    before = everything.clone()
    before[464:] = 0  # the last window is known
    assert windows.order(before) == [3, 2, 1, 0]
    loop = evenly(TIMING.loop_latents(40), loop=True)
    assert loop.order(torch.ones(loop.latents)) == list(range(len(loop.starts)))[:-1] or loop.order(
        torch.ones(loop.latents)
    ) == list(range(len(loop.starts)))


def test_middles_are_those_of_what_a_window_adds() -> None:
    windows = Windows(472, 236, (0, 118, 236))
    assert windows.middles() == [118, 295, 413]
    assert windows.middles(together=True) == [118, 236, 354]


@examples(200)
@given(st.integers(237, 3000), st.data())
def test_windows_around_spans_cover_them_and_see_what_is_around(latents: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, latents - 1))
    end = data.draw(st.integers(first + 1, latents))
    starts = around([(first, end)], latents, 236, 118)
    covered = torch.zeros(latents)
    for start in starts:
        assert 0 <= start <= latents - 236
        covered[start : start + 236] = 1
    assert covered[first:end].all()
    if end - first <= 118:
        (start,) = starts
        assert start <= max(first - 59, 0) and min(end + 59, latents) <= start + 236


@pytest.mark.parametrize("kept", [0, 236, -4])
def test_windows_that_share_all_or_nothing_are_refused(kept: int) -> None:
    with pytest.raises(InputError, match="Keep at least 1 and not all of them"):
        around([(0, 5)], 500, 236, kept)


def pointwise(x: Tensor, t: Tensor) -> Tensor:
    """A network that neither position nor condition matters to."""
    return torch.tanh(x) * 0.5 + t[:, None, None]


@pytest.mark.parametrize("at_once", [1, 2, 5])
@pytest.mark.parametrize("loop", [False, True])
def test_together_equals_a_single_pass_of_a_network_without_position(at_once: int, loop: bool) -> None:
    windows = evenly(TIMING.loop_latents(30) if loop else 611, loop=loop)
    asked: list[Sequence[int]] = []

    def velocity_of(numbers: Sequence[int]) -> Velocity:
        asked.append(tuple(numbers))
        return pointwise

    together = Together(windows, velocity_of, at_once=at_once, kept=2)
    noise = torch.randn(2, 4, windows.latents, generator=torch.Generator().manual_seed(0))
    made = sample(together, noise, steps=4, sampler="k-heun")
    plain = sample(pointwise, noise, steps=4, sampler="k-heun")
    assert (made - plain).abs().max() / plain.abs().max() < 1e-5
    # The first two windows' velocities are kept, those of the others asked for in each of 8 calls.
    groups = [windows.starts[i : i + at_once] for i in range(0, len(windows.starts), at_once)]
    kept = sum((i + 1) * at_once <= 2 for i in range(len(groups)))
    assert len(asked) == kept + (len(groups) - kept) * 7


def test_each_window_meets_its_own_rows() -> None:
    """Windows run faster than items in what the network is given."""
    windows = Windows(300, 100, (0, 100, 200))
    x = torch.arange(2 * 300).float().reshape(2, 1, 300)

    def velocity_of(numbers: Sequence[int]) -> Velocity:
        assert list(numbers) == [0, 1, 2]

        def velocity(rows: Tensor, t: Tensor) -> Tensor:
            assert rows.shape == (6, 1, 100)
            assert rows[:, 0, 0].tolist() == [0, 100, 200, 300, 400, 500]
            assert t.tolist() == [0.25] * 3 + [0.75] * 3
            return rows

        return velocity

    out = Together(windows, velocity_of, at_once=3)(x, torch.tensor([0.25, 0.75]))
    torch.testing.assert_close(out, x)


def smooth(x: Tensor, t: Tensor) -> Tensor:
    """A network that sees where in a window it is, and what is beside."""
    place = torch.linspace(0, 1, x.shape[-1])
    return torch.nn.functional.avg_pool1d(x, 31, 1, 15, count_include_pad=False) * (0.5 + 0.2 * place)


def test_a_loop_turned_by_a_hop_is_the_same_loop_turned() -> None:
    windows = evenly(TIMING.loop_latents(25), loop=True)
    hop = windows.latents // len(windows.starts)
    noise = torch.randn(1, 4, windows.latents, generator=torch.Generator().manual_seed(0))
    made, turned = (
        sample(Together(windows, lambda numbers: smooth), start, steps=12, sampler="k-heun")
        for start in (noise, noise.roll(hop, dims=-1))
    )
    assert (turned - made.roll(hop, dims=-1)).abs().max() / made.abs().max() < 1e-5


def test_the_last_window_of_a_loop_keeps_both_its_ends() -> None:
    windows = evenly(TIMING.loop_latents(25), loop=True)
    masks: list[Tensor] = []

    def run(number: int, noise: Tensor, held: dict[str, Tensor]) -> Tensor:
        masks.append(held.get("mask", torch.ones(236)))
        return noise * 0 + number + 1

    made = InTurn(torch.randn(1, 2, windows.latents), windows)(run)  # type: ignore[arg-type]
    assert (made > 0).all()
    last = masks[-1]
    assert last[0] == 0 and last[-1] == 0 and last.sum() > 0
    assert math.isclose(float(sum(mask.sum() for mask in masks)), windows.latents)


def test_as_many_windows_at_once_as_the_plan_has_room_for() -> None:
    """Of the card's budget what the plan's peak leaves, a window's work each; a CPU makes one at a time."""
    from dataclasses import replace

    from tests.core.card import MODEL, plan_for

    plan = plan_for()
    part, length = MODEL.backbone, MODEL.timing.latents
    one, two = (part.work(plan.places[part.name].format, length, count, None) for count in (1, 2))
    roomy = replace(plan, budget=plan.peak + 3 * (two - one))
    assert [roomy.at_once(MODEL, windows) for windows in (1, 3, 4, 9)] == [1, 3, 4, 4]
    assert replace(plan, budget=plan.peak - 1).at_once(MODEL, 9) == 1
    assert replace(roomy, device="cpu").at_once(MODEL, 9) == 1
