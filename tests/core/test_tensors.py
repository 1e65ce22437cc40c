"""Reading weights files of every kind, refusing bad ones without running anything, writing safetensors."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.weights import tensors as module
from audiox_core.weights.tensors import FileTensors, read_tensors, write_tensors

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.float16)}


def same(read: FileTensors, expected: dict[str, Tensor]) -> bool:
    return read.keys() == expected.keys() and all(
        torch.equal(read[k], v) and read[k].dtype == v.dtype for k, v in expected.items()
    )


class Harmful:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def legacy(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    return buffer.getvalue()


def zipped(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


CONTENTS = {
    "safetensors": safetensors.torch.save(WEIGHTS),
    "checkpoint": zipped({"state_dict": WEIGHTS, "epoch": 3}),
    "parameters": zipped({"state_dict": {k: torch.nn.Parameter(v) for k, v in WEIGHTS.items()}}),
    "bare": zipped(WEIGHTS),
    "legacy": legacy({"state_dict": WEIGHTS}),
}


@pytest.mark.parametrize("kind", CONTENTS)
@pytest.mark.parametrize("suffix", ["safetensors", "ckpt"])
def test_kinds_are_told_by_content(kind: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"modèle 模型.{suffix}"
    path.write_bytes(CONTENTS[kind])
    read = read_tensors(path)
    assert same(read, WEIGHTS)
    assert not any(t.requires_grad for t in read.values())


@pytest.mark.parametrize("kind", ["safetensors", "checkpoint", "legacy"])
def test_private_copies_leave_the_file_alone(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(CONTENTS[kind])
    read = read_tensors(path)
    for key in WEIGHTS:
        copy = read.private(key)
        assert torch.equal(copy, WEIGHTS[key])
        copy.zero_()
    assert same(read, WEIGHTS)


def test_private_copy_of_a_file_that_changed(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(CONTENTS["safetensors"])
    read = read_tensors(path)
    path.rename(tmp_path / "other")
    with pytest.raises(CheckpointError, match="can't be read any more"):
        read.private("a.weight")
    path.write_bytes(CONTENTS["safetensors"][:-1])
    with pytest.raises(CheckpointError, match="shorter"):
        read.private("a.bias")  # the last in the file: wide types come first


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "Git LFS pointer"),
        (b"\n <!DOCTYPE html><html>Sign in</html>", "web page"),
        (b'{"model_type": "diffusion_cond"}', "JSON text"),
        (b"GGUF\x03\x00\x00\x00", "GGUF"),
        (b"RIFF....WAVEfmt ", "neither a safetensors file nor a torch checkpoint"),
        (CONTENTS["safetensors"][:-3], "truncated"),
        (CONTENTS["safetensors"][:20], "truncated"),
        (CONTENTS["checkpoint"][:-30], "truncated"),
        (CONTENTS["legacy"][:-30], "truncated or damaged"),
        (CONTENTS["safetensors"][:8] + b"{" * 200, "truncated or damaged"),
        (zipped([torch.ones(1)]), "holds a list"),
        (zipped({"step": 3, "a": torch.ones(1)}), r"other things than tensors by name: 'step' \(int\)"),
    ],
)
def test_bad_files_are_named_with_a_mend(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.ckpt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=words) as error:
        read_tensors(path)
    assert str(error.value).startswith(f"{path}: ")
    assert str(error.value).rstrip().endswith((".", ")"))


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be read"):
        read_tensors(tmp_path / "none.ckpt")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_tensors(tmp_path)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["safetensors", "checkpoint", "legacy"]), share=st.floats(0, 0.999))
def test_any_truncation_is_a_clear_error(kind: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(CONTENTS[kind][: int(share * len(CONTENTS[kind]))])
    with pytest.raises(CheckpointError):
        read_tensors(path)


@pytest.mark.parametrize("save", [zipped, legacy])
@pytest.mark.parametrize("nested", [True, False])
def test_code_in_a_pickle_is_never_run(save: Any, nested: bool, tmp_path: Path) -> None:
    trace, path = tmp_path / "trace", tmp_path / "evil.ckpt"
    harm = Harmful(trace)
    path.write_bytes(save({"state_dict": {**WEIGHTS, "x": harm}} if nested else harm))
    with pytest.raises(CheckpointError, match=r"needs more than plain tensors.*mkdir.*convert"):
        read_tensors(path)
    assert not trace.exists()
    torch.load(path, weights_only=False)  # the file does do harm when it is let
    assert trace.exists()


def test_tar_posing_as_a_pickle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.pt"
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT, encoding="utf-8") as archive:
        entry = tarfile.TarInfo(os.fsdecode(b"\x80\x02storages"))
        archive.addfile(entry)
    assert path.read_bytes()[:1] == b"\x80"
    with pytest.raises(CheckpointError, match="tar archive"):
        read_tensors(path)


def test_old_torch_is_warned_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "w.ckpt"
    path.write_bytes(CONTENTS["checkpoint"])
    read_tensors(path)
    assert not caplog.records
    monkeypatch.setattr(module, "CAREFUL_TORCH", (99, 0))
    read_tensors(path)
    assert "CVE-2026-24747" in caplog.text


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


def test_interrupted_writing_leaves_nothing(tmp_path: Path) -> None:
    def cancel(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_tensors(WEIGHTS, tmp_path / "w.safetensors", on_progress=cancel)
    assert not list(tmp_path.iterdir())


def test_unwritable_target_and_unknown_types(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be written"):
        write_tensors(WEIGHTS, tmp_path / "file" / "w.safetensors")
    with pytest.raises(CheckpointError, match=r"torch\.int64"):
        write_tensors({"ids": torch.arange(3)}, tmp_path / "w.safetensors")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("length", [0x80, 0x10A, 0x13C, 0x150, 0x17B])
def test_no_header_length_is_taken_for_another_kind(length: int, tmp_path: Path) -> None:
    """The first byte of a safetensors file may be that of a pickle, of a page or of JSON."""
    text = CONTENTS["safetensors"]
    old = int.from_bytes(text[:8], "little")
    path = tmp_path / "w"
    header = text[8 : 8 + old].rstrip().ljust(length)
    path.write_bytes(len(header).to_bytes(8, "little") + header + text[8 + old :])
    assert same(read_tensors(path), WEIGHTS)
