"""ComfyUI's forms and node library in headless Chromium, handled as a person handles them.

With AUDIOX_PICTURES set to a folder, a picture of each is left there.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.comfyui import shipped
from tests.comfyui.browser import ComfyPage
from tests.comfyui.server import REPO, ComfyServer

if TYPE_CHECKING:
    from playwright.sync_api import Locator

SINCE = (1, 41, 13)  # the version of ComfyUI's page that has forms and this node library
DEMO = "demo (random weights, noise)"
SAMPLER = "Sampler (auto: the model's own)"
NUMBERS = {  # by their labels; other ones than the demo model's own
    "Seed": 7,
    "Steps (0: the model's own)": 3,
    "Guidance (0: the model's own)": 3,
    "Sigma min (0: the model's own)": 0.5,
    "Sigma max (0: the model's own)": 90,
}


class Form:
    """An app that is open as a form."""

    def __init__(self, page: ComfyPage, comfy: ComfyServer, name: str) -> None:
        self.page, self.comfy = page, comfy
        workflow = shipped.read(REPO / f"workflows/{name}.app.json")
        page.errors.clear()
        opened = "([workflow, name]) => app.loadGraphData(workflow, true, true, name, {openSource: 'template'})"
        page.page.evaluate(opened, [workflow, f"{name}.app"])
        page.page.get_by_test_id("linear-widgets").get_by_text("Sigma max").wait_for()
        page.page.wait_for_timeout(500)
        picture(page, name)

    def line(self, label: str) -> Locator:
        """The part of the form under that label."""
        items = self.page.page.get_by_test_id("app-mode-widget-item")
        return items.filter(has=self.page.page.get_by_text(label, exact=True))

    def labels(self) -> list[str]:
        return self.page.page.get_by_test_id("builder-widget-label").all_inner_texts()

    def write(self, label: str, value: object) -> None:
        field = self.line(label).locator("textarea, input").first
        field.fill(str(value))
        field.press("Tab")

    def choose(self, label: str, option: str) -> None:
        """One of a list, by the words that it begins with."""
        self.line(label).get_by_role("combobox").click()
        self.page.page.get_by_role("option").filter(has_text=option).first.click()

    def choose_file(self, label: str, name: str) -> None:
        """One of the files in ComfyUI's input folder."""
        self.line(label).get_by_role("button").filter(has_text="sample").click()
        self.page.page.get_by_text(name, exact=True).last.click()
        self.page.page.keyboard.press("Escape")

    def settings(self) -> None:
        """The demo model, and other settings than its own."""
        self.choose("Model", DEMO)
        self.choose(SAMPLER, "k-heun")
        for label, value in NUMBERS.items():
            self.write(label, value)

    def run(self) -> tuple[dict[str, Any], list[Path]]:
        """Click Run; the prompt that was queued, and the files that came of it."""
        button = self.page.page.get_by_test_id("linear-run-button").get_by_role("button", name="Run", exact=True)
        return finished(self.page, self.comfy, button)


def finished(page: ComfyPage, comfy: ComfyServer, button: Locator) -> tuple[dict[str, Any], list[Path]]:
    """Prompt and files of the run that a click on the button starts."""
    before = set(comfy.get("/history"))
    button.click()
    end = time.monotonic() + 240
    while not (new := set(comfy.get("/history")) - before):
        assert time.monotonic() < end, f"nothing was run: {page.errors}"
        page.page.wait_for_timeout(200)
    (entry,) = (comfy.get("/history")[key] for key in new)
    assert entry["status"]["status_str"] == "success", entry["status"]
    files = [
        found for output in entry["outputs"].values() for kind in ("images", "audio") for found in output.get(kind, ())
    ]
    assert page.errors == []
    return entry["prompt"][2], [comfy.base / file["type"] / file["subfolder"] / file["filename"] for file in files]


def picture(page: ComfyPage, name: str) -> None:
    """The page as it is now, for people to look at, where they asked for it."""
    if folder := os.environ.get("AUDIOX_PICTURES"):
        page.page.screenshot(path=Path(folder) / f"{name}.png")


class Library:
    """An empty graph, and the node library beside it."""

    def __init__(self, page: ComfyPage, comfy: ComfyServer) -> None:
        self.page, self.comfy = page, comfy
        page.errors.clear()
        empty = {"nodes": [], "links": [], "version": 0.4, "last_node_id": 0, "last_link_id": 0, "extra": {}}
        page.page.evaluate("empty => app.loadGraphData(empty, true, true, 'empty')", empty)
        if not page.page.get_by_placeholder("Search...").count():
            page.page.locator(".node-library-tab-button").click()
        page.page.get_by_placeholder("Search...").fill("AudioX")

    def drop(self, name: str) -> int:
        """Drag a node from the library onto the graph; its id there."""
        page = self.page.page
        entry = page.get_by_text(name, exact=True).first
        entry.wait_for()
        page.wait_for_timeout(800)  # the list still moves while it is searched
        entry.hover()
        page.wait_for_timeout(400)
        picture(self.page, f"{name}, in the library")
        page.mouse.down()
        page.mouse.move(800, 300, steps=10)
        page.mouse.up()
        page.wait_for_function("() => app.graph.nodes.length === 1")
        number: int = page.evaluate("() => app.graph.nodes[0].id")
        return number

    def fill_in(self, number: int, values: dict[str, Any]) -> None:
        """Write into widgets of a node, as its drawing on the canvas does."""
        self.page.page.evaluate(
            """([number, values]) => {
                const node = app.graph.getNodeById(number);
                for (const [name, value] of Object.entries(values)) {
                    const widget = node.widgets.find(each => each.name === name);
                    widget.value = value;
                    widget.callback?.(value);
                }
            }""",
            [number, values],
        )

    def connect(self, kind: str, values: dict[str, Any], number: int, place: int, *, before: bool = False) -> None:
        """A new node before or after that one's socket of that place."""
        other = self.page.page.evaluate(
            """([kind, number, place, before]) => {
                const other = LiteGraph.createNode(kind), node = app.graph.getNodeById(number);
                other.pos = [node.pos[0] + (before ? -420 : 460), node.pos[1] + 320 * place];
                app.graph.add(other);
                if (before) other.connect(0, node, place);
                else node.connect(place, other, 0);
                return other.id;
            }""",
            [kind, number, place, before],
        )
        self.fill_in(other, values)

    def run(self) -> tuple[dict[str, Any], list[Path]]:
        self.page.page.wait_for_timeout(300)
        return finished(self.page, self.comfy, self.page.page.get_by_test_id("queue-button"))
