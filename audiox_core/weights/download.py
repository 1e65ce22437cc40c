"""Released files over the network: pinned, resumable, checked, with progress that can cancel."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from typing import Any

# (file name, bytes on disk, all bytes). What it raises cancels the download; the next one goes on from there.
OnDownload = Callable[[str, int, int], None]
# Seconds of waiting for another process, and bytes of checking, between two words on the progress.
PATIENCE, BLOCK = 0.5, 16 << 20


@dataclass(frozen=True)
class Released:
    """A published model: where it is, and exactly which state of it. files are paths in its repository."""

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

    def __init__(self, path: Path, on_bytes: Callable[[int], None]):
        super().__init__(os.fspath(path), "ab")  # not the Path: some HTTP libraries take its name for a str
        self.on_bytes = on_bytes

    def write(self, data: Any) -> int:
        left = memoryview(data)
        while len(left):
            left = left[super().write(left) :]
        self.on_bytes(self.tell())
        return len(data)


class _NoBar:
    """Stands in for a progress bar."""

    def update(self, count: int) -> None:
        """Shows nothing."""


def download_file(released: Released, file: str, folder: Path, on_progress: OnDownload | None = None) -> Path:
    """One file of a released model in a folder, going on where an earlier attempt ended; file may be "a/b.ckpt".

    Checked by size and, where it is published, by SHA-256. on_progress is also told (with bytes that don't grow)
    while another process downloads the same file and while the file is checked. Without on_progress
    huggingface_hub shows its own bar. Raises OSError or the HTTP library's errors.
    hf_hub_download would do, but newer ones throw unfinished files away and can't always be cancelled.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    target = folder / file
    if target.is_file():
        return target
    part = target.with_name(f".{target.name}.{released.revision[:12]}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    about = get_hf_file_metadata(hf_hub_url(released.repo, file, revision=released.revision), token=False)
    size = about.size or 0

    def on_bytes(count: int) -> None:
        if on_progress is not None:
            on_progress(file, count, size)

    with _alone(part, on_bytes):
        if target.is_file():  # another process has fetched it while this one waited
            return target
        done = _size(part)
        if done > size:
            part.unlink()
            done = 0
        free = shutil.disk_usage(target.parent).free
        if free < size - done:
            raise OSError(f"{target.parent} has {free / 1e9:.1f} GB free, and {(size - done) / 1e9:.1f} GB are needed")
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
        _verify(part, target, about.size, about.etag, on_bytes)
        os.replace(part, target)
    return target


@contextmanager
def _alone(part: Path, on_bytes: Callable[[int], None]) -> Iterator[None]:
    """Holds the lock of an unfinished file; whoever waits for it is told how far the other one is."""
    from huggingface_hub.utils import WeakFileLock

    lock = part.with_suffix(".lock")
    # Before 0.28 the library waits as long as it takes, and without a word.
    patience: dict[str, Any] = {"timeout": PATIENCE} if "timeout" in signature(WeakFileLock).parameters else {}
    with ExitStack() as held:
        while True:
            try:
                held.enter_context(WeakFileLock(lock, **patience))
                break
            except TimeoutError:
                on_bytes(_size(part))
        yield
    with suppress(OSError):  # still held by another process on Windows
        lock.unlink()


def _size(part: Path) -> int:
    try:
        return part.stat().st_size
    except OSError:  # not there yet, or no longer
        return 0


def _verify(part: Path, target: Path, size: int | None, etag: str | None, on_bytes: Callable[[int], None]) -> None:
    """Throws a wrong file away: the next attempt starts afresh. Large files' etags are their SHA-256."""
    length = _size(part)
    wrong = size is not None and length != size
    if not wrong and etag is not None and len(etag) == 64:
        digest = hashlib.sha256()
        with open(part, "rb") as file:
            while block := file.read(BLOCK):
                on_bytes(length)
                digest.update(block)
        wrong = digest.hexdigest() != etag
    if wrong:
        part.unlink()
        raise OSError(f"{target}: the download is damaged and was removed; try again")
