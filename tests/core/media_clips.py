"""Tiny videos and sounds for the media tests: each picture carries its number as black and white blocks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from torch import Tensor

WIDTH, HEIGHT = 64, 48
COLUMNS, ROWS = 8, 2  # 16 bits
FAST = {"preset": "ultrafast", "g": "12", "bf": "2", "b-adapt": "0"}
CODECS = {".webm": "libvpx-vp9", ".avi": "mpeg4", ".mpg": "mpeg2video"}
OPTIONS = {"libx264": FAST, "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}}


def picture(number: int, width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """(height, width, 3) uint8 with the bits of `number`, lowest first, in two rows of eight blocks."""
    bits = [(number >> bit) & 1 for bit in range(COLUMNS * ROWS)]
    blocks = np.array(bits, dtype=np.uint8).reshape(ROWS, COLUMNS) * 255
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.repeat(blocks[rows][:, columns, None], 3, axis=2)


def numbers(frames: Tensor) -> list[int]:
    """The numbers in pictures (F, 3, H, W)."""
    height, width = frames.shape[-2:]
    rows = (torch.arange(ROWS) * 2 + 1) * height // (2 * ROWS)
    columns = (torch.arange(COLUMNS) * 2 + 1) * width // (2 * COLUMNS)
    bits = (frames.float().mean(1)[:, rows][:, :, columns] > 127).flatten(1).long()  # (F, 16)
    return (bits * 2 ** torch.arange(COLUMNS * ROWS)).sum(1).tolist()


def nearest(times: list[Fraction], end: Fraction, start: Fraction, rate: int, count: int) -> list[int]:
    """The rule in its plainest form: for each wanted time search all pictures; past the end repeat the last choice."""
    ticks = math.lcm(start.denominator, rate, *{t.denominator for t in times})  # a second
    pictures = np.array([int(t * ticks) for t in times])
    chosen: list[int] = []
    for k in range(count):
        wanted = start + Fraction(k, rate)
        best = int(np.abs(pictures - int(wanted * ticks)).argmin())  # the first of equals
        chosen.append(best if wanted < end else chosen[-1])
    return chosen


def write_clip(
    path: Any,
    count: int,
    fps: Fraction | float,
    *,
    times: Sequence[Fraction] | None = None,
    codec: str | None = None,
    form: str | None = None,
    options: dict[str, str] | None = None,
    first: Fraction = Fraction(0),
    sound: Tensor | None = None,
    size: tuple[int, int] = (WIDTH, HEIGHT),
    flags: dict[str, str] | None = None,
    title: str | None = None,
) -> Any:
    """A video of `count` numbered pictures at a constant rate, or at `times` (seconds), from `first` on."""
    rate = Fraction(fps).limit_denominator(1001)
    base = 1 / rate if times is None and first == 0 else Fraction(1, 90000)
    codec = codec or CODECS.get(Path(str(path)).suffix, "libx264")
    with av.open(path, "w", format=form, options=flags or {}) as out:
        if title is not None:
            out.metadata["title"] = title
        stream = out.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.codec_context.time_base = base
        stream.options = OPTIONS.get(codec, {}) if options is None else options
        track = None
        if sound is not None:
            track = out.add_stream("aac", rate=44100, options={"aac_pns": "0"})
            track.layout, track.bit_rate = "stereo", 320_000
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24")
            time = first + (number / rate if times is None else times[number])
            frame.pts, frame.time_base = round(time / base), base
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
        if track is not None and sound is not None:
            block = av.AudioFrame.from_ndarray(sound.contiguous().numpy(), format="fltp", layout="stereo")
            block.sample_rate, block.time_base, block.pts = 44100, Fraction(1, 44100), round(first * 44100)
            out.mux(track.encode(block))
            out.mux(track.encode(None))
    return path


def write_sound(
    path: Any, samples: np.ndarray, rate: int, codec: str, kind: str, layout: str, form: str | None = None
) -> Any:
    """A sound file of samples (C, N), given in what the sample format `kind` needs."""
    with av.open(path, "w", format=form) as out:
        stream = out.add_stream(codec, rate=rate)
        stream.layout, stream.format = layout, kind
        if codec == "aac":
            stream.bit_rate = 320_000
        array = samples if kind.endswith("p") else samples.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(array), format=kind, layout=layout)
        frame.sample_rate, frame.time_base, frame.pts = rate, Fraction(1, rate), 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def turned(path: Path, degrees: int) -> Path:
    """The mp4 file with a display matrix that turns its picture clockwise by 0, 90, 180 or 270 degrees."""
    a, b = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    one = 1 << 16
    matrix = b"".join(
        n.to_bytes(4, "big", signed=True) for n in (a * one, b * one, 0, -b * one, a * one, 0, 0, 0, 1 << 30)
    )
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4
    assert data[header] == 0  # version 0: the matrix lies 40 bytes behind the version
    data[header + 40 : header + 76] = matrix
    path.write_bytes(data)
    return path


def packets(source: Any) -> list[tuple[bytes, Fraction, Fraction]]:
    """Bytes, presentation and decoding time (seconds) of all picture packets, in order."""
    with av.open(source) as container:
        stream = container.streams.video[0]
        base = stream.time_base
        return [(bytes(p), p.pts * base, (p.dts or 0) * base) for p in container.demux(stream) if p.size]
