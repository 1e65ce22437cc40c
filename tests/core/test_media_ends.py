"""Where a video's pictures end: the same in every container and by every way of asking, also at varying rates."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch

from audiox_core.media import decode, probe, read_audio, read_frames, set_soundtrack
from audiox_core.media.decode import Pictures
from audiox_core.media.mux import check_soundtrack
from tests.core.media_clips import numbers, packets, write_clip

VARYING = [Fraction(n, 10) for n in (0, 1, 3, 10, 20, 25)]
CLIPS: dict[str, dict[str, Any]] = {
    "constant": {"count": 50, "fps": 25},
    "television's": {"count": 40, "fps": Fraction(30000, 1001)},
    "late": {"count": 50, "fps": 25, "first": Fraction(3, 2)},
    "varying": {"count": 6, "fps": 10, "times": VARYING, "options": {"preset": "ultrafast"}},  # no picture waits
    "slow": {"count": 3, "fps": 1},
    "a single one": {"count": 1, "fps": 5},
    "with a shorter sound": {"count": 50, "fps": 25, "sound": torch.zeros(2, 44100)},
    "with a longer sound": {"count": 50, "fps": 25, "sound": torch.zeros(2, 3 * 44100)},
}


def ends(path: Path) -> list[float]:
    """How long the pictures last: as the file says, decoded to the end, and as they would be copied."""
    pictures = Pictures(path)
    assert list(pictures)
    copied = check_soundtrack(path, path.with_name("copy" + (".webm" if path.suffix == ".webm" else ".mkv")))
    return [float(probe(path).duration or 0), float(pictures.end), float(copied)]


@pytest.mark.parametrize("name", CLIPS)
def test_matroska_ends_where_mp4_does(name: str, tmp_path: Path) -> None:
    """Its last picture may have no length: then it lasts as long as one does at the average rate."""
    clip = CLIPS[name]
    shown = 1 / Fraction(clip["fps"])
    found = {}
    for suffix in (".mp4", ".mkv", *([] if "sound" in clip else [".webm"])):
        path = write_clip(tmp_path / f"in{suffix}", **clip)
        asked = ends(path)
        assert max(asked) - min(asked) <= 2e-3, (suffix, asked)
        found[suffix] = asked[0]
    assert max(found.values()) - min(found.values()) <= shown, found
    out = tmp_path / "out.mkv"
    set_soundtrack(tmp_path / "in.mp4", torch.full((2, 5 * 44100), 0.1), 44100, out)
    again = ends(out)
    assert max(again) - min(again) <= 2e-3 and abs(again[0] - found[".mp4"]) <= shown
    assert again[0] - 1024 / 44100 - 2e-3 <= read_audio(out).shape[1] / 44100 <= again[0] + 2e-3


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize(
    "times", [VARYING, [Fraction(n, 30) for n in (0, 1, 11, 12, 52)], [Fraction(n, 30) for n in (0, 1, 41, 42, 43)]]
)
def test_a_video_of_reordered_pictures_lasts_until_its_last_one(
    suffix: str, times: list[Fraction], tmp_path: Path
) -> None:
    """Packets tell how long a picture is decoded, and files the sum of that: they promised 0.77 of 1.77 s."""
    asked = ends(write_clip(tmp_path / f"in{suffix}", len(times), 30, times=times))
    assert max(asked) - min(asked) <= 2e-3, asked
    assert times[-1] < asked[0] <= times[-1] + 1.5


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", None])
def test_pictures_at_varying_distances_are_copied(suffix: str | None, tmp_path: Path) -> None:
    """They were said to fit into no container at all."""
    video = write_clip(tmp_path / "in.mp4", 6, 10, times=VARYING)
    target = tmp_path / f"out{suffix or '.mp4'}"
    set_soundtrack(video, torch.full((2, 44100), 0.1), 44100, target)
    assert [p[:2] for p in packets(str(target))] == [p[:2] for p in packets(str(video))]


def test_a_late_start_is_sought_and_found_also_where_it_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_clip(tmp_path / "in.mkv", 250, 25)
    whole = [(time, frame.pts) for time, frame in Pictures(video)]
    decoded: list[int] = []
    inner = decode.Run._frames

    def counted(self: Any, packet: Any) -> list[Any]:
        decoded.append(1)
        return inner(self, packet)

    monkeypatch.setattr(decode.Run, "_frames", counted)
    found = [(time, frame.pts) for time, frame in Pictures(video, Fraction(8))]
    assert found == whole[-len(found) :] and found[0][0] <= 8
    assert len(decoded) < 100, "of 250, from the keyframe before"
    assert probe(video).duration == 10.0
    tries = []
    monkeypatch.setattr(decode, "sought", lambda *_: tries.append(1))
    decoded.clear()
    assert [(time, frame.pts) for time, frame in Pictures(video, Fraction(8))] == whole
    assert len(tries) == 1 and len(decoded) >= 250, "decoded from the first one, after one attempt"
    with av.open(str(video)) as container:
        announced = (container.duration or 0) / av.time_base
    assert probe(video).duration == announced
    assert numbers(read_frames(video, start=8, fps=5, count=5, size=56)) == [200, 205, 210, 215, 220]
