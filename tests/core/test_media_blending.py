"""Two sounds under one video: fades, stretches that are kept, ducking, and the old sound after the new one."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError, MediaError
from audiox_core.media import check_soundtrack, read_audio, set_soundtrack
from audiox_core.media.blending import CROSSFADE, Blend, check_blend, near, sounding
from audiox_core.media.containers import MP4
from audiox_core.media.placing import place
from audiox_core.media.sound import Sound, uncovered
from tests.core.media_clips import write_clip
from tests.examples import examples

RATE = MP4.rate
CROSS = round(CROSSFADE * RATE)


def level(value: float, seconds: float) -> Tensor:
    """A sound that is nothing but a constant: what is done to it is what is heard."""
    return torch.full((2, round(seconds * RATE)), value)


def placed(new: Tensor, old: Tensor | None = None, offset: float = 0, length: float = 10, **given: Any) -> Tensor:
    """The soundtrack's left side."""
    blend = check_blend(**{"mode": "replace", **given})
    both = place(new, MP4, Fraction(offset), Fraction(length), old if blend.needs_old else None, blend)
    assert torch.equal(both[0], both[1])
    return both[0]


def at(track: Tensor, seconds: float) -> float:
    return float(track[round(seconds * RATE)])


@pytest.mark.parametrize("mode", ["replace", "mix"])
@pytest.mark.parametrize("offset", [-0.5, 0.0, 1.25])
def test_nothing_asked_for_is_bit_for_bit_as_ever(mode: str, offset: float) -> None:
    draw = torch.Generator().manual_seed(0)
    new, old = torch.rand(2, 3 * RATE, generator=draw) - 0.5, torch.rand(2, 4 * RATE, generator=draw) - 0.5
    old = old if mode == "mix" else None  # type: ignore[assignment]
    track = place(new, MP4, Fraction(offset), Fraction(5), old, check_blend(mode))
    assert torch.equal(track, place(new, MP4, Fraction(offset), Fraction(5), old))
    first, skipped = round(max(offset, 0) * RATE), round(max(-offset, 0) * RATE)
    expected = torch.zeros(2, max(first + new.shape[1] - skipped, 4 * RATE if mode == "mix" else 0))
    if old is not None:
        expected[:, : old.shape[1]] = old
    expected[:, first : first + new.shape[1] - skipped] += new[:, skipped:]
    assert torch.equal(track, expected.clamp(-1, 1))


def test_fades_are_of_what_is_heard() -> None:
    track = placed(level(0.5, 4), fade_in=1, fade_out=2)
    assert len(track) == 4 * RATE
    assert at(track, 0) < 1e-4 and float(track[-1]) < 1e-4
    assert at(track, 0.5) == pytest.approx(0.5 * math.sqrt(0.5), abs=1e-4)
    assert at(track, 1.5) == 0.5
    assert at(track, 3) == pytest.approx(0.5 * math.sqrt(0.5), abs=1e-4)
    cut = placed(level(0.5, 6), offset=-1, length=3, fade_in=1, fade_out=1)  # cut off on both sides
    assert at(cut, 0) < 1e-4 and float(cut[-1]) < 1e-4 and at(cut, 1.5) == 0.5
    late = placed(level(0.5, 2), offset=1, fade_in=1)
    assert at(late, 0.5) == 0 and at(late, 1.5) == pytest.approx(0.5 * math.sqrt(0.5), abs=1e-4)
    assert at(late, 2.9) == 0.5
    long = placed(level(0.5, 2), fade_in=100)  # no longer than the sound: it is heard in full at its end
    assert float(long[-1]) == pytest.approx(0.5, abs=1e-3)


def test_kept_stretches_hold_the_old_sound_alone() -> None:
    new, old = level(0.5, 10), level(-0.25, 10)
    track = placed(new, old, keep="3-5, 8.2-9")
    for start, end in ((3.0, 5.0), (8.2, 9.0)):
        assert (track[round(start * RATE) : round(end * RATE)] == -0.25).all()
    for start, end in ((0.0, 2.95), (5.05, 8.15), (9.05, 10.0)):
        assert (track[math.ceil(start * RATE) : math.floor(end * RATE)] == 0.5).all()
    middle = round(3 * RATE) - CROSS // 2  # powers add up to 1 in between
    assert float(track[middle]) == pytest.approx((0.5 - 0.25) * math.sqrt(0.5), abs=1e-3)
    assert torch.equal(track, placed(new, old, keep=[(8.2, 9), (3, 5)]))
    mixed = placed(new, old, mode="mix", keep="3-5")
    assert (mixed[3 * RATE : 5 * RATE] == -0.25).all() and at(mixed, 1) == 0.25 and at(mixed, 6) == 0.25


def test_a_kept_stretch_after_the_new_sound_is_heard() -> None:
    track = placed(level(0.5, 2), level(-0.25, 10), keep="6-7")
    assert len(track) == 7 * RATE + CROSS
    assert at(track, 1.9) == 0.5 and at(track, 4) == 0 and (track[6 * RATE : 7 * RATE] == -0.25).all()
    assert len(placed(level(0.5, 2), level(-0.25, 6.5), keep="6-7")) == round(6.5 * RATE)


def test_the_rest_keeps_its_own_sound() -> None:
    new, old = level(0.5, 4), level(-0.25, 10)
    track = placed(new, old, offset=2, keep_rest=True)
    assert len(track) == 10 * RATE
    assert (track[: 2 * RATE] == -0.25).all() and (track[6 * RATE :] == -0.25).all()
    assert (track[2 * RATE + CROSS : 6 * RATE - CROSS] == 0.5).all()
    for middle in (2 * RATE + CROSS // 2, 6 * RATE - CROSS // 2):  # no jump: one gives way to the other
        assert float(track[middle]) == pytest.approx((0.5 - 0.25) * math.sqrt(0.5), abs=1e-3)
    faded = placed(new, old, offset=2, keep_rest=True, fade_in=1, fade_out=2)
    assert at(faded, 2.5) == pytest.approx((0.5 - 0.25) * math.sqrt(0.5), abs=1e-3)
    assert at(faded, 5) == pytest.approx((0.5 - 0.25) * math.sqrt(0.5), abs=1e-3)
    assert at(faded, 3.5) == 0.5
    alone = placed(level(0.5, 10), old, keep_rest=True, fade_in=1, fade_out=1)  # at both ends from and to silence
    assert at(alone, 0) < 1e-4 and float(alone[-1]) < 1e-4
    covered = placed(level(0.5, 20), old, keep_rest=True)
    assert torch.equal(covered, placed(level(0.5, 20), old))
    assert torch.equal(placed(new, None, keep_rest=True), placed(new))
    whole = placed(new, level(-0.25, 3), keep_rest=True)  # the old sound ends first
    assert torch.equal(whole, placed(new))
    mixed = placed(new, old, mode="mix", keep_rest=True)
    assert torch.equal(mixed, placed(new, old, mode="mix"))


def test_ducking_follows_the_old_sound() -> None:
    old = level(0.0, 10)
    old[:, 4 * RATE : 5 * RATE] = 0.25
    track = placed(level(0.5, 10), old, mode="mix", duck=12)
    low = 0.5 * 10 ** (-12 / 20)
    assert at(track, 4.5) == pytest.approx(low + 0.25, abs=1e-3)
    assert at(track, 4.001) == pytest.approx(low + 0.25, abs=1e-3)  # down before it begins
    assert at(track, 3.95) == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-3)  # half of the dB on the way
    assert at(track, 5.2) == pytest.approx(low, abs=1e-3)
    assert at(track, 5.5) == pytest.approx(0.5 * 10 ** (-6 / 20), abs=1e-3)
    assert at(track, 3.85) == 0.5 and at(track, 5.85) == 0.5
    assert torch.equal(placed(level(0.5, 10), level(0.0, 10), mode="mix", duck=12), level(0.5, 10)[0])
    assert torch.equal(placed(level(0.5, 10), None, mode="mix", duck=12), level(0.5, 10)[0])


def test_speech_ducks_and_the_room_behind_it_does_not() -> None:
    draw = torch.Generator().manual_seed(0)
    room = 0.005 * torch.randn(1, 10 * RATE, generator=draw)
    speech = room.clone()
    speech[:, 2 * RATE : 4 * RATE] += 0.1 * torch.randn(1, 2 * RATE, generator=draw)
    assert sounding(speech.expand(2, -1), RATE) == [(2 * RATE, 4 * RATE)]
    assert sounding(room, RATE) == [(0, 10 * RATE)]
    assert sounding(room * 0.01, RATE) == []
    assert sounding(torch.ones(2, 100), RATE) == [(0, RATE // 20)]


SPANS = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 60)), max_size=5)


@examples(150)
@given(total=st.integers(1, 80), spans=SPANS, rise=st.integers(0, 20), fall=st.integers(0, 20), wait=st.integers(0, 9))
def test_near_is_what_it_says(total: int, spans: list[tuple[int, int]], rise: int, fall: int, wait: int) -> None:
    spans = [(start, start + length) for start, length in spans]

    def value(moment: int, start: int, stop: int) -> float:
        stop += wait
        if start <= moment < stop:
            return 1.0
        if moment < start:
            return max(1 - (start - moment) / (rise + 1), 0)
        return max(1 - (moment - stop + 1) / (fall + 1), 0)

    expected = [max((value(i, *span) for span in spans), default=0.0) for i in range(total)]
    assert near(total, spans, rise, fall, wait).tolist() == pytest.approx(expected, abs=1e-6)


LENGTHS = st.floats(0.01, 3)
TENTHS = st.integers(0, 30).map(lambda tenths: tenths / 10)


@examples(80)
@given(
    seconds=LENGTHS,
    own=LENGTHS,
    length=LENGTHS,
    offset=st.floats(-1, 2),
    fades=st.tuples(TENTHS, TENTHS),
    keep=st.lists(st.tuples(TENTHS, st.floats(0.05, 1)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=3),
    mode=st.sampled_from(["replace", "mix"]),
    duck=st.sampled_from([0, 6, 40]),
    rest=st.booleans(),
)
def test_no_moment_is_lost_or_doubled(
    seconds: float,
    own: float,
    length: float,
    offset: float,
    fades: tuple[float, float],
    keep: list[tuple[float, float]],
    mode: str,
    duck: float,
    rest: bool,
) -> None:
    """Old and new sound in one channel each: their powers never exceed 1, and what is kept is whole."""
    new, old = torch.zeros(2, round(seconds * RATE)), torch.zeros(2, round(own * RATE))
    new[0], old[1] = 1, 1
    blend = check_blend(mode, *fades, keep, duck if mode == "mix" else 0, rest)
    heard = old if blend.needs_old else None
    try:
        track = place(new, MP4, Fraction(offset), Fraction(length), heard, blend)
    except InputError as error:
        assert "nothing of " in str(error)
        return
    assert track.isfinite().all()
    assert 0 < track.shape[1] <= length * RATE
    if mode == "replace":
        assert (track.square().sum(0) <= 1 + 1e-5).all()
    elif not blend.keep:
        assert (track[1, : min(old.shape[1], track.shape[1])] == 1).all()
    begin = max(round(Fraction(offset) * RATE), 0)
    end = begin + new.shape[1] - max(-round(Fraction(offset) * RATE), 0)
    for start, stop in blend.keep:
        part = slice(round(start * RATE), round(stop * RATE))
        assert (track[0, part] == 0).all()
        inside = track[1, part]
        assert (inside[: max(old.shape[1] - part.start, 0)] == 1).all()
    if rest:
        assert (track[1, : min(begin, old.shape[1])] == 1).all()
        assert (track[1, end : old.shape[1]] == 1).all()
    assert (track[0, :begin] == 0).all() and (track[0, end:] == 0).all()


def test_settings_that_mean_nothing_are_refused() -> None:
    for wrong, said in (
        ({"mode": "add"}, "mode 'add' does not exist. Valid: replace, mix"),
        ({"fade_in": -1}, "fade_in=-1. Give seconds from 0"),
        ({"fade_out": float("nan")}, "fade_out=nan. Give seconds"),
        ({"fade_in": "1"}, "fade_in=1 is not a number|fade_in='1' is not a number"),
        ({"keep": "3"}, "keep: '3' is not a start and an end"),
        ({"mode": "mix", "duck": -1}, "duck=-1. Give the dB by which"),
        ({"duck": 6}, "duck=6: the video's own sound is dropped.* Choose mode mix"),
    ):
        with pytest.raises(InputError, match=said):
            check_blend(**{"mode": "replace", **wrong})
    with pytest.raises(InputError, match="keep covers all of the new sound"):
        placed(level(0.5, 2), level(0.1, 10), keep="0-9")
    assert check_blend("replace", keep=" ") == Blend()
    assert check_blend("mix").plain and not check_blend("mix", keep="1-2").plain


def tone(hertz: float, seconds: float) -> Tensor:
    return (0.3 * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE)).repeat(2, 1)


def share(sound: Tensor, hertz: float, start: float, end: float) -> float:
    """How much of `tone` there is between two times: 1 for all of it."""
    part = sound[0, round(start * RATE) : round(end * RATE)]
    wave = torch.exp(2j * math.pi * hertz * torch.arange(len(part)) / RATE)
    return float((part * wave).sum().abs() * 2 / len(part) / 0.3)


def test_a_video_keeps_what_it_is_told_to(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 150, 25, sound=tone(3000, 6))
    out, new = tmp_path / "out.mp4", tone(500, 4)
    set_soundtrack(video, new, RATE, out, offset=1, keep="2-3", keep_rest=True, fade_out=1)
    sound = read_audio(out)
    assert sound.shape[1] == 6 * RATE
    for start, end, old_share, new_share in (
        (0.1, 0.9, 1, 0),
        (1.1, 1.9, 0, 1),
        (2.1, 2.9, 1, 0),
        (3.1, 3.9, 0, 1),
        (5.1, 5.9, 1, 0),
    ):
        assert share(sound, 3000, start, end) == pytest.approx(old_share, abs=0.05), start
        assert share(sound, 500, start, end) == pytest.approx(new_share, abs=0.05), start
    assert share(sound, 500, 4.8, 4.9) < 0.4
    set_soundtrack(video, new, RATE, out, mode="mix", duck=20)
    sound = read_audio(out)
    assert share(sound, 500, 1, 3) == pytest.approx(0.1, abs=0.02)
    assert share(sound, 3000, 1, 3) == pytest.approx(1, abs=0.05)


def test_times_are_those_of_the_part_that_is_kept(tmp_path: Path) -> None:
    """Of a video that is cut, as its offset is."""
    video = write_clip(tmp_path / "in.mp4", 150, 25, sound=tone(3000, 6))
    set_soundtrack(video, tone(500, 4), RATE, tmp_path / "out.mp4", start=2, end=5, keep="1-2")
    sound = read_audio(tmp_path / "out.mp4")
    assert share(sound, 3000, 1.1, 1.9) == pytest.approx(1, abs=0.05)
    for start, end in ((0.1, 0.9), (2.1, 2.9)):
        assert share(sound, 500, start, end) == pytest.approx(1, abs=0.05)


def test_what_cannot_be_kept_is_said_before_anything_is_written(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.mp4", 50, 25)
    video = write_clip(tmp_path / "in.mp4", 50, 25, sound=tone(3000, 2))
    new, out = tone(500, 1), tmp_path / "out.mp4"
    before = sorted(tmp_path.iterdir())
    for source, options, error, said in (
        (silent, {"keep": "0-1"}, MediaError, "silent.mp4 has no sound of its own.*Leave keep empty"),
        (video, {"keep": "2-3"}, InputError, r"keep: 2-3 lies past the end of .*in.mp4 \(2\.00 s\)"),
        (video, {"duck": 3}, InputError, "Choose mode mix"),
    ):
        for check in (lambda s, o: set_soundtrack(s, new, RATE, out, **o), lambda s, o: check_soundtrack(s, out, **o)):
            with pytest.raises(error, match=said):
                check(source, options)
    assert sorted(tmp_path.iterdir()) == before
    set_soundtrack(silent, new, RATE, out, keep_rest=True)
    assert read_audio(out).shape[1] == RATE


def test_what_has_no_new_sound_is_told_with_the_mend(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video = write_clip(tmp_path / "in.mp4", 100, 25, sound=tone(3000, 4))
    out = tmp_path / "out.mp4"
    Sound(tone(500, 2), RATE).save_with_video(video, out)
    assert (
        "from 0.00 to 2.00 s; its own sound is dropped, so the rest will be silent (keep_rest keeps it there"
        in caplog.text
    )
    caplog.clear()
    Sound(tone(500, 2), RATE).save_with_video(video, out, keep_rest=True, fade_out=0.5)
    assert "the rest keeps its own" in caplog.text
    assert share(read_audio(out), 3000, 2.1, 3.9) == pytest.approx(1, abs=0.05)
    assert uncovered(video, 4.0, keep_rest=True) is None
    with pytest.raises(TypeError, match="fade"):
        Sound(tone(500, 2), RATE).save_with_video(video, out, fade=1)
