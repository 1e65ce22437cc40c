"""Prompts that somebody wrote down with the moments from which they hold: "0:12 thunder", one a line."""

from __future__ import annotations

import re

from ..errors import InputError

# 12, 12.5, 0:12, 1:02.5 or 1:00:02, then a blank or the end of the line.
TIME = re.compile(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9}(?:\.\d*)?|\.\d+)(?:[\s\u3000]+(.*))?", re.ASCII)
MEND = 'Write a time and a prompt on each line, such as "0:12 thunder".'


def parse_prompts(text: str, name: str = "text") -> list[tuple[float, str]]:
    """The prompts of a text and the seconds from which each holds, in the order of time.

    A line is a time (minutes:seconds, hours:minutes:seconds, or seconds), a blank and a prompt: "0:00 rain",
    "1:02.5 birds", "12 thunder". A text whose first line has no time is one prompt from 0 on, of all its lines. Empty
    lines count for nothing. Raises InputError, which begins with `name` and the line's number, for a line without a
    time or without a prompt among others that have them, for 60 or more seconds after a colon, and for a moment with
    two prompts; and for an empty text.
    """
    if not isinstance(text, str):
        raise InputError(f"{name}: expected a text, got {type(text).__name__}. {MEND}")
    lines = [(number, line.strip()) for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line]
    if not lines:
        raise InputError(f"{name}: is empty. {MEND}")
    if not TIME.fullmatch(lines[0][1]):
        return [(0.0, " ".join(line for _, line in lines))]
    found: dict[float, str] = {}
    for number, line in lines:
        when, prompt = _parsed(line, f"{name}, line {number}")
        if when in found:
            raise InputError(f"{name}, line {number}: {when:g} s already has a prompt. Keep one of the two.")
        found[when] = prompt
    return sorted(found.items())


def parse_time(text: str, name: str = "at") -> float:
    """The seconds that a time such as "12", "0:12" or "1:02.5" names. Raises InputError, which begins with `name`."""
    read = TIME.fullmatch(text.strip())
    if read is None or read[4]:
        raise InputError(f"{name}: {text[:60]!r} is not a time. Give seconds, or minutes and seconds such as 0:12.")
    return _seconds(read, name)


def _parsed(line: str, place: str) -> tuple[float, str]:
    read = TIME.fullmatch(line)
    if read is None:
        raise InputError(f"{place}: {line[:60]!r} has no time. {MEND}")
    if not read[4]:
        raise InputError(f"{place}: {line[:60]!r} has no prompt. {MEND}")
    return _seconds(read, place), read[4]


def _seconds(read: re.Match[str], place: str) -> float:
    hours, minutes, seconds = read[1], read[2], float(read[3])
    if minutes is not None and (seconds >= 60 or (hours is not None and int(minutes) >= 60)):
        raise InputError(f"{place}: {read[0].split()[0]} is not a time: what follows a colon must be below 60.")
    return int(hours or 0) * 3600.0 + int(minutes or 0) * 60.0 + seconds
