"""A device of limited memory, played by the CPU: every tensor made inside counts, and beyond the limit none is made."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import tree_leaves


def host_memory(size: int, *, pin: bool) -> Tensor:
    """In place of audiox_core.memory.streaming.host_memory: RAM is not the device's, so it is not counted."""
    with _disable_current_modes():
        return torch.empty(size, dtype=torch.uint8, pin_memory=pin)


class Allocator(TorchDispatchMode):
    """Counts the bytes of all storages made while it is entered (also on the meta device) as long as they live."""

    def __init__(self, limit: int | None = None):
        super().__init__()
        self.limit, self.peak = limit, 0
        self.live: dict[int, tuple[StorageWeakRef, int]] = {}

    @property
    def held(self) -> int:
        self.live = {k: v for k, v in self.live.items() if not v[0].expired()}
        return sum(size for _, size in self.live.values())

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        answer = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(answer):
            if not isinstance(tensor, Tensor) or (storage := tensor.untyped_storage())._cdata in given:
                continue
            if storage._cdata in self.live and not self.live[storage._cdata][0].expired():
                continue
            self.live[storage._cdata] = (StorageWeakRef(storage), storage.nbytes())
            if self.limit is not None and self.held > self.limit:
                raise torch.cuda.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {storage.nbytes()} bytes")
            self.peak = max(self.peak, self.held)
        return answer
