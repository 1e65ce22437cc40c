"""What of a batch is finished: a small note for each row, beside the outputs.

A note a row, not one list of all: each is written whole by the one process that made the row, so that processes and
machines that share the folder need no lock.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.settings import Settings

log = logging.getLogger("audiox")

FOLDER = ".batch"


class Notes:
    """The notes in a folder of outputs, as they were when this was made."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.found = {note["output"]: note for note in self._read()}

    def finished(self, mark: str) -> list[str]:
        """The outputs that rows of this mark have finished, and whose files are still as they were written."""
        return [name for name, note in self.found.items() if note["row"] == mark and self._whole(note)]

    def begun(self, output: str, mark: str) -> bool:
        """Whether a row of this mark was begun under this name, and stopped: what lies there is its own."""
        note = self.found.get(output)
        return note is not None and note["row"] == mark and note["files"] is None

    def begin(self, output: str, mark: str) -> None:
        self._write({"output": output, "row": mark, "files": None})

    def finish(self, output: str, mark: str, files: Iterable[Path]) -> None:
        sizes = {os.path.relpath(file, self.home): file.stat().st_size for file in files}
        self._write({"output": output, "row": mark, "files": sizes})

    def _whole(self, note: Mapping[str, Any]) -> bool:
        files = note["files"] or {}
        return bool(files) and all(_size(self.home / name) == size for name, size in files.items())

    def _read(self) -> Iterable[dict[str, Any]]:
        for path in sorted((self.home / FOLDER).glob("*.json")):
            try:
                note = json.loads(path.read_bytes())
                named = isinstance(note["output"], str) and isinstance(note["row"], str)
                if named and isinstance(note["files"], dict | None):
                    yield note
                    continue
            except (OSError, ValueError, KeyError, TypeError, RecursionError):
                pass
            log.warning("%s is not a batch note and is ignored", path)

    def _write(self, note: Mapping[str, Any]) -> None:
        from ..media.writing import whole_file

        key = hashlib.sha256(str(note["output"]).encode("utf-8", "surrogateescape")).hexdigest()[:24]
        with whole_file(self.home / FOLDER / f"{key}.json") as part:
            Path(str(part)).write_text(json.dumps(note), encoding="ascii")


def mark_of(given: Settings, folder: Path, **more: Any) -> str:
    """What a row is known by: all its settings, its files, and more that its sound depends on.

    Of a file its path from the list's folder on, its size and the time it was written count. Its content would cost
    as much as copying all videos at each start; a file that is written again is a new one.
    """
    from ..models.settings import MEDIA_FILES

    settings = asdict(given) | {name: stamp(getattr(given, name), folder) for name in MEDIA_FILES}
    content = json.dumps([settings, more], sort_keys=True, default=str)
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()


def stamp(path: Any, folder: Path) -> list[Any] | None:
    """What a file is known by."""
    if path is None:
        return None
    found = os.stat(path)
    try:
        name = os.path.relpath(path, folder)
    except ValueError:  # on another drive of Windows
        name = os.path.abspath(path)
    return [name, found.st_size, found.st_mtime_ns]


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
