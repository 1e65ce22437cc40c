"""The shipped workflow files, without a ComfyUI: they match our schema, explain themselves, are neat."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest

from audiox_core.models import members
from audiox_core.models.config import parse_config

ROOT = Path(__file__).parents[2]
SCHEMA: dict[str, Any] = json.loads((ROOT / "tests/comfyui/schema.json").read_text(encoding="utf-8"))
FILES = sorted((ROOT / "workflows").glob("*.json"))
TASKS = {
    "text_to_audio",
    "text_to_music",
    "video_to_audio",
    "video_to_music",
    "text_and_video_to_audio",
    "image_to_audio",
    "audio_prompt",
    "ksampler",
    "dual_guidance",
    "sampler_custom",
    "host_text_encoder",
    "variation",
    "chain_after_video",
    "turbo_text_to_audio",
    "turbo_video_soundtrack",
    "maf_video_to_music",
    "long_video_soundtrack",
    "repair_seconds",
    "continue_sound",
    "seamless_loop",
    "four_takes",
    "timed_prompts",
    "guidance_per_modality",
    "Sound for a video.app",
    "Sound from text.app",
    "Sound from an example.app",
    "Repair seconds.app",
}
WIDGETS = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
SEEDS = ("seed", "noise_seed")
# The workflows of other members of the family than the base model; these take all settings from the model.
MEMBERS = {
    "turbo_text_to_audio": "AudioX-Turbo",
    "turbo_video_soundtrack": "AudioX-Turbo",
    "maf_video_to_music": "AudioX-MAF",
}
# Of AudioX Sampler, from steps on: 0 and auto are the model's own; then how long sounds are made.
OWN_SETTINGS = [0, 0, "auto", 0, 0, 0, 0, 1, "continue", 0]
LICENCE = "https://creativecommons.org/licenses/by-nc/4.0/"
TITLE_BAR = 30  # LiteGraph draws it above a node's position

Box = tuple[float, float, float, float]


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
def workflow(request: pytest.FixtureRequest) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(request.param.read_text(encoding="utf-8"))
    return content


@pytest.fixture
def member(request: pytest.FixtureRequest, workflow: dict[str, Any]) -> str:
    """The released model that the workflow is made for."""
    return MEMBERS.get(request.node.callspec.params["workflow"].stem, "AudioX")


@pytest.fixture
def left_to_the_model(request: pytest.FixtureRequest, member: str) -> bool:
    """Whether all settings are the model's own: of the other members, and of apps, whose model is a choice."""
    return member != "AudioX" or request.node.callspec.params["workflow"].stem.endswith(".app")


def ours(workflow: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (node for node in workflow["nodes"] if node["type"].startswith("AudioX"))


def group_of_node(workflow: dict[str, Any], node: dict[str, Any]) -> Box:
    (found,) = (box for group in workflow["groups"] if inside(node_box(node), box := group_box(group)))
    return found


def note(workflow: dict[str, Any]) -> dict[str, Any]:
    (found,) = (node for node in workflow["nodes"] if node["type"] == "MarkdownNote")
    return found


def node_box(node: dict[str, Any]) -> Box:
    """Left, top, right and bottom of a node with its title bar."""
    (x, y), (width, height) = node["pos"], node["size"]
    return x, y - TITLE_BAR, x + width, y + height


def group_box(group: dict[str, Any]) -> Box:
    x, y, width, height = group["bounding"]
    return x, y, x + width, y + height


def overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def inside(a: Box, b: Box) -> bool:
    return b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]


def widget_names(node_type: str) -> list[str]:
    """What a node's `widgets_values` stand for, in their order."""
    names = []
    for entry in SCHEMA[node_type]["inputs"]:
        if entry["type"] in WIDGETS:
            names.append(entry["name"])
            names += ["control_after_generate"] if entry["name"] in SEEDS else []
    return names


def test_there_is_one_for_every_task() -> None:
    assert {path.stem for path in FILES} == TASKS


def test_widgets_match_the_schema(workflow: dict[str, Any]) -> None:
    for node in ours(workflow):
        inputs = {entry["name"]: entry for entry in SCHEMA[node["type"]]["inputs"]}
        names = widget_names(node["type"])
        values = node.get("widgets_values", [])
        assert len(values) == len(names), node["type"]
        for name, value in zip(names, values, strict=True):
            entry = inputs.get(name, {})
            if "choices" in entry:
                assert value in entry["choices"], f"{node['type']}.{name}"
            if "min" in entry:
                assert entry["min"] <= value <= entry["max"], f"{node['type']}.{name}"


def test_sockets_match_the_schema(workflow: dict[str, Any]) -> None:
    for node in ours(workflow):
        expected = SCHEMA[node["type"]]
        known = {entry["name"]: entry for entry in expected["inputs"]}
        for socket in node["inputs"]:
            assert socket["type"] == known[socket["name"]]["type"]
        required = {
            name for name, entry in known.items() if entry["section"] == "required" and entry["type"] not in WIDGETS
        }
        assert required <= {socket["name"] for socket in node["inputs"] if socket["link"] is not None}
        assert [[output["name"], output["type"]] for output in node["outputs"]] == expected["outputs"]


def test_links_are_whole(workflow: dict[str, Any]) -> None:
    nodes = {node["id"]: node for node in workflow["nodes"]}
    for number, source, slot, target, place, kind in workflow["links"]:
        output, socket = nodes[source]["outputs"][slot], nodes[target]["inputs"][place]
        assert number in output["links"]
        assert socket["link"] == number
        assert output["type"] == socket["type"] == kind


def test_a_first_run_needs_no_settings(workflow: dict[str, Any], member: str) -> None:
    """The released model, whose entry in the list stays the same after its download."""
    (loader,) = (node for node in workflow["nodes"] if node["type"] == "AudioXLoad")
    assert loader["widgets_values"] == [member, "auto", "auto", "auto", 0]


def test_the_recipe_and_fixed_seeds(workflow: dict[str, Any], left_to_the_model: bool) -> None:
    text = json.dumps(workflow)
    assert "randomize" not in text
    seeded = [node for node in workflow["nodes"] if node["type"] in ("AudioXSampler", "KSampler", "RandomNoise")]
    assert seeded
    for node in seeded:
        assert node["widgets_values"][1] == "fixed"
    steps = {"AudioXSampler": 2, "KSampler": 2, "BasicScheduler": 1, "PolyexponentialScheduler": 0}
    found = [n["widgets_values"][steps[n["type"]]] for n in workflow["nodes"] if n["type"] in steps]
    if not left_to_the_model:
        assert found == [parse_config(members()["AudioX"].config()).recipe.steps]
    else:
        (sampler,) = (node for node in workflow["nodes"] if node["type"] == "AudioXSampler")
        assert sampler["widgets_values"][2:] == OWN_SETTINGS


def test_videos_are_saved_as_they_come(workflow: dict[str, Any]) -> None:
    for node in workflow["nodes"]:
        if node["type"] == "SaveVideo":
            assert node["widgets_values"][1:] == ["auto", "auto"]


def test_the_note_explains(workflow: dict[str, Any], member: str) -> None:
    (text,) = note(workflow)["widgets_values"]
    assert text.startswith("# ")
    assert f"](https://huggingface.co/HKUSTAudio/{member})" in text
    assert f"]({LICENCE})" in text
    assert "t5-base" in text
    assert f"models/audiox/{member}/`" in text
    assert "CC-BY-NC 4.0" in text
    assert "watermarked" in text
    for name in re.findall(r"(?<!\*)\*([a-z]+_[a-z_]+)\*(?!\*)", text):
        assert name in TASKS, f"the note names the workflow {name}"


def test_the_note_says_which_member_suits_what(workflow: dict[str, Any], member: str, left_to_the_model: bool) -> None:
    (text,) = note(workflow)["widgets_values"]
    (line,) = (line for line in text.split("\n") if line.startswith("- Which model: "))
    assert [name for name in ("AudioX", "AudioX-MAF", "AudioX-Turbo") if name != member and f"*{name}*" in line]
    assert ("mean the model's own settings" in text) == left_to_the_model
    files = text.split("## Model files")[1]
    kinds = {node["type"] for node in workflow["nodes"]}
    assert ("synchformer_state_dict.pth" in files) == (member != "AudioX" and "AudioXEncodeVideo" in kinds)


def test_the_note_names_the_files_to_choose(workflow: dict[str, Any]) -> None:
    (text,) = note(workflow)["widgets_values"]
    kinds = {node["type"] for node in workflow["nodes"]}
    for loader in ("Load Video", "Load Audio", "Load Image"):
        assert (f"*{loader}*" in text) == (loader.replace(" ", "") in kinds)


def test_what_opens_in_red_says_so_beside_it(workflow: dict[str, Any]) -> None:
    """ComfyUI marks loaders of files that it doesn't have; example.png is its own."""
    loaders = [node for node in workflow["nodes"] if node["type"] in ("LoadAudio", "LoadVideo")]
    hints = [node for node in workflow["nodes"] if node["type"] == "Note"]
    assert len(hints) == len(loaders)
    for loader, hint in zip(loaders, hints, strict=True):
        assert group_of_node(workflow, loader) == group_of_node(workflow, hint)
        (text,) = hint["widgets_values"]
        assert loader["widgets_values"][0] in text
        assert "marked in red" in text


def test_both_names_of_the_text_encoder_are_told() -> None:
    """Its file is called one way by those who share it and another way by Stable Audio's users."""
    content = json.loads((ROOT / "workflows/host_text_encoder.json").read_text(encoding="utf-8"))
    (loader,) = (node for node in content["nodes"] if node["type"] == "CLIPLoader")
    names = {"t5-base.safetensors", "t5_base.safetensors"}
    assert loader["widgets_values"][0] in names
    for text in (note(content)["widgets_values"][0], (ROOT / "docs/models.md").read_text(encoding="utf-8")):
        assert [name for name in sorted(names) if name not in text] == []


def test_nothing_overlaps(workflow: dict[str, Any]) -> None:
    boxes = {f"{node['id']} {node['type']}": node_box(node) for node in workflow["nodes"]}
    assert [(a, b) for a, b in combinations(boxes, 2) if overlap(boxes[a], boxes[b])] == []
    groups = {group["title"]: group_box(group) for group in workflow["groups"]}
    assert [(a, b) for a, b in combinations(groups, 2) if overlap(groups[a], groups[b])] == []
    assert not any(overlap(node_box(note(workflow)), box) for box in groups.values())


def test_every_node_is_in_a_group(workflow: dict[str, Any]) -> None:
    groups = [group_box(group) for group in workflow["groups"]]
    for node in workflow["nodes"]:
        if node["type"] != "MarkdownNote":
            assert sum(inside(node_box(node), box) for box in groups) == 1, node["type"]
    for box in groups:
        assert any(inside(node_box(node), box) for node in workflow["nodes"])


def test_it_reads_as_a_page_does(workflow: dict[str, Any]) -> None:
    """From left to right, downwards in a column, or on from a group to one that lies lower."""
    nodes = {node["id"]: node for node in workflow["nodes"]}
    groups = [group_box(group) for group in workflow["groups"]]
    group_of = {id: next((g for g in groups if inside(node_box(node), g)), None) for id, node in nodes.items()}
    for _, source, _, target, *_ in workflow["links"]:
        left, right = nodes[source], nodes[target]
        stacked = left["pos"][0] == right["pos"][0] and left["pos"][1] < right["pos"][1]
        above, below = group_of[source], group_of[target]
        next_row = above is not None and below is not None and above[3] < below[1]
        assert left["pos"][0] < right["pos"][0] or stacked or next_row, f"{left['type']} to {right['type']}"


def test_it_tells_where_its_nodes_come_from(workflow: dict[str, Any]) -> None:
    """Where nodes are missing, ComfyUI offers to install the pack that the file names."""
    for node in ours(workflow):
        assert node["properties"] == {"cnr_id": "audiox-nodes", "Node name for S&R": node["type"]}
    assert len({json.loads(path.read_text(encoding="utf-8"))["id"] for path in FILES}) == len(FILES)
