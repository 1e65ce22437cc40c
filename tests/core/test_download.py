"""Downloads from a server on this machine through the real huggingface_hub: whole, resumed, cancelled, damaged."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import huggingface_hub
import pytest

from audiox_core.weights import download as module
from audiox_core.weights.download import Released, download_file

CONTENT = bytes(range(256)) * 200
MODEL = Released("Toy", "owner/toy", "0123456789abcdef", ("model.ckpt",), "Free.")


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
    class Cancelled(Exception):
        pass

    def cancel(file: str, done: int, total: int) -> None:
        raise Cancelled

    hub.content = CONTENT[:1000]  # what arrives before the user cancels
    with pytest.raises(Cancelled):
        download_file(MODEL, "model.ckpt", tmp_path, cancel)
    assert not (tmp_path / "model.ckpt").exists()
    hub.content = CONTENT
    path = download_file(MODEL, "model.ckpt", tmp_path)
    assert hub.ranges == [None, "bytes=1000-"]
    assert path.read_bytes() == CONTENT


def test_damaged_part_is_thrown_away(hub: type[Hub], tmp_path: Path) -> None:
    part = tmp_path / f".model.ckpt.{MODEL.revision[:12]}.part"
    part.write_bytes(b"x" * 500)
    with pytest.raises(OSError, match="damaged"):
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
