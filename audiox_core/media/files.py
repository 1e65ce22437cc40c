"""Opening, describing and safely writing media files: what frames, audio and muxing share."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Union

from ..errors import MediaError

Source = Union[str, "os.PathLike[str]", BinaryIO]
Target = Union[str, "os.PathLike[str]", BytesIO]

IMAGE_SUFFIXES = frozenset([".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".tga", ".ppm"])


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds. Absent parts are None (numbers and names) or False (`has_...`).

    `duration` and `start` are seconds, `fps` the average frame rate; `width` and `height` are those of the
    upright picture, `rotation` the counter-clockwise turn in degrees (0, 90, 180 or 270) that made it
    upright. A still image has no duration.
    """

    name: str
    container: str
    has_video: bool
    has_audio: bool
    is_image: bool = False
    duration: float | None = None
    start: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    video_codec: str | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    channels: int | None = None


def pyav() -> Any:
    """The PyAV module; MediaError with the install command if it is missing."""
    try:
        import av
    except ImportError as error:
        raise MediaError(
            f"Reading and writing media needs the package av (PyAV), which cannot be imported ({error}). "
            "Install it with: pip install av"
        ) from error
    return av


def name_of(source: Source | Target) -> str:
    """How messages call a source: its path, or the kind of object it is."""
    if isinstance(source, (str, os.PathLike)):
        return os.fspath(source)
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else f"<{type(source).__name__} in memory>"


@contextmanager
def open_media(source: Source) -> Iterator[Any]:
    """An open PyAV input container of a path or of a seekable binary file object (read from its first byte,
    not closed).

    Raises MediaError for what is missing, empty, not media, or breaks while the container is in use.
    """
    av, name = pyav(), name_of(source)
    with _byte_source(source, name) as file:
        try:
            # metadata in odd encodings must not stop anyone from reading the pictures
            with av.open(file, "r", metadata_errors="replace") as container:
                yield container
        except av.FFmpegError as error:
            raise MediaError(
                f"{name} cannot be read ({error.strerror or error}). "
                "The file is broken, cut off, or no media file: re-export it, or give another one."
            ) from error


@contextmanager
def _byte_source(source: Source, name: str) -> Iterator[Any]:
    """What PyAV shall open: an absolute path, or a file object at its start."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        _check_file(path, name)
        if path.suffix.lower() in IMAGE_SUFFIXES:  # FFmpeg would read % in an image's name as a numbered sequence
            with path.open("rb") as file:
                yield file
        else:
            yield str(path.absolute())  # absolute, so that no name can be mistaken for a protocol
        return
    if not (hasattr(source, "read") and hasattr(source, "seek") and source.seekable()):
        raise MediaError(f"{name} is not a path or a seekable binary file. Give a path, or read it into a BytesIO.")
    if source.seek(0, os.SEEK_END) == 0:
        raise MediaError(f"{name} is empty (0 bytes). Give a file with content.")
    source.seek(0)
    yield source


def _check_file(path: Path, name: str) -> None:
    """MediaError unless `path` is a readable file with content."""
    try:
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.stat().st_size == 0:
            raise MediaError(f"{name} is empty (0 bytes). Re-export it, or give another file.")
        path.open("rb").close()
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist. Check the path (looked in {path.parent.absolute()}).") from error
    except OSError as error:
        raise MediaError(
            f"{name} cannot be opened ({error.strerror or error}). Give the path of a readable file."
        ) from error


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


def probe(source: Source) -> MediaInfo:
    """What `source` holds; one frame is decoded, to know whether it can be and how it is turned."""
    av, name = pyav(), name_of(source)
    with open_media(source) as container:
        sound = audio_stream(container)
        cover = av.stream.Disposition.attached_pic
        has_video = any(not s.disposition & cover for s in container.streams.video)
        if sound is None and not has_video:
            raise MediaError(f"{name} has neither video nor audio. Give a media file.")
        seconds = None if container.duration is None else container.duration / av.time_base
        facts: dict[str, Any] = {"duration": seconds}
        if sound is not None:
            facts.update(audio_codec=sound.codec_context.codec.canonical_name)
            facts.update(sample_rate=sound.codec_context.sample_rate, channels=sound.codec_context.channels)
        if has_video:
            facts.update(_probe_video(container, video_stream(container, name), name))
        return MediaInfo(name, container.format.name, has_video, sound is not None, **facts)


def _probe_video(container: Any, stream: Any, name: str) -> dict[str, Any]:
    frame = next(container.decode(stream), None)
    if frame is None:
        raise MediaError(f"{name} has a video stream without a single frame. Re-export it, or give another file.")
    still, turns = is_image(container), quarter_turns(frame)
    upright = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    facts = {
        "is_image": still,
        "start": frame.time,
        "fps": None if still else float(nominal_rate(stream)),
        "width": upright[0],
        "height": upright[1],
        "rotation": turns * 90,
        "video_codec": stream.codec_context.codec.canonical_name,
    }
    if still:
        facts["duration"] = None
    elif stream.duration is not None:
        facts["duration"] = float(stream.duration * stream.time_base)
    return facts


def suffix_of(target: Target, valid: tuple[str, ...]) -> str:
    """The extension of `target` in lower case, "" for a BytesIO. Raises MediaError unless it is one of
    `valid`.
    """
    if isinstance(target, BytesIO):
        return ""
    suffix = Path(target).suffix.lower()
    if suffix not in valid:
        raise MediaError(f"{name_of(target)}: unknown extension {suffix!r}. Valid: {', '.join(valid)}.")
    return suffix


def check_writable(target: Target) -> None:
    """Makes the folder of `target` and tries to write there, so that long work is not lost at its end. Leaves
    no file.

    Raises MediaError for a place that cannot be written.
    """
    if isinstance(target, BytesIO):
        return
    path, name = Path(target).absolute(), name_of(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        trial = _beside(path)
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise _unwritable(name, error) from error


@contextmanager
def whole_file(target: Target) -> Iterator[str | BytesIO]:
    """Where to write so that `target` is either complete or untouched.

    For a path: the name of a temporary file beside it, renamed at the end and removed if the block raises.
    For a BytesIO: the object itself, cut back to its old length if the block raises.
    """
    av, name = pyav(), name_of(target)
    if isinstance(target, BytesIO):
        before = len(target.getbuffer())
        done = False
        try:
            yield target
            done = True
        finally:
            if not done:
                target.truncate(before)
                target.seek(before)
        return
    check_writable(target)
    path = Path(target).absolute()
    part = _beside(path)
    try:
        yield str(part)
        os.replace(part, path)
    except (OSError, av.FFmpegError) as error:
        raise _unwritable(name, error) from error
    finally:
        part.unlink(missing_ok=True)


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part")


def _unwritable(name: str, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or error
    return MediaError(f"{name} cannot be written ({reason}). Choose a folder that exists, is writable and has space.")
