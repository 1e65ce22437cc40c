"""Downloads from a server on this machine through the real huggingface_hub: whole, resumed, cancelled, damaged."""

from __future__ import annotations

import hashlib
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from inspect import signature
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub.file_download
import huggingface_hub.utils
import pytest

from audiox_core.weights import download as module
from audiox_core.weights.download import Released, download_file

CONTENT = bytes(range(256)) * 200
MODEL = Released("Toy", "owner/toy", "0123456789abcdef", ("model.ckpt", "parts/vae.ckpt", "other/vae.ckpt"), "Free.")


class Cancelled(Exception):
    """What a user interface raises."""


def cancel(file: str, done: int, total: int) -> None:
    raise Cancelled


class Hub(BaseHTTPRequestHandler):
    """The part of the hub's protocol that a download needs."""

    content, etag = CONTENT, hashlib.sha256(CONTENT).hexdigest()
    ranges: ClassVar[list[str | None]]

    def answer(self) -> bytes:
        if "missing" in self.path:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return b""
        part = self.headers.get("Range")
        start = int(part.removeprefix("bytes=").split("-")[0]) if part else 0
        body = self.content[start:]
        self.send_response(206 if part else 200)
        self.send_header("X-Repo-Commit", MODEL.revision)
        self.send_header("ETag", f'"{self.etag}"')
        self.send_header("Content-Length", str(len(body)))
        if part:
            self.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        self.end_headers()
        return body

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.ranges.append(self.headers.get("Range"))
        self.wfile.write(self.answer())

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    class Fresh(Hub):
        ranges: ClassVar[list[str | None]] = []

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Fresh)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()

    def url(repo: str, file: str, *, revision: str) -> str:
        return f"http://127.0.0.1:{server.server_port}/{repo}/resolve/{revision}/{file}"

    monkeypatch.setattr(huggingface_hub, "hf_hub_url", url)
    yield Fresh
    server.shutdown()
    server.server_close()
    thread.join()


def test_whole_file(hub: type[Hub], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    steps: list[tuple[str, int, int]] = []
    path = download_file(MODEL, "model.ckpt", tmp_path / "é" / "Toy", lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT
    assert steps[-1] == ("model.ckpt", len(CONTENT), len(CONTENT))
    assert [p.name for p in path.parent.iterdir()] == ["model.ckpt"]
    assert not capfd.readouterr().err, "progress is shown once, by whom it is told to"
    download_file(MODEL, "model.ckpt", path.parent)
    assert hub.ranges == [None], "a file that is there is not fetched again"


def test_cancelled_download_goes_on_where_it_ended(hub: type[Hub], tmp_path: Path) -> None:
    hub.content = CONTENT[:1000]  # what arrives before the user cancels
    with pytest.raises(Cancelled):
        download_file(MODEL, "model.ckpt", tmp_path, cancel)
    assert not (tmp_path / "model.ckpt").exists()
    hub.content = CONTENT
    path = download_file(MODEL, "model.ckpt", tmp_path)
    assert hub.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == CONTENT


def part_of(file: Path) -> Path:
    return file.with_name(f".{file.name}.{MODEL.revision[:12]}.part")


def test_nested_files_of_one_release_go_on_each_for_itself(hub: type[Hub], tmp_path: Path) -> None:
    """Two of them have the same name in different folders."""
    hub.content = CONTENT[:1000]
    for file in MODEL.files:
        with pytest.raises(Cancelled):
            download_file(MODEL, file, tmp_path / "Toy", cancel)
        assert part_of(tmp_path / "Toy" / file).read_bytes() == CONTENT[:1000]
    hub.content = CONTENT
    hub.ranges.clear()
    for file in MODEL.files:
        told: list[tuple[str, int, int]] = []
        path = download_file(MODEL, file, tmp_path / "Toy", lambda *step, told=told: told.append(step))
        assert path == tmp_path / "Toy" / file
        assert path.read_bytes() == CONTENT
        assert {step[0] for step in told} == {file}
    assert hub.ranges == ["bytes=1000-"] * 3
    left = sorted(path.relative_to(tmp_path / "Toy").as_posix() for path in tmp_path.rglob("*") if path.is_file())
    assert left == sorted(MODEL.files)


def test_a_file_that_is_there_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", None)
    (tmp_path / "model.ckpt").write_bytes(b"mine")
    assert download_file(MODEL, "model.ckpt", tmp_path, cancel).read_bytes() == b"mine"
    assert [path.name for path in tmp_path.iterdir()] == ["model.ckpt"]


def test_checking_reports_and_can_be_cancelled(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six gigabytes take half a minute. A cancelled check costs no second download."""
    monkeypatch.setattr(module, "BLOCK", len(CONTENT) // 4)
    target = tmp_path / "model.ckpt"
    part_of(target).write_bytes(CONTENT)
    with pytest.raises(Cancelled):
        download_file(MODEL, "model.ckpt", tmp_path, cancel)
    assert not target.exists()
    told: list[tuple[str, int, int]] = []
    assert download_file(MODEL, "model.ckpt", tmp_path, lambda *step: told.append(step)).read_bytes() == CONTENT
    assert told == [("model.ckpt", len(CONTENT), len(CONTENT))] * 4
    assert not hub.ranges


@pytest.mark.skipif(
    "timeout" not in signature(huggingface_hub.utils.WeakFileLock).parameters, reason="huggingface_hub before 0.28"
)
def test_waiting_for_another_download_reports_and_can_be_cancelled(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits sees how far the other one is, and gets its file."""
    monkeypatch.setattr(module, "PATIENCE", 0.05)
    started, go_on = threading.Event(), threading.Event()
    results: list[Path] = []

    def pause(file: str, done: int, total: int) -> None:
        started.set()
        assert go_on.wait(60)

    def first() -> None:
        results.append(download_file(MODEL, "parts/vae.ckpt", tmp_path, pause))

    other = threading.Thread(target=first)
    other.start()
    try:
        assert started.wait(60)
        with pytest.raises(Cancelled):
            download_file(MODEL, "parts/vae.ckpt", tmp_path, cancel)
        told: list[tuple[str, int, int]] = []

        def listen(*step: Any) -> None:
            told.append(step)
            if len(told) == 3:
                go_on.set()

        results.append(download_file(MODEL, "parts/vae.ckpt", tmp_path, listen))
    finally:
        go_on.set()
        other.join()
    assert results == [tmp_path / "parts" / "vae.ckpt"] * 2
    assert told[0] == ("parts/vae.ckpt", len(CONTENT), len(CONTENT)), "the other one's bytes on disk"
    assert hub.ranges == [None], "it was downloaded once"
    assert [path.name for path in results[0].parent.iterdir()] == ["vae.ckpt"]


def test_older_libraries_wait_without_a_word(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """huggingface_hub before 0.28 has no patience to set."""
    real, asked = huggingface_hub.utils.WeakFileLock, list[Path]()

    def lock(lock_file: Path) -> AbstractContextManager[Any]:
        asked.append(lock_file)
        return real(lock_file)

    monkeypatch.setattr(huggingface_hub.utils, "WeakFileLock", lock)
    assert download_file(MODEL, "model.ckpt", tmp_path).read_bytes() == CONTENT
    assert asked


def test_the_library_writes_to_a_file_with_a_name(
    hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """hf_transfer takes the name of the file that it is given, and takes nothing but a str for one."""
    names: list[Any] = []

    def get(url: str, output: Any, **options: Any) -> None:
        names.append(output.name)
        output.write(CONTENT)

    monkeypatch.setattr(huggingface_hub.file_download, "http_get", get)
    download_file(MODEL, "model.ckpt", tmp_path)
    assert names == [str(part_of(tmp_path / "model.ckpt"))]


def test_downloading_leaves_the_process_as_it_was(hub: type[Hub], tmp_path: Path) -> None:
    before = list(warnings.filters), dict(os.environ)
    download_file(MODEL, "model.ckpt", tmp_path)
    assert (list(warnings.filters), dict(os.environ)) == before


def test_damaged_part_is_thrown_away(hub: type[Hub], tmp_path: Path) -> None:
    part = tmp_path / f".model.ckpt.{MODEL.revision[:12]}.part"
    part.write_bytes(b"x" * 500)
    with pytest.raises(OSError, match=r"model\.ckpt: the download is damaged and was removed; try again"):
        download_file(MODEL, "model.ckpt", tmp_path)
    assert not list(tmp_path.glob("*.ckpt"))
    assert not part.exists()
    part.write_bytes(b"x" * (len(CONTENT) + 1))
    assert download_file(MODEL, "model.ckpt", tmp_path).read_bytes() == CONTENT


def test_full_disk_is_told_beforehand(hub: type[Hub], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 100

    monkeypatch.setattr(module.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(OSError, match=r"0\.0 GB are needed"):
        download_file(MODEL, "model.ckpt", tmp_path)
    assert not hub.ranges


def test_missing_file(hub: type[Hub], tmp_path: Path) -> None:
    with pytest.raises(OSError, match="404"):
        download_file(MODEL, "missing.ckpt", tmp_path)
