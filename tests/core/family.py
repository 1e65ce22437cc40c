"""Golden sets of the newer members for tests of single networks: inputs from seeds, weights from names, answers."""

from __future__ import annotations

import json
import os
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from tests.golden import weights

# Where the sets lie; AUDIOX_GOLDEN names another folder of the same layout.
FOLDER = Path(os.environ.get("AUDIOX_GOLDEN") or Path(__file__).parents[1] / "golden")
MAKERS = {
    "gauss": lambda d: weights.gauss(d["seed"], d["shape"], d.get("scale", 1.0)),
    "pixels": lambda d: weights.pixels(d["seed"], d["shape"]),
}
MMDITS = ("audiox_maf_mmdit", "audiox_turbo")
ALL = ("audiox_maf", *MMDITS)
BOUND = 1e-5
N = TypeVar("N", bound=nn.Module)


class Golden:
    """One folder in the format of tests/golden/audiox, without the library's own reading of its configuration."""

    def __init__(self, name: str):
        self.folder = FOLDER / name
        if not self.folder.is_dir():
            pytest.skip(f"no golden set in {self.folder}")
        self.cases: dict[str, Any] = self.json("manifest.json")["cases"]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @cached_property
    def config(self) -> Any:
        return self.json("config.json")["model"]

    def conditioner(self, id: str) -> Any:
        """The configuration of video_prompt, text_prompt or audio_prompt."""
        return next(c["config"] for c in self.config["conditioning"]["configs"] if c["id"] == id)

    def inputs(self, case: str) -> dict[str, Any]:
        """A case's inputs: seeds turned into tensors, everything else as it stands."""
        return {
            name: torch.from_numpy(MAKERS[d["kind"]](d)) if isinstance(d, dict) else d
            for name, d in self.cases[case]["inputs"].items()
        }

    def stored(self, case: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{case}.safetensors")

    def shapes(self, before: str, name: str = "keys.tiny.json") -> dict[str, tuple[int, ...]]:
        """The released keys that begin so, without that beginning."""
        found = self.json(name).items()
        return {key.removeprefix(before): tuple(entry[0]) for key, entry in found if key.startswith(before)}


@lru_cache(maxsize=4)
def golden_set(name: str) -> Golden:
    return Golden(name)


def shapes_of(module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


def fill(module: N, before: str, released: dict[str, tuple[int, ...]], sliced: dict[str, slice] | None = None) -> N:
    """Weights of a golden set for a network whose names are the released keys below `before`."""
    state = {}
    for name, value in module.state_dict().items():
        if weights.kept(name) or not value.is_floating_point():
            state[name] = value
        elif name in released:
            made = torch.from_numpy(weights.fill(before + name, released[name]))
            rows = next((rows for ending, rows in (sliced or {}).items() if name.endswith(ending)), slice(None))
            state[name] = made if made.ndim == 0 else made[rows]
        else:  # the release holds direction and length
            v, g = (torch.from_numpy(weights.fill(before + key, released[key])) for key in (f"{name}_v", f"{name}_g"))
            state[name] = v * (g / v.flatten(1).norm(dim=1).view_as(g))
    module.load_state_dict(state)
    return module.eval().requires_grad_(False)


def randomise(module: N, seed: int = 0) -> N:
    """Random weights of a size that keeps activations of order one."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.eval().requires_grad_(False).parameters():
        fan = parameter[0].numel() if parameter.ndim > 1 else 4
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * fan**-0.5)
    return module


def error(ours: Tensor, expected: Tensor) -> float:
    """Largest difference, relative to the largest value."""
    assert ours.shape == expected.shape and torch.isfinite(ours).all()
    return ((ours.double() - expected.double()).abs().max() / expected.double().abs().max()).item()


def seed_of(golden: Golden, case: str) -> int:
    """The seed that a case's description gives to torch."""
    return int(golden.cases[case]["call"].split("torch.manual_seed(")[1].split(")")[0])
