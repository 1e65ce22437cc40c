"""ComfyUI's page in headless Chromium: our nodes and workflows load as they do for a user."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.comfyui import shipped
from tests.comfyui.browser import ComfyPage
from tests.comfyui.convert import to_prompt
from tests.comfyui.server import ComfyServer


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


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_a_workflow_can_be_read_at_one_look(page: ComfyPage, path: Path) -> None:
    page.resize(1600, 1000)  # a small notebook's screen
    page.load(shipped.read(path))
    assert page.fitted_scale() >= 0.7


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_workflow_loads(page: ComfyPage, info: dict[str, Any], path: Path) -> None:
    workflow = shipped.read(path)
    page.errors.clear()
    assert page.load(workflow) == []
    assert len(page.serialize()["nodes"]) == len(workflow["nodes"])
    assert page.errors == []
    assert page.overlaps() == []
    # What the page would queue is what the other tests run, but for inputs that newer host nodes have besides.
    queued, ours = page.prompt(), to_prompt(workflow, info)
    assert set(queued) == set(ours)
    for key, node in ours.items():
        assert queued[key]["class_type"] == node["class_type"]
        extra = set(queued[key]["inputs"]) - set(node["inputs"])
        assert {name: value for name, value in queued[key]["inputs"].items() if name not in extra} == node["inputs"]
        assert not (extra and node["class_type"].startswith("AudioX")), extra
