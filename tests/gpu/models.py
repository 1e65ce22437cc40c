"""Models for the GPU tests, with random weights made on the spot: the released layouts, or small ones of their kind."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn

from audiox_core.memory.formats import Format
from audiox_core.memory.plan import Plan, make_plan
from audiox_core.memory.residence import Residence
from audiox_core.models import demo, member
from audiox_core.models.config import parse_config
from audiox_core.models.parts import Hearing, Model, Sight, Words
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.pipeline import Pipeline
from audiox_core.sampling.stepping import Stepping
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.layout import companion_keys, expected_keys
from audiox_core.weights.load import load_part
from audiox_core.weights.open import Opened
from tests.core.card import deep_model
from tests.core.small_family import small_member
from tests.gpu.cards import Card

BASE, TURBO = "AudioX", "AudioX-Turbo"
NAMES = (BASE, TURBO)
MADE: WeakSet[Pipeline] = WeakSet()


@cache
def model_of(name: str, small: bool) -> Model:
    if small:
        return deep_model() if name == BASE else small_member("turbo")
    known = member(name)
    assert known is not None
    return parse_config(known.config(), known.name)


@lru_cache(maxsize=1)
def pool(count: int) -> Tensor:
    """Random numbers of which full-size weights are pieces: a billion new ones would take a while."""
    return torch.randn(count, generator=torch.Generator().manual_seed(0)) * 0.02


class Weights(Mapping[str, Tensor]):
    """Weights of order one through every layer, a function of name and shape; large ones take no memory."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], before: str = "", *, small: bool):
        self.shapes, self.before, self.small = shapes, before, small

    def __getitem__(self, key: str) -> Tensor:
        shape, name = self.shapes[key], self.before + key
        count = torch.Size(shape).numel()
        if self.small or count < 1 << 16:
            return demo.random_weight(name, shape)
        size = max(torch.Size(s).numel() for s in self.shapes.values()) + (1 << 16)
        start = zlib.crc32(name.encode()) % (1 << 16)
        return pool(1 << (size - 1).bit_length())[start : start + count].view(shape)

    def __iter__(self) -> Iterator[str]:
        return iter(self.shapes)

    def __len__(self) -> int:
        return len(self.shapes)


@cache
def opened(name: str, small: bool) -> Opened:
    """The model as if its files had been read."""
    model = model_of(name, small)
    weights = Bundle(Weights(expected_keys(model), small=small), name)
    for companion in model.companions:
        if not companion.fills:
            own = Weights(companion_keys(model, companion.prefix), companion.prefix, small=small)
            weights.add(own, name, companion.prefix)
    return Opened(name, model, weights, tokenizer=ByteTokenizer())


@lru_cache(maxsize=32)
def network(name: str, part: str, format: Format, small: bool) -> nn.Module:
    """A part's network in RAM. All plans of a model share it."""
    of = opened(name, small)
    return load_part(of.model.parts[part], of.weights, **format.options())


def planned(card: Card, name: str, size: float | None = None, **asked: Any) -> Plan:
    """The plan for the card, or for one sold as so many GB. Fails where there is none."""
    asked = {"precision": card.precision, **asked}
    plan = make_plan(card.machine(size), model_of(name, card.small), **asked)
    plan.check()
    return plan


def pipeline(card: Card, name: str, plan: Plan, **stepping: Any) -> Pipeline:
    """A pipeline that follows a plan, as load_pipeline makes it; stepping is Stepping's options.

    Earlier ones leave the card: all of them share their networks.
    """
    release()
    networks = {part: network(name, part, place.format, card.small) for part, place in plan.places.items()}
    residence = Residence(networks, plan, device=card.device)
    steps = Stepping(**stepping, recorder=card.recorder)
    made = Pipeline(opened(name, card.small), residence, machine=card.machine(), stepping=steps)
    MADE.add(made)
    return made


def release() -> None:
    """Takes everything off the card."""
    for made in list(MADE):
        made.residence.release()


def resident(card: Card, name: str, **stepping: Any) -> Pipeline:
    """A pipeline whose parts stay on the card."""
    return pipeline(card, name, planned(card, name, offload="off"), **stepping)


@lru_cache(maxsize=4)
def inputs(model: Model) -> dict[str, Any]:
    """A prompt, pictures and a sound for each conditioner, as Conditioner.encode takes them."""
    generator, found = torch.Generator().manual_seed(3), {}
    for part in model.conditioners:
        assert part.condition is not None
        reads = part.condition.reads
        if isinstance(reads, Words):
            found[part.name] = [[5] * min(20, reads.max_length - 1) + [1]]
        elif isinstance(reads, Sight):
            shapes = [(1, count, 3, reads.size, reads.size) for _, count in reads.rates]
            found[part.name] = [torch.randint(1, 256, s, generator=generator, dtype=torch.uint8) for s in shapes]
        elif isinstance(reads, Hearing):
            found[part.name] = torch.rand(1, 2, reads.samples, generator=generator) - 0.5
    return found


@torch.inference_mode()
def conditions(pipe: Pipeline) -> dict[str, Tensor]:
    """Condition tokens of every modality, encoded where the plan says."""
    draws = pipe.draw(1).conditions
    given = {name: pipe.conditioner.encode(name, value, draws[name]) for name, value in inputs(pipe.model).items()}
    return pipe.conditioner.complete(given, draws)


def tokens_of(model: Model, seed: int = 4) -> dict[str, Tensor]:
    """Random condition tokens (1, 1, M, D) by modality."""
    generator = torch.Generator().manual_seed(seed)
    conditions = {part.name: part.condition for part in model.conditioners if part.condition is not None}
    return {name: torch.randn(1, 1, c.tokens, c.width, generator=generator) for name, c in conditions.items()}
