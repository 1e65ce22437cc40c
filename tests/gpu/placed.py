"""Golden cases on a device: networks that lie there, and are called from where the case's numbers are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from audiox_core.pipeline import Pipeline
from audiox_core.weights.load import load_part
from audiox_core.weights.open import Opened
from tests.golden.reader import GoldenSet


def moved(value: Any, device: torch.device) -> Any:
    """Tensors on a device, in whatever they lie; what stands for a device is that one."""
    if isinstance(value, torch.device):
        return device
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {key: moved(item, device) for key, item in value.items()}
    return type(value)(moved(item, device) for item in value) if isinstance(value, list | tuple) else value


def home_of(values: Any) -> torch.device:
    """Where the first tensor is; the CPU where there is none."""
    if isinstance(values, Tensor):
        return values.device
    items = values.values() if isinstance(values, Mapping) else values if isinstance(values, list | tuple) else ()
    found = [home_of(item) for item in items if isinstance(item, Tensor | Mapping | list | tuple)]
    return found[0] if found else torch.device("cpu")


class Placed:
    """A module on a device whose answers come back to where the numbers came from; contexts stay on the device."""

    def __init__(self, inner: Any, device: torch.device):
        self._inner, self._device = inner, device

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._answer(self._inner, given, named)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if isinstance(found, nn.Module):
            return Placed(found, self._device)
        if isinstance(found, Tensor):
            return found.cpu()
        if not callable(found) or name == "config":
            return found
        return lambda *given, **named: self._answer(found, given, named)

    def _answer(self, call: Callable[..., Any], given: Any, named: Any) -> Any:
        answer = call(*moved(given, self._device), **moved(named, self._device))
        home = home_of([*given, *named.values()])
        return moved(answer, home) if isinstance(answer, Tensor | Mapping | list | tuple) else answer


@lru_cache(maxsize=8)
def opened(golden: GoldenSet, case: str | None = None) -> Opened:
    """A set's model, or the one that a case brings, with its weights: making them takes longer than any case."""
    return golden.opened(golden.model_of(case) if case else golden.model)


@lru_cache(maxsize=8)
def network(golden: GoldenSet, name: str, case: str | None, precision: str, device: torch.device) -> Placed:
    """A part of a golden set on the device, in the formats that a GPU uses for the precision."""
    of = opened(golden, case)
    part = of.model.parts[name]
    return Placed(load_part(part, of.weights, **part.format(precision, on_cpu=False).options()).to(device), device)


@lru_cache(maxsize=1)
def pipeline(golden: GoldenSet, make: Callable[[Opened], Pipeline]) -> Pipeline:
    """A set's whole model, by a maker that is always the same."""
    return make(opened(golden))


def forget() -> None:
    """Gives back all memory."""
    for kept in (network, pipeline, opened):
        kept.cache_clear()
