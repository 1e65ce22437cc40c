"""The pictures of a video in the order players show them, with their times, from a given time on."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import MediaError
from .reading import Source, name_of, open_media, pyav, sought
from .streams import demuxed, is_image, nominal_rate, quarter_turns, video_stream

log = logging.getLogger("audiox")

# How much earlier than the wanted time to seek (seconds): keyframes may be shown later than they are decoded,
# the pictures before an open group's keyframe cannot be decoded, and some containers find keyframes only
# roughly.
SEEK_MARGINS = (0, 2, 12)
# Formats whose times after a seek are guessed (MPEG program streams say few of them): decoded from their first packet.
GUESSED = ("mpeg",)
# Each decoder thread holds pictures of its own: fewer threads for large pictures bound the memory.
THREAD_BYTES = 32 << 20


class Pictures:
    """Iterates over (time, frame): seconds since the first picture as Fraction, and PyAV's VideoFrame.

    The first one is at or before `start`; each later one has a later time. Timestamps that are missing or run
    backwards are counted on at the nominal rate. `still` tells an image file. Packets that cannot be decoded
    are skipped and counted in `broken`. After the last picture, `end` is the time at which it stops being
    shown; `announced` is the duration that the container promised, or None.
    """

    def __init__(self, source: Source, start: Fraction = Fraction(0)) -> None:
        self.source, self.name, self.start = source, name_of(source), start
        self.still = False
        self.broken = 0
        self.announced: Fraction | None = None
        self.end = Fraction(0)

    def __iter__(self) -> Iterator[tuple[Fraction, Any]]:
        if self.start > 1:
            with open_media(self.source) as container:
                served = yield from self._sought(container)
            if served:
                return
        with open_media(self.source) as container:
            yield from Run(self, container).pictures()

    def _sought(self, container: Any) -> Generator[tuple[Fraction, Any], None, bool]:
        """The pictures from just before `start` on, by seeking. Returns whether that worked; if not, nothing
        was yielded.
        """
        run = Run(self, container)
        first = next(run.decode(), None)
        if first is None or run.stamp(first) is None or container.format.name in GUESSED:
            return False
        origin = run.seconds(run.stamp(first))
        for margin in SEEK_MARGINS:
            target = origin + self.start - margin
            if target <= origin:
                return False
            if not sought(container, int(target / run.base), run.stream):
                return False  # it is decoded from its first packet
            frames = run.decode(sought=True)
            head = next(frames, None)
            stamp = None if head is None else run.stamp(head)
            if stamp is not None and run.seconds(stamp) - origin <= self.start:
                yield from run.pictures(head, frames, origin)
                return True
        return False


class Run:
    """One pass over an open container's pictures."""

    def __init__(self, owner: Pictures, container: Any) -> None:
        self.owner, self.container = owner, container
        self.stream = stream = video_stream(container, owner.name)
        # AVI stores no presentation times: what FFmpeg guesses for B-frames is out of order, the decoding
        # times are not
        self.field = "dts" if container.format.name == "avi" else "pts"
        self.base = Fraction(stream.time_base)
        self.step = 1 / nominal_rate(stream)
        self.packets_end: Fraction | None = None
        self._last: int | None = None  # the presentation time of the packet that ends there
        owner.still = is_image(container)
        # Matroska tells no stream's length: where FFmpeg has one nevertheless, it is that of the longest, mostly sound.
        told = not container.format.name.startswith("matroska")
        if stream.duration is not None and told and not owner.still:
            owner.announced = stream.duration * self.base
        context = stream.codec_context
        picture_bytes = max(context.width * context.height * 3 // 2, 1)
        stream.thread_type = "AUTO"
        context.thread_count = min(os.cpu_count() or 1, 16, max(2, THREAD_BYTES // picture_bytes))

    def stamp(self, item: Any) -> int | None:
        """The timestamp of a packet or frame."""
        return getattr(item, self.field)

    def seconds(self, stamp: int | None) -> Fraction:
        return Fraction(0) if stamp is None else stamp * self.base

    def pictures(
        self, head: Any = None, frames: Iterator[Any] | None = None, origin: Fraction | None = None
    ) -> Iterator[tuple[Fraction, Any]]:
        """Times and frames: `head`, then `frames` (all that can be decoded, if None), counted from `origin`
        (the first one).
        """
        last: Fraction | None = None
        frames = self.decode() if frames is None else frames
        for frame in frames if head is None else _chain(head, frames):
            stamp = self.stamp(frame)
            time = self.seconds(stamp)
            if last is not None and (stamp is None or time <= last):
                time = last + self.step
            origin, last = (time if origin is None else origin), time
            yield time - origin, frame
        if last is not None and origin is not None:
            end = last + self.step
            if self.packets_end is not None and self.field == "pts":
                end = max(self.packets_end, last + min(self.step, self.base))
            self.owner.end = end - origin

    def decode(self, sought: bool = False) -> Iterator[Any]:
        """Frames in order of presentation; after a seek only from the first keyframe on."""
        floor: int | None = None
        for packet in self._packets():
            if packet is not None and packet.size:
                if sought and floor is None:
                    floor = self.stamp(packet) if packet.is_keyframe else None
                    if floor is None:
                        continue
                self._note_end(packet)
            for frame in self._frames(packet):
                stamp = self.stamp(frame)
                if floor is None or stamp is None or stamp >= floor:
                    yield frame

    def last_end(self) -> Fraction | None:
        """When the last picture stops being shown, in the container's clock; only the packets from the last
        keyframe on are read. None where the container cannot be sought or says no times.
        """
        self.packets_end = self._last = None
        if not sought(self.container, self.container.duration or 0):
            return None
        for packet in self._packets():
            if packet is not None and packet.size:
                self._note_end(packet)
        return self.packets_end

    def _packets(self) -> Iterator[Any]:
        return demuxed(self.container, self.stream, self._note_broken)

    def _frames(self, packet: Any) -> list[Any]:
        try:
            if packet is not None and packet.is_corrupt:
                self._note_broken("corrupt packet")
                return []
            return self.stream.codec_context.decode(packet if packet is not None and packet.size else None)
        except EOFError:
            return []
        except pyav().FFmpegError as error:
            self._note_broken(error)
            return []

    def _note_broken(self, reason: object) -> None:
        self.owner.broken += 1
        log.debug("%s: %s", self.owner.name, reason)

    def _note_end(self, packet: Any) -> None:
        if packet.pts is None or packet.is_discard:
            return
        # The last one that is shown decides: where pictures wait for later ones, the lengths of packets are how long
        # they are decoded.
        if self._last is None or packet.pts > self._last:
            self._last = packet.pts
            self.packets_end = packet.pts * self.base + (packet.duration * self.base if packet.duration else self.step)


def _chain(head: Any, rest: Iterator[Any]) -> Iterator[Any]:
    yield head
    yield from rest


class Upright:
    """Turns frames into what players show: (H, W, 3) uint8 RGB, rotated by their metadata, alpha dropped."""

    def __init__(self) -> None:
        pyav()  # says so if it is missing
        from av.video.reformatter import Colorspace, VideoReformatter

        self.reformatter = VideoReformatter()  # one for all frames: making it costs more than a small picture
        # a colour space must be named for PyAV before 17 to heed the video's own; for RGB it has no other effect
        self.colours = Colorspace.DEFAULT

    def __call__(self, frame: Any) -> Tensor:
        try:
            rgb = self.reformatter.reformat(frame, format="rgb24", dst_colorspace=self.colours)
        except (pyav().FFmpegError, ValueError) as error:
            raise MediaError(
                f"Pictures of pixel format {frame.format.name} cannot be converted to RGB ({error}). "
                "Convert the video to H.264 with yuv420p first."
            ) from error
        lines = torch.frombuffer(rgb.planes[0], dtype=torch.uint8).view(rgb.height, -1)  # (H, line), with padding
        picture = lines[:, : rgb.width * 3].unflatten(1, (rgb.width, 3))  # (H, W, 3), not copied
        turns = quarter_turns(frame)
        return torch.rot90(picture, turns, dims=(0, 1)) if turns else picture
