"""What is copied of a video, packet by packet: times that are missing, pictures that are hidden, and how far it is."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audiox_core.errors import MediaError
from audiox_core.media import mux
from audiox_core.media.packets import PictureTrack, _decode_times, _Stamp


def packet(pts: int | None, dts: int | None, *, key: bool = False, hidden: bool = False, length: int = 1) -> Any:
    return SimpleNamespace(pts=pts, dts=dts, duration=length, is_keyframe=key, is_discard=hidden, size=9, pos=None)


def file(*packets: Any, rate: int = 25, reordered: bool = True) -> tuple[Any, Any]:
    """An open container of such packets, a tick a picture, and its stream."""
    context = SimpleNamespace(codec=SimpleNamespace(canonical_name="h264"), has_b_frames=reordered)
    stream = SimpleNamespace(time_base=Fraction(1, rate), average_rate=rate, guessed_rate=None, codec_context=context)
    demux = lambda _: iter([*packets, SimpleNamespace(size=0)])  # noqa: E731
    return SimpleNamespace(demux=demux, size=100, format=SimpleNamespace(name="mov")), stream


def stamps(*decoding: int | None) -> list[_Stamp]:
    return [_Stamp(10 + i, time, 11 + i, i == 0, False) for i, time in enumerate(decoding)]


@pytest.mark.parametrize(
    ("decoding", "times"),
    [
        ((7, 8, 9), [7, 8, 9]),
        ((None, None, 9, 10), [5, 7, 9, 10]),  # counted back from the first that is known, a picture is two ticks
        ((None, None, 0, 1), [-4, -2, 0, 1]),
        ((None, None, None), [10, 11, 12]),  # none is known: from the first picture's own time on
        ((7, None, None, 20), [7, 8, 9, 20]),  # one that is missing later follows the one before
        ((7, 7, 5, 20), [7, 8, 9, 20]),  # always rising
    ],
)
def test_decoding_times(decoding: tuple[int | None, ...], times: list[int]) -> None:
    stream = SimpleNamespace(average_rate=25, guessed_rate=None)
    assert _decode_times(stamps(*decoding), stream, Fraction(1, 50)) == times


def test_hidden_pictures_behind_the_last_one_are_left_out() -> None:
    """An edit list ends before them; those in front of the first one, or between, must be copied to decode others."""
    shown = [packet(i, i, key=i in (0, 4)) for i in range(8)]
    shown[2].is_discard = True
    for behind in (0, 1, 2):
        container, stream = file(*shown, *(packet(8 + i, 8 + i, hidden=True) for i in range(behind)))
        track = PictureTrack(container, stream, "a.mov")
        assert (track.skip, track.stop, track.hidden) == (0, 8, True)
        assert track.length == Fraction(8, 25)
    container, stream = file(*(packet(i, i, key=i == 0) for i in range(8)), packet(8, 8, hidden=True))
    track = PictureTrack(container, stream, "a.mov")
    assert (track.stop, track.hidden) == (8, False)


def test_a_window_that_holds_no_picture_says_how_long_they_last() -> None:
    container, stream = file(*(packet(i, i, key=i == 0) for i in range(50)))
    for start, end in ((2, None), (1, 1), (-1, None)):
        with pytest.raises(MediaError, match=r"no picture between start=.* \(the pictures last 2\.000 s\)"):
            PictureTrack(container, stream, "a.mov", start, end)
    assert PictureTrack(container, stream, "a.mov", Fraction(49, 25)).length == Fraction(1, 25)


def test_a_picture_without_a_length_lasts_as_long_as_the_rate_says() -> None:
    """Matroska says nothing of its last one."""
    container, stream = file(*(packet(4 * i, 4 * i, key=i == 0, length=0) for i in range(50)))
    stream.time_base = Fraction(1, 100)
    assert PictureTrack(container, stream, "a.mkv").length == 2


def test_an_excerpt_begins_at_a_keyframe_that_is_shown(tmp_path: Path) -> None:
    packets = [packet(i, i, key=i % 10 == 0, hidden=i < 5) for i in range(60)]
    container, stream = file(*packets)
    found = PictureTrack(container, stream, "a.mov").excerpt(container, stream)
    assert [p.pts for p in found] == list(range(10, 30)), "more than any decoder holds back: twenty"
    cut = PictureTrack(container, stream, "a.mov", Fraction(2))
    assert [p.pts for p in cut.excerpt(container, stream)] == list(range(50, 60))


def test_progress_is_told_in_thousandths() -> None:
    told: list[tuple[int, int]] = []
    progress = mux._Progress(lambda *step: told.append(step))
    first, second = progress.stage(0, 300), progress.stage(300, 1000)
    for done in (0, 1, 2, 4, 5):
        first(done, 4)
    for done in (0, 1, 7):
        second(done, 7)
    second(3, 0)  # nothing to do is done
    assert told == [(value, 1000) for value in (0, 75, 150, 300, 400, 1000)]
    for _ in range(99):
        second(7, 7)
    assert told[6:] == [(1000, 1000)], "now and then also where it stands still, so that it can be stopped"
    assert progress.calls == 108
    mux._Progress(None).stage(0, 1000)(1, 1)
