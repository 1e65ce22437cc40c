"""The public schema of our nodes: what saved workflows depend on stays, new inputs come last."""

from __future__ import annotations

import copy
import json
from typing import Any

from tests.comfyui.schema import SNAPSHOT, changes, describe

STORED: dict[str, Any] = json.loads(SNAPSHOT.read_text(encoding="utf-8"))


def test_nothing_that_workflows_depend_on_has_changed(info: dict[str, Any]) -> None:
    assert changes(STORED, describe(info)) == []


def test_the_snapshot_is_complete(info: dict[str, Any]) -> None:
    current = describe(info)
    assert changes(current, STORED) == [], "python -m tests.comfyui.schema adds what is new"


def test_every_node_and_input_is_explained(info: dict[str, Any]) -> None:
    for node_id in STORED:
        node = info[node_id]
        assert node["display_name"].startswith("AudioX"), node_id
        assert node["category"].split("/")[0] == "AudioX", node_id
        assert node["description"], node_id
        for section in ("required", "optional"):
            for name, spec in node["input"].get(section, {}).items():
                assert len(spec) > 1, f"{node_id}.{name}"
                assert spec[1].get("tooltip"), f"{node_id}.{name}"


def test_breaking_changes_are_found() -> None:
    old = {
        "A": {
            "inputs": [
                {"name": "x", "section": "required", "type": "INT", "default": 1},
                {"name": "c", "section": "required", "type": "COMBO", "choices": ["a", "b"]},
            ],
            "outputs": [["LATENT", "LATENT"]],
        }
    }
    added = {"name": "y", "section": "optional", "type": "INT", "default": 0}
    assert changes(old, copy.deepcopy(old)) == []

    new = copy.deepcopy(old)
    new["A"]["inputs"].append(added)
    new["A"]["inputs"][1]["choices"].append("c")
    new["A"]["outputs"].append(["seconds", "FLOAT"])
    assert changes(old, new) == []

    for damage in (
        lambda s: s.pop("A"),
        lambda s: s["A"]["inputs"].insert(0, added),
        lambda s: s["A"]["inputs"].append({**added, "section": "required"}),
        lambda s: s["A"]["inputs"][0].update(default=2),
        lambda s: s["A"]["inputs"][1]["choices"].remove("a"),
        lambda s: s["A"]["outputs"].clear(),
    ):
        new = copy.deepcopy(old)
        damage(new)
        assert len(changes(old, new)) >= 1
