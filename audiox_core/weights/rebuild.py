"""What a checkpoint's pickle says about its tensors, as views of the file's memory map that torch keeps within it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from .headers import TYPES, check_shape, is_text
from .names import LEVELS
from .pickles import SAVE_PLAIN, Call, Name, Storage

# The types that a tensor may have, by name.
KNOWN_TYPES = {str(dtype): dtype for dtype in (*TYPES.values(), torch.complex128)}
BUILD = "torch._utils._rebuild_"
# What makes a tensor of a storage, an offset, a shape and strides, and how many arguments each has at least. Then come
# whether it has a gradient and its hooks, in the third its type, and last whether it is negated or conjugated.
PLAIN = {f"{BUILD}tensor": 4, f"{BUILD}tensor_v2": 6, f"{BUILD}tensor_v3": 7}
# What wraps a tensor: it is the first argument.
PARAMETERS = (f"{BUILD}parameter", f"{BUILD}parameter_with_state", "torch.nn.parameter.Parameter")
# A tensor with attributes: the function that makes it, its class, that function's arguments.
WITH_ATTRIBUTES, KEPT_CLASSES = "torch._tensor._rebuild_from_type_v2", ("torch.Tensor", PARAMETERS[-1])


def rebuilt(content: Any, starts: Mapping[str, int], path: Path, size: int) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors by name in a pickle's content, and the first byte in the file of those without gaps.

    A level such as {"state_dict": ...} is taken off. starts are the first bytes of the storages in the file, which has
    that size. Raises CheckpointError for what is no plain tensor, and other Exceptions for nonsense.
    """
    if not isinstance(content, dict):
        raise CheckpointError(f"holds a {_kind(content)}, not tensors by name. Give a model checkpoint.")
    state = next((content[level] for level in LEVELS if isinstance(content.get(level), dict)), content)
    odd = [key for key, value in state.items() if not (type(key) is str and is_text(key) and _is_tensor(value))]
    if odd:
        what = ", ".join(f"{key!r:.80} ({_kind(state[key])})" for key in odd[:5])
        raise CheckpointError(
            f"holds other things than tensors by name: {what}{' ...' if len(odd) > 5 else ''}. "
            'Give a model checkpoint: tensors by name, or such a dict under "state_dict".'
        )
    whole: Any = torch.UntypedStorage.from_file(os.fspath(path), False, size)
    tensors, offsets, parts = {}, {}, dict[str, Any]()
    for key, call in state.items():
        storage, dtype, *view = _view(f"{key!r:.80}", call, size)
        start = starts[storage.key]
        part = parts.setdefault(storage.key, whole[start : start + storage.size])
        tensors[key] = tensor = torch.empty(0, dtype=dtype).set_(part).as_strided(*view)
        if tensor.is_contiguous():
            offsets[key] = start + int(tensor.storage_offset()) * tensor.itemsize
    return tensors, offsets


def _is_tensor(value: Any) -> bool:
    return isinstance(value, Call) and value.function.startswith((BUILD, PARAMETERS[-1], WITH_ATTRIBUTES))


def _kind(value: Any) -> str:
    value = value.function if isinstance(value, Call) else value
    return f"{value:.80}" if isinstance(value, Name) else type(value).__name__.replace("Table", "dict")


def _view(name: str, call: Any, size: int) -> tuple[Storage, torch.dtype, Any, Any, Any]:
    """What the notes of the calls that make a tensor mean: a storage, a type, a shape, strides and an offset."""
    function, arguments = call.function, call.arguments
    while function not in PLAIN:  # the call that makes the tensor itself, out of those around it
        if function == WITH_ATTRIBUTES and arguments[1] in KEPT_CLASSES and isinstance(arguments[2], tuple):
            inner: Any = Call(arguments[0], arguments[2])
        else:
            inner = arguments[0] if function in PARAMETERS else None
        if not isinstance(inner, Call) or not isinstance(inner.function, Name):
            words = function.rpartition("_rebuild_")[2].replace("_", " ").replace("qtensor", "quantized tensor")
            raise CheckpointError(f"holds a {words} ({name}). {SAVE_PLAIN}")
        function, arguments = inner.function, inner.arguments
    needed = PLAIN[function]
    if not needed <= len(arguments) <= needed + (needed > 4) or not isinstance(arguments[0], Storage):
        raise ValueError(f"{name} has no storage")
    storage, offset, shape, stride = arguments[:4]
    kind = arguments[6] if needed == 7 else Name(storage.dtype)
    if not isinstance(kind, Name) or kind not in KNOWN_TYPES:
        raise CheckpointError(f"holds numbers of an unusual kind ({_kind(kind)}: {name}). {SAVE_PLAIN}")
    if any(arguments[needed:]):
        raise CheckpointError(f"holds a negated or conjugated view of a tensor ({name}). {SAVE_PLAIN}")
    if isinstance(shape, Call) and shape.function == "torch.Size":
        shape = shape.arguments[0]
    check_shape(name, shape)
    size_of_one, numel = KNOWN_TYPES[kind].itemsize, math.prod(shape)
    # Repeated views (stride 0) take no room in the file; copying such a one could fill any memory.
    if numel * size_of_one > size:
        raise CheckpointError(f"says {name} is larger than the file (a repeated view). Save it contiguous.")
    # torch checks this too, but 2.4 lets an offset pass whose bytes overflow 64 bits.
    reach = 1 + offset + sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
    if not all(0 <= n < 1 << 62 for n in (offset, *stride)) or (numel and reach * size_of_one > storage.size):
        raise ValueError(f"{name} reaches beyond its {storage.size} bytes")
    return storage, KNOWN_TYPES[kind], shape, stride, offset
