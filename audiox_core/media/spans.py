"""Stretches of time that somebody wrote down: "3-5, 8.2-9" in seconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import InputError
from .checks import LONGEST, real, shown

Span = tuple[float, float]
NUMBER = r"(-?(?:\d+\.?\d*|\.\d+))"
# A hyphen, or the dash that text programs put in its place.
PAIR = re.compile(rf"\s*{NUMBER}\s*[-\u2013]\s*{NUMBER}\s*", re.ASCII)
MEND = 'Write seconds as start-end with commas between, such as "3-5, 8.2-9".'


def parse_spans(text: str, name: str = "regions") -> list[tuple[float, float]]:
    """The stretches (start, end) in seconds that `text` names, such as "3-5, 8.2-9", in the order of time; those that
    touch or overlap become one.

    Raises InputError, which begins with `name`, for an empty text, what is no pair of numbers, times below 0 or
    beyond any film, and an end that does not come after its start.
    """
    if not isinstance(text, str):
        raise InputError(f"{name}: {type(text).__name__} is not text. {MEND}")
    if not text.strip():
        raise InputError(f"{name} is empty. {MEND}")
    return merged(read_spans(text, name))


def read_spans(text: str, name: str = "regions") -> list[tuple[float, float]]:
    """The same as they stand there, one by one, though they touch or overlap. An empty text: an empty list."""
    pairs = []
    for part in text.split(",") if text.strip() else ():
        found = PAIR.fullmatch(part)
        if found is None:
            raise InputError(f"{name}: {shown(part.strip())} is not a start and an end. {MEND}")
        pairs.append(_checked(float(found[1]), float(found[2]), name))
    return pairs


def check_spans(spans: str | Iterable[Sequence[Any]], name: str = "regions") -> list[tuple[float, float]]:
    """The same from pairs of numbers, or from text as `parse_spans` reads it. No pairs: an empty list."""
    if isinstance(spans, str):
        return parse_spans(spans, name)
    found: Any = spans
    try:
        pairs = [(start, end) for start, end in found]
    except (TypeError, ValueError):
        raise InputError(
            f"{name}: {shown(spans)} are not pairs of seconds. Give some like [(3, 5), (8.2, 9)]."
        ) from None
    return merged([_checked(start, end, name) for start, end in pairs])


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in the order of time; those that touch or overlap become one."""
    found: list[Span] = []
    for start, end in sorted(spans):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _checked(start: object, end: object, name: str) -> Span:
    mend = f" s. Give seconds from the beginning, 0 to {LONGEST}."
    first = float(real(start, f"{name}: start", mend, 0, LONGEST))
    last = float(real(end, f"{name}: end", mend, 0, LONGEST))
    if last <= first:
        raise InputError(f"{name}: {first:g}-{last:g} does not end after it starts. {MEND}")
    return first, last
