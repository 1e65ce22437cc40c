"""What the options of the commands that make a sound mean: settings by their names, prompts of files and moments."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..errors import InputError

LARGEST_TEXT = 1_000_000  # bytes of a file with prompts


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of a generation that a command has, by their names in Settings."""
    from ..models.settings import Settings

    given = {field.name: getattr(args, field.name) for field in fields(Settings) if hasattr(args, field.name)}
    text, at = prompts_of(args.text, args.at or ())
    return given | {"text": text, "at": at}


def prompts_of(
    text: Any, at: Any, folder: str | Path = ".", name: str = "--text", moment: str = "--at"
) -> tuple[Any, list[tuple[Any, Any]]]:
    """The prompt that a sound begins with, and those that begin later, as pairs of seconds and a prompt.

    text may name a file in `folder` ("@prompts.txt"), which holds one prompt, or lines such as "0:12 thunder"; at are
    pairs of a time and a prompt. Raises InputError for a moment with two prompts and as parse_prompts, MediaError for
    a file that isn't there.
    """
    from ..models.timed import parse_prompts

    timed = list(_moments(at, moment))
    if isinstance(text, str) and text.startswith("@"):
        found = parse_prompts(_read(Path(folder) / text[1:], name), f"{name} {text}")
        text = found.pop(0)[1] if found[0][0] == 0 else None
        timed = found + timed
    times = [when for when, _ in timed]
    for when in times:
        if times.count(when) > 1:
            raise InputError(f"{moment}: two prompts start at {when} s. Keep one of them.")
    return text, timed


def _moments(at: Any, name: str) -> Iterable[tuple[Any, Any]]:
    from ..models.timed import parse_prompts, parse_time

    if isinstance(at, str):
        yield from parse_prompts(at, name)
        return
    if not isinstance(at, list | tuple) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in at):
        raise InputError(f'{name}: give pairs of a time and a prompt, such as [["0:12", "thunder"]].')
    for when, prompt in at:
        yield (parse_time(when, name) if isinstance(when, str) else when), prompt


def _read(path: Path, name: str) -> str:
    from ..media.given import check_file
    from ..media.reading import name_of

    check_file(name, path)
    try:
        if path.stat().st_size > LARGEST_TEXT:
            raise InputError(f"{name}: {name_of(path)} is too large for prompts. Give a file of text.")
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: {name_of(path)} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except OSError as error:
        raise InputError(f"{name}: {name_of(path)} cannot be read ({error.strerror or error}). Check it.") from error
