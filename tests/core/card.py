"""What the tests of residence and streaming share: a small model, plans for a fake card, and work to do.

The CPU plays the device: weights brought to it are copies, and a fake allocator counts them and all activations.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from audiox_core.memory.machine import Machine
from audiox_core.memory.plan import GB, Plan, make_plan, spread
from audiox_core.memory.residence import Step
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Model
from audiox_core.networks.dit import DiffusionTransformer
from audiox_core.sampling.guidance import GuidedVelocity
from tests.core.small import small_data


def deep_model() -> Model:
    """The small model with a network wide and deep enough for weights to outweigh activations."""
    data = small_data()
    data["model"]["diffusion"]["config"].update(embed_dim=128, num_heads=4, depth=8)
    return parse_config(data, "deep")


MODEL = deep_model()


def fill(net: nn.Module) -> nn.Module:
    """Random weights of order one through every layer."""
    generator = torch.Generator().manual_seed(0)
    for name, p in net.named_parameters():
        gain = 0.5 if p.ndim == 3 else 1.0  # convolutions stand around a residual, too
        scale = 0.1 if name.endswith(("alpha", "beta", "bias")) else gain * max(p[0].numel(), 4) ** -0.5
        p.data = torch.randn(p.shape, generator=generator) * scale
    return net.eval().requires_grad_(False)


def network(name: str, **options: Any) -> Any:
    """One part of the model, with weights of its own."""
    return fill(MODEL.parts[name].build(**options))


def all_parts() -> dict[str, nn.Module]:
    """The networks of the model."""
    return {name: network(name) for name in MODEL.parts}


def fake_card(vram: int = GB) -> Machine:
    return Machine("cuda:0", "a fake card", vram, vram, 32 * GB, 32 * GB)


def plan_for(vram: int = GB, **options: Any) -> Plan:
    return make_plan(fake_card(vram), MODEL, seconds=4.0, precision="fp32", **options)


def changed(plan: Plan, where: str, streamed: int = 0, tile: int | None = None) -> Plan:
    places = {name: replace(p, where=where, tile=tile) for name, p in plan.places.items()}
    return replace(plan, places=places, streamed_blocks=spread(streamed, plan.depth))


def sample(net: DiffusionTransformer, step: Step | None) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, tokens = torch.randn(1, 64, 40, generator=generator), torch.randn(1, 1, 9, 32, generator=generator)
    condition = dict(zip(net.config.order, tokens.split((4, 3, 2), dim=2), strict=True))
    velocity = GuidedVelocity(net, condition, scale=7.0)
    for i in range(3):
        x = x - 0.1 * velocity(x, torch.full((1,), 0.9 - 0.2 * i))
    return x


def decode(net: Any, step: Step) -> Tensor:
    return net.decode(torch.ones(1, 64, 150).cumsum(-1).sin(), tile=step.tile)
