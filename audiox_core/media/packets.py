"""The encoded pictures of a video on their way to another file: which are copied, and at which times."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any, NamedTuple

from ..errors import MediaError
from .checks import Number
from .streams import demuxed, nominal_rate

log = logging.getLogger("audiox")


# Packets of an excerpt: more than any decoder holds back before its first picture.
EXCERPT = 20


class _Stamp(NamedTuple):
    """A packet's times in ticks of its stream."""

    pts: int
    dts: int | None
    end: int
    is_keyframe: bool
    is_hidden: bool


class PictureTrack:
    """What is copied of an open video: the packets of a window of time, found by reading through the file
    once.

    `origin` is the time of the first picture that is shown, in seconds of the source's clock; `begin` its
    time in the copy; `length` the seconds from it to the end of the last one; `base` the length of its tick
    in seconds; `hidden` whether there are pictures that must be copied but not shown. `on_bytes` is told how
    far in the file the reading is, of how many bytes. Raises MediaError for sources without pictures, without
    presentation times, and for an empty window.
    """

    def __init__(
        self,
        container: Any,
        stream: Any,
        name: str,
        start: Number = 0.0,
        end: Number | None = None,
        on_bytes: Callable[[int, int], None] | None = None,
    ) -> None:
        self.name = name
        self.on_bytes = on_bytes
        self.codec: str = stream.codec_context.codec.canonical_name
        self.base = base = Fraction(stream.time_base)
        stamps = self._stamps(container, stream, base)
        shown = [s for s in stamps if not s.is_hidden]
        if not shown:
            raise MediaError(f"{name} has no pictures to copy. The file is broken or cut off: re-export it.")
        zero, over = min(s.pts for s in shown), max(shown).end  # the last one shown decides, as in decoding
        first = zero + round(Fraction(start) / base)
        last = over if end is None else min(over, zero + round(Fraction(end) / base))
        if not (start >= 0 and first < last):
            length = float((over - zero) * base)
            raise MediaError(
                f"{name}: no picture between start={float(start):g} s and end={end} s "
                f"(the pictures last {length:.3f} s). Choose another window."
            )
        self.skip = 0
        if start > 0:
            self.skip = max((i for i, s in enumerate(stamps) if s.is_keyframe and s.pts <= first), default=0)
        self.stop = max(i for i, s in enumerate(stamps) if not s.is_hidden and s.pts < last) + 1
        self.shift = first if start > 0 else 0
        self.hidden = any(s.is_hidden or (start > 0 and s.pts < first) for s in stamps[self.skip : self.stop])
        self.origin = first * base
        self.begin = (first - self.shift) * base
        self.length = (last - first) * base
        self.decode_times = _decode_times(stamps, stream, base)[self.skip : self.stop]

    def _stamps(self, container: Any, stream: Any, base: Fraction) -> list[_Stamp]:
        """The times of all packets, in order of decoding."""
        reordered = stream.codec_context.has_b_frames
        stamps = []
        size = container.size
        for packet in _packets(container, stream, self.name):
            if self.on_bytes is not None:
                self.on_bytes(packet.pos or 0, size)
            pts = packet.pts if packet.pts is not None or reordered else packet.dts
            if pts is None or (reordered and container.format.name == "avi"):
                raise MediaError(
                    f"{self.name} ({container.format.name}, {self.codec}) does not say when its pictures are shown, "
                    "so they cannot be copied. Convert it to .mp4 first."
                )
            end = pts + (packet.duration or round(1 / nominal_rate(stream) / base))
            stamps.append(_Stamp(pts, packet.dts, end, packet.is_keyframe, packet.is_discard))
        return stamps

    def add_to(self, out: Any, stream: Any) -> Any:
        """A stream in the output container for copies of `stream`'s packets."""
        copy = out.add_stream_from_template(stream, opaque=True)
        try:
            copy.time_base = stream.time_base  # the same ticks, hence the same times to the last digit
        except RuntimeError:  # PyAV before 15 leaves the ticks to the container
            log.debug("the copied stream's time base cannot be set with this PyAV")
        if self.codec == "hevc" and out.format.name in ("mp4", "mov"):
            copy.codec_context.codec_tag = "hvc1"  # Apple's players refuse the other tag, hev1
        return copy

    def excerpt(self, container: Any, stream: Any) -> list[Any]:
        """The first packets to write, from a keyframe that is shown on."""
        found: list[Any] = []
        for index, packet in enumerate(_packets(container, stream, self.name)):
            if found or (index >= self.skip and packet.is_keyframe and not packet.is_discard):
                found.append(packet)
            if len(found) == EXCERPT or index >= self.stop:
                break
        return found

    def packets(self, container: Any, stream: Any, copy: Any) -> Iterator[Any]:
        """The packets to write, in order of decoding."""
        for index, packet in enumerate(_packets(container, stream, self.name)):
            if index >= self.stop:
                return
            if index < self.skip:
                continue
            packet.pts = (packet.dts if packet.pts is None else packet.pts) - self.shift
            packet.dts = min(self.decode_times[index - self.skip] - self.shift, packet.pts)
            packet.stream = copy
            yield packet


def _packets(container: Any, stream: Any, name: str) -> Iterator[Any]:
    """The stream's packets without the empty one at the end; a container that breaks off ends them."""

    def broken(error: Any) -> None:
        log.warning("%s breaks off (%s); continuing with what came before.", name, error.strerror or error)

    for packet in demuxed(container, stream, broken):
        if packet is not None and packet.size:
            yield packet


def _decode_times(stamps: list[_Stamp], stream: Any, base: Fraction) -> list[int]:
    """Decoding times of all packets, always rising. Matroska leaves out the first ones: they are counted back
    from the next.
    """
    step = max(round(1 / nominal_rate(stream) / base), 1)
    known = next((i for i, s in enumerate(stamps) if s.dts is not None), None)
    times: list[int] = []
    for i, stamp in enumerate(stamps):
        if stamp.dts is not None:
            time = stamp.dts
        elif known is not None and i < known:
            time = (stamps[known].dts or 0) - (known - i) * step
        else:
            time = times[-1] + 1 if times else stamp.pts
        times.append(time if not times else max(time, times[-1] + 1))
    return times
