"""Pickles made to mislead: deep, wide, endless, recursive, breaking off; an answer soon, and nothing is called."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
import torch

from audiox_core.errors import CheckpointError
from audiox_core.weights import archives, pickles
from tests.core.test_tensors_archives import (
    MB,
    Storage,
    archive,
    dumps,
    read,
    saved,
    tensor,
)

BLOWN_UP = b"\x80\x02}" + b"Nq\x00" + b"h\x00h\x00\x86q\x00" * 200  # a pair of pairs of pairs ...


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02" + b"]" * 100_000 + b".",
        b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",  # lists in lists
        b"\x80\x02)" + b"\x85" * 200_000 + b".",  # tuples in tuples
        b"\x80\x02}" + b")" + b"\x85" * 200_000 + b"Ns.",  # such as a key, whose hash recurses
        b"\x80\x02" + b"ctorch\nSize\n" * 20_000 + b")" + b"R\x85" * 20_000 + b".",  # calls of calls
        b"\x80\x02}"
        + b"X\x01\0\0\0a"
        + b"ctorch._utils\n_rebuild_parameter\n" * 20_000
        + b")"
        + b"R\x85" * 20_000
        + b"s.",
        BLOWN_UP + b"h\x00Ns.",  # as a key: 2 to the 200th steps
        BLOWN_UP[:2] + BLOWN_UP[3:] + b".",
        BLOWN_UP + b"X\x01\0\0\0ah\x00s.",
        b"\x80\x02]q\x00h\x00a.",  # a list in itself
        b"\x80\x02}q\x00X\x0a\0\0\0state_dicth\x00s.",
        b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.",
        b"\x80\x02Nr\xff\xff\xff\xff.",
        b"\x80\x02Nj\xff\xff\xff\xff.",
        b"\x80\x02X\xff\xff\xff\xffabc.",
        b"\x80\x02X\x03\0\0\0\xed\xa0\x80.",
        b"\x80\x02}X\x03\0\0\0\xed\xa0\x80Ns.",  # half a letter as a name
        b"\x80\x02U\xffabc.",
        b"\x80\x02\x8a\xff\x01.",
        b"\x80\x02c" + b"x" * 100_000,
        b"\x80\x02c" + b"x" * 1000 + b"\n" + b"y" * 1000 + b"\n.",
        b"\x80\x02ctorch\n_dynamo\n.",  # would be imported by a mere look
        b"\x80\x02ctorch\n__builtins__\n.",
        b"\x80\x02cos\nsystem\nX\x04\0\0\0true\x85R.",
        b"\x80\x02cbuiltins\neval\n(X\x01\0\0\x001tR.",
        b"\x80\x04\x95\0\0\0\0\0\0\0\x7f.",
        b"\x80\x02\x8c\x01a.",
        b"\x80\x02(ios\nsystem\n.",
        b"\x80\x02\x82\x01.",
        b"\x80\x02.",
        b"\x80\x02R.",
        b"\x80\x02(.",
        b"\x80\x02t.",
        b"\x80\x02Nb.",
        b"\x80\x02NNb.",
        b"\x80\x02NNR.",
        b"\x80\x02NNa.",
        b"\x80\x02NNNs.",
        b"\x80\x02}(Nu.",
        b"\x80\x02NQ.",
        b"\x80\x02)Q.",
        b"\x80\x02X\x06\0\0\0modulectorch\nTensor\nNN(tQ.",
        b"\x80\x02ccollections\nOrderedDict\n]Na\x85R.",
        b"\x80",
        b"\x80\x02",
        b"",
    ],
)
@pytest.mark.parametrize("container", ["zip", "legacy", "bare"])
def test_pickles_of_nonsense(content: bytes, container: str, tmp_path: Path) -> None:
    """Deep, wide, endless, recursive, breaking off: an answer, soon and in little memory."""
    if container == "zip":
        content = archive(content)
    elif container == "legacy":
        content = b"".join(dumps(x) for x in (archives.MAGIC, archives.LEGACY_VERSION, {})) + content + dumps([])
    elif not content.startswith(b"\x80"):
        content = b"\x80" + content
    with pytest.raises(CheckpointError):
        read(content, tmp_path, 300 * MB)


def test_a_look_imports_nothing(tmp_path: Path) -> None:
    before = set(sys.modules)
    for name in ("torch\n_inductor", "torch.onnx\nexport", "antigravity\nfly", "torch.utils.cpp_extension\nload"):
        with pytest.raises(CheckpointError, match="needs more than plain tensors"):
            read(archive(b"\x80\x02c" + name.encode() + b"\n."), tmp_path)
    assert not {name for name in set(sys.modules) - before if name.startswith(("torch", "antigravity"))}


@pytest.mark.parametrize(
    "content",
    [
        # 100,000 numbers of the same hash as keys, each compared with all before
        b"}("
        + b"".join(b"\x8a\x0b" + (n * (2**61 - 1)).to_bytes(11, "little") + b"N" for n in range(1, 100_000))
        + b"u",
        # many calls with the same 100,000 arguments, which are not to be copied
        b"](" + b"N" * 100_000 + b"tq\x00ctorch\nTensor\nq\x01" + b"h\x01h\x00R" * 50_000,
        # many tables of the same 10,000 pairs
        b"](](" + b"NN\x86" * 10_000 + b"e\x85q\x00ccollections\nOrderedDict\nq\x01" + b"h\x01h\x00R" * 50_000 + b"N",
        # one call that is changed again and again
        b"ctorch\nTensor\n)R" + b"Nb" * 500_000,
    ],
    ids=["hashes", "arguments", "pairs", "changes"],
)
def test_small_pickles_of_endless_work(content: bytes, tmp_path: Path) -> None:
    start = time.process_time()  # of this process alone, whatever else the machine does
    with pytest.raises(CheckpointError):
        read(archive(b"\x80\x02" + content + b"."), tmp_path, 300 * MB)
    assert time.process_time() - start < 60


def test_pickle_of_more_than_any_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickles, "MAX_INSTRUCTIONS", 1000)
    with pytest.raises(CheckpointError, match="far more than a model's tensors"):
        read(archive(b"\x80\x02" + b"N" * 2000 + b"."), tmp_path)
    monkeypatch.setattr(pickles, "MAX_BYTES", 1000)
    for content in (archive(b"\x80\x02X\xd0\x07\0\0" + b"x" * 2000 + b"."), b"\x80\x02X\xd0\x07\0\0" + b"x" * 2000):
        with pytest.raises(CheckpointError, match=r"truncated or damaged|far more than a model's tensors"):
            read(content, tmp_path)


def test_texts_of_no_letters_are_no_end(tmp_path: Path) -> None:
    content = {"state_dict": {"a": tensor(Storage(12), 0, (3, 4), (4, 1))}, "name": "", "": 1}
    assert list(read(archive(dumps(content)), tmp_path)) == ["a"]


@pytest.mark.parametrize("new", [True, False])
def test_a_state_dict_keeps_its_tensors_under_its_notes(new: bool, tmp_path: Path) -> None:
    """torch's own have notes beside the tensors, which are set after the table was made."""
    weights = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.LayerNorm(4)).state_dict()
    assert weights._metadata
    found = read(saved(weights, new=new), tmp_path)
    assert list(found) == list(weights) and all(torch.equal(found[key], weights[key]) for key in weights)


def test_a_storage_has_at_most_2_to_the_59th_numbers() -> None:
    storages: dict[str, pickles.Storage] = {}
    reader = pickles.Reader(pickles.Bounded(io.BytesIO()), storages, 5)
    kind = pickles.Name("torch.FloatStorage")
    for number, count in enumerate((0, (1 << 59) - 1)):
        assert reader.persistent_load(("storage", kind, str(number), "cpu", count)).size == 4 * count
    for count in (-1, 1 << 59, 1.0, True):
        with pytest.raises(ValueError, match="impossible storage"):
            reader.persistent_load(("storage", kind, "other", "cpu", count))
    with pytest.raises(ValueError, match="has two sizes"):
        reader.persistent_load(("storage", kind, "0", "cpu", 1))


def test_a_pickle_may_have_so_many_bytes_and_no_more() -> None:
    assert (pickles.MAX_BYTES, pickles.MAX_INSTRUCTIONS, archives.MAX_INDEX) == (64 * MB, 3_000_000, 8 * MB)
    assert pickles.Bounded(io.BytesIO(bytes(9)), 8).read(8) == bytes(8)
    with pytest.raises(CheckpointError, match="far more than a model's tensors"):
        pickles.Bounded(io.BytesIO(bytes(9)), 8).read(9)
    with pytest.raises(ValueError, match="breaks off"):
        pickles.Bounded(io.BytesIO(), 8).read(1)
