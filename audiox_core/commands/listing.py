"""Lists of sounds to be made: .jsonl, .csv, or a folder of videos, as rows of options by their names."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import InputError, nearest

# What a row may say beside the settings: how it is written.
OUTPUT = "output"
SOUNDTRACK = {"mix": bool, "keep_rest": bool, "keep": str, "duck": float, "fade_in": float, "fade_out": float}
WRITTEN = {OUTPUT: str, "takes": int, "spectrogram": bool, **SOUNDTRACK}
TRUTHS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
TIMES = {"seconds", "start", "audio_start"}  # which may also be written as 0:30
LARGEST_LIST = 100_000_000  # bytes


@dataclass(frozen=True)
class Row:
    """What a list says of one sound; number is its line in .jsonl, else its place. error: why it says nothing."""

    number: int
    options: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


def read_list(path: Path) -> tuple[list[Row], Path]:
    """The rows of a list, and the folder from which its files are looked for.

    Raises InputError for a list that is no list of these kinds, or has none; what is wrong with a single row stands in
    the row.
    """
    from ..media.containers import VIDEO_SUFFIXES
    from ..media.reading import name_of

    name = f"LIST {name_of(path)}"
    if path.is_dir():
        videos = sorted(p.name for p in path.iterdir() if p.suffix.lower() in VIDEO_SUFFIXES and p.is_file())
        rows = [Row(i, {"video": video, OUTPUT: video}) for i, video in enumerate(videos, 1)]
        folder, missing = path, f"has no videos ({', '.join(VIDEO_SUFFIXES)}). Give a folder with videos"
    else:
        readers = {".jsonl": _json_rows, ".csv": _table_rows}
        if path.suffix.lower() not in readers:
            raise InputError(f"{name}: unknown ending {path.suffix!r}. Give a .jsonl, a .csv, or a folder of videos.")
        rows = list(readers[path.suffix.lower()](_bytes(path, name), name))
        folder, missing = path.parent, "has no rows. Write one for each sound"
    if not rows:
        raise InputError(f"{name}: {missing}.")
    return rows, folder


def kinds() -> dict[str, type | None]:
    """All names that a row may have, and what their values are; None for a value of several kinds."""
    from ..models.settings import Settings

    found: dict[str, type | None] = dict(WRITTEN)
    for setting in fields(Settings):
        words = str(setting.type).replace(" | None", "")
        found[setting.name] = {"str": str, "int": int, "float": float, "bool": bool}.get(words)
    return found


def check_names(names: Any) -> None:
    """Raises InputError, which offers the nearest ones, for a name that no row may have."""
    from ..models.settings import ELSEWHERE

    known = kinds()
    for name in names:
        if name in ELSEWHERE:
            raise InputError(f"{name}: unknown setting. Here it is called {ELSEWHERE[name]!r}.")
        if name not in known:
            raise InputError(f"{str(name)[:60]}: unknown setting.{nearest(str(name), sorted(known))}")


def _bytes(path: Path, name: str) -> bytes:
    from ..media.given import check_file

    check_file("LIST", path)
    try:
        if path.stat().st_size > LARGEST_LIST:
            raise InputError(f"{name}: is larger than {LARGEST_LIST // 1_000_000} MB. Split it.")
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror or error}). Check it.") from error


def _json_rows(content: bytes, name: str) -> Iterator[Row]:
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except (ValueError, RecursionError) as error:  # ValueError: also bytes that are no UTF-8
            reason = getattr(error, "msg", None) or getattr(error, "reason", None) or "too deep"
            yield Row(number, error=f"is not JSON ({reason}). Write one object per line.")
            continue
        if isinstance(found, dict):
            yield Row(number, {key: value for key, value in found.items() if value is not None})
        else:
            yield Row(number, error='is not a JSON object. Write one such as {"text": "rain"}.')


def _table_rows(content: bytes, name: str) -> Iterator[Row]:
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        header = [column.strip() for column in next(reader, [])]
        lines = [line for line in reader if any(cell.strip() for cell in line)]
    except UnicodeDecodeError as error:
        raise InputError(f"{name}: is not UTF-8 text ({error.reason}). Save it as UTF-8.") from error
    except csv.Error as error:
        raise InputError(f"{name}: is not a valid table ({error}). Check its quotes.") from error
    try:
        check_names(header)
    except InputError as error:
        raise InputError(f"{name}, header: {error}") from error
    if len(set(header)) < len(header):
        raise InputError(f"{name}: a name appears twice in its header. Keep each one once.")
    kind = kinds()
    for number, line in enumerate(lines, 1):
        if len(line) > len(header):
            yield Row(number, error=f"has {len(line)} cells, the header {len(header)}. Put quotes around commas.")
            continue
        try:
            cells = [(column, cell.strip()) for column, cell in zip(header, line, strict=False)]
            yield Row(number, {column: _typed(column, cell, kind[column]) for column, cell in cells if cell})
        except InputError as error:
            yield Row(number, error=str(error))


def _typed(name: str, cell: str, kind: type | None) -> Any:
    """A cell as a value of its kind."""
    if kind is bool and cell.lower() not in TRUTHS:
        raise InputError(f"{name}: expected true or false, got {cell[:60]!r}")
    if kind is bool or (kind is None and cell.lower() in ("true", "false")):
        return TRUTHS[cell.lower()]
    if kind not in (int, float) or cell == "all" or (name in TIMES and ":" in cell):
        return cell
    try:
        return kind(cell)
    except ValueError:
        wanted = "a whole number" if kind is int else "a number"
        raise InputError(f"{name}: expected {wanted}, got {cell[:60]!r}") from None
