"""Small media files for the tests' input folder, and measures of the files that ComfyUI wrote."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


@dataclass(frozen=True)
class Sound:
    """Decoded audio of a file: `samples` (C, N) float32 in -1..1."""

    samples: np.ndarray
    rate: int

    @property
    def seconds(self) -> float:
        return self.samples.shape[1] / self.rate

    @property
    def rms(self) -> float:
        return float(np.sqrt(np.mean(np.square(self.samples, dtype=np.float64))))


def make_video(
    path: Path, seconds: float = 4.0, fps: int = 25, size: tuple[int, int] = (160, 96), *, sound: bool = True
) -> Path:
    """An MP4 (H.264, a key frame a second) with a moving bar and, with `sound`, a 440 Hz stereo AAC tone."""
    width, height = size
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=fps, options={"preset": "veryfast", "g": str(fps)})
        picture.width, picture.height, picture.pix_fmt = width, height, "yuv420p"
        tone = container.add_stream("aac", rate=44100, layout="stereo") if sound else None
        column = np.arange(width)[None, :, None]
        for number in range(round(seconds * fps)):
            bar = abs(column - (number * 3) % width) < width // 10
            pixels = np.where(bar, (250, 180, 40), (20, 40 + number % 64, 90)).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(np.repeat(pixels, height, axis=0), format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, fps)
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        if tone is not None:
            for frame in _audio_frames(_tone(seconds, 44100), 44100):
                container.mux(tone.encode(frame))
            container.mux(tone.encode(None))
    return path


def make_sound(path: Path, seconds: float = 4.0, rate: int = 44100, channels: int = 2) -> Path:
    """A 440 Hz tone, as WAV or FLAC after the suffix."""
    codec = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame"}[path.suffix.lower()]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, layout="mono" if channels == 1 else "stereo")
        for frame in _audio_frames(_tone(seconds, rate)[:channels], rate):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def make_image(path: Path, size: tuple[int, int] = (160, 96)) -> Path:
    """A picture with a colour gradient."""
    width, height = size
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[..., 0] = np.linspace(0, 255, width)[None, :]
    pixels[..., 1] = np.linspace(0, 255, height)[:, None]
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    codec = {".png": "png", ".jpg": "mjpeg", ".jpeg": "mjpeg", ".webp": "libwebp"}[path.suffix.lower()]
    context = av.CodecContext.create(codec, "w")
    context.width, context.height, context.time_base = width, height, Fraction(1, 1)
    context.pix_fmt = "rgb24" if codec == "png" else "yuvj420p" if codec == "mjpeg" else "yuv420p"
    encoded = context.encode(frame.reformat(format=context.pix_fmt)) + context.encode(None)
    path.write_bytes(b"".join(bytes(packet) for packet in encoded))
    return path


def read_sound(path: Path) -> Sound:
    """The first audio stream of a file, whole."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[0]
        resampler = av.AudioResampler(format="fltp", layout=stream.layout, rate=stream.rate)
        frames = [new for old in container.decode(stream) for new in resampler.resample(old)]
        frames += resampler.resample(None)
        return Sound(np.concatenate([frame.to_ndarray() for frame in frames], axis=1), stream.rate)


def stream_kinds(path: Path) -> list[str]:
    """Kinds of a file's streams, sorted: ["audio", "video"]."""
    with av.open(str(path)) as container:
        return sorted(stream.type for stream in container.streams)


def picture_seconds(path: Path) -> float:
    """Length of the first video stream, from its packets' times."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        begin = min(packet.pts for packet in packets)
        return float((max(p.pts + (p.duration or 0) for p in packets) - begin) * stream.time_base)


def picture_packets(path: Path) -> list[tuple[str, float]]:
    """(hash, seconds after the first) of every packet of the first video stream."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        packets = [packet for packet in container.demux(stream) if packet.size]
        begin = packets[0].pts
        times = [round(float((packet.pts - begin) * stream.time_base), 4) for packet in packets]
        hashes = [hashlib.sha256(bytes(packet)).hexdigest()[:16] for packet in packets]
        return list(zip(hashes, times, strict=True))


def _tone(seconds: float, rate: int) -> np.ndarray:
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.stack([wave, wave]).astype(np.float32)  # (2, N)


def _audio_frames(samples: np.ndarray, rate: int) -> list[av.AudioFrame]:
    whole = np.ascontiguousarray(samples)  # (C, N)
    layout = "mono" if len(samples) == 1 else "stereo"
    frames = []
    for begin in range(0, whole.shape[1], 1024):
        part = np.ascontiguousarray(whole[:, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, begin, Fraction(1, rate)
        frames.append(frame)
    return frames
