"""Kinds of tensors in checkpoints: plain ones are right, all others are named, and none reaches beyond its storage."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.weights import headers
from tests.core.test_tensors_archives import (
    BASE,
    Call,
    Storage,
    archive,
    dumps,
    read,
    same,
    saved,
    tensor,
)


class Own(Tensor):
    """A class that only its program knows."""


KINDS: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse": (BASE.to_sparse, "holds a sparse tensor"),
    "compressed": (BASE.to_sparse_csr, "holds a sparse tensor"),
    "meta": (lambda: BASE.to("meta"), "holds a meta tensor"),
    "nested": (lambda: torch.nested.nested_tensor([BASE[0], BASE[1, :2]]), "holds a nested tensor"),
    "negative": (lambda: torch._neg_view(BASE), "negated or conjugated view"),
    "conjugate": (lambda: torch.view_as_complex(BASE.reshape(6, 2) + 0).conj(), "negated or conjugated view"),
    "quantized": (lambda: torch.quantize_per_tensor(BASE, 0.1, 0, torch.qint8), "holds a quantized tensor"),
    "other eight bits": (lambda: BASE.to(torch.float8_e4m3fnuz), "unusual kind .torch.float8_e4m3fnuz"),
    "class": (lambda: BASE.as_subclass(Own), "needs more than plain tensors"),
    "repeated": (lambda: BASE[:1, :1].expand(100_000, 100_000), "larger than the file"),
    "number": (lambda: 3, r"other things than tensors by name: 'x' \(int\)"),
    "size": (lambda: BASE.size(), r"'x' \(torch.Size\)"),
}


@pytest.mark.filterwarnings("ignore")  # torch's own words on kinds that it gives up
@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_that_are_no_weights_are_named(kind: str, new: bool, tmp_path: Path) -> None:
    make, words = KINDS[kind]
    with pytest.raises(CheckpointError, match=words) as error:
        read(saved({"state_dict": {"a": BASE, "x": make()}}, new=new), tmp_path)
    assert "'x'" in str(error.value) or kind == "class"


PLAIN: dict[str, Tensor] = {
    **{str(dtype): BASE.to(dtype) for dtype in (*headers.TYPES.values(), torch.complex128)},
    "transposed": BASE.T,
    "part": BASE[1:, 2:],
    "steps": BASE.flatten()[1::3],
    "repeated": BASE[0, :1].expand(7),
    "scalar": torch.tensor(3.5),
    "empty": torch.empty(4096, 0),
    "parameter": torch.nn.Parameter(BASE),
    "named": torch.ones(3),
}
PLAIN["named"].note = "an attribute"  # type: ignore[attr-defined]


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
def test_plain_tensors_are_right_and_so_are_their_copies(new: bool, tmp_path: Path) -> None:
    """Eight bits, whole numbers, complex ones, and views of every form."""
    found = read(saved({"state_dict": PLAIN}, new=new), tmp_path)
    assert found.keys() == PLAIN.keys()
    for key, expected in PLAIN.items():
        assert same(found[key], expected.detach()), key
        assert same(found.private(key), expected.detach()), key
        assert not found[key].requires_grad
    assert found["transposed"].untyped_storage().data_ptr() == found["part"].untyped_storage().data_ptr()
    assert found.seekable


def test_types_of_safetensors_are_right(tmp_path: Path) -> None:
    wanted = {key: value.contiguous() for key, value in PLAIN.items() if key.startswith("torch.")}
    del wanted["torch.complex128"]
    found = read(safetensors.torch.save(wanted), tmp_path)
    assert all(same(found[key], value) and same(found.private(key), value) for key, value in wanted.items())


# Storages and views that the file doesn't hold


@pytest.mark.parametrize(
    "content",
    [
        tensor(Storage(13), 0, (3, 4), (4, 1)),  # longer than its record
        tensor(Storage(2**58), 0, (3, 4), (4, 1)),
        tensor(Storage(-12), 0, (3, 4), (4, 1)),
        tensor(Storage(12.0), 0, (3, 4), (4, 1)),
        tensor(Storage(12, key="1"), 0, (3, 4), (4, 1)),
        tensor(Storage(12, key=0), 0, (3, 4), (4, 1)),
        tensor(Storage(12, key="../data.pkl"), 0, (3, 4), (4, 1)),
        tensor(Storage(12, kind=torch.float32), 0, (3, 4), (4, 1)),
        tensor(Storage(11), 0, (3, 4), (4, 1)),  # the record is long enough, the storage is not
        tensor(Storage(12), 1, (3, 4), (4, 1)),
        tensor(Storage(12), -1, (2, 4), (4, 1)),
        tensor(Storage(12), 2**62, (3, 4), (4, 1)),
        tensor(Storage(12), 2**61, (3, 4), (4, 1)),
        tensor(Storage(12), 0, (4, 4), (4, 1)),
        tensor(Storage(12), 0, (3, 4), (2**61, 1)),
        tensor(Storage(12), 0, (3, 4), (2**63, 1)),
        tensor(Storage(12), 11, (3, 4), (-4, -1)),
        tensor(Storage(12), 0, (-3, -4), (4, 1)),
        tensor(Storage(12), 0, (2**40, 2**40), (0, 0)),
        tensor(Storage(12), 0, (0, 2**61, 2**61), (0, 0, 0)),
        tensor(Storage(12), 0, (0, -1), (1, 1)),
        tensor(Storage(12), 0, (-1,), (1,)),
        tensor(Storage(12), 0, (1,) * 100_000, (1,) * 100_000),
        tensor(Storage(12), 0, (3, 4), (4,)),
        tensor(Storage(12), 0, (3, 4.0), (4, 1)),
        tensor(Storage(12), 0, (True, 4), (4, 1)),
        tensor(Storage(12), 0, "34", "41"),
        tensor(Storage(12), 0, None, None),
        tensor(None, 0, (3, 4), (4, 1)),
        tensor(Storage(12), 0, (3, 4), (4, 1), {"conj": True}),
        tensor(Storage(12), 0, (3, 4), (4, 1), "x"),
        Call(torch._utils._rebuild_tensor_v2),
        Call(torch._utils._rebuild_tensor_v2, *[None] * 50),
        Call(torch._utils._rebuild_parameter),
        Call(torch._utils._rebuild_parameter, Storage(12), True, {}),
        Call(torch._utils._rebuild_tensor_v3, Storage(12), 0, (3, 4), (4, 1), False, {}, torch.complex128),
        Call(torch._utils._rebuild_tensor_v3, Storage(12), 0, (3, 4), (4, 1), False, {}, torch.qint8),
        Call(torch._utils._rebuild_tensor_v3, Storage(12), 0, (3, 4), (4, 1), False, {}, "torch.float32"),
        Call(torch._utils._rebuild_tensor_v2, Storage(12, kind=torch.QInt8Storage), 0, (3,), (1,), False, {}),
        Call(torch._tensor._rebuild_from_type_v2, torch._utils._rebuild_tensor, torch.Tensor, (), {}),
        Call(torch._tensor._rebuild_from_type_v2, bytearray, torch.Tensor, (10**12,), {}),
        Call(torch.Tensor, 10**12),
        Call(torch.FloatStorage, 10**12),
        Call(bytearray, 10**12),
    ],
)
def test_views_of_what_is_not_there_are_refused(content: Any, tmp_path: Path) -> None:
    """Nothing is read beyond a storage, and nothing of the size that a file states is made."""
    with pytest.raises(CheckpointError):
        read(archive(dumps({"a": content})), tmp_path)


def test_storages_of_two_sizes_are_refused(tmp_path: Path) -> None:
    views = {"a": tensor(Storage(3), 0, (3,), (1,)), "b": tensor(Storage(6), 0, (6,), (1,))}
    with pytest.raises(CheckpointError, match="'0' has two sizes"):
        read(archive(dumps(views)), tmp_path)


def test_calls_beside_the_weights_are_not_made(tmp_path: Path) -> None:
    """A terabyte is asked for where no tensor is: harmless, as long as nobody makes it."""
    beside = [Call(bytearray, 10**12), Call(torch.Tensor, 10**12), Call(torch._utils._rebuild_sparse_tensor, 1, 2)]
    content = {"state_dict": {"a": tensor(Storage(12), 0, (3, 4), (4, 1))}, "beside": beside}
    assert same(read(archive(dumps(content)), tmp_path)["a"], torch.zeros(3, 4))
