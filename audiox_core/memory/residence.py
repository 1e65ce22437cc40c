"""Applies a plan: each part is on its device while it works; running out of memory is handled once, in order."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from threading import RLock
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from ..errors import OutOfMemory
from .machine import measure
from .plan import GB, TILES, Place, Plan, spread
from .streaming import PackedBlock, Stream, streamed_tensors

log = logging.getLogger("audiox")

T = TypeVar("T")
# How devices other than CUDA, and the CPU, word it.
OUT_OF_MEMORY_TEXTS = ("out of memory", "can't allocate memory", "not enough memory", "out of resources")


@dataclass(frozen=True)
class Step:
    """How a part is to be used now."""

    device: torch.device  # where its inputs are wanted and its answers appear
    dtype: torch.dtype  # what it computes in
    tile: int | None  # latents at a time, for what can be tiled; None is the whole length
    streamed: int  # blocks of the backbone that are read from RAM in each step
    holds: bool = True  # whether the backbone keeps what only spares time from step to step


class _Moved:
    """Tensors of a module that are on a device, and where they came from."""

    def __init__(self, module: nn.Module, device: torch.device, keep_host: bool, leave: set[int]):
        """Copies all parameters and buffers but those left (by id) to the device; all of them or none."""
        self.homes: list[tuple[dict[str, Any], str, Tensor | None]] = []
        copies: dict[int, Tensor] = {}  # tied weights stay one tensor
        try:
            for home, name, tensor in _tensors(module):
                if id(tensor) in leave:
                    continue
                if id(tensor) not in copies:
                    copy = tensor.detach().to(device, copy=True)
                    copies[id(tensor)] = (
                        nn.Parameter(copy, requires_grad=False) if isinstance(tensor, nn.Parameter) else copy
                    )
                self.homes.append((home, name, tensor))
                home[name] = copies[id(tensor)]
        except BaseException:
            self.back()
            raise
        if not keep_host:
            self.homes = [(home, name, None) for home, name, _ in self.homes]

    def back(self) -> None:
        """Puts the originals back (or copies to RAM, where they were not kept)."""
        copies: dict[int, Tensor] = {}
        for home, name, original in self.homes:
            here = home[name]
            if original is None and id(here) not in copies:
                copy = here.detach().to("cpu", copy=True)
                copies[id(here)] = nn.Parameter(copy, requires_grad=False) if isinstance(here, nn.Parameter) else copy
            home[name] = original if original is not None else copies[id(here)]
        self.homes = []


def _tensors(module: nn.Module) -> Iterator[tuple[dict[str, Any], str, Tensor]]:
    for part in module.modules():
        for home in (part._parameters, part._buffers):
            for name, tensor in list(home.items()):
                if tensor is not None:
                    yield home, name, tensor


@dataclass
class _Setting:
    """How a part is used at present: the plan's choice, or less after running out of memory."""

    where: str
    tile: int | None
    streamed: int
    holds: bool = True


class Residence:
    """The networks of a model's parts, by name, on the CPU, and the plan that moves them: the runner of scripts.

    device is the plan's unless given. run() does everything; between its calls nothing is on the device but what the
    plan keeps there. Several threads may call it: they take turns.
    """

    def __init__(self, networks: Mapping[str, nn.Module], plan: Plan, *, device: str | torch.device | None = None):
        plan.check()
        self.networks, self.plan = dict(networks), plan
        self.device = torch.device(device or plan.device)
        self.moves = torch.device(plan.device).type != "cpu"
        self._settings = {
            name: _Setting(
                place.where, place.tile, len(plan.streamed_blocks) if name == plan.backbone else 0, place.holds
            )
            for name, place in plan.places.items()
        }
        self._held: dict[str, _Moved] = {}
        self._packed: dict[int, PackedBlock] = {}
        self._pin = plan.pinned and self.device.type == "cuda"
        self.caches: list[Callable[[], None]] = []  # gives back device memory that users of the networks keep
        self._turn = RLock()

    @property
    def held(self) -> tuple[str, ...]:
        """Names of the parts that are on the device now."""
        return tuple(self._held)

    def stays(self, name: str) -> bool:
        """Whether a part's network keeps its place between calls of run(), as far as memory allows."""
        return not self.moves or self._settings[name].where != "stage"

    def run(self, name: str, fn: Callable[[Any, Step], T]) -> T:
        """fn(network, step)'s answer, with the part's network on its device.

        fn may be called again after running out of memory, so it must start afresh each time. What it returns should
        not be a network's weight. Afterwards, and after any exception, the device holds no more than before, but
        for what the plan keeps there. Raises OutOfMemory when nothing helps.
        """
        with self._turn:
            return self._run(name, fn)

    def release(self) -> None:
        """Takes everything off the device."""
        self._clear_caches()
        for name in list(self._held):
            self._evict(name)
        self._empty_cache()

    def _run(self, name: str, fn: Callable[[Any, Step], T]) -> T:
        said = ""
        for less in self._remedies(name):
            if not less():
                continue
            try:
                return self._once(name, fn)
            except (RuntimeError, MemoryError) as error:
                if not _out_of_memory(error):
                    raise
                said = str(error).split("\n")[0]
            # Only here has the exception let go of the tensors in its frames.
            self._empty_cache()
        raise OutOfMemory(self._explain(name, said))

    def _once(self, name: str, fn: Callable[[Any, Step], T]) -> T:
        setting, before, done = self._settings[name], name in self._held, False
        module: Any = self.networks[name]
        try:
            with self._in_place(name, module):
                step = Step(
                    device=self._device_of(name),
                    dtype=self._place(name).format.compute_dtype,
                    tile=setting.tile,
                    streamed=setting.streamed,
                    holds=setting.holds,
                )
                if hasattr(module, "hold"):
                    module.hold = setting.holds
                answer = fn(module, step)
            done = True
            return answer
        finally:
            if name in self._held and (setting.where != "device" or not (done or before)):
                self._evict(name)
            if not done or setting.where == "stage":
                self._empty_cache()

    @contextmanager
    def _in_place(self, name: str, module: nn.Module) -> Iterator[None]:
        setting = self._settings[name]
        if not self.moves or setting.where == "cpu":
            yield
            return
        # Weights made in inference mode could never be changed outside it.
        with torch.inference_mode(False), torch.no_grad():
            numbers = spread(setting.streamed, self.plan.depth)
            network: Any = module
            blocks: list[Any] = [network.blocks[i] for i in numbers] if numbers else []
            once = network.once if numbers else ()
            packed = [self._pack(i, block, once) for i, block in zip(numbers, blocks, strict=True)]
            leave = {id(tensor) for block in blocks for _, _, tensor in streamed_tensors(block, once)}
            if name not in self._held:
                self._held[name] = _Moved(module, self.device, setting.where == "stage", leave)
            stream: Any = Stream(blocks, packed, self.device) if blocks else nullcontext()
        with stream:
            yield

    def _pack(self, number: int, block: nn.Module, once: tuple[str, ...]) -> PackedBlock:
        if number not in self._packed:
            self._packed[number] = PackedBlock(block, once, pin=self._pin)
            self._pin = self._pin and self._packed[number].host.is_pinned()  # once refused, it isn't asked for again
        return self._packed[number]

    def _evict(self, name: str) -> None:
        with torch.inference_mode(False), torch.no_grad():
            self._held.pop(name).back()

    def _place(self, name: str) -> Place:
        return self.plan.places[name]

    def _device_of(self, name: str) -> torch.device:
        return self.device if self.moves and self._settings[name].where != "cpu" else torch.device("cpu")

    def _remedies(self, name: str) -> Iterator[Callable[[], bool]]:
        """What to do before each attempt, in order; one that returns False has nothing to offer and is passed over."""
        setting = self._settings[name]
        yield lambda: True
        yield lambda: self._free_others(name)
        if self._place(name).tiled:
            for tile in TILES:
                if tile is not None and (setting.tile is None or tile < setting.tile):
                    yield lambda tile=tile: self._tile(name, tile)  # type: ignore[misc]
        if name == self.plan.backbone and self.moves and setting.where != "cpu":
            for count in (self.plan.depth // 2, self.plan.depth):
                if count > max(setting.streamed, 2):
                    yield lambda count=count: self._stream(name, count)  # type: ignore[misc]
        if setting.holds and hasattr(self.networks[name], "hold"):
            yield lambda: self._hold_nothing(name)

    def _free_others(self, name: str) -> bool:
        """Others leave the device, and from now on come only for their stage."""
        others = [other for other in self._held if other != name]
        for other in self._settings:
            if other != name and self._settings[other].where == "device":
                self._settings[other].where = "stage"
        for other in others:
            self._evict(other)
        self._clear_caches()
        self._empty_cache()
        if others:
            log.warning("%s: out of memory; %s left the device", name, ", ".join(others))
        # What other programs or caches held may have become free as well.
        return bool(others) or self.device.type != "cpu"

    def _tile(self, name: str, tile: int) -> bool:
        log.warning("%s: out of memory; continuing in tiles of %d latents", name, tile)
        self._settings[name].tile = tile
        return True

    def _stream(self, name: str, count: int) -> bool:
        log.warning("%s: out of memory; %d of %d blocks are read from RAM in each step", name, count, self.plan.depth)
        if name in self._held:
            self._evict(name)
        self._settings[name].streamed, self._settings[name].where = count, "stage"
        return True

    def _hold_nothing(self, name: str) -> bool:
        log.warning("%s: out of memory; what one step could keep for the next is computed again in each", name)
        self._settings[name].holds = False
        return True

    def _clear_caches(self) -> None:
        for clear in self.caches:
            clear()

    def _empty_cache(self) -> None:
        if self.moves and self.device.type in ("cuda", "xpu", "mps"):
            getattr(torch, self.device.type).empty_cache()

    def _explain(self, name: str, said: str) -> str:
        place, machine = self._place(name), measure(str(self._device_of(name)))
        needed = place.device_bytes + place.activations
        on_cpu = not self.moves or self._settings[name].where == "cpu"
        free, total = machine.vram_free, machine.vram_total
        if machine.kind == "cpu":
            free, total = machine.ram_available, machine.ram_total
        mends = ["close other programs that use it", "take a shorter sound or a smaller batch"]
        if place.format.compute == "fp32" and not on_cpu:
            mends.append("run without --no-half")
        if not on_cpu:
            mends.append(f"set --max-vram to less than the {self.plan.budget / GB:.1f} GB planned with")
            mends.append("run with --device cpu")
        return (
            f"{name}: out of memory on {machine.name}. {needed / GB:.2f} GB were planned for it, {free / GB:.2f} of "
            f"{total / GB:.2f} GB are free; everything else has left, and smaller steps did not help ({said}). "
            f"To fix it: {'; '.join(mends)}."
        )


def _out_of_memory(error: BaseException) -> bool:
    """Whether a library says so; an OutOfMemory of our own has been through this already."""
    if isinstance(error, OutOfMemory):
        return False
    if isinstance(error, torch.cuda.OutOfMemoryError | MemoryError):
        return True
    return any(text in str(error).lower() for text in OUT_OF_MEMORY_TEXTS)
