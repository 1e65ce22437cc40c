"""What can be found wrong with the files of a run, read or written, before anything is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError, MediaError
from .audio import AUDIO_SUFFIXES, read_audio
from .containers import VIDEO_SUFFIXES
from .drawn import PICTURE_SUFFIXES
from .probing import probe
from .reading import name_of
from .writing import check_writable

if TYPE_CHECKING:
    from ..models.settings import Settings

BRIEF = 0.1  # seconds of a sound that are read to know whether there is any


def check_file(name: str, path: str | os.PathLike[str]) -> None:
    """Raises MediaError unless an input file is there."""
    shown_name = name_of(path)
    try:
        file = Path(path)
        there, folder, plain = file.exists(), file.is_dir(), file.is_file()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{name}: {shown_name} is not a path ({reason}). Check it.") from error
    if not there:
        raise MediaError(f"{name}: {shown_name}: no such file. Check the path.")
    if folder:
        raise MediaError(f"{name}: {shown_name or '.'} is a folder. Give one file.")
    if not plain:
        raise MediaError(f"{name}: {shown_name} is a pipe or device. Give an ordinary file.")


def check_output(
    target: str | os.PathLike[str],
    *,
    video: str | os.PathLike[str] | None = None,
    inputs: Iterable[Any] = (),
    name: str = "output",
    overwrite: bool = True,
) -> bool:
    """Whether a sound's output is a video, after all checks of its name: ending, folder, and that it is no input.

    inputs are the files that are read beside the video. Raises InputError for an ending that nothing is written in,
    or a video file without a video; MediaError where nothing can be written, or a file is and overwrite is False.
    """
    suffix = Path(target).suffix.lower()
    to_video = suffix in VIDEO_SUFFIXES
    if not to_video and suffix not in AUDIO_SUFFIXES:
        valid = ", ".join(sorted({*AUDIO_SUFFIXES, *VIDEO_SUFFIXES}))
        raise InputError(f"{name} {name_of(target)}: unknown ending {suffix!r}. Use one of {valid}.")
    if to_video and video is None:
        raise InputError(f"{name} {name_of(target)}: a video file needs --video; for the sound alone use .wav or .flac")
    _check_place(target, (video, *inputs), name, overwrite)
    return to_video


def check_picture(
    target: str | os.PathLike[str],
    *,
    inputs: Iterable[Any] = (),
    name: str = "spectrogram",
    overwrite: bool = True,
) -> None:
    """Raises InputError unless a picture can be written under this name, MediaError where nothing can be.

    inputs are the files that are read, which it must not replace; without overwrite it replaces none.
    """
    suffix = Path(target).suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise InputError(f"{name} {name_of(target)}: unknown ending {suffix!r}. Use {', '.join(PICTURE_SUFFIXES)}.")
    _check_place(target, inputs, name, overwrite)


def _check_place(target: str | os.PathLike[str], inputs: Iterable[Any], name: str, overwrite: bool) -> None:
    check_writable(target, [source for source in inputs if source is not None])
    if not overwrite and os.path.exists(target):
        raise MediaError(
            f"{name} {name_of(target)}: already exists. Use --overwrite to replace it, or choose another name."
        )


def check_sources(given: Settings) -> None:
    """Raises InputError for a file that is given as what it isn't, or whose end is before the start that is asked for.

    Opens the files, and decodes a picture of each at most, and a moment of the sound where a start in it is given.
    Raises MediaError for unreadable ones, and for a sound that ends before its start.
    """
    if given.video is not None:
        info = probe(given.video)
        if not info.has_video:
            raise InputError(f"video: {name_of(given.video)} has no pictures. Give it as audio.")
        if info.duration is not None and not info.is_image and given.start >= info.duration:
            raise InputError(
                f"start is {given.start:g} s, the video lasts {info.duration:.2f} s. Choose an earlier start."
            )
    if given.image is not None:
        info = probe(given.image)
        if not info.has_video:
            raise InputError(f"image: {name_of(given.image)} has no picture. Give a picture, or this as audio.")
        if not info.is_image and (info.duration or 0) * (info.fps or 0) > 1.5:
            raise InputError(
                f"image: {name_of(given.image)} is a video of {info.duration:.2f} s. Give it as video, or one picture."
            )
    if isinstance(given.audio, str | os.PathLike):
        if not probe(given.audio).has_audio:
            raise InputError(f"audio: {name_of(given.audio)} has no sound. Give a file that has.")
        if given.audio_start > 0:  # what a file says of its length need not be true, so that its sound is asked
            read_audio(given.audio, start=given.audio_start, seconds=BRIEF)
