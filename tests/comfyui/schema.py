"""Snapshot of our nodes' public schema (schema.json), which may only be added to.

With COMFYUI_PATH set, `python -m tests.comfyui.schema` adds new nodes, inputs and outputs to the snapshot.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.comfyui.server import ComfyServer, find_comfyui

SNAPSHOT = Path(__file__).with_name("schema.json")
MODEL_FILES = (
    ".safetensors",
    ".ckpt",
    ".pt",
    ".pth",
    ".bin",
    ".gguf",
)  # choices that differ from user to user

Schema = dict[str, Any]


def describe(object_info: Mapping[str, Any]) -> Schema:
    """Schema of our nodes: inputs in order (name, section, type, default, limits, choices) and outputs."""
    return {name: _node(info) for name, info in sorted(object_info.items()) if name.startswith("AudioX")}


def _node(info: Mapping[str, Any]) -> Schema:
    inputs = []
    for section in ("required", "optional"):
        for name in info["input_order"].get(section, []):
            spec = info["input"][section][name]
            kind, options = spec[0], (spec[1] if len(spec) > 1 else {})
            entry: dict[str, Any] = {"name": name, "section": section}
            entry["type"] = "COMBO" if isinstance(kind, list) else kind
            entry |= {key: options[key] for key in ("default", "min", "max", "step") if key in options}
            if entry["type"] == "COMBO":
                choices = kind if isinstance(kind, list) else options["options"]
                entry["choices"] = [choice for choice in choices if not choice.endswith(MODEL_FILES)]
            inputs.append(entry)
    outputs = [list(pair) for pair in zip(info["output_name"], info["output"], strict=True)]
    return {"inputs": inputs, "outputs": outputs}


def changes(old: Schema, new: Schema) -> list[str]:
    """What in `new` would break a workflow saved with `old`: everything but additions at the end."""
    found = []
    for node_id, before in old.items():
        after = new.get(node_id)
        if after is None:
            found.append(f"{node_id} is gone")
            continue
        if after["outputs"][: len(before["outputs"])] != before["outputs"]:
            found.append(f"{node_id}: outputs were {before['outputs']}, are {after['outputs']}")
        # Saved widget values are positional over required inputs, then optional ones.
        for position, was in enumerate(before["inputs"]):
            now = after["inputs"][position] if position < len(after["inputs"]) else {}
            if {**was, "choices": None} != {**now, "choices": None}:
                found.append(f"{node_id}: input {position} was {was}, is {now}")
            elif missing := set(was.get("choices", [])) - set(now.get("choices", [])):
                found.append(f"{node_id}.{was['name']}: choices gone: {sorted(missing)}")
        for added in after["inputs"][len(before["inputs"]) :]:
            if added["section"] == "required":
                found.append(f"{node_id}: new input {added['name']} is required; API prompts without it would fail")
    return found


def main() -> int:
    """Add what is new to the snapshot; nothing is written when an existing entry would change."""
    comfyui = find_comfyui()
    if comfyui is None:
        print("COMFYUI_PATH is not set", file=sys.stderr)
        return 2
    with ComfyServer(comfyui) as server:
        current = describe(server.object_info())
    stored = json.loads(SNAPSHOT.read_text(encoding="utf-8")) if SNAPSHOT.exists() else {}
    broken = changes(stored, current)
    if broken:
        print("not written, these would break saved workflows:", *broken, sep="\n  ", file=sys.stderr)
        return 1
    SNAPSHOT.write_text(json.dumps(current, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{SNAPSHOT.name}: {len(current)} nodes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
