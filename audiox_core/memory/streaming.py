"""Streaming: blocks whose weights stay in RAM and are read onto the device in time, each into one of two slots."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AudioXError
from ..networks.libraries import unchanged_process
from .estimate import streamed_parameters

log = logging.getLogger("audiox")

ALIGNMENT = 256  # bytes; what accelerators want at least


def load_accelerate() -> Any:
    """The hooks of the package accelerate. Raises AudioXError when it is missing."""
    try:
        with unchanged_process():
            from accelerate import hooks
    except ImportError as error:
        raise AudioXError(
            f"streaming blocks to the device needs the package accelerate, which can't be imported ({error}). "
            "Install it (pip install accelerate), or use a plan without streamed blocks."
        ) from error
    return hooks


def streamed_tensors(block: nn.Module, once: tuple[str, ...]) -> list[tuple[dict[str, Any], str, Tensor]]:
    """A block's parameters that are streamed: (the dict that holds it, its name in it, the tensor).

    Those under the paths in once (see estimate.streamed_parameters) stay with the rest of the network.
    """
    found = []
    for name, parameter in streamed_parameters(block, once):
        path, _, own = name.rpartition(".")
        found.append((block.get_submodule(path)._parameters, own, parameter))
    return found


class PackedBlock:
    """A block's streamed parameters, one after the other in a single piece of RAM.

    The block's parameters become views of it, so packing takes no memory beside it.
    """

    def __init__(self, block: nn.Module, once: tuple[str, ...], *, pin: bool):
        self.views: list[tuple[dict[str, Any], str, int, torch.dtype, torch.Size]] = []
        tensors = streamed_tensors(block, once)
        self.size = 0
        for home, name, tensor in tensors:
            self.views.append((home, name, self.size, tensor.dtype, tensor.shape))
            self.size += -(-tensor.nbytes // ALIGNMENT) * ALIGNMENT
        self.host = host_memory(self.size, pin=pin)
        for (_, _, start, dtype, shape), (_, _, tensor) in zip(self.views, tensors, strict=True):
            _view(self.host, start, dtype, shape).copy_(tensor)
        self.point_at(self.host)
        self.at_rest = [home[name] for home, name, *_ in self.views]

    def point_at(self, memory: Tensor) -> None:
        """Makes the block's parameters views of a packed copy, on whatever device it is."""
        for home, name, start, dtype, shape in self.views:
            home[name] = nn.Parameter(_view(memory, start, dtype, shape), requires_grad=False)

    def rest(self) -> None:
        """The block's parameters are those in RAM again."""
        for (home, name, *_), parameter in zip(self.views, self.at_rest, strict=True):
            home[name] = parameter


def host_memory(size: int, *, pin: bool) -> Tensor:
    """So many bytes of RAM, page-locked if wanted and if the system allows it: else copies wait for each other."""
    if pin:
        try:
            return torch.empty(size, dtype=torch.uint8, pin_memory=True)
        except RuntimeError as error:
            log.warning(
                "page-locked memory is not available (%s); streaming continues without it, more slowly",
                _first_line(error),
            )
    return torch.empty(size, dtype=torch.uint8)


def _first_line(error: Exception) -> str:
    return str(error).split("\n")[0]


def _view(memory: Tensor, start: int, dtype: torch.dtype, shape: torch.Size) -> Tensor:
    return memory[start : start + shape.numel() * dtype.itemsize].view(dtype).view(shape)


class Stream:
    """Reads packed blocks onto a device in a fixed round while the network runs; a context manager.

    Two slots of device memory are all it takes: one block computes while the next is copied on a stream of its own
    (on CUDA, from page-locked RAM; elsewhere the copy is done when it returns). Slots are reused only after the
    computation that read them, by events on the device, so that the host may run ahead.
    """

    def __init__(self, blocks: Sequence[nn.Module], packed: Sequence[PackedBlock], device: torch.device):
        self.blocks, self.packed, self.device = blocks, packed, device
        self.hooks = load_accelerate()
        size = max(p.size for p in packed)
        self.slots = [torch.empty(size, dtype=torch.uint8, device=device) for _ in range(min(2, len(blocks)))]
        self.holds: list[int | None] = [None] * len(self.slots)  # number of the block in each slot
        self.copying = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.filled: list[Any] = [None] * len(self.slots)  # events: the copy into a slot is complete
        self.free: list[Any] = [None] * len(self.slots)  # events: nothing computes from a slot any more
        self.stack = ExitStack()

    def __enter__(self) -> Stream:
        if self.copying is not None:
            # What lay in the slots' memory before may still be computed with.
            self.copying.wait_stream(torch.cuda.current_stream(self.device))
        hook_class = _hook_class(self.hooks)
        try:
            for number, block in enumerate(self.blocks):
                self.stack.callback(self.packed[number].rest)
                self.stack.callback(self.hooks.remove_hook_from_module, block)
                self.hooks.add_hook_to_module(block, hook_class(self, number))
        except BaseException:
            self.stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self.copying is not None:
                self.copying.synchronize()  # a copy under way must not outlive its slot
        finally:
            self.stack.close()
            self.slots.clear()

    def fetch(self, number: int, busy: int | None = None) -> int:
        """Starts to copy a block, unless it is there, into a slot that is not the busy one; returns its slot."""
        if number in self.holds:
            return self.holds.index(number)
        slot = next(s for s in range(len(self.slots)) if s != busy)
        packed = self.packed[number]
        self.holds[slot] = number
        if self.copying is None:
            self.slots[slot][: packed.size].copy_(packed.host)
            return slot
        if self.free[slot] is not None:
            self.copying.wait_event(self.free[slot])
        with torch.cuda.stream(self.copying):
            self.slots[slot][: packed.size].copy_(packed.host, non_blocking=True)
            self.filled[slot] = self.copying.record_event()
        return slot

    def before(self, number: int) -> None:
        """The block is about to compute: its weights are there as far as the device's queue goes, the next follow."""
        slot = self.fetch(number)
        if self.copying is not None:
            torch.cuda.current_stream(self.device).wait_event(self.filled[slot])
        self.packed[number].point_at(self.slots[slot])
        following = (number + 1) % len(self.blocks)
        if len(self.slots) > 1 and following != number:
            self.fetch(following, busy=slot)

    def after(self, number: int) -> None:
        """The block's computation is queued: its slot is free once the device is done with it."""
        if self.copying is not None:
            slot = self.holds.index(number)
            self.free[slot] = torch.cuda.current_stream(self.device).record_event()
        self.packed[number].rest()


def _hook_class(hooks: Any) -> Any:
    """A ModelHook that brings a block's weights for its forward pass; made late, because its base is imported late."""

    class BlockHook(hooks.ModelHook):
        def __init__(self, stream: Stream, number: int):
            self.stream, self.number = stream, number

        def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
            self.stream.before(self.number)
            return args, kwargs

        def post_forward(self, module: nn.Module, output: Any) -> Any:
            self.stream.after(self.number)
            return output

    return BlockHook
