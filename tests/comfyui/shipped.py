"""The shipped workflows, apps and blueprints: what they load, and their form for a quick run with the demo model."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from tests.comfyui.convert import flatten, to_prompt
from tests.comfyui.graphs import Prompt, demo_checkpoint
from tests.comfyui.media_files import make_image, make_sound, make_video
from tests.comfyui.model_files import make_t5_base
from tests.comfyui.server import REPO, ComfyServer

PATHS = sorted((REPO / "workflows").glob("*.json"))
APPS = [path for path in PATHS if path.name.endswith(".app.json")]
BLUEPRINTS = sorted((REPO / "subgraphs").glob("*.json"))
STEPS = 4
# The demo model of the same kind for each released one.
DEMOS = {"AudioX": "demo", "AudioX-MAF": "demo-maf", "AudioX-MAF-MMDiT": "demo-mmdit", "AudioX-Turbo": "demo-turbo"}
FEW_STEPS = {"demo-turbo"}  # their own recipe is quick, so that a 0 can stay
SOURCE_SECONDS = 4.0  # of the video and the sound that are made for the loaders
# Of workflows whose point needs some length: what a run of them is cut down to, by the class of the node.
ONE_STEP = {"AudioXSampler": {"steps": 1}}
CUTS: dict[str, dict[str, dict[str, Any]]] = {
    "long_video_soundtrack": {"LoadVideo": {"file": "long.mp4"}, **ONE_STEP},
    "repair_seconds": {"LoadAudio": {"audio": "long.wav"}, **ONE_STEP},
    "continue_sound": ONE_STEP,
    "seamless_loop": {"AudioXEmptyLatent": {"seconds": 12.0}, **ONE_STEP},
    "four_takes": ONE_STEP,
    "timed_prompts": {"AudioXTimedText": {"seconds": 13.0, "lines": "0:00 rain\n0:11 thunder"}, **ONE_STEP},
    "guidance_per_modality": {"BasicScheduler": {"steps": 2}},
}
CUTS |= {"Repair seconds.app": CUTS["repair_seconds"], "AudioX Repair seconds": CUTS["repair_seconds"]}
CUTS |= {"AudioX Seamless loop": CUTS["seamless_loop"]}
LONGER = {"long.mp4": 13.0, "long.wav": 13.0}  # seconds of made files that are longer than SOURCE_SECONDS
# What stands before a blueprint's sockets and after its outputs: (class, values of its widgets).
SOURCES: dict[str, tuple[str, list[Any]]] = {
    "VIDEO": ("LoadVideo", ["sample.mp4", "image"]),
    "AUDIO": ("LoadAudio", ["sample.wav", None, ""]),
}
SINKS: dict[str, tuple[str, list[Any]]] = {
    "VIDEO": ("SaveVideo", ["video/AudioX", "auto", "auto"]),
    "AUDIO": ("PreviewAudio", []),
}
LOADERS = {  # class: (folder, maker) of the file that its first widget names
    "LoadVideo": ("input", make_video),
    "LoadAudio": ("input", make_sound),
    "LoadImage": ("input", make_image),
    "CLIPLoader": ("models/text_encoders", make_t5_base),
}


def read(path: Path) -> dict[str, Any]:
    """A workflow file's content."""
    return json.loads(path.read_text(encoding="utf-8"))


def without_form(workflow: Mapping[str, Any]) -> dict[str, Any]:
    """An app's workflow as it opens after a switch to its graph."""
    return {**workflow, "extra": {**workflow["extra"], "linearMode": False}}


def read_graph(path: Path) -> dict[str, Any]:
    """A file as a plain graph; a blueprint between the loaders and players that its sockets need."""
    content = read(path)
    return flatten(connected(content)) if path in BLUEPRINTS else content


def connected(blueprint: Mapping[str, Any]) -> dict[str, Any]:
    """A blueprint's workflow with a loader before each of its sockets and a player or a saver after each output."""
    (host,) = blueprint["nodes"]
    nodes: list[dict[str, Any]] = [{**host, "inputs": [*map(dict, host["inputs"])], "outputs": []}]
    links: list[list[Any]] = []

    def add(kind: str, column: int, inputs: list[Any], outputs: list[Any], values: list[Any]) -> int:
        number, place = len(nodes) + 1, {"pos": [column * 500, len(nodes) * 250], "size": [320, 200]}
        node = {"id": number, "type": kind, "mode": 0, "flags": {}, "order": len(nodes), "properties": {}}
        nodes.append(node | place | {"inputs": inputs, "outputs": outputs, "widgets_values": values})
        return number

    for place, socket in enumerate(nodes[0]["inputs"]):
        if "widget" not in socket:
            kind, number = socket["type"], len(links) + 1
            output = {"name": kind, "type": kind, "links": [number]}
            name, values = SOURCES[kind]
            loader = add(name, -1, [], [output], values)
            links.append([number, loader, 0, host["id"], place, kind])
            socket["link"] = number
    for place, output in enumerate(host["outputs"]):
        kind, number = output["type"], len(links) + 1
        name, values = SINKS[kind]
        taker = add(name, 1, [{"name": kind.lower(), "type": kind, "link": number}], [], values)
        links.append([number, host["id"], place, taker, 0, kind])
        nodes[0]["outputs"].append({**output, "links": [number]})
    return {**blueprint, "nodes": nodes, "links": links, "last_node_id": len(nodes), "last_link_id": len(links)}


def make_inputs(comfy: ComfyServer, workflows: Iterable[dict[str, Any]]) -> None:
    """Make the files that these workflows load, where they do not exist yet."""
    for node in (node for workflow in workflows for node in workflow["nodes"]):
        if node["type"] in LOADERS:
            make_input(comfy, node["type"], node["widgets_values"][0])


def make_input(comfy: ComfyServer, loader: str, name: str) -> Path:
    """The file of that name for a class of loaders, made where it doesn't exist yet."""
    folder, make = LOADERS[loader]
    path = comfy.base / folder / name
    if not path.exists():
        make(path, *([LONGER[name]] if name in LONGER else []))
    return path


def quick_prompt(comfy: ComfyServer, path: Path) -> Prompt:
    """API prompt of a workflow with a demo model of its kind and few steps; the files that it loads exist then."""
    workflow = read_graph(path)
    make_inputs(comfy, [workflow])
    info = comfy.object_info()
    prompt = to_prompt(workflow, info)
    (load,) = (node for node in prompt.values() if node["class_type"] == "AudioXLoad")
    demo = DEMOS[load["inputs"]["checkpoint"]]
    load["inputs"] |= {"checkpoint": demo_checkpoint(info, demo), "text_encoder": "auto"}
    for node in prompt.values():
        steps = node["inputs"].get("steps")
        if isinstance(steps, int) and not (steps == 0 and demo in FEW_STEPS):
            node["inputs"]["steps"] = STEPS
    return cut(comfy, prompt, CUTS.get(path.stem, {}))


def cut(comfy: ComfyServer, prompt: Prompt, changes: Mapping[str, Mapping[str, Any]]) -> Prompt:
    """The prompt itself, with these inputs in all nodes of these classes."""
    for node in prompt.values():
        node["inputs"] |= changes.get(node["class_type"], {})
        if node["class_type"] in LOADERS:
            make_input(comfy, node["class_type"], next(iter(node["inputs"].values())))
    return prompt
