"""The samples of a file's sound between two moments, exact to the sample, at the file's own rate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..errors import MediaError
from .checks import MOST_SAMPLES
from .reading import Source, name_of, open_media, pyav, sought
from .streams import audio_stream, demuxed

log = logging.getLogger("audiox")

# Formats whose timestamps after a seek are exact to the sample. All others are decoded from their first
# packet, which is exact too, and quick: decoding sound runs hundreds of times faster than it plays.
SEEKABLE = frozenset(("mov", "mp4", "wav", "w64", "aiff", "flac", "caf", "au"))
# Seeking aims this much earlier (seconds): the first packets after a seek lack the overlap with the one
# before.
SEEK_MARGIN = 1
# A timestamp this far from the running count (seconds) is a gap in the sound; less is rounding of the
# container's clock.
GAP = Fraction(1, 20)
# A longer one (seconds) is a jump of the clock, as between two broadcasts joined together, and no silence.
MAX_GAP = 60
# FFmpeg's sample formats as numpy's.
NUMBERS = {"u8": "u1", "s16": "i2", "s32": "i4", "s64": "i8", "flt": "f4", "dbl": "f8"}
# No encoder's packets are longer than this (samples).
MAX_FILLING = 8192


class Samples(NamedTuple):
    """Stereo samples (2, n) float32 at `rate`; `first` is the index of the first one, counted from the origin
    of times.

    `announced` is the duration in seconds that the container promises for its sound, or None.
    """

    waveform: Tensor
    rate: int
    first: int
    announced: float | None


def read_samples(
    source: Source,
    begin: Fraction,
    length: Fraction | None = None,
    origin: Fraction | None = None,
    on_samples: Callable[[int], None] | None = None,
) -> Samples:
    """The sound from `begin` seconds on, for `length` seconds or to the end, mono doubled, of more than two
    channels the first two.

    Times count from `origin` in the container's clock, or from the first sample if None. Gaps are silence.
    The answer is shorter than asked where the sound ends, and empty where it has none. `on_samples` is told
    how many have been read; it may raise to stop. Raises MediaError for files without sound, broken or endless
    ones, and NaN or infinity.
    """
    name = name_of(source)
    with open_media(source) as container:
        stream = audio_stream(container)
        if stream is None:
            raise MediaError(f"{name} has no audio stream. Give a file with sound.")
        window = _Window(name, container, stream, begin, length, origin)
        pieces, count = [], 0
        for piece in window.pieces():
            pieces.append(piece)
            count += piece.shape[1]
            if on_samples is not None:
                on_samples(count)
            if count > MOST_SAMPLES:
                raise MediaError(f"{name}: its sound is longer than {MOST_SAMPLES} samples. Give a shorter part of it.")
        announced = _announced(container, stream)
    if window.rate == 0 and not window.broken:
        raise MediaError(f"{name}: its sound is empty (0 samples). Give a file with sound.")
    if window.rate == 0:
        raise MediaError(
            f"{name}: no sound could be decoded ({window.broken} broken packets). "
            "The file is broken or cut off: re-export it, or give another one."
        )
    if window.broken:
        log.warning("%s: %d audio packets could not be decoded and are left out.", name, window.broken)
    waveform = torch.cat(pieces, dim=1) if pieces else torch.zeros(2, 0)  # (2, n)
    waveform = waveform[:, : waveform.shape[1] - window.filling(waveform.shape[1])]
    if not torch.isfinite(waveform).all():
        raise MediaError(f"{name}: the sound contains NaN or infinite samples. Export it again, without them.")
    return Samples(waveform, window.rate, window.first, announced)


def _announced(container: Any, stream: Any) -> float | None:
    """How many seconds a stream is said to last; of a container that tells only its whole length, if that is all."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.duration is None or len(container.streams) > 1:
        return None
    return float(container.duration / pyav().time_base)


class _Window:
    """Decodes one audio stream and keeps the samples of a window of time."""

    def __init__(
        self,
        name: str,
        container: Any,
        stream: Any,
        begin: Fraction,
        length: Fraction | None,
        origin: Fraction | None,
    ) -> None:
        self.name, self.container, self.stream = name, container, stream
        self.begin, self.length, self.origin = begin, length, origin
        self.base = Fraction(stream.time_base)
        self.rate = 0
        self.first = 0
        self.broken = 0
        self.packets_end: Fraction | None = None

    def pieces(self) -> Iterator[Tensor]:
        """Consecutive pieces (2, n) of the window, silence for gaps; sets `rate` and `first`."""
        frames = self._frames()
        head = next(frames, None)
        if head is None:
            return
        self.rate = head.sample_rate
        if self.origin is None:  # samples before time 0 are an encoder's run-in
            self.origin = max(self._time(head) or Fraction(0), Fraction(0))
        start = self.first = round(self.begin * self.rate)
        stop = None if self.length is None else start + round(self.length * self.rate)
        position: int | None = None  # where the running count stands
        done = start  # samples before this index have been yielded
        for frame in self._from(head, frames):
            if frame.sample_rate != self.rate:
                raise MediaError(
                    f"{self.name}: its sample rate changes from {self.rate} to {frame.sample_rate} Hz. "
                    "Convert it to a single rate."
                )
            position = self._position(frame, position)
            end = position + frame.samples
            last = end if stop is None else min(stop, end)
            if min(position, last) > done:
                yield torch.zeros(2, min(position, last) - done)
                done = min(position, last)
            if last > done:
                yield _stereo(frame)[:, done - position : last - position]
                done = last
            position = end
            if stop is not None and position >= stop:
                return

    def _from(self, head: Any, frames: Iterator[Any]) -> Iterator[Any]:
        """All frames, or those from shortly before the window where the format can be sought exactly."""
        assert self.origin is not None
        target = self.origin + self.begin - SEEK_MARGIN
        exact = SEEKABLE.intersection(self.container.format.name.split(",")) and self.base * self.rate <= 1
        time = self._time(head)
        if exact and time is not None and target > time + SEEK_MARGIN:
            if sought(self.container, int(target / self.base), self.stream):
                yield from self._frames()
                return
            log.debug("%s: cannot be sought; decoding it from its beginning", self.name)
        yield head
        yield from frames

    def _time(self, frame: Any) -> Fraction | None:
        return None if frame.pts is None else frame.pts * self.base

    def _position(self, frame: Any, count: int | None) -> int:
        """The index of the frame's first sample: the running count, unless the timestamp tells of a gap."""
        time = self._time(frame)
        if time is None:
            return count or 0
        assert self.origin is not None
        told = round((time - self.origin) * self.rate)
        if count is None or GAP * self.rate < told - count < MAX_GAP * self.rate:
            return told
        return count

    def filling(self, count: int) -> int:
        """How many of `count` decoded samples lie behind the end of the last packet: encoders fill it up, and
        containers with a fine clock tell by how much.
        """
        if self.packets_end is None or self.origin is None or self.base * self.rate > 1:
            return 0
        surplus = self.first + count - round((self.packets_end - self.origin) * self.rate)
        return surplus if 0 < surplus <= min(count, MAX_FILLING) else 0

    def _frames(self) -> Iterator[Any]:
        av = pyav()
        self.packets_end = None
        for packet in demuxed(self.container, self.stream, self._note_broken):
            if packet is not None and packet.pts is not None and packet.duration:
                self.packets_end = (packet.pts + packet.duration) * self.base
            try:
                yield from self.stream.codec_context.decode(packet if packet is not None and packet.size else None)
            except EOFError:
                return
            except av.FFmpegError as error:
                self._note_broken(error)

    def _note_broken(self, reason: object) -> None:
        self.broken += 1
        log.debug("%s: %s", self.name, reason)


def _stereo(frame: Any) -> Tensor:
    """(2, n) float32 in -1..1.

    Only the planes of the first two channels are touched: PyAV's own conversion looks for more of them behind
    the last one, and crashes where there are more than eight.
    """
    from av.audio.plane import AudioPlane

    def plane(index: int, numbers: int) -> np.ndarray:
        buffer: Any = AudioPlane(frame, index)
        return np.frombuffer(buffer, kind, numbers)

    kind = np.dtype(NUMBERS[frame.format.name.removesuffix("p")])
    channels, count = frame.layout.nb_channels, frame.samples
    if frame.format.is_planar:
        array = np.stack([plane(c, count) for c in range(min(channels, 2))])
    else:
        array = plane(0, count * channels).reshape(-1, channels).T[:2].copy()
    samples = torch.from_numpy(array)  # (1 or 2, n)
    if samples.dtype == torch.uint8:
        samples = (samples.float() - 128) / 128
    elif not samples.dtype.is_floating_point:
        samples = (samples.double() / (torch.iinfo(samples.dtype).max + 1)).float()
    return samples.float().expand(2, -1)
