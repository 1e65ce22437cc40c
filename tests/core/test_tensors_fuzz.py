"""Weights files of every kind, changed at random: read as the official readers do, or refused, and nothing else."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.weights.tensors import read_tensors
from tests.examples import examples

BASE = torch.arange(24.0).reshape(4, 6)
WEIGHTS = {
    "model.weight": BASE,
    "model.bias": torch.ones(6, dtype=torch.float16),
    "count": torch.tensor(3),
    "none": torch.empty(0, 6),
}
EIGHT = {"eight": BASE[0].to(torch.float8_e5m2)}
VIEWS = {"view": BASE.T[1:], "again": BASE, "parameter": torch.nn.Parameter(torch.ones(2, 2))}
CHANGES = 3
NUMBERS = (0, 1, 2, 3, 5, 8, 63, 64, 127, 128, 255, 256, 1 << 15, 1 << 16, 1 << 31, 1 << 32, 1 << 62, 1 << 63, -1)


def saved(content: Any, *, new: bool) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=new)
    return buffer.getvalue()


CONTENTS = {
    "safetensors": safetensors.torch.save(WEIGHTS | EIGHT),
    "archive": saved({"state_dict": WEIGHTS | EIGHT | VIEWS, "epoch": 3, "loss": [0.5, None]}, new=True),
    # without the eight bits, which torch writes in this format but can't read
    "legacy": saved({"state_dict": WEIGHTS | VIEWS, "epoch": 3, "loss": [0.5, None]}, new=False),
}


def bitten(content: bytes, chance: random.Random) -> bytes:
    """One change of some bytes."""
    data = bytearray(content)
    at, to = sorted((chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)))
    near = min(at + chance.choice((1, 1, 2, 4, 8, 30)), len(data))
    kind = chance.randrange(8)
    if kind == 0 and data:  # a bit
        data[at % len(data)] ^= 1 << chance.randrange(8)
    elif kind == 1:  # a number
        size = chance.choice((1, 2, 4, 8))
        number = chance.choice(NUMBERS) + chance.choice((0, 0, 1, -1))
        data[at : at + size] = (number % (1 << 8 * size)).to_bytes(size, chance.choice(("little", "big")))
    elif kind == 2:  # noise
        data[at:near] = chance.randbytes(near - at)
    elif kind == 3:  # a piece less
        del data[at:near]
    elif kind == 4:  # a piece twice
        data[at:at] = data[at:near] * chance.choice((1, 1, 3, 50))
    elif kind == 5:  # a piece of elsewhere
        data[at:near] = data[to : to + near - at]
    elif kind == 6:  # an end too early
        del data[to:]
    else:  # something more
        data[at:at] = chance.choice(
            (b"\0", b".", b"(", b"}", b"]", b"R", b"[[[[", b'"a":', b"ctorch\nSize\n", b"9" * 20)
        )
    return bytes(data)


def changed_header(content: bytes, chance: random.Random) -> bytes:
    """A .safetensors file whose header says something else, of the right length."""
    length = int.from_bytes(content[:8], "little")
    text, rest = content[8 : 8 + length], content[8 + length :]
    if chance.random() < 0.3:
        text = bitten(text, chance)
    else:
        header = json.loads(text)
        key = chance.choice([key for key in header if key != "__metadata__"])
        field = chance.choice(("dtype", "shape", "data_offsets", "key"))
        if field == "key":
            header[chance.choice(("", "new", "__metadata__", "count"))] = header.pop(key)
        elif field == "dtype":
            header[key]["dtype"] = chance.choice(("F32", "F16", "I64", "F8_E4M3", "BOOL", "F4", "", None, 3))
        else:
            numbers = header[key][field]
            if numbers and chance.random() < 0.7:
                i = chance.randrange(len(numbers))
                numbers[i] = chance.choice((*NUMBERS, numbers[i] + 1, numbers[i] - 1, 0.5, "1", None, [], True))
            else:
                numbers.insert(0, chance.choice(NUMBERS))
        text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + rest


def changed_archive(content: bytes, chance: random.Random) -> bytes:
    """An archive whose files, or their number, or their compression are others, with right checksums."""
    with zipfile.ZipFile(io.BytesIO(content)) as old:
        files = [(entry.filename, old.read(entry), zipfile.ZIP_STORED) for entry in old.infolist()]
    i = chance.choice((0, 0, 0, 0, chance.randrange(len(files))))  # mostly the pickle
    name, data, kind = files[i]
    step = chance.randrange(10)
    if step == 0:
        kind = chance.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA))
    elif step == 1:
        name = bitten(name.encode(), chance).decode(errors="replace").replace("\0", "") or "x"
    elif data:
        data = bitten(data, chance)
    files[i] = (name, data, kind)
    if chance.random() < 0.1:
        del files[chance.randrange(len(files))]
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as new:
        for name, data, kind in files:
            new.writestr(zipfile.ZipInfo(name), data, kind)
    return buffer.getvalue()


STRUCTURED: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "safetensors": changed_header,
    "archive": changed_archive,
    "legacy": bitten,
}


def mutant(kind: str, chance: random.Random) -> bytes:
    """A file of a kind after at most CHANGES changes."""
    content = CONTENTS[kind]
    if chance.random() < 0.6:
        content = STRUCTURED[kind](content, chance)
    for _ in range(chance.choice((0, 1, 1, CHANGES - 1))):
        content = bitten(content, chance)
    return content


def raw(tensor: Tensor) -> tuple[Any, ...]:
    """All that there is to a tensor, NaN included."""
    return tensor.dtype, tuple(tensor.shape), tensor.detach().contiguous().reshape(-1).view(torch.uint8).tolist()


def official(path: Path) -> dict[str, Tensor]:
    """What the formats' own libraries read."""
    if path.read_bytes()[5:9] == b"\0\0\0{":
        return safetensors.torch.load(path.read_bytes())
    loaded = torch.load(path, weights_only=True, mmap=path.read_bytes()[:2] == b"PK")
    return dict(loaded.get("state_dict", loaded))


def check(content: bytes, path: Path) -> str:
    """Reads a file, and says what came of it. Raises AssertionError unless that is right, or anything unforeseen."""
    path.write_bytes(content)
    try:
        found = read_tensors(path)
    except CheckpointError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).endswith((".", ")"))
        return "refused"
    for key, tensor in found.items():
        assert raw(found.private(key)) == raw(tensor)
    try:
        expected = official(path)
    except Exception:
        # They refuse something beside the tensors, such as an archive's version. A name or a shape may be changed.
        assert len({(key, *raw(tensor)[:2]) for key, tensor in found.items()} - KNOWN) <= CHANGES
        return "as it was"
    assert {key: raw(t) for key, t in found.items()} == {key: raw(t) for key, t in expected.items()}
    return "right"


KNOWN = {(key, *raw(tensor)[:2]) for key, tensor in (WEIGHTS | EIGHT | VIEWS).items()}


@pytest.mark.parametrize("kind", CONTENTS)
def test_unchanged_files_are_right(kind: str, tmp_path: Path) -> None:
    assert check(CONTENTS[kind], tmp_path / "file") == "right"


@pytest.mark.filterwarnings("ignore")  # of the libraries that are compared with
@examples(200)
@given(kind=st.sampled_from(list(CONTENTS)), seed=st.integers(0, 2**32))
def test_changed_files_are_right_or_refused(kind: str, seed: int, tmp_path: Path) -> None:
    check(mutant(kind, random.Random(seed)), tmp_path / "file")
