"""The shipped apps (forms over a workflow) and blueprints (a workflow as one node), without a ComfyUI."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.test_workflows_static import OWN_SETTINGS, SCHEMA, WIDGETS, node_box, overlap, widget_names

ROOT = Path(__file__).parents[2]
APPS = sorted((ROOT / "workflows").glob("*.app.json"))
BLUEPRINTS = sorted((ROOT / "subgraphs").glob("*.json"))
# What the published demo page asks for; of each, the widgets that ask for it here.
ASKED = {
    "video": {"LoadVideo.file"},
    "audio": {"LoadAudio.audio"},
    "text": {"AudioXEncodeText.text"},
    "seconds": {"AudioXEncodeVideo.seconds", "AudioXEmptyLatent.seconds"},
    **{name: {f"AudioXSampler.{name}"} for name in ("steps", "guidance", "seed", "sampler", "sigma_min", "sigma_max")},
}
LONGEST_LABEL, LONGEST_HINT = 32, 29  # characters that the form's column shows in one line
CATEGORY = "AudioX"
INPUT, OUTPUT = -10, -20  # ids of a subgraph's borders
SHARED = ["seed", "steps", "model"]  # the last widgets of every blueprint


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def asked(workflow: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any], str]]:
    """(node, input, hint) of every line of an app's form, in their order."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, name, *options in workflow["extra"]["linearData"]["inputs"]:
        (socket,) = (entry for entry in nodes[number]["inputs"] if entry["name"] == name)
        yield nodes[number], socket, options[0].get("description", "") if options else ""


def inside(path: Path) -> dict[str, Any]:
    """The subgraph of a blueprint."""
    (graph,) = read(path)["definitions"]["subgraphs"]
    found: dict[str, Any] = graph
    return found


def test_there_is_one_for_every_task() -> None:
    assert {path.name.removesuffix(".app.json") for path in APPS} == {
        "Sound for a video",
        "Sound from text",
        "Sound from an example",
        "Repair seconds",
    }
    assert {path.stem for path in BLUEPRINTS} == {
        "AudioX Sound for a video",
        "AudioX Sound from text",
        "AudioX Repair seconds",
        "AudioX Seamless loop",
    }


def test_the_forms_ask_for_all_that_the_published_demo_asks_for() -> None:
    found = {f"{node['type']}.{socket['name']}" for path in APPS for node, socket, _ in asked(read(path))}
    assert [name for name, widgets in ASKED.items() if not widgets & found] == []


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_a_form_s_lines_are_free_widgets_that_can_be_read(path: Path) -> None:
    workflow = read(path)
    assert workflow["extra"]["linearMode"] is True
    labels = []
    for node, socket, hint in asked(workflow):
        assert socket["widget"]["name"] == socket["name"]
        assert socket["link"] is None
        assert node["mode"] == 0
        assert len(socket["label"]) <= LONGEST_LABEL
        assert len(hint) <= LONGEST_HINT
        assert socket["label"][0].isupper()
        labels.append(socket["label"])
    assert len(set(labels)) == len(labels)
    assert sum(len(entry.get("label", "")) > 0 for node in workflow["nodes"] for entry in node["inputs"]) == len(labels)


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_a_form_begins_with_the_content_and_ends_with_the_settings(path: Path) -> None:
    names = [f"{node['type']}.{socket['name']}" for node, socket, _ in asked(read(path))]
    settings = ["seed", "checkpoint", "steps", "guidance", "sampler", "sigma_min", "sigma_max"]
    assert [name.partition(".")[2] for name in names[-len(settings) :]] == settings
    assert names[0].startswith("Load") or names[0] == "AudioXEncodeText.text"


@pytest.mark.parametrize("path", APPS, ids=lambda path: path.stem)
def test_a_form_shows_its_one_result(path: Path) -> None:
    workflow = read(path)
    (number,) = workflow["extra"]["linearData"]["outputs"]
    makers = [node["id"] for node in workflow["nodes"] if node["type"] in ("SaveVideo", "PreviewAudio")]
    assert makers == [number]


@pytest.mark.parametrize("path", sorted((ROOT / "workflows").glob("*.json")), ids=lambda path: path.stem)
def test_the_template_browser_has_a_picture_of_it(path: Path) -> None:
    assert path.with_suffix(".jpg").is_file()


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_is_one_node_of_a_subgraph(path: Path) -> None:
    content, graph = read(path), inside(path)
    (host,) = content["nodes"]
    assert host["type"] == graph["id"]
    assert host["title"] == graph["name"] == path.stem
    assert content["links"] == []
    assert host["widgets_values"] == []  # those of the nodes within
    for side in ("inputs", "outputs"):
        told = [(entry["name"], entry["type"], entry.get("label")) for entry in graph[side]]
        assert [(entry["name"], entry["type"], entry.get("label")) for entry in host[side]] == told
        assert len({name for name, *_ in told}) == len(told)
    assert all(("widget" in entry) == (entry["type"] in WIDGETS) for entry in host["inputs"])


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_can_be_found_and_explains_itself(path: Path) -> None:
    content, graph = read(path), inside(path)
    assert graph["category"] == CATEGORY
    assert content["extra"]["BlueprintDescription"] == graph["description"]
    assert 20 < len(graph["description"]) <= 110
    assert graph["description"].endswith(".")
    assert "AudioX" in content["extra"]["BlueprintSearchAliases"]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_has_few_widgets(path: Path) -> None:
    names = [entry["name"] for entry in inside(path)["inputs"] if entry["type"] in WIDGETS]
    assert len(names) <= 5
    assert "text" in names
    assert names[-len(SHARED) :] == SHARED


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_s_links_are_whole(path: Path) -> None:
    graph = inside(path)
    nodes, seen = {node["id"]: node for node in graph["nodes"]}, []
    for link in graph["links"]:
        key, kind = link["id"], link["type"]
        if link["origin_id"] == INPUT:
            source = graph["inputs"][link["origin_slot"]]
            assert key in source["linkIds"]
        else:
            source = nodes[link["origin_id"]]["outputs"][link["origin_slot"]]
            assert key in source["links"]
        if link["target_id"] == OUTPUT:
            target = graph["outputs"][link["target_slot"]]
            assert key in target["linkIds"]
        else:
            target = nodes[link["target_id"]]["inputs"][link["target_slot"]]
            assert target["link"] == key
        assert source["type"] == target["type"] == kind
        seen.append(key)
    assert len(set(seen)) == len(seen)
    for end in (*graph["inputs"], *graph["outputs"]):
        assert end["linkIds"] and set(end["linkIds"]) <= set(seen)
    for node in graph["nodes"]:
        assert {entry["link"] for entry in node["inputs"]} - {None} <= set(seen)
        assert {key for entry in node["outputs"] for key in entry["links"] or ()} <= set(seen)


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_s_nodes_match_the_schema(path: Path) -> None:
    for node in inside(path)["nodes"]:
        schema = SCHEMA[node["type"]]
        types = {entry["name"]: entry["type"] for entry in schema["inputs"]}
        assert all(types[entry["name"]] == entry["type"] for entry in node["inputs"])
        required = {
            entry["name"]
            for entry in schema["inputs"]
            if entry["section"] == "required" and entry["type"] not in WIDGETS
        }
        assert required <= {entry["name"] for entry in node["inputs"] if entry["link"] is not None}
        assert [[entry["name"], entry["type"]] for entry in node["outputs"]] == schema["outputs"]
        assert len(node.get("widgets_values") or []) == len(widget_names(node["type"]))
        assert node["properties"] == {"cnr_id": "audiox-nodes", "Node name for S&R": node["type"]}


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_a_blueprint_leaves_the_settings_to_the_model(path: Path) -> None:
    nodes = {node["type"]: node for node in inside(path)["nodes"]}
    assert nodes["AudioXLoad"]["widgets_values"] == ["AudioX", "auto", "auto", "auto", 0]
    values = nodes["AudioXSampler"]["widgets_values"]
    assert values[1] == "fixed"
    assert values[2:10] == OWN_SETTINGS[:8]


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_nothing_overlaps_within_a_blueprint(path: Path) -> None:
    boxes = {node["type"]: node_box(node) for node in inside(path)["nodes"]}
    assert [(a, b) for a, b in combinations(boxes, 2) if overlap(boxes[a], boxes[b])] == []


def test_ids_are_of_one_file_each() -> None:
    ids = [read(path)["id"] for path in BLUEPRINTS + APPS] + [inside(path)["id"] for path in BLUEPRINTS]
    assert len(set(ids)) == len(ids)
