"""Writing .safetensors: whole or not at all, never over another file, aligned, whatever interrupts it."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from audiox_core.errors import CheckpointError
from audiox_core.weights import tensors as module
from audiox_core.weights.tensors import read_tensors, write_tensors
from tests.forks import forked

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.float16)}
ROOT = Path(module.__file__).parents[2]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    state = {
        "wide": base.double(),
        "shared": base,
        "shared again": base,
        "view": base.T,
        "half": base[0].half(),
        "brain": base[1].bfloat16(),
        "scalar": torch.tensor(2.5),
        "odd": base.half().flatten()[:3],
        "eight": base.to(torch.float8_e4m3fn),
        "none": torch.empty(0, 3),
    }
    steps: list[tuple[int, int]] = []
    path = write_tensors(state, tmp_path / "new" / "é.safetensors", on_progress=lambda *step: steps.append(step))
    read = safetensors.torch.load_file(path)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[k].double(), v.double()) and read[k].dtype == v.dtype for k, v in state.items())
    assert steps[-1][0] == steps[-1][1] == sum(t.numel() * t.element_size() for t in state.values())
    assert all(torch.equal(t.double(), read[k].double()) for k, t in read_tensors(path).items())


@pytest.mark.parametrize("length", range(1, 10))
def test_every_tensor_lies_on_a_multiple_of_its_element_size(length: int, tmp_path: Path) -> None:
    """Whatever the length of the header and the order of the types."""
    types = [torch.float8_e5m2, torch.float32, torch.float16, torch.float64, torch.bfloat16]
    state = {"k" * (length + i): torch.ones(3).to(dtype) for i, dtype in enumerate(types)}
    content = write_tensors(state, tmp_path / "w.safetensors").read_bytes()
    header = int.from_bytes(content[:8], "little")
    entries = json.loads(content[8 : 8 + header])
    for key, tensor in state.items():
        assert (8 + header + entries[key]["data_offsets"][0]) % tensor.element_size() == 0, key


def test_views_are_written_as_they_look(tmp_path: Path) -> None:
    base = torch.arange(4.0)
    odd = {"negated": torch._neg_view(base), "repeated": base[:1].expand(3), "wanted": base.clone().requires_grad_()}
    read = read_tensors(write_tensors(odd, tmp_path / "w.safetensors"))
    assert read["negated"].tolist() == [-0.0, -1.0, -2.0, -3.0]
    assert read["repeated"].tolist() == [0.0, 0.0, 0.0]
    assert read["wanted"].tolist() == base.tolist()


@pytest.mark.parametrize("key", ["__metadata__", "\ud800", 3])
def test_names_that_no_file_can_hold(key: Any, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be a tensor's name; nothing was written"):
        write_tensors({key: torch.ones(1)}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("kind", ["sparse", "meta", "nested"])
def test_tensors_without_plain_numbers_are_refused(kind: str, tmp_path: Path) -> None:
    plain = torch.ones(2)
    tensor = {"sparse": plain.to_sparse, "meta": lambda: plain.to("meta")}.get(
        kind, lambda: torch.nested.nested_tensor([plain])
    )()
    with pytest.raises(CheckpointError, match="'odd' is sparse, nested or without numbers"):
        write_tensors({"a": torch.ones(1), "odd": tensor}, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


def test_progress_is_told_in_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 8)
    steps: list[tuple[int, int]] = []
    write_tensors(WEIGHTS, tmp_path / "w.safetensors", on_progress=lambda *step: steps.append(step))
    assert steps == [(8, 30), (16, 30), (24, 30), (30, 30)]


class Cancelled(Exception):
    """What a user interface raises."""


# A command line turns SIGTERM and SIGHUP into SystemExit.
@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, Cancelled, BrokenPipeError, FileExistsError])
@pytest.mark.parametrize("when", [0, 1])
def test_interrupted_writing_leaves_nothing(reason: type[BaseException], when: int, tmp_path: Path) -> None:
    def cancel(done: int, total: int) -> None:
        if (done == total) == when:
            raise reason

    with pytest.raises(reason):
        write_tensors(WEIGHTS, tmp_path / "w.safetensors", on_progress=cancel)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_signals_leave_nothing(tmp_path: Path) -> None:
    """As a command line handles them: by an exception."""
    imports = "import os, signal, sys, torch\nfrom audiox_core.weights.tensors import write_tensors\n"
    names, target = ("SIGTERM", "SIGHUP"), tmp_path / "target"
    target.mkdir()
    programs = [
        f"{imports}signal.signal(signal.{name}, lambda number, frame: sys.exit(128 + number))\n"
        f"hit = lambda done, total: os.kill(os.getpid(), signal.{name})\n"
        f"write_tensors({{'a': torch.ones(3)}}, {str(target / f'{name}.safetensors')!r}, on_progress=hit)\n"
        for name in names
    ]
    ended = forked(tmp_path, imports, programs)
    assert [done.returncode for done in ended] == [128 + getattr(signal, name) for name in names]
    assert not list(target.iterdir())


@pytest.fixture(params=["links", "no links"])
def disk(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that has hard links, and one that has none (FAT, some shares)."""
    if request.param == "no links":

        def refuse(*args: Any) -> None:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)


@pytest.mark.usefixtures("disk")
@pytest.mark.parametrize("early", [True, False])
def test_an_existing_file_is_never_overwritten(early: bool, tmp_path: Path) -> None:
    """Neither one that is there, nor one that comes while the new one is written."""
    target = tmp_path / "w.safetensors"

    def write(*progress: int) -> None:
        target.write_text("precious")

    if early:
        write()
    with pytest.raises(CheckpointError, match="already exists, and was left as it is"):
        write_tensors(WEIGHTS, target, on_progress=write)
    assert target.read_text() == "precious"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.skipif(os.name != "posix", reason="needs a right on Windows")
def test_a_link_is_not_written_through(tmp_path: Path) -> None:
    target = tmp_path / "w.safetensors"
    target.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match="already exists"):
        write_tensors(WEIGHTS, target)
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("disk")
def test_threads_that_write_one_file(tmp_path: Path) -> None:
    """All write at the same time, and one of them wins."""
    count, target = 4, tmp_path / "w.safetensors"
    together, results = threading.Barrier(count), list[Any]()

    def write(number: int) -> None:
        def wait(done: int, total: int) -> None:
            if done == total:
                together.wait(60)

        try:
            write_tensors({"a": torch.full((1000,), float(number))}, target, on_progress=wait)
            results.append(number)
        except Exception as error:
            results.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(count)]
    for action in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            action(thread)
    (winner,) = [result for result in results if isinstance(result, int)]
    assert all(isinstance(result, int | CheckpointError) for result in results), results
    assert torch.equal(read_tensors(target)["a"], torch.full((1000,), float(winner)))
    assert list(tmp_path.iterdir()) == [target]


def test_processes_that_write_one_file(tmp_path: Path) -> None:
    """The file shows whole to whoever looks, and each writer but one is told why it is not its own."""
    code = (
        "import sys, torch\n"
        "from audiox_core.weights.tensors import write_tensors\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        f"write_tensors({{'a': torch.arange(300_000.0)}}, {str(tmp_path / 'w.safetensors')!r})\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    writers = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, text=True, **pipes) for _ in range(2)]
    for writer in writers:
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        writer.stdin.write("\n")
        writer.stdin.flush()
    while not (tmp_path / "w.safetensors").exists() and any(writer.poll() is None for writer in writers):
        pass
    assert torch.equal(read_tensors(tmp_path / "w.safetensors")["a"], torch.arange(300_000.0))
    said = [writer.communicate(timeout=120)[1] for writer in writers]
    assert sorted(writer.returncode for writer in writers) == [0, 1]
    assert "already exists" in "".join(said)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


@pytest.mark.parametrize("call", ["write", "flush", "fsync", "link"])
def test_a_full_disk_leaves_nothing(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*args: Any) -> None:
        raise full

    if call in ("fsync", "link"):
        monkeypatch.setattr(os, call, fail)
        monkeypatch.setattr(os, "replace", fail)
    else:
        real: Callable[..., Any] = open

        def broken(*args: Any, **options: Any) -> Any:
            file = real(*args, **options)

            class Full(type(file)):  # type: ignore[misc]
                """A file on a full disk."""

            setattr(Full, call, fail)
            return Full(file.detach())

        monkeypatch.setattr(module, "open", broken, raising=False)
    with pytest.raises(CheckpointError, match=r"can't be written \(No space left on device\).*GB free"):
        write_tensors(WEIGHTS, tmp_path / "w.safetensors")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["n" * 250 + ".ckpt", "é" * 125 + ".ckpt"])
def test_names_as_long_as_the_system_allows(name: str, tmp_path: Path) -> None:
    assert read_tensors(write_tensors(WEIGHTS, tmp_path / name)).keys() == WEIGHTS.keys()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["n" * 300, "nul\0", "/", "."])
def test_names_that_no_file_can_have(name: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"can't be written|already exists") as error:
        write_tensors(WEIGHTS, tmp_path / name)
    assert str(error.value).startswith(f"{tmp_path / name}: ")
    assert not list(tmp_path.iterdir())


def test_unwritable_target_and_unknown_types(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        write_tensors(WEIGHTS, tmp_path / "file" / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"torch\.int64"):
        write_tensors({"ids": torch.arange(3)}, tmp_path / "w.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
