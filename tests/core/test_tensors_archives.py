"""Archives made to mislead: compressed, lying, of other things; each is refused with the mend or read rightly."""

from __future__ import annotations

import io
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.weights.tensors import FileTensors, read_tensors

BASE = torch.arange(12.0).reshape(3, 4)
MB = 1 << 20


def saved(content: Any, *, new: bool = True, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new, **options)
    return buffer.getvalue()


class Storage:
    """Pickled as a storage: its type, key and number of elements are what the file says."""

    def __init__(self, count: Any, key: Any = "0", kind: Any = torch.FloatStorage):
        self.identity = ("storage", kind, key, "cpu", count)


class Call:
    """Pickled as a call."""

    def __init__(self, function: Any, *arguments: Any):
        self.what = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.what


def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *more: Any) -> Call:
    return Call(torch._utils._rebuild_tensor_v2, storage, offset, shape, stride, False, {}, *more)


def dumps(content: Any) -> bytes:
    buffer = io.BytesIO()

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            return value.identity if isinstance(value, Storage) else None

    Pickler(buffer, 2).dump(content)
    return buffer.getvalue()


def archive(pickled: bytes, storages: dict[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr("w/data.pkl", pickled)
        for key, content in ({"0": bytes(48)} if storages is None else storages).items():
            file.writestr(f"w/data/{key}", content)
        file.writestr("w/version", b"3\n")
    return buffer.getvalue()


def zipped_anew(content: bytes, which: Callable[[str], bool], **options: Any) -> bytes:
    """The same archive, some of its files compressed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for entry in old.infolist():
            kind = zipfile.ZIP_DEFLATED if which(entry.filename) else zipfile.ZIP_STORED
            new.writestr(entry.filename, old.read(entry), kind)
    return buffer.getvalue()


def read(content: bytes, folder: Path, limit: int = 60 * MB) -> FileTensors:
    """The file's tensors; whatever happens, it takes no more memory than that."""
    path = folder / "file.ckpt"
    path.write_bytes(content)
    return read_bounded(path, limit)


def read_bounded(path: Path, limit: int = 60 * MB) -> FileTensors:
    tracemalloc.start()
    try:
        return read_tensors(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).endswith((".", ")"))
        assert len(str(error)) < 1500
        raise
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit, f"{peak / MB:.0f} MB"


def same(found: Tensor, expected: Tensor) -> bool:
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tolist() == expected.tolist()


# Compressed


@pytest.mark.parametrize("which", ["data", ".pkl", ""])
def test_compressed_checkpoint_is_refused_with_a_mend_that_works(which: str, tmp_path: Path) -> None:
    """Mapped as they are, its bytes would be taken for weights."""
    content = zipped_anew(saved({"state_dict": {"a": BASE}}), lambda name: which in name)
    with pytest.raises(CheckpointError, match=r"is compressed .*torch\.save\(torch\.load\(path, weights_only=True\)"):
        read(content, tmp_path)
    torch.save(torch.load(tmp_path / "file.ckpt", weights_only=True), tmp_path / "new")
    assert same(read_tensors(tmp_path / "new")["a"], BASE)


def test_archive_zipped_anew_without_compression_is_right(tmp_path: Path) -> None:
    assert same(read(zipped_anew(saved({"a": BASE}), lambda name: False), tmp_path)["a"], BASE)


def test_archive_without_checksums_is_right(tmp_path: Path) -> None:
    """As torch writes it when it is told not to compute them."""
    content = saved({"a": BASE})
    start = content.index(b"PK\x01\x02")
    for _ in range(content.count(b"PK\x01\x02")):
        content = content[: start + 16] + bytes(4) + content[start + 20 :]
        start = content.find(b"PK\x01\x02", start + 1)
    assert same(read(content, tmp_path)["a"], BASE)


def moved(name: str, field: int, form: str, value: int) -> bytes:
    """An archive whose index says something else of one of its files."""
    content = bytearray(archive(dumps({"a": tensor(Storage(12), 0, (3, 4), (4, 1))})))
    start = content.index(b"PK\x01\x02")
    while content[start + 46 : start + 46 + len(name)] != name.encode():
        start = content.index(b"PK\x01\x02", start + 1)
    struct.pack_into(form, content, start + field, value)
    return bytes(content)


@pytest.mark.parametrize(
    "content",
    [
        moved("w/data/0", 42, "<I", 0),  # over another file
        moved("w/data/0", 42, "<I", 7),
        moved("w/data/0", 42, "<I", 2**32 - 2),
        moved("w/data/0", 24, "<I", 1000),
        moved("w/data/0", 20, "<I", 1000),
        moved("w/data.pkl", 24, "<I", 2**31),
        moved("w/data.pkl", 16, "<I", 12345),
        moved("w/data/0", 8, "<H", 1),  # encrypted
        b"PK\x03\x04" + archive(dumps({})),
        archive(dumps({}))[:40] + archive(dumps({})),
    ],
)
def test_archive_whose_index_lies(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"truncated or damaged|is compressed"):
        read(content, tmp_path)


def test_archive_with_two_files_of_one_name(tmp_path: Path) -> None:
    buffer = io.BytesIO(archive(dumps({"a": tensor(Storage(12), 0, (3, 4), (4, 1))})))
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("w/data/0", bytes(48))
    with pytest.raises(CheckpointError, match="two files 'w/data/0'"):
        read(buffer.getvalue(), tmp_path)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"a/b.txt": b""}, "zip archive, but not a checkpoint"),
        ({"w/data.pkl": dumps({}), "v/data.pkl": b""}, "zip archive, but not a checkpoint"),
        ({"w/data.pkl": b"", "w/constants.pkl": b""}, "TorchScript"),
        ({"w/data.pkl": dumps({}), "w/byteorder": b"big"}, "big-endian"),
        ({"w/data.pkl": dumps({}), "w/byteorder": b"x" * 9000}, "endian"),
        ({"w/data.pkl": dumps([])[:-1]}, "breaks off"),
    ],
)
def test_archives_of_other_things(files: dict[str, bytes], words: str, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name, content in files.items():
            file.writestr(name, content)
    with pytest.raises(CheckpointError, match=words):
        read(buffer.getvalue(), tmp_path)
