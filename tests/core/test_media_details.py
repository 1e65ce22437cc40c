"""Sounds and pictures in every kind of number; what is told of damage; clocks, index and quality of written files."""

from __future__ import annotations

import io
import logging
import wave
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from audiox_core.media import (
    encode,
    encode_video,
    frames_from_images,
    mux,
    read_audio,
    read_frames,
    samples,
    set_soundtrack,
)
from audiox_core.media.audio import check_waveform, write_audio
from audiox_core.media.containers import CONTAINERS
from audiox_core.media.reading import sought
from audiox_core.media.samples import _Window
from tests.core.media_clips import numbers, packets, write_clip

HALVES = [torch.float16, torch.bfloat16]


def random(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", HALVES)
def test_pictures_in_half_precision_are_those_numbers(kind: torch.dtype) -> None:
    """Scaled to 0..255 in half precision, they would be rounded a second time."""
    images = random(3, 40, 40, 3).to(kind)
    ours, exact = (frames_from_images(given, fps=1, count=3, size=40) for given in (images, images.float()))
    assert torch.equal(ours, exact)
    half, full = io.BytesIO(), io.BytesIO()
    encode_video(images, 5, half, crf=0)
    encode_video(images.float(), 5, full, crf=0)
    assert [p[0] for p in packets(half)] == [p[0] for p in packets(full)]


@pytest.mark.parametrize("kind", HALVES)
def test_sounds_in_half_precision_are_those_numbers(kind: torch.dtype, tmp_path: Path) -> None:
    sound = (random(2, 900) - 0.5).to(kind)
    assert check_waveform(sound).dtype == torch.float32
    for name in ("a.wav", "a.flac"):
        half = read_audio(write_audio(tmp_path / name, sound, 44100))
        assert torch.equal(half, read_audio(write_audio(tmp_path / f"b{name}", sound.float(), 44100)))


def test_8_bits_count_from_the_middle(tmp_path: Path) -> None:
    with wave.open(str(tmp_path / "a.wav"), "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(1)
        out.setframerate(44100)
        out.writeframes(bytes([0, 64, 128, 192, 255]) * 100)
    assert read_audio(tmp_path / "a.wav")[0, :5].tolist() == [-1.0, -0.5, 0.0, 0.5, 127 / 128]


def test_a_healthy_file_warns_of_nothing_also_at_its_end(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "clip.mp4", 100, 25)
    with caplog.at_level(logging.DEBUG, "audiox"):
        assert numbers(read_frames(path, start=3, size=56))[4:] == [95] * 46
    assert not caplog.records


def test_what_is_lost_is_told_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file cut off in the middle: the packet that is left in half, and where the pictures end."""
    path = write_clip(tmp_path / "clip.mp4", 250, 25, flags={"movflags": "faststart"})
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    with caplog.at_level(logging.WARNING, "audiox"):
        last = numbers(read_frames(path, size=56))[-1]
    broken, ended = caplog.messages
    assert broken == f"{path}: 1 packets could not be decoded; continuing with those that could."
    told = float(ended.split("the pictures end at ")[1].split(" s of 10.00 s; the last one is repeated.")[0])
    assert (last + 1) / 25 <= told + 1e-2 and told - (last + 1) / 25 <= 0.2


def test_pictures_that_begin_late_keep_their_time_exactly(tmp_path: Path) -> None:
    """In ticks of the sound's clock, 1001/30000 s is no whole number."""
    first = Fraction(1001, 30000)
    video = write_clip(tmp_path / "in.mp4", 25, Fraction(30000, 1001), first=first, flags={"movie_timescale": "90000"})
    set_soundtrack(video, torch.full((2, 44100), 0.1), 44100, tmp_path / "out.mp4")
    times = [p[1] for p in packets(str(tmp_path / "out.mp4"))]
    assert times == [p[1] for p in packets(str(video))]
    assert min(times) == first


@pytest.mark.parametrize(
    ("base", "first", "count", "surplus"),
    [
        (Fraction(1, 44100), 0, 5000, 1000),
        (Fraction(1, 90000), 0, 5000, 1000),  # a clock finer than the samples tells it, too
        (Fraction(1, 1000), 0, 5000, 0),  # a coarse one doesn't
        (Fraction(1, 44100), 3000, 2000, 1000),  # of a window that begins later
        (Fraction(1, 44100), 0, 3999, 0),
        (Fraction(1, 44100), 0, 4000 + 8193, 0),  # more than any packet holds is no filling
    ],
)
def test_what_an_encoder_filled_up_is_cut_off(base: Fraction, first: int, count: int, surplus: int) -> None:
    """The last packet ends at sample 4000, by the container's clock."""
    window = _Window.__new__(_Window)
    window.base, window.rate, window.first, window.origin = base, 44100, first, Fraction(1, 2)
    window.packets_end = Fraction(1, 2) + Fraction(4000, 44100)
    assert window.filling(count) == surplus


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".m4v"])
def test_the_index_of_a_file_lies_in_front(suffix: str, tmp_path: Path) -> None:
    """So that players on the net can begin before the file is there; in memory, nobody plays."""
    video, out = write_clip(tmp_path / "in.mp4", 10, 25), tmp_path / f"out{suffix}"
    set_soundtrack(video, torch.full((2, 4410), 0.1), 44100, out)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    encode_video(random(3, 48, 64, 3), 10, out)
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_quality_reaches_the_encoder() -> None:
    """x264 writes its settings into the file; VP9 has another scale for the same quality."""
    for options, said in (({}, b"crf=17.0"), ({"crf": 4}, b"crf=4.0"), ({"crf": 30}, b"crf=30.0")):
        out = io.BytesIO()
        encode_video(random(2, 48, 64, 3), 10, out, **options)
        assert said in out.getvalue()
    for crf, scaled in ((0, "0"), (17, "21"), (51, "63")):
        stream: Any = SimpleNamespace(codec_context=SimpleNamespace())
        made: Any = SimpleNamespace(add_stream=lambda *_, stream=stream, **__: stream)
        encode._video_encoder(made, CONTAINERS[".webm"], Fraction(10), torch.zeros(4, 4, 3), crf, "medium")
        assert stream.options["crf"] == scaled and stream.bit_rate == 0


def test_sound_is_written_half_a_second_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video, asked = write_clip(tmp_path / "in.mp4", 10, 5), []
    inner = mux.sound_track

    def watched(*given: Any) -> Any:
        track = inner(*given)
        write = track.write
        track.write = lambda until: (asked.append(until), write(until))
        return track

    monkeypatch.setattr(mux, "sound_track", watched)
    set_soundtrack(video, torch.full((2, 3 * 44100), 0.1), 44100, tmp_path / "out.mp4")
    assert asked[:-1] == [p[2] + Fraction(1, 2) for p in packets(str(video))]
    assert asked[-1] is None


def test_samples_are_told_as_they_are_read(tmp_path: Path) -> None:
    path, told = write_audio(tmp_path / "a.wav", random(2, 30000) - 0.5, 44100), []
    samples.read_samples(path, Fraction(0), on_samples=told.append)
    assert told == sorted(told) and len(told) > 2 and told[-1] == 30000


def test_seeking_aims_a_second_earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first packets behind a seek lack what overlaps them; near the beginning nothing is sought."""
    path, targets = write_audio(tmp_path / "a.wav", random(2, 5 * 44100) - 0.5, 44100), []

    def watched(container: Any, offset: int, stream: Any) -> bool:
        targets.append(offset * stream.time_base)
        return sought(container, offset, stream)

    monkeypatch.setattr(samples, "sought", watched)
    whole = samples.read_samples(path, Fraction(0)).waveform
    for start in (Fraction(1, 2), Fraction(2), Fraction(5, 2), Fraction(7, 2)):
        found = samples.read_samples(path, start).waveform
        assert torch.equal(found, whole[:, round(start * 44100) :])
    assert targets == [Fraction(3, 2), Fraction(5, 2)]


@pytest.mark.parametrize(("jump", "silence"), [(2, 2), (59, 59), (61, 0), (5000, 0)])
def test_a_gap_is_silence_and_a_jump_of_the_clock_is_none(jump: int, silence: int, tmp_path: Path) -> None:
    """As where two broadcasts are joined together: nobody wants an hour of silence between them."""
    path, rate = tmp_path / "a.mka", 44100
    with av.open(str(path), "w", format="matroska") as out:
        stream = out.add_stream("pcm_s16le", rate=rate)
        stream.layout = "mono"
        for second in range(2):
            frame = av.AudioFrame.from_ndarray((random(1, rate) * 9000).short().numpy(), format="s16", layout="mono")
            frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
            frame.pts = second * (1 + jump) * rate
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    assert read_audio(path).shape[1] == pytest.approx((2 + silence) * rate, abs=rate // 100)
