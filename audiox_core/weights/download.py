"""Released files over the network: pinned, resumable, checked, with progress that can cancel."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

# (file name, bytes on disk, all bytes). What it raises cancels the download; the next one goes on from there.
OnDownload = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Released:
    """A published model: where it is, and exactly which state of it."""

    name: str
    repo: str
    revision: str
    files: tuple[str, ...]
    licence: str
    repo_aliases: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        return f"https://huggingface.co/{self.repo}"


class _Part(io.FileIO):
    """A growing file that tells of its growth."""

    def __init__(self, path: Path, on_bytes: Callable[[int], None] | None):
        super().__init__(path, "ab")
        self.on_bytes = on_bytes

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while len(left):
            left = left[super().write(left) :]
        if self.on_bytes is not None:
            self.on_bytes(self.tell())
        return len(data)


class _NoBar:
    """Stands in for a progress bar."""

    def update(self, count: int) -> None:
        """Shows nothing."""


def download_file(released: Released, file: str, folder: Path, on_progress: OnDownload | None = None) -> Path:
    """One file of a released model in a folder, going on where an earlier attempt ended.

    Checked by size and, where it is published, by SHA-256. Without on_progress huggingface_hub shows its own
    bar. Raises OSError or the HTTP library's errors.
    hf_hub_download would do, but newer ones throw unfinished files away and can't always be cancelled.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import WeakFileLock, build_hf_headers

    target, part = folder / file, folder / f".{file}.{released.revision[:12]}.part"
    lock = part.with_suffix(".lock")
    folder.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(lock):
        if not target.is_file():  # another process may have fetched it while this one waited
            url = hf_hub_url(released.repo, file, revision=released.revision)
            about = get_hf_file_metadata(url, token=False)
            size = about.size or 0
            done = part.stat().st_size if part.is_file() else 0
            if done > size:
                part.unlink()
                done = 0
            free = shutil.disk_usage(folder).free
            if free < size - done:
                raise OSError(f"{folder} has {free / 1e9:.1f} GB free, and {(size - done) / 1e9:.1f} GB are needed")

            def on_bytes(count: int) -> None:
                if on_progress is not None:
                    on_progress(file, count, size)

            # The library's own bar is for those who don't show progress themselves.
            quiet = on_progress is not None and "_tqdm_bar" in signature(http_get).parameters
            bar: dict[str, Any] = {"_tqdm_bar": _NoBar()} if quiet else {}
            with _Part(part, on_bytes) as output:
                http_get(
                    about.location,
                    output,
                    resume_size=done,
                    headers=build_hf_headers(token=False),
                    expected_size=about.size,
                    displayed_filename=f"{released.name} {file}",
                    **bar,
                )
            _verify(part, about.size, about.etag)
            os.replace(part, target)
    with suppress(OSError):  # still held by another process on Windows
        lock.unlink()
    return target


def _verify(part: Path, size: int | None, etag: str | None) -> None:
    """Throws a wrong file away: the next attempt starts afresh. Large files' etags are their SHA-256."""
    wrong = size is not None and part.stat().st_size != size
    if not wrong and etag is not None and len(etag) == 64:
        digest = hashlib.sha256()
        with open(part, "rb") as file:
            while block := file.read(1 << 22):
                digest.update(block)
        wrong = digest.hexdigest() != etag
    if wrong:
        part.unlink()
        raise OSError(f"{part.name}: the download is damaged and was removed; try again")
