"""API prompts for the tests: nodes with their own defaults filled in, and graphs that several tests share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.comfyui.convert import WIDGET_TYPES

Prompt = dict[str, dict[str, Any]]


class Graph:
    """An API prompt under construction; required widgets take their default from /object_info."""

    def __init__(self, object_info: Mapping[str, Any]) -> None:
        self.object_info = object_info
        self.prompt: Prompt = {}

    def add(self, class_type: str, **inputs: Any) -> str:
        """Id of the new node; an input that is a `(node id, slot)` tuple becomes a link."""
        filled = self._defaults(class_type)
        for name, value in inputs.items():
            filled[name] = list(value) if isinstance(value, tuple) else value
        node_id = str(len(self.prompt) + 1)
        self.prompt[node_id] = {"class_type": class_type, "inputs": filled}
        return node_id

    def _defaults(self, class_type: str) -> dict[str, Any]:
        filled: dict[str, Any] = {}
        for name, spec in self.object_info[class_type]["input"].get("required", {}).items():
            kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
            choices = kind if isinstance(kind, list) else options.get("options")
            if "default" in options:
                filled[name] = options["default"]
            elif choices:
                filled[name] = choices[0]["key"] if isinstance(choices[0], dict) else choices[0]
            elif kind in WIDGET_TYPES:
                filled[name] = {"STRING": "", "BOOLEAN": False}.get(kind, 0)
        return filled


def combo_options(object_info: Mapping[str, Any], class_type: str, name: str) -> list[str]:
    """Choices of a combo input, whichever of the two notations the node uses."""
    sections = object_info[class_type]["input"]
    spec = {**sections.get("required", {}), **sections.get("optional", {})}[name]
    return list(spec[0] if isinstance(spec[0], list) else spec[1]["options"])


def demo_checkpoint(object_info: Mapping[str, Any], name: str = "demo") -> str:
    """AudioXLoad's entry for a demo model."""
    entries = combo_options(object_info, "AudioXLoad", "checkpoint")
    return next(entry for entry in entries if entry.split(" ")[0] == name)


def text_to_audio(
    object_info: Mapping[str, Any], *, text: str = "rain on a tin roof", **sampler: Any
) -> tuple[Graph, dict[str, str]]:
    """The shortest graph, text to a FLAC file, with 4 steps; also the ids of its nodes by task."""
    graph = Graph(object_info)
    load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(object_info))
    encode = graph.add("AudioXEncodeText", encoders=(load, 1), text=text)
    latent = graph.add("AudioXEmptyLatent")
    settings = {"seed": 1, "steps": 4} | sampler
    sample = graph.add("AudioXSampler", model=(load, 0), positive=(encode, 0), latent=(latent, 0), **settings)
    decode = graph.add("AudioXDecode", vae=(load, 2), latent=(sample, 0))
    save = graph.add("SaveAudio", audio=(decode, 0), filename_prefix="text")
    ids = {"load": load, "encode": encode, "latent": latent, "sample": sample, "decode": decode, "save": save}
    return graph, ids


def downstream(prompt: Prompt, node_id: str) -> set[str]:
    """The node and all nodes that need it, directly or not."""
    reached = {node_id}
    while True:
        more = {
            key
            for key, node in prompt.items()
            if key not in reached
            and any(isinstance(value, list) and str(value[0]) in reached for value in node["inputs"].values())
        }
        if not more:
            return reached
        reached |= more
