"""The streams of an open media file: which are its pictures and its sound, and facts about them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from ..errors import MediaError
from .reading import pyav


def video_stream(container: Any, name: str) -> Any:
    """The first stream of moving pictures or the still image; MediaError when there is only sound (cover art
    is no video).
    """
    av = pyav()
    for stream in container.streams.video:
        if stream.codec_context is not None and not stream.disposition & av.stream.Disposition.attached_pic:
            return stream
    sound = audio_stream(container)
    if sound is None:
        raise MediaError(f"{name} has no video stream. Give a video or an image.")
    raise MediaError(
        f"{name} has no video stream, only audio ({sound.codec_context.name}). "
        "Give a video or an image here, or use this file as the audio prompt."
    )


def audio_stream(container: Any) -> Any | None:
    """The first audio stream whose codec is known, or None."""
    return next((s for s in container.streams.audio if s.codec_context is not None), None)


def is_image(container: Any) -> bool:
    """Whether the container is a still picture (`png_pipe`, `image2`, ...)."""
    formats = container.format.name.split(",")
    return any(f == "image2" or f.endswith("_pipe") for f in formats)


def quarter_turns(frame: Any) -> int:
    """How many counter-clockwise quarter turns make the frame upright, from its display matrix."""
    return round(frame.rotation / 90) % 4


def nominal_rate(stream: Any) -> Fraction:
    """The stream's average frame rate; 25 where the container knows none."""
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def demuxed(container: Any, stream: Any, broken: Callable[[object], None]) -> Iterator[Any]:
    """The stream's packets, the last of them empty or None. A container that breaks off ends them, and
    `broken` is told why.
    """
    try:
        yield from container.demux(stream)
    except pyav().FFmpegError as error:
        broken(error)
        yield None
    except IndexError:  # PyAV stumbles at the end over streams that appeared on the way, as in damaged MPEG-TS
        yield None
