"""Soundtracks: picture packets untouched, sound aligned and never longer, targets whole or untouched."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError, MediaError
from audiox_core.media import VIDEO_SUFFIXES, encode_video, probe, read_audio, read_frames, set_soundtrack
from tests.core.media_clips import numbers, packets, picture, turned, write_clip
from tests.examples import examples
from tests.sample_clip import make_sample_clip

ASSET = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"


def impulse(seconds: float, at: float, rate: int = 44100) -> Tensor:
    """Silence with a short burst, whose loudest sample lies at `at` seconds."""
    sound = torch.zeros(2, round(seconds * rate))
    sound[:, round(at * rate)] = 0.9
    return sound


def peak(sound: Tensor, after: float = 0.0) -> float:
    """The time of the loudest sample."""
    first = round(after * 44100)
    return (first + int(sound[0, first:].abs().argmax())) / 44100


def streams(source: Any) -> dict[str, tuple[Fraction, Fraction]]:
    """When each stream starts and how long it is, in seconds, as the container says."""
    with av.open(source) as container:
        return {s.type: (s.start_time * s.time_base, s.duration * s.time_base) for s in container.streams}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", None])
@pytest.mark.parametrize("source", [".mp4", ".mkv", ".flv", ".avi"])
def test_packets_are_copied_and_sound_is_aligned(source: str, suffix: str | None, tmp_path: Path) -> None:
    video = write_clip(tmp_path / f"in{source}", 50, 25)
    target: Any = io.BytesIO() if suffix is None else tmp_path / f"out{suffix}"
    assert set_soundtrack(video, impulse(5, 0.5), 44100, target) is target
    given_packets, copied = packets(str(video)), packets(target if suffix is None else str(target))
    assert [p[:2] for p in copied] == [p[:2] for p in given_packets]
    if ".mkv" not in (source, suffix):  # Matroska stores no decoding times
        assert copied == given_packets
    if isinstance(target, io.BytesIO):
        target.seek(0)
    with av.open(target if suffix is None else str(target)) as container:
        sound = container.streams.audio[0]
        assert (sound.codec_context.name, sound.rate, sound.layout.name) == ("aac", 44100, "stereo")
        at, loudest = 0.0, 0.0
        for frame in container.decode(sound):
            block = np.abs(frame.to_ndarray()[0])
            if block.max() > loudest:
                loudest, at = block.max(), float(frame.pts * sound.time_base) + block.argmax() / 44100
    assert at - float(given_packets[0][1]) == pytest.approx(0.5, abs=1e-3)
    length = read_audio(target).shape[1] / 44100
    if source != ".flv":  # its pictures begin at 0.08 s, so that the encoder's run-in of 23 ms is there to be heard
        assert 2 - 1024 / 44100 <= length <= 2
        assert peak(read_audio(target)) == pytest.approx(0.5, abs=1e-3)
    if suffix in (".mp4", ".mov") and source != ".flv":
        assert streams(str(target))["audio"] == (0, 2)


def test_lengths_are_exact_at_odd_rates_and_sound_is_never_longer(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 40, Fraction(30000, 1001))
    pictures = Fraction(40 * 1001, 30000)
    for seconds in (0.7, 5):
        set_soundtrack(video, impulse(seconds, 0.1), 44100, tmp_path / "out.mp4")
        exact = min(int(pictures * 44100), round(seconds * 44100))
        assert streams(str(tmp_path / "out.mp4"))["audio"] == (0, Fraction(exact, 44100))
        assert read_audio(tmp_path / "out.mp4").shape[1] == exact


def test_offset_gain_and_clipping(tmp_path: Path) -> None:
    video, out = write_clip(tmp_path / "in.mp4", 50, 25), tmp_path / "out.mp4"
    set_soundtrack(video, impulse(1, 0.25), 44100, out, offset=0.75, gain=0.5)
    sound = read_audio(out)
    assert peak(sound) == pytest.approx(1, abs=1e-3)
    assert sound.shape[1] == round(1.75 * 44100)
    quiet = float(sound.abs().max())
    set_soundtrack(video, impulse(1, 0.75), 44100, out, offset=-0.5)
    assert peak(read_audio(out)) == pytest.approx(0.25, abs=1e-3)
    assert float(read_audio(out).abs().max()) == pytest.approx(2 * quiet, rel=0.1)
    set_soundtrack(video, torch.sin(torch.arange(44100) / 20).repeat(2, 1), 44100, out, gain=5)
    assert read_audio(out).abs().max() < 1.3  # clipped before encoding
    for offset in (2.0, -1.0):
        with pytest.raises(InputError, match="leaves nothing of the sound to hear"):
            set_soundtrack(video, impulse(1, 0.5), 44100, out, offset=offset)


def test_mix_keeps_the_old_sound_underneath(tmp_path: Path) -> None:
    video, out = tmp_path / "in.mp4", tmp_path / "out.mp4"
    for first in (Fraction(0), Fraction(1, 2)):
        write_clip(video, 50, 25, sound=impulse(3, 0.4), first=first)
        set_soundtrack(video, impulse(1, 0.1), 44100, out, mode="mix", offset=1)
        with av.open(str(out)) as container:
            begin = container.streams.audio[0].start_time * container.streams.audio[0].time_base
        sound = read_audio(out)
        shift = float(first - begin)  # the encoder's run-in, where the pictures do not begin at 0
        assert peak(sound[:, : round((shift + 0.8) * 44100)]) - shift == pytest.approx(0.4, abs=1e-3)
        assert peak(sound, after=0.8) - shift == pytest.approx(1.1, abs=1e-3)
        assert 2 - 1e-3 < sound.shape[1] / 44100 - shift < 2 + 1024 / 44100  # FFmpeg 7 does not cut off the filling
    silent = write_clip(tmp_path / "silent.mp4", 50, 25)
    set_soundtrack(silent, impulse(1, 0.1), 44100, out, mode="mix")
    assert read_audio(out).shape[1] == 44100


def test_mono_and_other_rates(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 25, 25)
    set_soundtrack(video, impulse(1, 0.5, 48000)[:1], 48000, tmp_path / "out.mp4")
    sound = read_audio(tmp_path / "out.mp4")
    assert peak(sound) == pytest.approx(0.5, abs=1e-3)
    assert torch.allclose(sound[0], sound[1], atol=1e-3)


def test_webm_takes_opus(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.webm", 50, 25)
    set_soundtrack(video, impulse(3, 0.5), 44100, tmp_path / "out.webm")
    assert [p[:2] for p in packets(str(tmp_path / "out.webm"))] == [p[:2] for p in packets(str(video))]
    assert probe(tmp_path / "out.webm").audio_codec == "opus"
    sound = read_audio(tmp_path / "out.webm")
    assert peak(sound) == pytest.approx(0.5, abs=1e-3)
    assert sound.shape[1] == 88200
    with pytest.raises(MediaError, match=r"\.mov cannot hold vp9 pictures .* Write to .*\.webm"):
        set_soundtrack(video, impulse(3, 0.5), 44100, tmp_path / "out.mov")


def test_memory_target_falls_back_to_matroska_and_is_cut_back_on_errors(tmp_path: Path) -> None:
    theora = write_clip(tmp_path / "in.mkv", 10, 25, codec="ffv1", options={})
    with av.open(str(theora)) as container:
        assert container.streams.video[0].codec_context.name == "ffv1"
    target = io.BytesIO()
    set_soundtrack(theora, impulse(1, 0.1), 44100, target)
    assert target.tell() == 0
    assert numbers(read_frames(target, fps=25, count=10, size=56)) == list(range(10))
    kept = io.BytesIO(b"kept")
    kept.seek(4)

    def broken() -> Iterator[Tensor]:
        yield torch.zeros(48, 64, 3)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_video(broken(), 25, kept)
    assert kept.getvalue() == b"kept"
    with pytest.raises(InputError, match="same object"):
        set_soundtrack(target, impulse(1, 0.1), 44100, target)


def test_hevc_gets_the_tag_that_apple_players_ask_for(tmp_path: Path) -> None:
    options = {"preset": "ultrafast", "x265-params": "log-level=none:bframes=2"}
    video = write_clip(tmp_path / "in.mkv", 25, 25, codec="libx265", options=options)
    set_soundtrack(video, impulse(1, 0.5), 44100, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
    assert numbers(read_frames(tmp_path / "out.mp4", fps=25, count=25, size=56)) == list(range(25))


def test_rotation_and_title_survive(tmp_path: Path) -> None:
    video = turned(write_clip(tmp_path / "phone.mp4", 25, 25, title="Ein Fahrrad 自行车"), 90)
    for suffix in (".mp4", ".mov", ".mkv"):
        out = tmp_path / f"out{suffix}"
        set_soundtrack(video, impulse(1, 0.5), 44100, out)
        assert probe(out).rotation == 270
        with av.open(str(out)) as container:
            assert container.metadata.get("title", container.metadata.get("TITLE")) == "Ein Fahrrad 自行车"


@pytest.mark.parametrize(("start", "end"), [(1.0, 2.0), (0.6, None), (0, 1.2)])
def test_a_trimmed_copy_shows_only_the_window(start: float, end: float | None, tmp_path: Path) -> None:
    old = impulse(3, 1.1)
    video = write_clip(tmp_path / "in.mp4", 75, 25, sound=old, options={"g": "40", "bf": "2", "preset": "ultrafast"})
    out = tmp_path / "out.mp4"
    set_soundtrack(video, impulse(5, 0.05), 44100, out, start=start, end=end, mode="mix")
    first, last = round(start * 25), 75 if end is None else round(end * 25)
    assert numbers(read_frames(out, fps=25, count=last - first, size=56)) == list(range(first, last))
    sound = read_audio(out)
    assert sound.shape[1] == round((last - first) / 25 * 44100)
    assert peak(sound[:, :4410]) == pytest.approx(0.05, abs=1e-3)
    assert peak(sound, after=0.09) == pytest.approx(1.1 - start, abs=1e-3)


def test_windows_that_cannot_be_copied(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 75, 25)
    sound = impulse(1, 0.5)
    with pytest.raises(MediaError, match=r"between keyframes.*Write to \.mp4"):
        set_soundtrack(video, sound, 44100, tmp_path / "out.mkv", start=1)
    for start, end in ((3.0, None), (2.0, 1.0), (-1.0, None)):
        with pytest.raises(MediaError, match="no picture between"):
            set_soundtrack(video, sound, 44100, tmp_path / "out.mp4", start=start, end=end)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_bad_arguments_and_places(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 10, 25)
    sound = impulse(1, 0.1)
    file = tmp_path / "file"
    file.write_text("kept")
    before = video.read_bytes()
    for source, target, options, error, said in [
        (video, tmp_path / "a.ogv", {}, MediaError, r"unknown extension '.ogv'\. Valid: " + r", ".join(VIDEO_SUFFIXES)),
        (video, file / "a.mp4", {}, MediaError, "cannot be written"),
        (video, tmp_path / "a.webm", {}, MediaError, "cannot hold h264"),
        (video, tmp_path / "a.mp4", {"mode": "add"}, InputError, "mode 'add'.*replace, mix"),
        (video, tmp_path / "a.mp4", {"gain": float("nan")}, InputError, "gain=nan"),
        (tmp_path / "absent.mp4", tmp_path / "a.mp4", {}, MediaError, "does not exist"),
    ]:
        with pytest.raises(error, match=said):
            set_soundtrack(source, sound, 44100, target, **options)
    with pytest.raises(MediaError, match="NaN"):
        set_soundtrack(video, sound / 0, 44100, tmp_path / "a.mp4")
    for number, damage in enumerate([b"", os.urandom(4000), before[: len(before) // 3]]):
        broken = tmp_path / f"broken{number}.mp4"
        broken.write_bytes(damage)
        with pytest.raises(MediaError):
            set_soundtrack(broken, sound, 44100, tmp_path / "a.mp4")
        broken.unlink()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "in.mp4"]


def test_pictures_without_times_are_refused(tmp_path: Path) -> None:
    for name, form, codec in (("in.h264", "h264", None), ("in.avi", None, "libx264")):
        video = write_clip(tmp_path / name, 10, 25, form=form, codec=codec)
        with pytest.raises(MediaError, match=r"does not say when.*Convert it to \.mp4"):
            set_soundtrack(video, impulse(1, 0.1), 44100, tmp_path / "out.mp4")


def test_a_clip_cut_off_in_the_middle_keeps_what_it_has(tmp_path: Path) -> None:
    video = write_clip(tmp_path / "in.mp4", 100, 25, flags={"movflags": "faststart"})
    data = video.read_bytes()
    video.write_bytes(data[: len(data) * 2 // 3])
    set_soundtrack(video, impulse(5, 0.1), 44100, tmp_path / "out.mp4")
    info = probe(tmp_path / "out.mp4")
    assert info.duration is not None
    assert 0.5 < info.duration < 4
    assert read_audio(tmp_path / "out.mp4").shape[1] / 44100 <= info.duration + 1e-3


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_pictures_from_tensors_are_encoded_with_their_sound(suffix: str, tmp_path: Path) -> None:
    out = tmp_path / f"out{suffix}"
    frames = torch.stack([torch.from_numpy(picture(i, 63, 47)) for i in range(30)])
    encode_video((f.float() / 255 for f in frames), Fraction(30000, 1001), out, impulse(5, 0.25), 44100, offset=0.25)
    info = probe(out)
    assert (info.width, info.height, info.fps) == (64, 48, pytest.approx(29.97, abs=0.01))
    assert numbers(read_frames(out, fps=30, count=30, size=56)) == list(range(30))
    sound = read_audio(out)
    assert peak(sound) == pytest.approx(0.5, abs=1e-3)
    assert sound.shape[1] / 44100 == pytest.approx(30 * 1001 / 30000, abs=1e-3)


def test_encoded_colours_are_those_given(tmp_path: Path) -> None:
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [200, 120, 40], [0, 0, 0], [255, 255, 255]])
    frame = colours.to(torch.uint8).repeat_interleave(16, 0)[None].expand(32, -1, -1)  # (32, 96, 3)
    alpha = torch.cat([frame, torch.zeros(32, 96, 1, dtype=torch.uint8)], dim=-1)
    encode_video([alpha] * 3, 10, tmp_path / "out.mp4", crf=4)
    assert not probe(tmp_path / "out.mp4").has_audio
    shown = read_frames(tmp_path / "out.mp4", count=1, size=96)[0, :, 48, 8::16].T
    assert (shown.int() - colours).abs().max() <= 4


def test_frames_that_cannot_be_encoded(tmp_path: Path) -> None:
    good, out = torch.zeros(48, 64, 3), tmp_path / "out.mp4"
    out.write_text("kept")
    for frames, fps, said in [
        ([], 25, "no frames"),
        ([good, good[:40]], 25, r"frame 1 has shape \(40, 64, 3\)"),
        ([good[..., :1]], 25, "Give \\(height, width, 3 or 4\\)"),
        ([good], 0, "fps=0"),
    ]:
        with pytest.raises(InputError, match=said):
            encode_video(frames, fps, out)

    def interrupted() -> Iterator[Tensor]:
        yield from [good] * 40
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_video(interrupted(), 25, out, impulse(2, 0.1))
    assert out.read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_sample_clip_is_small_and_can_be_drawn_again(tmp_path: Path) -> None:
    info = probe(ASSET)
    assert (info.width, info.height, info.duration, info.fps) == (480, 270, pytest.approx(10), 25)
    assert ASSET.stat().st_size <= 400_000
    make_sample_clip(tmp_path / "again.mp4", seconds=1, size=(120, 68))
    assert probe(tmp_path / "again.mp4").duration == pytest.approx(1)
    shipped = read_frames(ASSET, fps=25, count=65, size=60).float()
    drawn = read_frames(tmp_path / "again.mp4", fps=25, count=25, size=60).float()
    assert (shipped[:25] - drawn).abs().mean() < 4
    steps = shipped.mean((1, 2, 3)).diff()  # a flash with every hit: twice a second
    hits = [k for k in range(1, 62) if steps[k] > 0.5 and steps[k] == steps[max(k - 6, 0) : k + 7].max()]
    assert len(hits) == 5
    assert set(np.diff(hits)) <= {12, 13}


@examples(10)
@given(
    fps=st.sampled_from([5, 12, Fraction(24000, 1001), 25, Fraction(30000, 1001), 60]),
    count=st.integers(2, 40),
    samples=st.integers(1, 60_000),
    offset=st.integers(-20, 20),
    mode=st.sampled_from(["replace", "mix"]),
    suffix=st.sampled_from([".mp4", ".mkv"]),
)
def test_any_soundtrack(
    fps: Fraction, count: int, samples: int, offset: int, mode: str, suffix: str, tmp_path: Path
) -> None:
    video, out = write_clip(tmp_path / "any.mp4", count, fps), tmp_path / f"any-out{suffix}"
    length = count / Fraction(fps)
    begin, longest = round(offset / 10 * 44100), int(length * 44100)
    if suffix == ".mkv":  # its last packet of sound can't be shortened
        longest = longest // 1024 * 1024
    audible = min(longest, begin + samples)

    def write() -> Any:
        return set_soundtrack(video, torch.full((2, samples), 0.1), 44100, out, mode=mode, offset=offset / 10)

    out.unlink(missing_ok=True)
    if audible <= max(begin, 0):
        with pytest.raises(InputError, match="leaves nothing of the sound to hear"):
            write()
        assert not out.exists()
        return
    assert write() == out
    assert [p[0] for p in packets(str(out))] == [p[0] for p in packets(str(video))]
    heard = read_audio(out).shape[1]
    if suffix == ".mp4":
        assert heard == audible
    else:
        assert heard <= length * 44100 + 45  # the milliseconds of Matroska's clock
