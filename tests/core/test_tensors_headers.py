"""Headers of .safetensors that lie, what is no file at all, and files larger than the memory."""

from __future__ import annotations

import io
import json
import os
import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from audiox_core.errors import CheckpointError
from audiox_core.weights import archives, headers
from audiox_core.weights.tensors import read_tensors
from tests.core.test_tensors_archives import (
    MB,
    Storage,
    archive,
    dumps,
    read,
    read_bounded,
    tensor,
)

HUGE = 90 * 10**9


def header(entries: Any, data: bytes = bytes(48)) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(shape: Any = (3, 4), offsets: Any = (0, 48), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


# What safetensors refuses itself, in the words of new and old versions.
LIBRARY = "is truncated or damaged .*deserializing header: "
JSON = f"{LIBRARY}(invalid JSON|InvalidHeaderDeserialization)"
PLACE = f"{LIBRARY}(invalid offset|InvalidOffset)"
SIZE = f"{LIBRARY}(invalid shape|TensorInvalidInfo)"
OVERFLOW = f"{LIBRARY}(overflow|ValidationOverflow)"
END = f"{LIBRARY}(incomplete metadata|MetadataIncompleteBuffer)"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (header(b'{"a":' * 100_000), JSON),
        (header(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"), JSON),
        (header(b'{"a": %s, "a": %s}' % ((json.dumps(entry()).encode(),) * 2)), "names a key twice"),
        (header(b'{"a": {"dtype": "F32", "dtype": "I32", "shape": [12], "data_offsets": [0, 48]}}'), JSON),
        (header({"a": entry(offsets=[-48, 0])}), JSON),
        (header({"a": entry(offsets=[48, 0])}), PLACE),
        (header({"a": entry(offsets=[0.0, 48])}), JSON),
        (header({"a": entry(offsets=[0, 48, 96])}), JSON),
        (header({"a": entry(offsets=[False, 48])}), JSON),
        (header({"a": entry(offsets="ab")}), JSON),
        (header({"a": entry(shape=[-3, -4])}), JSON),
        (header({"a": entry(shape=[3, 5])}), SIZE),
        (header({"a": entry(shape=[2**62, 2**62])}), OVERFLOW),
        (header({"a": entry(shape=[2**61, 2**61, 0], offsets=[0, 0])}, b""), OVERFLOW),
        (header({"a": entry(shape=[2] * 100_000)}), OVERFLOW),
        (header({"a": entry(shape=[1] * 100_000 + [12])}), "impossible shape"),
        (header({"a": entry(shape=[0, 2**61, 2**61], offsets=[0, 0])}, b""), "impossible shape"),
        (header({"a": entry(shape=12)}), JSON),
        (header({"a": entry(dtype="F4")}), f"{SIZE}|{JSON}"),
        # older versions know no such types
        (header({"a": entry([96], dtype="F4")}), rf"holds numbers of type 'F4'|{JSON}"),
        (header({"a": entry([48], dtype="F8_E8M0")}), rf"holds numbers of type 'F8_E8M0'|{JSON}"),
        (header({"a": entry(dtype=["F32"])}), JSON),
        (header({"a": {"dtype": "F32", "shape": [12]}}), JSON),
        (header({"a": None}), JSON),
        (header({"a": entry(), "b": entry()}), PLACE),
        (header({"a": entry(offsets=[0, 48]), "b": entry([1], [44, 48])}), PLACE),
        (header({"a": entry([3], [0, 12]), "b": entry([3], [36, 48])}), PLACE),
        (header({"a": entry([3], [4, 16])}), PLACE),
        (header({"a": entry()}, bytes(50)), END),
        (header({"a": entry()}, bytes(40)), END),
        (header({"a": entry()})[:40], "its header alone should have"),
        ((10**9).to_bytes(8, "little") + b'{"a": 3}', "its header alone should have 1000000000"),
        (header({}), END),
        (header({"__metadata__": {"x": 3}}, b""), JSON),
        (header({"__metadata__": []}, b""), JSON),
        (header(b'{"a\xff": 3}'), f"{LIBRARY}(invalid UTF-8|InvalidHeader)"),
        (header(b'{"\\ud800": %s}' % json.dumps(entry()).encode()), JSON),
        (header(b'{"a": {"shape": [' + b"9" * 5000 + b"]}}"), JSON),
        (header(b"{}, {}"), JSON),
        (header(b'{"a": NaN}'), JSON),
    ],
)
def test_headers_that_lie(content: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=words):
        read(content, tmp_path)


def test_empty_tensors_and_files_without_any(tmp_path: Path) -> None:
    assert not read(header({}, b""), tmp_path)
    assert read(header({"a": entry([0, 4096], [0, 0])}, b""), tmp_path)["a"].shape == (0, 4096)


def test_header_of_more_than_any_model(tmp_path: Path) -> None:
    text = b"{" + b" " * headers.MAX_HEADER + b"}"
    with pytest.raises(CheckpointError, match="a header of 17 MB"):
        read(header(text, b""), tmp_path)


# What is no file, and files of any size


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX")
def test_pipes_devices_and_sockets_are_told_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    link = tmp_path / "link.ckpt"
    link.symlink_to(pipe)
    address = Path(f"/tmp/{os.getpid()}.socket")  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(address))
        try:
            for path in (pipe, link, address, Path("/dev/zero"), Path("/dev/null")):
                with pytest.raises(CheckpointError, match="is a pipe or a device"):
                    read_bounded(path)
        finally:
            address.unlink()


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "loop", "missing/file"])
def test_paths_of_no_file(name: str, tmp_path: Path) -> None:
    if os.name == "posix":
        (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(CheckpointError, match=r"can't be read .*Check the path\."):
        read_tensors(tmp_path / name)


def huge_legacy() -> bytes:
    """The beginning of a legacy checkpoint of one tensor of 90 GB."""
    count = HUGE // 4
    content = tensor(Storage(count), 0, (count,), (1,))
    head = b"".join(dumps(x) for x in (archives.MAGIC, archives.LEGACY_VERSION, {"little_endian": True}))
    # the persistent ids of old files have one part more
    pickled = dumps({"a": content}).replace(b"tq\x07Q", b"NtQ", 1)
    return head + pickled + dumps(["0"]) + count.to_bytes(8, "little")


SPARSE = {
    "nothing": (b"", b""),
    "safetensors": (header({"a": entry([HUGE // 4], [0, HUGE])}, b""), b""),
    "cut safetensors": (header({"a": entry([HUGE], [0, 4 * HUGE])}, b""), b""),
    "header": ((HUGE - 8).to_bytes(8, "little") + b"{", b""),
    "legacy": (huge_legacy(), b""),
    "pickle": (b"\x80\x02", b""),
    "line": (b"\x80\x02c", b""),
    "string": (b"\x80\x02X\xff\xff\xff\xff", b""),
    "pax": (b"\x80".ljust(124, b"0") + b"77777777777".ljust(32, b"\0") + b"x".ljust(101, b"\0") + b"ustar\x0000", b""),
    "zip": (archive(dumps({})), b""),
    "index": (
        b"PK\x03\x04",
        b"PK\x06\x06" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 2**30, 2**30, HUGE - 200, 4)
        + b"PK\x06\x07" + struct.pack("<IQI", 0, HUGE - 98, 1)
        + b"PK\x05\x06" + struct.pack("<HHHHIIH", 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", SPARSE)
def test_sparse_file_of_90_gb(kind: str, tmp_path: Path) -> None:
    """A few kilobytes on disk that a careless reader would bring into memory."""
    path, (head, tail) = tmp_path / "sparse.ckpt", SPARSE[kind]
    with open(path, "wb") as file:
        file.write(head)
        file.truncate(HUGE + (len(head) if kind in ("safetensors", "legacy") else 0))
        if tail:
            file.seek(-len(tail), io.SEEK_END)
            file.write(tail)
    if getattr(path.stat(), "st_blocks", 1 << 40) > 1 << 20:
        path.unlink()
        pytest.skip("no sparse files here")
    try:
        found = read_bounded(path, 100 * MB)
    except CheckpointError as error:
        assert kind not in ("safetensors", "legacy") or "can't be mapped into memory" in str(error)
    else:
        assert kind in ("safetensors", "legacy")
        assert found["a"].shape == (HUGE // 4,)
        assert found["a"][-1] == 0
    finally:
        path.unlink()


def test_the_largest_shapes() -> None:
    """What the libraries count in 64 bits; a size of 0 hides no other."""
    for shape in ([1 << 61], [1 << 31, 1 << 30], [0, 1 << 61], [1] * 16, []):
        headers.check_shape("a", shape)
    for shape in ([1 << 62], [1 << 31, 1 << 31], [0, 1 << 62], [1] * 17, [-1]):
        with pytest.raises(ValueError, match="a has an impossible shape"):
            headers.check_shape("a", shape)
