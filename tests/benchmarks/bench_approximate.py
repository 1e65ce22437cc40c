"""What guidance between two noise levels only spares and costs, on the golden set's small network and the demo model.

python -m tests.benchmarks.bench_approximate [--steps 100] [--seeds 4]

Both have random weights, so the distances say how far a sound strays from the exact one, not how it is heard.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from audiox_core.memory.machine import measure
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.models.settings import Settings
from audiox_core.pipeline import load_pipeline
from audiox_core.sampling import sample
from audiox_core.sampling.guidance import GuidedVelocity
from tests.golden.cases import Joined, network
from tests.golden.reader import GoldenSet

FOLDER = Path(__file__).parents[1] / "golden"
INTERVALS = (None, (0.3, 100.0), (0.3, 20.0), (0.5, 20.0), (1.0, 100.0), (1.0, 10.0))
SCALE = 7.0
SAMPLER = "dpmpp-3m-sde"


class Rows:
    """A network that counts the rows it is called with: what a step costs."""

    def __init__(self, inner: Any):
        self.inner, self.count = inner, 0
        self.prepare = inner.prepare

    def __call__(self, x: Tensor, t: Tensor, context: Any) -> Tensor:
        self.count += x.shape[0]
        return self.inner(x, t, context)


def golden_network() -> tuple[Any, Mapping[str, Tensor], tuple[int, ...]]:
    """The reference's small network, the tokens of a stored case, and the shape of its latents."""
    golden = GoldenSet(FOLDER / "audiox")
    given = golden.inputs(f"sample_{SAMPLER}")
    return Joined(network(golden)), {"joined": given["cond"]}, tuple(given["noise"].shape)


def demo_network() -> tuple[Any, Mapping[str, Tensor], tuple[int, ...]]:
    pipe = load_pipeline("demo", device=measure("cpu").device, dtype="fp32")
    given = Settings(text="a steady drum beat").resolved(pipe.model)
    tokens = pipe.conditioner.follow(given, {})
    return pipe.residence.networks[pipe.model.backbone.name], tokens, (1, pipe.model.channels, pipe.timing.latents)


@torch.inference_mode()
def measured(make: Callable[[], tuple[Any, Mapping[str, Tensor], tuple[int, ...]]], steps: int, seeds: int) -> None:
    inner, tokens, shape = make()
    model = parse_config(BASE_CONFIG)
    exact: list[Tensor] = []
    whole = 0
    for interval in INTERVALS:
        rows, found = Rows(inner), []
        between = Settings(guidance_interval=interval).guided_between(model)
        for seed in range(seeds):
            generator = torch.Generator().manual_seed(seed)
            noise = torch.randn(shape, generator=generator)
            velocity = GuidedVelocity(rows, tokens, scale=SCALE, between=between)
            found.append(sample(velocity, noise, steps=steps, sampler=SAMPLER, generator=generator))
        if not exact:
            exact, whole = found, rows.count
        away = statistics.median(float((a - b).norm() / b.norm()) for a, b in zip(found, exact, strict=True))
        levels = "always" if interval is None else f"{interval[0]:g} to {interval[1]:g}"
        print(f"{levels:16s} {rows.count / whole:8.2f} {away:10.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=4)
    args = parser.parse_args()
    for name, make in (("golden network", golden_network), ("demo", demo_network)):
        print(f"{name}: {args.steps} steps of {SAMPLER}, guidance {SCALE:g}, median of {args.seeds} seeds")
        print(f"{'guided between':16s} {'work':>8s} {'distance':>10s}")
        measured(make, args.steps, args.seeds)


if __name__ == "__main__":
    main()
