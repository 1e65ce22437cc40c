"""The card that the GPU tests run on: the real one, or the CPU that plays it so that the tests can be tried without."""

from __future__ import annotations

import gc
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch

from audiox_core.memory.machine import Machine, measure
from audiox_core.sampling.stepping import Recorder
from tests.core.fake_allocator import Allocator
from tests.core.test_sampling_stepping import Recorded

CARD = 1 << 30  # bytes of what cards are sold as a GB of
CONTEXT = 600_000_000  # bytes that the driver takes of a card for a process, beside all tensors
WORKSPACES = 200_000_000  # bytes that libraries may keep for their own work, at most
PLAYED = 11_000_000  # bytes of a "GB" of the played card, whose models are small


@dataclass
class Count:
    """Bytes on the device above what was there before."""

    peak: int = 0  # the most
    held: int = 0  # at the end


class Card(Protocol):
    """What the tests ask of either."""

    small: bool  # whether models are small ones
    slack: int  # bytes that libraries may take beside what tensors need
    device: torch.device
    name: str
    precision: str  # that networks are in, unless a test says otherwise
    recorder: Recorder | None  # of steps; None: CUDA graphs

    def machine(self, size: float | None = None) -> Machine:
        """The machine as plans see it, with all of the card or as if it were sold as so many GB."""
        ...

    def counted(self, limit: int | None = None) -> Any:
        """A context manager for a Count, in which the device gives no more than limit bytes."""
        ...

    def sync(self) -> None:
        """Returns when the device has done all that it was asked for."""
        ...

    def held(self) -> int:
        """Bytes of all tensors on the device."""
        ...


class Real:
    """The first CUDA device."""

    small, precision, recorder, slack = False, "fp16", None, WORKSPACES

    def __init__(self) -> None:
        self.device = torch.device("cuda:0")
        self.name: str = torch.cuda.get_device_name(0)
        self.total: int = torch.cuda.mem_get_info(0)[1]

    def machine(self, size: float | None = None) -> Machine:
        found = measure(str(self.device))
        if size is None:
            return found
        free = min(int(size * CARD) - CONTEXT, found.vram_free)
        return replace(found, name=f"a card sold as {size:g} GB", vram_total=int(size * CARD), vram_free=free)

    @contextmanager
    def counted(self, limit: int | None = None) -> Iterator[Count]:
        before, count = self.held(), Count()
        if limit is not None:
            torch.cuda.set_per_process_memory_fraction(min((before + limit) / self.total, 1.0), 0)
        torch.cuda.reset_peak_memory_stats(0)
        try:
            yield count
        finally:
            gc.collect()
            self.sync()
            count.peak = torch.cuda.max_memory_allocated(0) - before
            # Workspaces are not cleared here: a recorded step may still use them.
            count.held = torch.cuda.memory_allocated(0) - before
            torch.cuda.empty_cache()
            torch.cuda.set_per_process_memory_fraction(1.0, 0)

    def sync(self) -> None:
        torch.cuda.synchronize(self.device)

    def held(self) -> int:
        gc.collect()
        self.sync()
        # The workspaces of matrix products stay for good, one a stream; they are nobody's leak.
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear is not None:
            clear()
        torch.cuda.empty_cache()
        return torch.cuda.memory_allocated(0)


class Played:
    """The CPU in a card's place: weights brought to it are copies, and every tensor counts."""

    small, precision = True, "fp32"
    slack = 10_000_000  # sounds in RAM, which count as well

    def __init__(self) -> None:
        self.device = torch.device("cpu")
        self.name = f"no card: played by the CPU ({platform.machine()})"
        self.recorder: Recorder | None = Recorded()

    def machine(self, size: float | None = None) -> Machine:
        vram = int((size or 1000) * PLAYED)
        return replace(measure("cpu"), device="cuda:0", name=self.name, vram_total=vram, vram_free=vram)

    @contextmanager
    def counted(self, limit: int | None = None) -> Iterator[Count]:
        count, allocator = Count(), Allocator(limit)
        with allocator:
            yield count
        count.peak = allocator.peak
        gc.collect()
        count.held = allocator.held

    def sync(self) -> None:
        pass

    def held(self) -> int:
        gc.collect()
        return 0
