"""Several rates from one decoding pass: the pictures of separate calls, each decoded and scaled once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from audiox_core.errors import InputError, MediaError
from audiox_core.media import frame_sets_from_images, frames_from_images, probe, read_frame_sets, read_frames
from tests.core.media_clips import nearest, numbers, picture, write_clip

# What the reference takes of a video at 25 a second, where its rule is exact: rate, pictures, start, indices.
REFERENCE = [
    (25, 250, 0, list(range(250))),
    (25, 251, 2, [*range(50, 251), *[250] * 49]),
    (50, 500, 0, list(range(0, 500, 2))),
]
BOTH = [(5, 50), (25, 250)]


@pytest.mark.parametrize(("fps", "count", "start", "taken"), REFERENCE)
def test_25_a_second_equal_the_reference_where_its_rule_is_exact(
    fps: int, count: int, start: int, taken: list[int], tmp_path: Path
) -> None:
    path = write_clip(tmp_path / "clip.mp4", count, fps)
    few, many = read_frame_sets(path, start=start, wanted=BOTH, size=56)
    assert few.shape == (50, 3, 56, 56)
    assert numbers(many) == taken
    assert numbers(few) == taken[::5]


@pytest.mark.parametrize(
    "fps", [Fraction(30000, 1001), 24, 12, 60, Fraction(24000, 1001)], ids=lambda f: f"{float(f):.4g}"
)
def test_other_rates_are_right_by_time(fps: Fraction, tmp_path: Path) -> None:
    count = round(7 * fps)
    path = write_clip(tmp_path / "clip.mp4", count, fps)
    times = [Fraction(k) / Fraction(fps) for k in range(count)]
    for start in (Fraction(0), Fraction(17, 10)):
        sets = read_frame_sets(path, start=float(start), wanted=BOTH, size=56)
        for (rate, places), frames in zip(BOTH, sets, strict=True):
            assert numbers(frames) == nearest(times, count / Fraction(fps), start, rate, places)


def test_variable_rate_and_a_late_start_are_right_by_time_in_every_container(tmp_path: Path) -> None:
    gaps = np.random.RandomState(3).choice([10, 16, 17, 33, 40, 41, 100, 200], 118)
    times = [Fraction(int(t), 1000) for t in np.cumsum(gaps) - gaps[0]]
    expected = nearest(times, times[-1] + 1, Fraction(1), 25, 100)
    sound = torch.zeros(2, 44100 * 8)
    tokens = []
    for suffix in (".mp4", ".mkv"):
        path = write_clip(tmp_path / f"clip{suffix}", 118, 20, times=times, first=Fraction(3, 2), sound=sound)
        length = probe(path).duration
        assert length == pytest.approx(float(times[-1]), abs=0.06)  # 1.5 s and the longer sound do not count
        few, many = read_frame_sets(path, start=1, wanted=[(5, 50), (25, 100)], size=56, end=length)
        assert numbers(many) == expected
        tokens.append(few)
    assert torch.equal(*tokens)


@pytest.mark.parametrize("end", [None, 3.3])
def test_sets_equal_separate_calls(end: float | None, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mkv", 100, 24, size=(160, 90))
    wanted = [(25.0, 60), (5.0, 12), (7.3, 20), (Fraction(1, 3), 3), (5.0, 1)]
    for start in (0.0, 1.234):
        sets = read_frame_sets(path, start=start, wanted=wanted, size=48, end=end)
        for (fps, count), frames in zip(wanted, sets, strict=True):
            assert torch.equal(frames, read_frames(path, start=start, fps=fps, count=count, size=48, end=end))


def test_images_follow_the_same_rule_and_only_the_chosen_are_touched() -> None:
    images = torch.stack([torch.from_numpy(picture(k)) for k in range(200)]).float() / 255
    wanted = [(5, 20), (10, 30)]
    chosen = {
        k
        for rate, count in wanted
        for k in nearest([Fraction(i, 24) for i in range(200)], Fraction(9), Fraction(1), rate, count)
    }
    images[[k for k in range(200) if k not in chosen]] = float("nan")
    sets = frame_sets_from_images(images, fps=24, start=1, wanted=wanted, size=56)
    for (rate, count), frames in zip(wanted, sets, strict=True):
        assert torch.equal(frames, frames_from_images(images, fps=24, start=1, rate=rate, count=count, size=56))
    still = frame_sets_from_images(images[24:25].numpy(), fps=24, start=9, wanted=wanted, size=56)
    assert [set(numbers(frames)) for frames in still] == [{24}, {24}]


def test_a_file_is_decoded_once_and_each_picture_scaled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core.media import decode, frames

    path = write_clip(tmp_path / "clip.mp4", 50, 25)
    opened, scaled = [], []
    open_media, resize = decode.open_media, frames.resize

    def opening(source: object) -> object:
        opened.append(source)
        return open_media(source)

    def resizing(frame: torch.Tensor, size: int) -> torch.Tensor:
        scaled.append(size)
        return resize(frame, size)

    monkeypatch.setattr(decode, "open_media", opening)
    monkeypatch.setattr(frames, "resize", resizing)
    few, many = read_frame_sets(path, wanted=BOTH, size=56)
    assert (len(opened), len(scaled)) == (1, 50)
    assert numbers(few)[:11] == [*range(0, 50, 5), 45]
    assert numbers(many)[:51] == [*range(50), 49]


def test_progress_counts_all_places_and_may_stop(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 50, 25)
    told: list[tuple[int, int]] = []
    read_frame_sets(path, wanted=BOTH, size=56, on_frame=lambda done, total: told.append((done, total)))
    assert told[0] == (1, 300)
    assert told[-1] == (300, 300)
    assert [done for done, _ in told] == sorted({done for done, _ in told})

    def stop(done: int, total: int) -> None:
        if done == 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_frame_sets(path, wanted=BOTH, size=56, on_frame=stop)


def test_bad_sets_are_refused(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 5, 25)
    for wanted, said in [([], "no rates"), ([(5, 50), (0, 3)], "fps=0"), ([(5, 50), (5, 2**31)], "count=2147483648")]:
        with pytest.raises(InputError, match=said):
            read_frame_sets(path, wanted=wanted)
    with pytest.raises(InputError, match=r"count=400000 pictures of size=224 fill 60\.2 GB"):
        read_frame_sets(path, wanted=[(5, 400_000), (25, 600_000)])
    with pytest.raises(MediaError, match=r"start=1 s is past the end"):
        read_frame_sets(path, start=1, wanted=BOTH)
