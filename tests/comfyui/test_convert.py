"""The UI-to-API converter of this folder, on small hand-made workflows (no ComfyUI needed)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.comfyui.convert import ConversionError, flatten, to_prompt

INFO: dict[str, Any] = {
    "Source": {"input": {"required": {"seed": ["INT", {}], "name": [["a", "b"]]}}},
    "Filter": {"input": {"required": {"x": ["LATENT"], "amount": ["FLOAT", {}]}}},
    "Sink": {"input": {"required": {"x": ["LATENT"]}, "optional": {"y": ["LATENT"], "t": ["STRING", {}]}}},
    "Format": {
        "input": {
            "required": {
                "format": [
                    "COMFY_DYNAMICCOMBO_V3",
                    {"options": [{"key": "mp3", "inputs": {"required": {"quality": ["COMBO", {}]}}}]},
                ],
                "rest": ["INT", {}],
            }
        }
    },
}


def node(number: int, kind: str, *, values: Any = (), inputs: Any = (), mode: int = 0) -> dict[str, Any]:
    """A UI node; `inputs` are (name, type, link) triples."""
    sockets = [{"name": name, "type": type_, "link": link} for name, type_, link in inputs]
    return {"id": number, "type": kind, "mode": mode, "inputs": sockets, "widgets_values": list(values)}


def chain(middle: dict[str, Any]) -> dict[str, Any]:
    """Source (1) -> middle (2) -> Sink (3)."""
    source = node(1, "Source", values=[7, "fixed", "b"])
    sink = node(3, "Sink", values=["hello"], inputs=[("x", "LATENT", 11), ("y", "LATENT", None)])
    links = [[10, 1, 0, 2, 0, "LATENT"], [11, 2, 0, 3, 0, "LATENT"]]
    return {"nodes": [source, middle, sink], "links": links}


def test_links_widgets_and_control_after_generate() -> None:
    prompt = to_prompt(chain(node(2, "Filter", values=[0.5], inputs=[("x", "LATENT", 10)])), INFO)
    assert prompt["1"] == {"class_type": "Source", "inputs": {"seed": 7, "name": "b"}}
    assert prompt["2"] == {"class_type": "Filter", "inputs": {"x": ["1", 0], "amount": 0.5}}
    assert prompt["3"] == {"class_type": "Sink", "inputs": {"x": ["2", 0], "t": "hello"}}


@pytest.mark.parametrize(
    ("middle", "expected"),
    [
        (node(2, "Reroute", inputs=[("", "*", 10)]), ["1", 0]),
        (node(2, "Filter", values=[0.5], inputs=[("x", "LATENT", 10)], mode=4), ["1", 0]),
        (node(2, "Filter", values=[0.5], inputs=[("x", "LATENT", 10)], mode=2), None),
        (node(2, "PrimitiveNode", values=[42, "fixed"]), 42),
    ],
    ids=["reroute", "bypassed", "muted", "primitive"],
)
def test_nodes_that_are_not_queued(middle: dict[str, Any], expected: Any) -> None:
    prompt = to_prompt(chain(middle), INFO)
    assert set(prompt) == {"1", "3"}
    assert prompt["3"]["inputs"].get("x") == expected


def test_notes_are_dropped_and_a_link_wins_over_a_widget() -> None:
    workflow = chain(node(2, "Note", values=["text"]))
    workflow["nodes"][2]["inputs"] = [{"name": "t", "type": "STRING", "link": 12, "widget": {"name": "t"}}]
    workflow["links"] = [[12, 1, 1, 3, 0, "STRING"]]
    assert to_prompt(workflow, INFO)["3"]["inputs"] == {"t": ["1", 1]}


def test_inputs_of_a_dynamic_combo_follow_their_choice() -> None:
    workflow = {"nodes": [node(1, "Format", values=["mp3", "V0", 3])], "links": []}
    assert to_prompt(workflow, INFO)["1"]["inputs"] == {"format": "mp3", "format.quality": "V0", "rest": 3}


def boxed(host: dict[str, Any]) -> dict[str, Any]:
    """Source (1) -> a subgraph (5) of two Filters (1, 2), whose amounts are one input -> Sink (3)."""
    sockets = [("x", "LATENT", 1), ("amount", "FLOAT", None)]
    first, second = (node(k, "Filter", values=[k / 10], inputs=sockets) for k in (1, 2))
    ends = [(-10, 0, 1, 0), (-10, 1, 1, 1), (-10, 1, 2, 1), (1, 0, 2, 0), (2, 0, -20, 0)]
    names = ("origin_id", "origin_slot", "target_id", "target_slot")
    links = [dict(zip(names, end, strict=True)) | {"id": k, "type": "LATENT"} for k, end in enumerate(ends)]
    workflow = chain({**host, "id": 2, "type": "box", "inputs": [{"name": "x"}, {"name": "amount"}]})
    return workflow | {"definitions": {"subgraphs": [{"id": "box", "nodes": [first, second], "links": links}]}}


def test_a_subgraph_s_nodes_take_its_place() -> None:
    prompt = to_prompt(flatten(boxed(node(2, "box"))), INFO)
    assert prompt == {
        "1": {"class_type": "Source", "inputs": {"seed": 7, "name": "b"}},
        "2:1": {"class_type": "Filter", "inputs": {"x": ["1", 0], "amount": 0.1}},
        "2:2": {"class_type": "Filter", "inputs": {"x": ["2:1", 0], "amount": 0.2}},
        "3": {"class_type": "Sink", "inputs": {"x": ["2:2", 0], "t": "hello"}},
    }


def test_an_input_of_a_subgraph_goes_to_all_nodes_behind_it() -> None:
    workflow = boxed(node(2, "box"))
    workflow["links"].append([12, 1, 1, 2, 1, "FLOAT"])
    prompt = to_prompt(flatten(workflow), INFO)
    assert [prompt[key]["inputs"]["amount"] for key in ("2:1", "2:2")] == [["1", 1]] * 2


def test_a_subgraph_s_own_values_are_not_guessed() -> None:
    with pytest.raises(ConversionError, match="node 2: a subgraph with values of its own"):
        flatten(boxed(node(2, "box", values=[0.5])))


@pytest.mark.parametrize(
    ("workflow", "message"),
    [
        (chain(node(2, "Unknown")), "node 2: Unknown is not registered"),
        (chain(node(2, "Filter", values=[0.5, 9], inputs=[("x", "LATENT", 10)])), r"without a widget: \[9\]"),
        ({"nodes": [], "links": [], "definitions": {"subgraphs": [{}]}}, "subgraphs"),
    ],
    ids=["unknown node", "leftover value", "subgraph"],
)
def test_what_can_not_be_converted_is_named(workflow: dict[str, Any], message: str) -> None:
    with pytest.raises(ConversionError, match=message):
        to_prompt(workflow, INFO)
