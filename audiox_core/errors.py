"""The errors that users may see: each names the input and ends with the way out."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AudioXError(Exception):
    """Base of all errors raised on purpose by this library."""


class ConfigError(AudioXError, ValueError):
    """A config.json that is broken, incomplete or describes another model."""


class CheckpointError(AudioXError, ValueError):
    """A weights file that is unreadable, unsafe, or does not fit its config."""


class MediaError(AudioXError, ValueError):
    """A video, image or audio file that cannot be read or written."""


class HiddenPicturesError(MediaError):
    """A cut between keyframes, in a container that cannot hide the pictures before it: they had to be encoded."""


class InputError(AudioXError, ValueError):
    """An argument outside its range, or an unknown name."""


class SamplingError(AudioXError, ArithmeticError):
    """Latents that became NaN or infinite while sampling."""


class ModelNotFound(AudioXError, FileNotFoundError):
    """Model files that are neither on disk nor downloadable.

    missing are the published names of the files, folder is where they go; both empty where a path was asked for.
    """

    missing: tuple[str, ...] = ()
    folder: Path | None = None


class OutOfMemory(AudioXError, MemoryError):
    """Neither the device nor the fallbacks had room; says what was needed and which option to turn."""


def nearest(name: str, valid: list[str]) -> str:
    """A sentence that offers the valid names, the most alike first."""
    return f"{alike(name, valid)} Valid: {', '.join(valid)}."


def alike(name: str, valid: list[str], most: int = 3) -> str:
    """A question that offers the names most like this one; nothing where none is."""
    from difflib import get_close_matches

    close = get_close_matches(name, valid, n=most, cutoff=0.4)
    return f" Did you mean {' or '.join(repr(c) for c in close)}?" if close else ""


def interruption(error: BaseException) -> BaseException | None:
    """Ctrl-C, or another wish that the program end, if that is what an error comes from; else None.

    A library that is interrupted while it is imported may raise an ImportError in its place.
    """
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if not isinstance(found, Exception | SystemExit | GeneratorExit):
            return found
        seen.add(id(found))
        found = found.__cause__ if found.__suppress_context__ else found.__cause__ or found.__context__
    return None
