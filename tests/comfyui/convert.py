"""Workflow file (the UI format that ComfyUI's page saves) to the API prompt that the page would queue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Workflow = Mapping[str, Any]
ObjectInfo = Mapping[str, Any]

MUTED, BYPASSED = 2, 4  # LiteGraph's node modes; 0 is an ordinary node
NOTES = {"Note", "MarkdownNote"}
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}
DYNAMIC_COMBO = "COMFY_DYNAMICCOMBO_V3"
SUBGRAPH_INPUT, SUBGRAPH_OUTPUT = -10, -20  # ids of a subgraph's borders in its own links
AFTER_GENERATE = {"fixed", "increment", "decrement", "randomize"}


class ConversionError(ValueError):
    """The workflow can't become a prompt; the message names the node."""


def to_prompt(workflow: Workflow, object_info: ObjectInfo) -> dict[str, dict[str, Any]]:
    """API prompt of a UI workflow; ConversionError on unknown nodes, subgraphs and leftover widget values."""
    if (workflow.get("definitions") or {}).get("subgraphs"):
        raise ConversionError("the workflow contains subgraphs; older ComfyUI versions can't load them: see flatten")
    graph = _Graph(workflow)
    prompt: dict[str, dict[str, Any]] = {}
    for node in workflow["nodes"]:
        kind = node["type"]
        if kind in NOTES | {"Reroute", "PrimitiveNode"} or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if kind not in object_info:
            raise ConversionError(f"node {node['id']}: {kind} is not registered")
        inputs = dict(widget_values(node, object_info[kind]))
        for socket in node.get("inputs", []):
            source = graph.source(socket.get("link"))
            if source is not None:
                inputs[socket["name"]] = source
        prompt[str(node["id"])] = {"class_type": kind, "inputs": inputs}
    return prompt


def widget_values(node: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """(input name, value) of every widget of a node, paired with its positional `widgets_values`."""
    values = node.get("widgets_values") or []
    if isinstance(values, Mapping):
        yield from ((name, values[name]) for name, _, _ in _inputs(info["input"], info) if name in values)
        return
    queue = list(values)
    for name, kind, options in _inputs(info["input"], info):
        yield from _take(name, kind, options, queue)
    # Upload buttons, audio players and video previews are widgets without an input; they come last.
    leftover = [v for v in queue if v not in (None, "", "image", "video", "audio")]
    if leftover:
        raise ConversionError(f"node {node['id']} ({node['type']}): values without a widget: {leftover}")


def _take(name: str, kind: Any, options: Mapping[str, Any], queue: list[Any]) -> Iterator[tuple[str, Any]]:
    if not _is_widget(kind, options) or not queue:
        return
    value = queue.pop(0)
    yield name, value
    if kind == DYNAMIC_COMBO:  # the chosen option's own inputs follow it, named "outer.inner"
        chosen = [option for option in options["options"] if option["key"] == value]
        for inner, inner_kind, inner_options in _inputs(chosen[0]["inputs"]) if chosen else ():
            yield from _take(f"{name}.{inner}", inner_kind, inner_options, queue)
    has_control = name in ("seed", "noise_seed") or options.get("control_after_generate")
    if has_control and queue and queue[0] in AFTER_GENERATE:
        queue.pop(0)


def _inputs(
    sections: Mapping[str, Any], info: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    order = (info or {}).get("input_order", {})
    for section in ("required", "optional"):
        described = sections.get(section) or {}
        for name in order.get(section, described):
            spec = described[name]
            yield name, spec[0], (spec[1] if len(spec) > 1 else {})


def _is_widget(kind: Any, options: Mapping[str, Any]) -> bool:
    if options.get("forceInput"):
        return False
    return isinstance(kind, list) or kind in WIDGET_TYPES or kind == DYNAMIC_COMBO


def flatten(workflow: Workflow) -> dict[str, Any]:
    """The workflow with each subgraph's nodes in the subgraph's place, called "its id:their id" as in a prompt.

    ConversionError where a subgraph's node has values of its own: whose widgets they are is the page's affair.
    """
    subgraphs = {graph["id"]: graph for graph in (workflow.get("definitions") or {}).get("subgraphs", ())}
    hosts = {node["id"]: node for node in workflow["nodes"] if node["type"] in subgraphs}
    flat = _Flat()
    for node in workflow["nodes"]:
        if node["id"] not in hosts:
            flat.add(node, node["id"])
            continue
        if node.get("widgets_values"):
            raise ConversionError(f"node {node['id']}: a subgraph with values of its own")
        for inner in subgraphs[node["type"]]["nodes"]:
            flat.add(inner, f"{node['id']}:{inner['id']}")

    def ends(node_id: int, slot: int, side: str) -> list[tuple[Any, int]]:
        """(node, slot) that a link's end stands for: itself, or the nodes within a subgraph."""
        if node_id not in hosts:
            return [(node_id, slot)]
        border, inner = (SUBGRAPH_OUTPUT, "origin") if side == "origin" else (SUBGRAPH_INPUT, "target")
        outer = "target" if side == "origin" else "origin"
        links = subgraphs[hosts[node_id]["type"]]["links"]
        crossing = [link for link in links if (link[f"{outer}_id"], link[f"{outer}_slot"]) == (border, slot)]
        return [(f"{node_id}:{link[f'{inner}_id']}", link[f"{inner}_slot"]) for link in crossing]

    for _, source, slot, target, place, kind in workflow["links"]:
        ((source, slot),) = ends(source, slot, "origin")
        for end in ends(target, place, "target"):
            flat.link((source, slot), end, kind)
    for key, host in hosts.items():
        for link in subgraphs[host["type"]]["links"]:
            if link["origin_id"] != SUBGRAPH_INPUT and link["target_id"] != SUBGRAPH_OUTPUT:
                source = (f"{key}:{link['origin_id']}", link["origin_slot"])
                flat.link(source, (f"{key}:{link['target_id']}", link["target_slot"]), link["type"])
    return {"nodes": list(flat.nodes.values()), "links": flat.links}


class _Flat:
    """Nodes and links without subgraphs, while they are collected."""

    def __init__(self) -> None:
        self.nodes: dict[Any, dict[str, Any]] = {}
        self.links: list[list[Any]] = []

    def add(self, node: Mapping[str, Any], key: Any) -> None:
        unlinked = [{**socket, "link": None} for socket in node.get("inputs", [])]
        self.nodes[key] = {**node, "id": key, "inputs": unlinked}

    def link(self, source: tuple[Any, int], target: tuple[Any, int], kind: str) -> None:
        self.links.append([len(self.links) + 1, *source, *target, kind])
        self.nodes[target[0]]["inputs"][target[1]]["link"] = len(self.links)


class _Graph:
    """Links of a workflow, followed back through reroutes, primitives and bypassed nodes."""

    def __init__(self, workflow: Workflow) -> None:
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.links = {link[0]: link for link in workflow["links"]}  # id, from, slot, to, slot, type

    def source(self, link_id: int | None) -> Any:
        """[node id, output slot] or a primitive's value; None where nothing, or a muted node, is linked."""
        if link_id is None:
            return None
        if link_id not in self.links:
            raise ConversionError(f"link {link_id} does not exist")
        _, node_id, slot, _, _, kind = self.links[link_id]
        node = self.nodes[node_id]
        mode = node.get("mode", 0)
        if mode == MUTED:
            return None
        if node["type"] == "PrimitiveNode":
            return node["widgets_values"][0]
        if node["type"] == "Reroute":
            return self.source(node["inputs"][0].get("link"))
        if mode == BYPASSED:
            return self._through(node, slot, kind)
        return [str(node_id), slot]

    def _through(self, node: Mapping[str, Any], slot: int, kind: str) -> Any:
        # A bypassed node hands on an input of the same type: the one in the same place, else the first.
        sockets = node.get("inputs", [])
        fitting = [socket for socket in sockets[slot : slot + 1] + sockets if socket["type"] == kind]
        return self.source(fitting[0].get("link")) if fitting else None
