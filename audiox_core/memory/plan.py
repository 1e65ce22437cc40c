"""The plan for a machine: formats, places, tiles and streamed blocks of a model's parts, as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ..errors import InputError, OutOfMemory, nearest
from .estimate import Weights, pinned_extra, weights_of
from .formats import DTYPES, Format
from .machine import Machine

if TYPE_CHECKING:
    from ..models.parts import Model

GB = 1_000_000_000  # bytes, here and in all that is printed; a card that is sold as 8 GB has 8.6 of them
TILES: tuple[int | None, ...] = (None, 128, 64, 32, 16, 8)  # latents; None is the whole length
LEAST_TILE = 32  # smaller ones spare little beside the weights and compute their halo over and over
VRAM_SHARE, RAM_SHARE = 0.9, 0.8
# What computing on a CPU takes beside weights and activations: libraries, and weights reordered for them (measured).
CPU_EXTRA = 500_000_000
PRECISIONS = ("auto", *DTYPES)
OFFLOADS = ("auto", "on", "off")


@dataclass(frozen=True)
class Place:
    """Where a part is: "device" all the time, "stage" on the device only while it works, "cpu" never there."""

    where: str
    format: Format
    bytes: int  # all its weights
    device_bytes: int  # what of them the device holds while it works; less than bytes when blocks are streamed
    activations: int
    tile: int | None = None  # latents at a time; None is the whole length
    tiled: bool = False  # whether smaller tiles are possible
    holds: bool = True  # whether it keeps what only spares time from step to step (Part.held)
    label: str = ""  # what the part is, in words


@dataclass(frozen=True)
class Plan:
    """What make_plan decided. Sizes in bytes; problems are why it can't work, warnings why it may be slow."""

    device: str
    precision: str
    places: Mapping[str, Place]
    backbone: str  # the part whose blocks may be streamed
    streamed_blocks: tuple[int, ...]  # of the backbone, read from RAM in each step, spread evenly
    pinned: bool  # streamed blocks lie in page-locked RAM, so that one is read while another computes
    depth: int
    peak: int  # expected on the device (in RAM without one)
    budget: int
    ram: int  # expected in RAM
    ram_budget: int
    warnings: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def offload(self) -> bool:
        """Whether something leaves the device between its uses."""
        return self.device != "cpu" and any(p.where != "device" for p in self.places.values())

    def at_once(self, model: Model, windows: int) -> int:
        """How many of a long sound's windows the backbone may take in one call, and keep what it prepares of them."""
        if self.device == "cpu":
            return 1  # its cores are busy with one
        part, format, length = model.backbone, self.places[self.backbone].format, model.timing.latents
        one, two = (part.work(format, length, count, None) for count in (1, 2))
        return max(1, min(windows, 1 + (self.budget - self.peak) // max(two - one, 1)))

    def check(self) -> None:
        """Raises OutOfMemory if the plan can't work."""
        if self.problems:
            raise OutOfMemory("; ".join(self.problems))


@dataclass(frozen=True)
class _Task:
    """Everything an arrangement needs to know."""

    model: Model
    formats: Mapping[str, Format]
    latents: int
    batch: int
    budget: int

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.model.parts)

    @property
    def network(self) -> Weights:
        """The weights of the backbone, the only part whose blocks can be streamed."""
        return self.weights(self.model.backbone.name)

    def weights(self, name: str) -> Weights:
        return weights_of(self.model.parts[name], self.formats[name])

    def place(
        self, name: str, where: str, tile: int | None = None, device_bytes: int | None = None, holds: bool = True
    ) -> Place:
        part, own, format = self.model.parts[name], self.weights(name).total, self.formats[name]
        work = part.work(format, self.latents, self.batch, tile)
        if not holds and part.held is not None:
            work -= part.held(format, self.batch)
        held = own if device_bytes is None else device_bytes
        return Place(where, format, own, held, work, tile, part.tiled, holds, part.label)

    def tiled(self, name: str, where: str, room: int) -> Place:
        """With the largest tile whose activations fit into room, or else the smallest there is."""
        for tile in TILES if self.model.parts[name].tiled else (None,):
            place = self.place(name, where, tile)
            if place.activations <= room:
                break
        return place


def _peak(places: Mapping[str, Place]) -> int:
    held = sum(p.device_bytes for p in places.values() if p.where == "device")
    stages = [
        held + p.activations + (p.device_bytes if p.where == "stage" else 0)
        for p in places.values()
        if p.where != "cpu"
    ]
    return max(stages, default=0)


def _streamed(network: Weights, count: int) -> int:
    """Device bytes with so many blocks streamed through two slots: one computes while the other is filled."""
    kept = network.total - sum(network.blocks[i] for i in spread(count, network.depth))
    return kept + min(count, 2) * network.block


def _in_turn(task: _Task, least: bool) -> tuple[dict[str, Place], int]:
    """Each part on the device only for its stage; tiles and streamed blocks as few as the budget allows."""
    places: dict[str, Place] = {}
    for name, part in task.model.parts.items():
        own = task.weights(name).total
        if part.tiled and least:
            places[name] = task.place(name, "stage", LEAST_TILE)
        if name not in places or own + places[name].activations > task.budget:
            places[name] = task.tiled(name, "stage", task.budget - own)
    backbone, network = task.model.backbone.name, task.network
    depth, holds = network.depth, True
    counts = [depth] if least else [0, *range(3, depth + 1)]  # one or two would still fill both slots
    if _streamed(network, depth) > task.budget - places[backbone].activations:
        holds = task.model.backbone.held is None  # the last thing to give up: it costs multiplications in each step
    room = task.budget - task.place(backbone, "stage", holds=holds).activations
    count = next((c for c in counts if _streamed(network, c) <= room), depth)
    places[backbone] = task.place(backbone, "stage", device_bytes=_streamed(network, count), holds=holds)
    return places, count


def _arrange(task: _Task, offload: str) -> tuple[dict[str, Place], int]:
    """Places of all parts and the number of streamed blocks."""
    whole = {name: task.place(name, "device") for name in task.names}
    if offload == "off":
        room = task.budget - sum(p.bytes for p in whole.values())
        return {name: task.tiled(name, "device", room) for name in task.names}, 0
    if offload == "auto" and _peak(whole) <= task.budget:
        return whole, 0
    places, count = _in_turn(task, offload == "on")
    if offload == "auto" and count == 0:
        # What a device with room to spare keeps: first what every generation needs.
        model = task.model
        first = dict.fromkeys((model.backbone.name, model.autoencoder.name, *task.names))
        for name in first:
            kept = {**places, name: replace(places[name], where="device")}
            if _peak(kept) <= task.budget:
                places = kept
    return places, count


def _on_cpu(task: _Task) -> dict[str, Place]:
    room = task.budget - CPU_EXTRA - sum(task.weights(name).total for name in task.names)
    places = {name: task.tiled(name, "cpu", room) for name in task.names}
    backbone = task.model.backbone
    if backbone.held is not None and places[backbone.name].activations > room:
        places[backbone.name] = task.place(backbone.name, "cpu", holds=False)
    return places


def make_plan(
    machine: Machine,
    model: Model,
    *,
    seconds: float | None = None,
    batch: int = 1,
    precision: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
) -> Plan:
    """The plan for a machine and a model, for sounds of so many seconds (None: the model's window). Pure.

    offload "off" asks for everything resident, "on" for the least. auto precision is fp32 on a CPU (weights kept in
    fp16 if RAM is tight) and fp16 elsewhere, with a float32 autoencoder where that costs no concession: that is what
    the released model was used in (float16 autocast around a float32 residual stream, float32 decoding).
    Measured on the golden cases, bfloat16 is eight times less exact, and guidance multiplies the difference.
    Raises InputError for arguments out of range; a plan that can't work says so in its problems.
    """
    seconds = model.timing.max_seconds if seconds is None else seconds
    check_options(precision, offload, max_vram_gb)
    if precision == "fp8" and machine.kind == "mps":
        raise InputError("precision: fp8 does not exist on Apple GPUs; choose fp16")
    if not seconds > 0 or batch < 1:
        raise InputError(f"seconds {seconds} and batch {batch} must both be more than 0")
    ram_budget = int(RAM_SHARE * machine.ram_available)
    cpu = machine.kind == "cpu"
    budget = ram_budget if cpu else int(VRAM_SHARE * machine.vram_free)
    if max_vram_gb and not cpu:
        budget = min(budget, int(max_vram_gb * GB))
    latents = model.timing.to_latents(seconds)

    def attempt(name: str, finer: bool = False) -> Plan:
        table = {part.name: part.format(name, on_cpu=cpu) for part in model.parts.values()}
        if finer:
            table[model.autoencoder.name] = Format()
        task = _Task(model, table, latents, batch, budget)
        places, count = (_on_cpu(task), 0) if cpu else _arrange(task, offload)
        return _judge(machine, name, task, places, count, ram_budget, offload)

    if precision != "auto":
        plan = attempt(precision)
    elif cpu:
        plan = attempt("fp32")
        plan = attempt("fp16") if plan.problems or plan.warnings else plan
    else:
        plan = attempt("fp16")
        finer = attempt("fp16", finer=True)
        if offload != "on" and not finer.problems and _concessions(finer) == _concessions(plan):
            plan = finer
    if max_vram_gb and cpu:
        plan = replace(plan, warnings=(*plan.warnings, "max_vram_gb has no effect: there is no GPU"))
    if plan.precision == "bf16" and not machine.bf16:
        plan = replace(plan, warnings=(*plan.warnings, f"{machine.name} emulates bf16 slowly; fp16 is faster"))
    return plan


def check_options(precision: str, offload: str, max_vram_gb: float | None) -> None:
    """Raises InputError for what no plan can be made of, whatever the model and the machine."""
    for name, value, valid in (("precision", precision, PRECISIONS), ("offload", offload, OFFLOADS)):
        if value not in valid:
            raise InputError(f"{name}: unknown value {value!r}.{nearest(str(value), list(valid))}")
    number = isinstance(max_vram_gb, int | float) and not isinstance(max_vram_gb, bool)
    if max_vram_gb is not None and not (number and 0 <= max_vram_gb < math.inf):
        raise InputError(f"max_vram_gb: {max_vram_gb!r} is out of range; give GB, or 0 for all there is")


def _concessions(plan: Plan) -> Any:
    return plan.streamed_blocks, {name: (p.where, p.tile) for name, p in plan.places.items()}


def _judge(
    machine: Machine,
    precision: str,
    task: _Task,
    places: dict[str, Place],
    count: int,
    ram_budget: int,
    offload: str,
) -> Plan:
    """The finished plan, with what does not fit said plainly."""
    problems: list[str] = []
    warnings: list[str] = []
    if machine.kind == "cpu":
        work = max(p.activations for p in places.values())
        peak = ram = sum(p.bytes for p in places.values()) + work + CPU_EXTRA
        if ram > machine.ram_available:
            mend = "Close other programs" + ("" if precision == "fp8" else ", or choose precision fp8")
            problems.append(
                f"{_gb(ram)} of RAM are needed, but only {_gb(machine.ram_available)} are available. {mend}."
            )
    else:
        backbone = task.model.backbone
        for name, place in places.items():
            alone = place.device_bytes + place.activations
            if offload != "off" and name != backbone.name and alone > task.budget:
                own = task.model.parts[name].format("fp16", on_cpu=True)
                places[name] = replace(task, formats={**task.formats, name: own}).place(name, "cpu", place.tile)
                warnings.append(f"{name} needs {_gb(alone)} and stays on the CPU, which is slow")
        peak, ram = _peak(places), _ram(places)
        if peak > task.budget:
            mend = "Raise --max-vram, choose precision fp8, or run with --device cpu."
            if offload == "off":
                mend = "Let parts leave the device: offload auto, without --no-cpu-offload."
            problems.append(
                f"{_gb(peak)} are needed on {machine.name} and {_gb(task.budget)} of it may be used. {mend}"
            )
    pinned = ram + count * pinned_extra(task.network.block)
    pin = machine.kind == "cuda" and count > 0 and pinned <= ram_budget
    ram = pinned if pin else ram
    if ram > ram_budget and not problems:
        warnings.append(f"RAM is tight: {_gb(ram)} are needed, {_gb(machine.ram_available)} are available")
    depth = task.network.depth
    return Plan(
        device=machine.device,
        precision=precision,
        places=places,
        backbone=task.model.backbone.name,
        streamed_blocks=spread(count, depth),
        pinned=pin,
        depth=depth,
        peak=peak,
        budget=task.budget,
        ram=ram,
        ram_budget=ram_budget,
        warnings=tuple(warnings),
        problems=tuple(problems),
    )


def _gb(number: int) -> str:
    return f"{number / GB:.2f} GB"


def _ram(places: Mapping[str, Place]) -> int:
    """What is kept in RAM beside a device, but at least the largest part, as each is loaded through RAM."""
    waiting = sum(p.bytes for p in places.values() if p.where != "device")
    working = max((p.activations for p in places.values() if p.where == "cpu"), default=0)
    return max(waiting + working, *(p.bytes for p in places.values()))


def spread(count: int, depth: int) -> tuple[int, ...]:
    """So many of the block numbers 0..depth - 1 at even distances: the blocks between give time to read the next."""
    return tuple(i * depth // count for i in range(count))
