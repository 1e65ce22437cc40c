"""Reading weights files of every kind, refusing bad ones without running anything."""

from __future__ import annotations

import contextlib
import io
import os
import tarfile
import warnings
from collections import Counter, OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.weights.tensors import FileTensors, read_tensors, write_tensors
from tests.examples import examples

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "a.bias": torch.ones(3, dtype=torch.float16)}


def same(read: FileTensors, expected: dict[str, Tensor]) -> bool:
    return read.keys() == expected.keys() and all(
        torch.equal(read[k], v) and read[k].dtype == v.dtype for k, v in expected.items()
    )


# What trainings leave beside the weights, none of which is touched.
OPTIMIZER = torch.optim.Adam([torch.nn.Parameter(torch.ones(2))])
LEFTOVERS = [
    torch.device("cuda"),
    torch.float16,
    {1, 2},
    bytearray(b"x"),
    b"y",
    2j,
    -(2**70),
    2**40,
    -1,
    300,
    1.5,
    None,
    {("a", 1): True, torch.float64: False},
    Counter("abc"),
    torch.Size([2]),
    torch.eye(2).to_sparse(),
    torch.empty(3, device="meta"),
    torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
    np.float64(0.5),
]


class Harmful:
    """Unpickling it creates a file."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def legacy(content: Any) -> bytes:
    return zipped(content, _use_new_zipfile_serialization=False)


def zipped(content: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, **options)
    return buffer.getvalue()


CONTENTS = {
    "safetensors": safetensors.torch.save(WEIGHTS),
    "checkpoint": zipped({"state_dict": WEIGHTS, "epoch": 3}),
    "parameters": zipped({"state_dict": {k: torch.nn.Parameter(v) for k, v in WEIGHTS.items()}}),
    "bare": zipped(WEIGHTS),
    "legacy": legacy({"state_dict": WEIGHTS}),
    "training": zipped({"state_dict": WEIGHTS, "optimizer": OPTIMIZER.state_dict(), "others": LEFTOVERS}),
    "old training": legacy({"state_dict": OrderedDict(WEIGHTS), "others": LEFTOVERS}),
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


@examples(40)
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


def test_reading_leaves_the_process_as_it_was(tmp_path: Path) -> None:
    """Neither warnings nor their filters, nor the environment, whatever the file is like."""
    before = list(warnings.filters), dict(os.environ)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        for kind, content in [*CONTENTS.items(), ("protocol 4", zipped(WEIGHTS, pickle_protocol=4)), ("none", b"")]:
            path = tmp_path / kind
            path.write_bytes(content)
            with contextlib.suppress(CheckpointError):
                write_tensors(read_tensors(path), tmp_path / f"{kind}.safetensors")
        assert warnings.filters == inside
    assert not told
    assert (list(warnings.filters), dict(os.environ)) == before


@pytest.mark.parametrize("length", [0x80, 0x10A, 0x13C, 0x150, 0x17B])
def test_no_header_length_is_taken_for_another_kind(length: int, tmp_path: Path) -> None:
    """The first byte of a safetensors file may be that of a pickle, of a page or of JSON."""
    text = CONTENTS["safetensors"]
    old = int.from_bytes(text[:8], "little")
    path = tmp_path / "w"
    header = text[8 : 8 + old].rstrip().ljust(length)
    path.write_bytes(len(header).to_bytes(8, "little") + header + text[8 + old :])
    assert same(read_tensors(path), WEIGHTS)
