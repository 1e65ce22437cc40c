"""The members of the family beside each other: multiplications of a sound, sizes of the parts, planned memory.

python -m tests.benchmarks.bench_family

Nothing is loaded: all is counted on networks without memory. "Straightforward" is a step that remembers nothing from
the step before and computes the null condition like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.memory.machine import Machine
from audiox_core.memory.plan import GB, make_plan
from audiox_core.models import member
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Model
from audiox_core.networks.layers import repeat_heads
from audiox_core.sampling.guidance import GuidedVelocity

NAMES = ("AudioX", "AudioX-MAF", "AudioX-MAF-MMDiT", "AudioX-Turbo")
CARDS = (4, 6, 8, 12, 24)  # GB (1e9 bytes) of cards that run nothing else
TERA = 10**12


@cache
def full(name: str) -> Model:
    """A released model at its full size."""
    known = member(name)
    assert known is not None
    return parse_config(known.config(), known.name)


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention spelled out: the counter doesn't know every fused one."""
    k, v = repeat_heads(q, k, v)
    return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1) @ v


@dataclass(frozen=True)
class Counts:
    """Multiplications (multiply-adds) of one sound's sampling."""

    once: int  # before the first step
    step: int
    straightforward: int  # a step that remembers and skips nothing
    steps: int

    @property
    def sound(self) -> int:
        return self.once + self.steps * self.step

    @property
    def straightforward_sound(self) -> int:
        return self.steps * self.straightforward


def multiplications(work: Any) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops() // 2


@cache
def counts(name: str) -> Counts:
    """Those of a model's own recipe, with a text, a video and a sound."""
    model = full(name)
    net: Any = model.backbone.build(device="meta", operations=torch.nn, attention=attend).requires_grad_(False)
    tokens = {
        part.name: torch.empty(1, 1, part.condition.tokens, part.condition.width, device="meta")
        for part in model.conditioners
        if part.condition is not None
    }
    rows = 1 if model.recipe.guidance == 1.0 else 2
    x, t = torch.empty(1, model.channels, model.timing.latents, device="meta"), torch.empty(1, device="meta")
    two, times = torch.empty(rows, *x.shape[1:], device="meta"), torch.empty(rows, device="meta")
    every = {name: value.expand(rows, -1, -1, -1) for name, value in tokens.items()}

    def begin() -> GuidedVelocity:
        return GuidedVelocity(net, tokens, scale=model.recipe.guidance)

    velocity = begin()
    inner = getattr(net, "backbone", net)  # what stands before it is fused once by everyone
    joined = multiplications(lambda: inner(two, times, inner.prepare(every)))
    return Counts(multiplications(begin), multiplications(lambda: velocity(x, t)), joined, model.recipe.steps)


def planned(name: str, gigabytes: float) -> tuple[float, int]:
    """GB that the plan for a card of that size expects at most, and blocks that it streams in each step."""
    vram = int(gigabytes * GB)
    machine = Machine("cuda:0", "a card", vram, vram, 64 * GB, 51 * GB)
    plan = make_plan(machine, full(name), precision="fp16")
    plan.check()
    return plan.peak / GB, len(plan.streamed_blocks)


def size(name: str, kind: str) -> float:
    """GB of all weights in a format, text encoder and Synchformer with them."""
    parts = full(name).parts.values()
    return sum(weights_of(part, part.format(kind, on_cpu=False)).total for part in parts) / GB


def numbers(name: str) -> float:
    """Parameters of the network that the sampler calls, in thousands of millions; dead ones are not kept."""
    return weights_of(full(name).backbone, Format()).numbers / 1e9


def work_rows() -> list[str]:
    """Rows of the table of work in docs/models.md: a model, its step, all of a sound, and the plain way."""
    base, rows = counts(NAMES[0]), []
    for name in NAMES:
        found = counts(name)
        share = found.sound / base.sound
        told = f"1/{1 / share:.0f}" if share < 0.5 else f"{share:.2f}"
        rows.append(
            f"| `{name}` | {found.steps} | {found.once / TERA:.2f} T | {found.step / TERA:.2f} T | "
            f"{found.straightforward / TERA:.2f} T | {found.sound / TERA:.1f} T | {told} |"
        )
    return rows


def memory_rows() -> list[str]:
    """Rows of the table of memory in docs/memory.md: a model, its size in fp16, and what is planned on each card."""
    rows = []
    for name in NAMES:
        cells = []
        for card in CARDS:
            gigabytes, streamed = planned(name, card)
            cells.append(f"{gigabytes:.2f} GB" + (f" ({streamed} streamed)" if streamed else ""))
        rows.append(f"| `{name}` | {numbers(name):.2f} B | {size(name, 'fp16'):.2f} GB | " + " | ".join(cells) + " |")
    return rows


def main() -> None:
    print("| name | steps | once | a step | plain step | a sound | relative to AudioX |\n|---|" + "---:|" * 6)
    print("\n".join(work_rows()))
    cards = " | ".join(f"{card} GB" for card in CARDS)
    print(f"\n| name | parameters kept | all in fp16 | {cards} |\n|---|" + "---:|" * (2 + len(CARDS)))
    print("\n".join(memory_rows()))


if __name__ == "__main__":
    main()
