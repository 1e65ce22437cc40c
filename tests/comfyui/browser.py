"""ComfyUI's page in headless Chromium: load workflows, look for errors, take pictures, convert files.

As a tool (with COMFYUI_PATH set):  python -m tests.comfyui.browser convert API.json WORKFLOW.json
                                    python -m tests.comfyui.browser picture WORKFLOW.json PICTURE.png
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import sys
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from tests.comfyui.server import ComfyServer, find_comfyui

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage

CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
CHROMIUM_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# No tour, no template browser on the first visit, no dialogs over the graph.
PAGE_SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.InstalledVersion": "1.0.0",
    "Comfy.Workflow.ShowMissingModelsWarning": False,
    "Comfy.Workflow.WarnBlueprintOverwrite": False,
    "Comfy.OnboardingCoachmarks.Seen": ["appMode", "firstRun"],
}
READY = "() => window.app && app.graph && window.LiteGraph && LiteGraph.registered_node_types['KSampler']"
# Node ids whose type the page doesn't know, whichever way the frontend version marks them.
MISSING = """() => app.graph.nodes
    .filter(node => !LiteGraph.registered_node_types[node.type] || node.has_errors)
    .map(node => `${node.id}: ${node.type}`)"""
# Brings the whole graph, groups included, into view; answers its rectangle on the page, `margin` included.
FIT_VIEW = """margin => {
    const boxes = app.graph.nodes.map(node => node.getBounding())
        .concat((app.graph.groups ?? []).map(group => [...group.pos, ...group.size]));
    const left = Math.min(...boxes.map(box => box[0])), top = Math.min(...boxes.map(box => box[1]));
    const width = Math.max(...boxes.map(box => box[0] + box[2])) - left;
    const height = Math.max(...boxes.map(box => box[1] + box[3])) - top;
    const canvas = app.canvas.canvas.getBoundingClientRect(), view = app.canvas.ds;
    view.scale = Math.min((canvas.width - 2 * margin) / width, (canvas.height - 2 * margin) / height, 1);
    view.offset[0] = margin / view.scale - left;
    view.offset[1] = margin / view.scale - top;
    app.canvas.show_info = false;
    app.canvas.setDirty(true, true);
    return {
        x: canvas.x, y: canvas.y,
        width: Math.min(width * view.scale + 2 * margin, canvas.width),
        height: Math.min(height * view.scale + 2 * margin, canvas.height),
    };
}"""
# How much of the canvas on each side the page's bars may cover.
BARS = 60
OVERLAPS = """() => {
    const nodes = app.graph.nodes.map(node => [`${node.id} ${node.title}`, ...node.getBounding()]);
    const found = [];
    for (const [a, ax, ay, aw, ah] of nodes)
        for (const [b, bx, by, bw, bh] of nodes)
            if (a < b && ax < bx + bw && bx < ax + aw && ay < by + bh && by < ay + ah)
                found.push(`${a} covers ${b}`);
    return found;
}"""
# Widgets that play or show a file; the page queues them as inputs that no node has.
PLAYERS = {"audioUI", "video-preview"}
ONLY_GRAPH = """
    body * { visibility: hidden !important; }
    #graph-canvas, .dom-widget, .dom-widget *, .lg-node, .lg-node * { visibility: visible !important; }
"""


def find_chromium() -> str | None:
    """Path of a Chromium: the environment variable CHROMIUM, or the first one found on PATH."""
    return os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)


def why_no_browser() -> str | None:
    """What is missing for browser tests, or None."""
    if importlib.util.find_spec("playwright") is None:
        return "the Python package playwright is not installed"
    if find_chromium() is None:
        return "no Chromium on PATH (or in the variable CHROMIUM)"
    return None


class ComfyPage:
    """Context manager around one page of a running server; `errors` are the console's since it was ready."""

    def __init__(self, server: ComfyServer, *, width: int = 1600, height: int = 900, scale: float = 1.0) -> None:
        self.server = server
        self.viewport = {"width": width, "height": height}
        self.scale = scale
        self.errors: list[str] = []
        self.start_errors: list[str] = []  # ComfyUI's own page is not free of them

    def __enter__(self) -> ComfyPage:
        from playwright.sync_api import sync_playwright

        self.server.post("/settings", PAGE_SETTINGS)
        self._playwright = sync_playwright().start()
        try:
            self._browser = self._playwright.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGUMENTS)
            self.page = self._browser.new_page(viewport=self.viewport, device_scale_factor=self.scale)
            self.page.on("console", self._on_console)
            self.page.on("pageerror", lambda error: self.errors.append(f"uncaught: {error}"))
            self.open()
        except BaseException:
            self._playwright.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._browser.close()
        self._playwright.stop()

    def open(self) -> None:
        """Load the page and wait until its nodes are registered."""
        self.page.goto(self.server.url, wait_until="domcontentloaded")
        self.page.wait_for_function(READY, timeout=90_000)
        self.page.wait_for_timeout(1500)  # the last workflow or the default one is drawn after registration
        self.start_errors, self.errors[:] = self.errors[:], []

    def load(self, workflow: dict[str, Any]) -> list[str]:
        """Load a UI workflow; the nodes ("id: type") that the page lacks."""
        self.page.evaluate("workflow => app.loadGraphData(workflow)", workflow)
        self.page.wait_for_timeout(500)
        return self.page.evaluate(MISSING)

    def add_node(self, class_type: str) -> str:
        """Add one node to an empty graph, as a double click on the canvas does; its title."""
        self.page.evaluate("() => app.graph.clear()")
        add = "name => { const node = LiteGraph.createNode(name); app.graph.add(node); return node.title; }"
        return self.page.evaluate(add, class_type)

    def resize(self, width: int, height: int) -> None:
        """Another size of the page."""
        self.page.set_viewport_size({"width": width, "height": height})
        self.page.wait_for_timeout(200)

    def fitted_scale(self) -> float:
        """The scale, at most 1, at which the whole graph is seen between the page's bars."""
        self.page.evaluate(FIT_VIEW, BARS)
        return self.page.evaluate("() => app.canvas.ds.scale")

    def overlaps(self) -> list[str]:
        """Pairs of nodes that cover each other as this page draws them."""
        return self.page.evaluate(OVERLAPS)

    def prompt(self) -> dict[str, Any]:
        """API prompt that the page would queue for the loaded workflow."""
        prompt = json.loads(self.page.evaluate("async () => JSON.stringify((await app.graphToPrompt()).output)"))
        for node in prompt.values():
            del node["_meta"]
            for player in PLAYERS & set(node["inputs"]):
                del node["inputs"][player]
        return prompt

    def serialize(self) -> dict[str, Any]:
        """The loaded workflow in UI format."""
        return json.loads(self.page.evaluate("() => JSON.stringify(app.graph.serialize())"))

    def from_prompt(self, prompt: dict[str, Any], name: str = "workflow") -> dict[str, Any]:
        """UI workflow of an API prompt, arranged by the page; seeds are set to stay fixed."""
        self.page.evaluate(
            """async ([prompt, name]) => {
                await app.loadApiJson(prompt, name);
                for (const node of app.graph.nodes)
                    for (const widget of node.widgets ?? [])
                        if (widget.name === 'control_after_generate') widget.value = 'fixed';
                app.graph.arrange();
            }""",
            [prompt, name],
        )
        self.page.wait_for_timeout(500)
        return self.serialize()

    def picture(self, path: Path, *, margin: int = 30) -> None:
        """Write a PNG of the whole graph without the page's menus."""
        style = self.page.add_style_tag(content=ONLY_GRAPH)
        area = self.page.evaluate(FIT_VIEW, margin)
        self.page.wait_for_timeout(800)  # text widgets follow the canvas a few frames later
        self.page.screenshot(path=path, clip=area)
        style.evaluate("element => element.remove()")

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type != "error":
            return
        source = (message.location or {}).get("url", "")
        is_ours = f"/extensions/{self.server.pack_name}" in source
        if message.text.startswith("Failed to load resource") and not is_ours:
            return  # optional files that ComfyUI itself asks for, such as user.css
        if any(not url.startswith(self.server.url) for url in re.findall(r"https?://[^\s'\"]+", message.text)):
            return  # what the frontend wants from elsewhere: the tests are offline
        self.errors.append(f"{message.text} ({source})")


def main(arguments: list[str]) -> int:
    """Command line of the two development tools in this file's first lines."""
    comfyui = find_comfyui()
    obstacle = "COMFYUI_PATH is not set" if comfyui is None else why_no_browser()
    if len(arguments) != 3 or arguments[0] not in ("convert", "picture") or obstacle or comfyui is None:
        print(obstacle or __doc__, file=sys.stderr)
        return 2
    task, source, target = arguments[0], Path(arguments[1]), Path(arguments[2])
    content = json.loads(source.read_text(encoding="utf-8"))
    with ComfyServer(comfyui) as server, ComfyPage(server) as page:
        if task == "convert":
            workflow = page.from_prompt(content, target.stem)
            target.write_text(json.dumps(workflow, indent=2) + "\n", encoding="utf-8")
        else:
            page.load(content)
            page.picture(target)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
