"""What the tests of offloading and streaming share: a small model, plans for a fake card, and work to do.

The CPU plays the device: weights brought to it are copies, and a fake allocator counts them and all activations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from audiox_core.memory.estimate import Dimensions
from audiox_core.memory.plan import COMPONENTS, spread
from audiox_core.memory.report import GB, Machine, Plan, make_plan
from audiox_core.memory.residence import Step
from audiox_core.models.config import TextConfig
from audiox_core.networks.dit import DiffusionTransformer
from audiox_core.networks.t5 import TextEncoder
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.weights.layout import build
from tests.core.small import small_config

CONFIG = small_config()
# Wide and deep enough for weights to outweigh activations.
CONFIG = replace(CONFIG, dit=replace(CONFIG.dit, embed_dim=128, num_heads=4, depth=8))
DIMS = Dimensions.from_config(CONFIG)


def fill(net: nn.Module) -> nn.Module:
    """Random weights of order one through every layer."""
    generator = torch.Generator().manual_seed(0)
    for name, p in net.named_parameters():
        gain = 0.5 if p.ndim == 3 else 1.0  # convolutions stand around a residual, too
        scale = 0.1 if name.endswith(("alpha", "beta", "bias")) else gain * max(p[0].numel(), 4) ** -0.5
        p.data = torch.randn(p.shape, generator=generator) * scale
    return net.eval().requires_grad_(False)


def all_parts() -> dict[str, nn.Module]:
    """The components of the small model."""
    nets = {name: build(name, CONFIG).to_empty(device="cpu") for name in COMPONENTS if name != "text"}
    return {name: fill(net) for name, net in {**nets, "text": TextEncoder(CONFIG.conditioner(TextConfig))}.items()}


def plan_for(parts: dict[str, nn.Module], vram: int = GB, **options: Any) -> Plan:
    machine = Machine("cuda:0", "a fake card", vram, vram, 32 * GB, 32 * GB)
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in parts.items()}
    return make_plan(machine, sizes, dims=DIMS, seconds=4.0, precision="fp32", **options)


def changed(plan: Plan, where: str, streamed: int = 0, tile: int | None = None) -> Plan:
    places = {name: replace(p, where=where, tile=tile) for name, p in plan.places.items()}
    return replace(plan, places=places, streamed_blocks=spread(streamed, plan.depth))


def sample(net: DiffusionTransformer, step: Step) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, tokens = torch.randn(1, 64, 40, generator=generator), torch.randn(1, 9, 32, generator=generator)
    velocity = GuidedVelocity(net, tokens, scale=7.0)
    for i in range(3):
        x = x - 0.1 * velocity(x, torch.full((1,), 0.9 - 0.2 * i))
    return x


def decode(net: Any, step: Step) -> Tensor:
    return net.decode(torch.ones(1, 64, 150).cumsum(-1).sin(), tile=step.tile)
