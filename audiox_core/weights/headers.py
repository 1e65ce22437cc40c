"""The .safetensors format: read by its library, and held to what a model can have."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError

# Element types by their name in a header; weights are those that write_tensors writes.
# fmt: off
WEIGHT_TYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2,
}
TYPES = {
    **WEIGHT_TYPES, "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U64": torch.uint64,
    "U32": torch.uint32, "U16": torch.uint16, "U8": torch.uint8, "BOOL": torch.bool, "C64": torch.complex64,
}
# fmt: on
# A thousand tensors make 0.1 MB. JSON takes up to fifty times its length in memory.
MAX_HEADER = 16 << 20
# No tensor of a network has more; libraries give up at 64 or even 32.
MAX_DIMENSIONS = 16


def read_safetensors(path: Path, file: BinaryIO, size: int) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors of an open .safetensors file by name, and the first byte of each.

    The library holds the header against the file. It lets through a key named twice, any number of dimensions, absurd
    sizes beside one of 0, types that are no weights, and a header of 100 MB: these are refused here.
    """
    from safetensors import safe_open

    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise ValueError(f"its header alone should have {length}")
    if length > MAX_HEADER:
        raise CheckpointError(f"has a header of {length / 1e6:.0f} MB, which no model has. Get it from its source.")
    check_byte_order("little")
    with safe_open(path, framework="pt") as opened:
        header = json.loads(file.read(length).decode(), object_pairs_hook=_no_key_twice)
        header.pop("__metadata__", None)
        for key, entry in header.items():
            if entry["dtype"] not in TYPES:
                kind = f"{entry['dtype']!r:.40} ({key!r:.80})"
                raise CheckpointError(f"holds numbers of type {kind}. Convert it to one of {', '.join(TYPES)}.")
            check_shape(f"{key!r:.80}", entry["shape"])
        tensors = {key: opened.get_tensor(key) for key in header}
    return tensors, {key: 8 + length + entry["data_offsets"][0] for key, entry in header.items()}


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("its header names a key twice")
    return found


def check_byte_order(order: str) -> None:
    if order != sys.byteorder:
        raise CheckpointError(
            f"is {order:.20}-endian, and this machine is not. Convert it to .safetensors on one that is."
        )


def check_shape(name: str, shape: Any) -> None:
    """Raises ValueError for one that the libraries let through, but that no tensor has."""
    if len(shape) > MAX_DIMENSIONS or min(shape, default=0) < 0 or math.prod(max(n, 1) for n in shape) >= 1 << 62:
        raise ValueError(f"{name} has an impossible shape")


def is_text(key: str) -> bool:
    """Whether it can be written down in UTF-8 (pickles can hold halves of letters)."""
    return key == key.encode(errors="ignore").decode()
