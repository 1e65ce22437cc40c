"""Where results go: a file that appears whole or not at all, and never in place of one that was read."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, Union

from ..errors import InputError, MediaError
from .reading import Source, name_of, pyav

Target = Union[str, "os.PathLike[str]", BytesIO]


def suffix_of(target: Target, valid: tuple[str, ...]) -> str:
    """The extension of `target` in lower case, "" for a BytesIO. Raises MediaError unless it is one of
    `valid`.
    """
    if isinstance(target, BytesIO):
        return ""
    if not isinstance(target, (str, os.PathLike)):
        raise InputError(f"{name_of(target)} is not something to write to. Give a path or a BytesIO.")
    suffix = Path(target).suffix.lower()
    if suffix not in valid:
        raise MediaError(f"{name_of(target)}: unknown extension {suffix!r}. Valid: {', '.join(valid)}.")
    return suffix


def check_writable(target: Target, inputs: Iterable[Source] = ()) -> None:
    """Makes the folder of `target` and tries to write there, so that long work is not lost at its end. Leaves
    no file.

    Raises MediaError for a place that cannot be written or is no ordinary file, and as `refuse_inputs` does.
    """
    refuse_inputs(target, inputs)
    if isinstance(target, BytesIO):
        return
    name = name_of(target)
    try:
        path = _real_path(target)
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError("it is a folder")
        if path.is_symlink():
            raise OSError("its links run in a circle")
        if path.exists() and not path.is_file():
            raise OSError("it is a pipe or device")
        trial = _beside(path)
        try:
            trial.touch()
        finally:
            trial.unlink(missing_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        raise _unwritable(name, error) from error


def refuse_inputs(target: Target, inputs: Iterable[Source]) -> None:
    """MediaError where `target` is one of the `inputs`, also under another name or through a link; InputError
    for the same BytesIO.
    """
    if isinstance(target, BytesIO):
        if any(source is target for source in inputs):
            raise InputError("video and target are the same object. Write into another BytesIO.")
        return
    for source in inputs:
        if _same_file(source, target):
            raise MediaError(
                f"{name_of(target)} is the file being read ({name_of(source)}), and would be lost. "
                "Write to another name."
            )


@contextmanager
def whole_file(target: Target, inputs: Iterable[Source] = ()) -> Iterator[str | BytesIO]:
    """Where to write so that `target` is either complete or untouched; `inputs` are what it must not replace.

    For a path: the name of a temporary file beside it, renamed at the end and removed if the block raises; a
    link is followed, and stays. For a BytesIO: the object itself, cut back to its old length if the block
    raises. Raises MediaError as `check_writable` does.
    """
    av, name = pyav(), name_of(target)
    check_writable(target, inputs)
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
    path = _real_path(target)
    part = _beside(path)
    try:
        yield str(part)
        os.replace(part, path)
    except (OSError, av.FFmpegError) as error:
        raise _unwritable(name, error) from error
    finally:
        part.unlink(missing_ok=True)


def _real_path(target: str | os.PathLike[str]) -> Path:
    """The path behind all links, so that renaming a file onto it replaces what they point to."""
    return Path(os.path.realpath(target))


def _same_file(source: Any, target: str | os.PathLike[str]) -> bool:
    """Whether `source`, a path or an open file, is the existing file `target`."""
    try:
        found = os.stat(source if isinstance(source, (str, os.PathLike)) else source.fileno())
        return os.path.samestat(found, os.stat(target))
    except (OSError, ValueError, AttributeError):  # one is absent, or bytes in memory
        return False


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.part")


def _unwritable(name: str, error: Exception) -> MediaError:
    reason = getattr(error, "strerror", None) or error
    return MediaError(f"{name} cannot be written ({reason}). Choose a folder that exists, is writable and has space.")
