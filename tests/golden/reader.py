"""A golden set on disk: its configuration, weights made from names, inputs made from seeds, stored answers."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from audiox_core.models.config import parse_config
from audiox_core.models.parts import Model
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.layout import companion_keys, expected_keys
from audiox_core.weights.open import Opened
from tests.golden import weights

MAKERS = {
    "gauss": lambda d: weights.gauss(d["seed"], d["shape"], d.get("scale", 1.0)),
    "uniform": lambda d: weights.uniform(d["seed"], d["shape"], d.get("low", 0.0), d.get("high", 1.0)),
    "pixels": lambda d: weights.pixels(d["seed"], d["shape"]),
    "bits": lambda d: weights.bits(d["seed"], d["shape"], d.get("share", 0.5)),
}


def filled(key: str, shape: tuple[int, ...]) -> Tensor:
    """A weight by its name and shape; the rotary table keeps the model's own value."""
    if key.endswith("inv_freq"):
        return 10000.0 ** -(torch.arange(shape[0]) / shape[0])
    return torch.from_numpy(weights.fill(key, shape))


# The sets have most of their weights in common, and each is read several times; together they take 400 MB.
known = lru_cache(maxsize=4096)(filled)


class GoldenSet:
    """One folder in the format of tests/golden/audiox."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.manifest: dict[str, Any] = self.json("manifest.json")
        self.cases: dict[str, Any] = self.manifest["cases"]

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    @property
    def fused(self) -> bool:
        """Whether it is of a member behind a fusion block, with other cases than the base model's."""
        return bool(self.json("config.json")["model"]["diffusion"].get("gate"))

    @cached_property
    def model(self) -> Model:
        data = self.json("config.json")
        for entry in data["model"]["conditioning"]["configs"]:
            if "sync" in entry["type"]:  # as tiny as the rest; the sets give its answers where they need them
                entry["config"].setdefault("synchformer_config", {"width": 768, "depth": 1, "heads": 12})
        return self.heard(parse_config(data, "config.json"))

    def heard(self, model: Model) -> Model:
        """The model with sounds as long as the set's own, where the conditioner takes any length."""
        given = self.cases.get("generate_all", {}).get("inputs", {}).get("audio")
        if given is None:
            return model
        part = model.parts["audio"]
        condition: Any = part.condition
        samples = given["shape"][-1]
        condition = replace(
            condition,
            reads=replace(condition.reads, samples=samples),
            draw=partial(condition.draw, samples=samples),
        )
        heard = replace(part, condition=condition)
        return replace(model, conditioners=tuple(heard if p is part else p for p in model.conditioners))

    def model_of(self, case: str) -> Model:
        """The set's model; a case may bring a backbone of its own."""
        own = self.cases[case].get("diffusion_config")
        if own is None:
            return self.model
        data = self.json("config.json")
        data["model"]["diffusion"]["config"] = own
        return parse_config(data, case)

    @staticmethod
    def tensors(model: Model) -> dict[str, Tensor]:
        """A whole checkpoint in the released layout, every weight a function of its name and shape."""
        return {key: known(key, shape) for key, shape in expected_keys(model).items()}

    @classmethod
    def opened(cls, model: Model) -> Opened:
        """The model with all its weights, those of files beside the checkpoint too."""
        weights = Bundle(cls.tensors(model), "golden")
        for companion in model.companions:
            prefix = companion.prefix
            keys = companion_keys(model, prefix)
            weights.add({key: known(prefix + key, shape) for key, shape in keys.items()}, prefix, prefix)
        return Opened("golden", model, weights, tokenizer=ByteTokenizer())

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
