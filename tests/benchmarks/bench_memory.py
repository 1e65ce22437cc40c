"""Memory and time of a full-size model (random weights, ten seconds) under the plans for large and small cards.

python tests/benchmarks/bench_memory.py [--only NAME ...] [--json FILE]

Each row runs in a process of its own. On a machine with CUDA the card is limited to the row's size. Without one,
the CPU plays the card: weights brought to it are copies (so that the RAM's peak holds both), all tensors are counted,
and bfloat16 takes float16's place (as many bytes, and CPUs multiply it faster); the times are then the CPU's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from audiox_core.memory import streaming
from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.memory.machine import Machine, measure
from audiox_core.memory.plan import GB, make_plan
from audiox_core.memory.report import report
from audiox_core.memory.residence import Residence, Step
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.sampling.guidance import GuidedVelocity
from tests.core.fake_allocator import Allocator, host_memory

MODEL = parse_config(BASE_CONFIG)
LATENTS = MODEL.timing.latents
CARD = 1 << 30  # bytes of what cards are sold as a GB of
# name -> what the card is sold as (None: no card), how the plan is asked for
ROWS: dict[str, tuple[float | None, dict[str, Any]]] = {
    "all resident": (24, {"offload": "off"}),
    "auto, card with 8.59 GB (sold as 8)": (8, {}),
    "auto, card with 4.29 GB (sold as 4)": (4, {}),
    "auto, card with 2.15 GB (sold as 2)": (2, {}),
    "the least": (24, {"offload": "on"}),
    "CPU only, fp32": (None, {"precision": "fp32"}),
    "CPU only, fp16": (None, {"precision": "fp16"}),
    "CPU only, fp8": (None, {"precision": "fp8"}),
}
COLUMNS = ("planned", "device peak", "RAM peak", "text", "video", "audio", "step", "decode")


def fill(net: nn.Module) -> nn.Module:
    """Weights of order one through every layer, from one small table: a billion random numbers would take a while."""
    table = torch.randn(1 << 20, generator=torch.Generator().manual_seed(0))
    for name, p in net.named_parameters():
        flat, scale = p.data.view(-1), max(p[0].numel(), 4) ** -0.5 if p.ndim else 1.0
        if name.endswith(("alpha", "beta", "bias")):
            scale = 0.1
        for start in range(0, flat.numel(), len(table)):
            piece = flat[start : start + len(table)]
            piece.copy_(table[: piece.numel()] * scale)
    return net.eval().requires_grad_(False)


def networks(formats: dict[str, Format]) -> dict[str, nn.Module]:
    nets: dict[str, Any] = {}
    for name, part in MODEL.parts.items():
        net: Any = part.build(device="meta", **formats[name].options()).to_empty(device="cpu")
        for module in net.modules():  # not a weight
            for own, buffer in module.named_buffers(recurse=False):
                if own == "position_ids":
                    buffer.copy_(torch.arange(buffer.shape[-1]).expand(buffer.shape))
        if hasattr(net, "tie"):
            net.tie()
        nets[name] = fill(net)
    return nets


class PeakRam:
    """The most RAM that the process held, seen every few milliseconds, above what it held at the start."""

    def __init__(self) -> None:
        self.process = psutil.Process()
        self.start = self.peak = self.process.memory_info().rss
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        while not self.ended.wait(0.005):
            self.peak = max(self.peak, self.process.memory_info().rss)

    def stop(self) -> int:
        self.ended.set()
        self.thread.join()
        return self.peak - self.start


def timed(work: Callable[[], Any]) -> float:
    start = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


def measure_row(name: str) -> dict[str, float]:
    """One row of the table, measured in this process."""
    size, asked = ROWS[name]
    real = torch.cuda.is_available() and size is not None
    if real:
        total = torch.cuda.mem_get_info()[1]
        torch.cuda.set_per_process_memory_fraction(min(size * CARD / total, 1.0))
        machine, asked = measure(), {**asked, "max_vram_gb": size * CARD / GB}
    elif size is not None:
        vram = int(size * CARD)
        machine = replace(
            measure("cpu"), device="cuda:0", name=f"a card sold as {size} GB", vram_total=vram, vram_free=vram
        )
    else:
        machine = measure("cpu")
    plan = make_plan(machine, MODEL, **{"precision": "fp16", **asked})
    if not real and size is not None:
        places = {n: replace(p, format=Format("bf16", "bf16")) for n, p in plan.places.items()}
        plan = replace(plan, places=places, pinned=False)
        streaming.host_memory = host_memory
    print(report(plan, machine), file=sys.stderr)
    ram = PeakRam()
    parts = networks({n: p.format for n, p in plan.places.items()})
    residence = Residence(parts, plan, device=None if real else "cpu")
    allocator = nullcontext() if real or size is None else Allocator()
    with torch.inference_mode(), allocator:
        times = run(residence)
    found: dict[str, float] = {"planned": plan.peak, "RAM peak": ram.stop(), **times}
    if real:
        found["device peak"] = torch.cuda.max_memory_allocated()
    elif isinstance(allocator, Allocator):
        found["device peak"] = allocator.peak
    return found


def run(residence: Residence) -> dict[str, float]:
    """Encodes, makes three steps (the last one counts) and decodes, each in its place."""
    frames = torch.randint(0, 256, (1, 50, 3, 224, 224), dtype=torch.uint8)
    waveform = torch.rand(1, 2, MODEL.timing.prompt_samples) - 0.5
    steps: list[float] = []

    def sample(net: Any, step: Step) -> Tensor:
        conditions = {part.name: part.condition for part in MODEL.conditioners}
        tokens = {name: torch.randn(1, 1, c.tokens, c.width).to(step.device) for name, c in conditions.items()}
        velocity = GuidedVelocity(net, tokens)
        x = torch.randn(1, 64, LATENTS).to(step.device)
        steps.extend(timed(lambda: velocity(x, torch.full((1,), 0.5, device=step.device))) for _ in range(3))
        return x

    times = {
        "text": timed(lambda: residence.run("text", lambda net, step: net([[5] * 127 + [1]]))),
        "video": timed(lambda: residence.run("video", lambda net, step: net(frames))),
        "audio": timed(lambda: residence.run("audio", lambda net, step: net(waveform, tile=step.tile))),
    }
    latents = residence.run("dit", sample)
    times["decode"] = timed(lambda: residence.run("autoencoder", lambda net, s: net.decode(latents.cpu(), tile=s.tile)))
    return {**times, "step": steps[-1]}


def sizes_table() -> str:
    """Bytes of each part in each precision."""
    names = ("fp32", "fp16", "bf16", "fp8")
    lines = ["| part | parameters | " + " | ".join(names) + " |", "|---|" + "---:|" * 5]
    for part in MODEL.parts.values():
        sizes = [weights_of(part, part.format(name, on_cpu=False)) for name in names]
        cells = [f"{size.total / 1e6:.0f} MB" for size in sizes]
        lines.append(f"| {part.name} | {sizes[0].numbers / 1e6:.1f} M | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def line(name: str, row: dict[str, float]) -> str:
    """A row of the table."""
    cells = []
    for column in COLUMNS:
        if column not in row:
            cells.append("none")
        elif column in ("planned", "device peak", "RAM peak"):
            cells.append(f"{row[column] / 1e9:.2f} GB")
        else:
            cells.append(f"{row[column]:.2f} s")
    return f"| {name} | " + " | ".join(cells) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--json", type=Path, help="also write the numbers here")
    parser.add_argument("--row", choices=list(ROWS), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.row:
        print(json.dumps(measure_row(args.row)))
        return
    machine: Machine = measure()
    print(f"{machine.name}, {torch.get_num_threads()} CPU threads, torch {torch.__version__}\n\n{sizes_table()}\n")
    print("| | " + " | ".join(COLUMNS) + " |\n|---|" + "---:|" * len(COLUMNS), flush=True)
    found = {}
    for name in args.only:
        command = [sys.executable, __file__, "--row", name]
        found[name] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
        print(line(name, found[name]), flush=True)
        if args.json:
            args.json.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if machine.kind == "cpu":
        print(
            "\nGPU columns: not measured. Device peaks are counted while the CPU plays the card, times are the CPU's."
        )


if __name__ == "__main__":
    main()
