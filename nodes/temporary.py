"""Files in ComfyUI's temp folder: each goes when nothing refers to it any more, at the latest with ComfyUI."""

from __future__ import annotations

import contextlib
import os
import uuid
import weakref
from pathlib import Path

from . import host


def temporary_file(suffix: str) -> Path:
    """A free name in ComfyUI's temp folder."""
    return host.temp_folder() / f"audiox_{uuid.uuid4().hex}{suffix}"


class KeptFile(str):
    """A file's path; the file is deleted when nothing refers to this object any more, as a VIDEO made of it does."""

    def __new__(cls, path: Path) -> KeptFile:
        self = super().__new__(cls, path)
        weakref.finalize(self, _delete, str(path))
        return self


def _delete(path: str) -> None:
    with contextlib.suppress(OSError):  # on some systems a file that is being read can't be deleted
        os.unlink(path)
