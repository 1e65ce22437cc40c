"""ComfyUI's page in headless Chromium: our nodes and workflows load as they do for a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.comfyui import shipped
from tests.comfyui.browser import ComfyPage
from tests.comfyui.convert import flatten, to_prompt
from tests.comfyui.server import ComfyServer

HELP = '[data-testid="info-button"]'
SELECT = """() => {
    const node = app.graph.nodes[0];
    node.pos = [300, 300];
    app.canvas.selectNode(node);
    app.canvas.setDirty(true, true);
}"""
PICTURE_IS_SHOWN = (
    "name => [...document.querySelectorAll('img')].some(i => i.src.endsWith(name) && i.naturalWidth > 500)"
)


@pytest.fixture(scope="module", autouse=True)
def input_files(comfy: ComfyServer) -> None:
    """What the workflows load is there before the page asks for the lists of files: newer pages mark missing ones."""
    shipped.make_inputs(comfy, map(shipped.read, shipped.PATHS))


def test_the_page_starts_without_errors_of_ours(page: ComfyPage) -> None:
    about_us = [line for line in page.start_errors if "audiox" in line.lower()]
    assert about_us == []


def test_every_node_can_be_added(page: ComfyPage, info: dict[str, Any]) -> None:
    page.errors.clear()
    for node_id in (name for name in info if name.startswith("AudioX")):
        title = page.add_node(node_id)
        assert title.startswith("AudioX"), node_id
    assert page.errors == []


def test_the_help_of_a_node_shows_its_picture(page: ComfyPage) -> None:
    """Opened as a user does: by the button above a selected node."""
    page.errors.clear()
    page.add_node("AudioXCombine")
    page.page.evaluate(SELECT)
    button = page.page.locator(HELP)
    if not button.count():
        pytest.skip("this version of the page has no such button")
    button.first.click(timeout=10_000)
    page.page.wait_for_function(PICTURE_IS_SHOWN, arg="AudioXCombine.webp", timeout=10_000)
    assert page.errors == []


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_a_workflow_can_be_read_at_one_look(page: ComfyPage, path: Path) -> None:
    page.resize(1600, 1000)  # a small notebook's screen
    page.load(shipped.without_form(shipped.read(path)))
    assert page.fitted_scale() >= 0.7


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_workflow_loads(page: ComfyPage, info: dict[str, Any], path: Path) -> None:
    workflow = shipped.read(path)
    page.errors.clear()
    assert page.load(workflow) == []
    assert len(page.serialize()["nodes"]) == len(workflow["nodes"])
    assert page.errors == []
    assert page.overlaps() == []
    same_prompt(page, to_prompt(workflow, info))


@pytest.mark.parametrize("path", shipped.BLUEPRINTS, ids=lambda path: path.stem)
def test_blueprint_loads_as_a_graph(page: ComfyPage, info: dict[str, Any], path: Path) -> None:
    """Between what it needs; and the widgets of its one node have the values of the nodes within."""
    workflow = shipped.connected(shipped.read(path))
    page.errors.clear()
    assert page.load(workflow) == []
    assert page.errors == []
    same_prompt(page, to_prompt(flatten(workflow), info))


def same_prompt(page: ComfyPage, ours: dict[str, Any]) -> None:
    """What the page would queue is what the other tests run, but for inputs that newer host nodes have besides."""
    queued = page.prompt()
    assert set(queued) == set(ours)
    for key, node in ours.items():
        assert queued[key]["class_type"] == node["class_type"]
        extra = set(queued[key]["inputs"]) - set(node["inputs"])
        assert {name: value for name, value in queued[key]["inputs"].items() if name not in extra} == node["inputs"]
        assert not (extra and node["class_type"].startswith("AudioX")), extra
