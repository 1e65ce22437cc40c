"""A golden set on disk: its configuration, weights made from names, inputs made from seeds, stored answers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from audiox_core.models.config import BACKBONES, ModelConfig, TextConfig, parse_config
from audiox_core.models.section import Section
from audiox_core.networks.t5 import TextEncoder
from audiox_core.weights.load import expected_keys
from tests.golden import weights

MAKERS = {
    "gauss": lambda d: weights.gauss(d["seed"], d["shape"], d.get("scale", 1.0)),
    "uniform": lambda d: weights.uniform(d["seed"], d["shape"], d.get("low", 0.0), d.get("high", 1.0)),
    "pixels": lambda d: weights.pixels(d["seed"], d["shape"]),
    "bits": lambda d: weights.bits(d["seed"], d["shape"], d.get("share", 0.5)),
}


class GoldenSet:
    """One folder in the format of tests/golden/audiox."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest: dict[str, Any] = self.json("manifest.json")
        self.cases: dict[str, Any] = self.manifest["cases"]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @cached_property
    def config(self) -> ModelConfig:
        return parse_config(self.json("config.json"), "config.json")

    def config_of(self, case: str) -> ModelConfig:
        """The set's configuration; a case may bring a backbone of its own."""
        own = self.cases[case].get("diffusion_config")
        if own is None:
            return self.config
        with Section(own, f"{case}.diffusion_config") as section:
            return replace(self.config, dit=BACKBONES["dit"](section))

    @staticmethod
    def tensors(config: ModelConfig) -> dict[str, Tensor]:
        """A whole checkpoint in the released layout, every weight a function of its name and shape."""
        made = {}
        for key, shape in expected_keys(config).items():
            if key.endswith("inv_freq"):  # keeps the model's own value
                made[key] = 10000.0 ** -(torch.arange(shape[0]) / shape[0])
            else:
                made[key] = torch.from_numpy(weights.fill(key, shape))
        return made

    @staticmethod
    def text_tensors(config: ModelConfig) -> dict[str, Tensor]:
        """A T5 encoder's file."""
        meta = TextEncoder(config.conditioner(TextConfig), device="meta").t5.state_dict()
        return {key: torch.from_numpy(weights.fill("t5." + key, value.shape)) for key, value in meta.items()}

    def inputs(self, case: str) -> dict[str, Any]:
        """A case's inputs: seeds turned into tensors, everything else as it stands."""
        return {
            name: torch.from_numpy(MAKERS[d["kind"]](d)) if isinstance(d, dict) and "kind" in d else d
            for name, d in self.cases[case]["inputs"].items()
        }

    def stored(self, case: str) -> dict[str, Tensor]:
        """The answers on file, by output name."""
        outputs = self.cases[case]["outputs"]
        files = {o["file"] for o in outputs.values() if o["file"]}
        loaded = {file: load_file(self.folder / file) for file in files}
        return {name: loaded[o["file"]][name] for name, o in outputs.items() if o["file"]}

    def entropy(self, case: str) -> int:
        """The one integer that the case drew for its Brownian tree."""
        (value,) = (draw[2] for draw in self.cases[case]["global_draws"] if draw[0] == "randint")
        return int(value)
