"""Pictures for the help pages: each node in use, as ComfyUI's page draws it.

As a tool (with COMFYUI_PATH set):  python -m tests.comfyui.help_pictures [NODE ...]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.comfyui.browser import ComfyPage, why_no_browser
from tests.comfyui.server import REPO, ComfyServer, find_comfyui

PICTURES = REPO / "web/docs/images"
MOST_BYTES = 60_000
WIDEST = 1400  # pixels
SAMPLE = REPO / "audiox_core/media/assets/sample.mp4"
# What else the graphs have: (type, {input: "node.output" or a widget's value}).
LOAD = {"load": ("AudioXLoad", {})}
TEXT = {"text": ("AudioXEncodeText", {"text": "Rain on a tin roof, distant thunder"})}
CLIP = {"clip": ("LoadVideo", {"file": "sample.mp4"})}
SOUND = {"sound": ("LoadAudio", {"audio": "sample.mp4"})}
SEEN = {"seen": ("AudioXEncodeVideo", {"seconds": 0.0})}
HEARD = {"heard": ("AudioXEncodeAudio", {})}
LATENT = {"latent": ("AudioXEmptyLatent", {})}
DECODE = {"decode": ("AudioXDecode", {})}
PLAYER = {"player": ("PreviewAudio", {"audio": "decode.0"})}
RECIPE = {"steps": 250, "cfg": 7.0, "sampler_name": "dpmpp_3m_sde", "scheduler": "exponential"}

Graph = dict[str, tuple[str, dict[str, Any]]]


def sampler(**inputs: Any) -> Graph:
    return {"sampler": ("AudioXSampler", inputs)}


def decode(latent: str = "sampler.0") -> Graph:
    return {"decode": ("AudioXDecode", {"latent": latent})}


GRAPHS: dict[str, Graph] = {
    "AudioXLoad": {
        **LOAD,
        "text": ("AudioXEncodeText", {"encoders": "load.1", "text": TEXT["text"][1]["text"]}),
        **sampler(model="load.0", positive="text.0"),
        "decode": ("AudioXDecode", {"vae": "load.2", "latent": "sampler.0"}),
    },
    "AudioXEncodeText": {
        **LOAD,
        "text": ("AudioXEncodeText", {"encoders": "load.1", "text": TEXT["text"][1]["text"]}),
        **sampler(model="load.0", positive="text.0"),
    },
    "AudioXEncodeVideo": {
        **CLIP,
        "seen": ("AudioXEncodeVideo", {"video": "clip.0", "seconds": 0.0}),
        "latent": ("AudioXEmptyLatent", {"seconds": "seen.1"}),
        **sampler(positive="seen.0", latent="latent.0"),
    },
    "AudioXEncodeAudio": {
        **SOUND,
        "heard": ("AudioXEncodeAudio", {"audio": "sound.0"}),
        **TEXT,
        "both": ("AudioXCombine", {"text": "text.0", "audio": "heard.0"}),
    },
    "AudioXCombine": {
        **TEXT,
        **SEEN,
        "both": ("AudioXCombine", {"text": "text.0", "video": "seen.0"}),
        **sampler(positive="both.0"),
    },
    "AudioXNull": {
        **TEXT,
        "null": ("AudioXNull", {}),
        "sampler": ("KSampler", {"positive": "text.0", "negative": "null.0", **RECIPE}),
    },
    "AudioXEmptyLatent": {**LATENT, **sampler(latent="latent.0"), **decode()},
    "AudioXSampler": {**TEXT, **LATENT, **sampler(positive="text.0", latent="latent.0"), **decode()},
    "AudioXDecode": {**sampler(), **decode(), **PLAYER},
    "AudioXSetSoundtrack": {
        **CLIP,
        **DECODE,
        "track": ("AudioXSetSoundtrack", {"video": "clip.0", "audio": "decode.0"}),
        "save": ("SaveVideo", {"video": "track.0"}),
    },
    "AudioXSpectrogram": {
        **DECODE,
        "drawn": ("AudioXSpectrogram", {"audio": "decode.0"}),
        "picture": ("PreviewImage", {"images": "drawn.0"}),
    },
    "AudioXEdit": {
        **SOUND,
        "edit": ("AudioXEdit", {"audio": "sound.0", "regions": "3-5, 8.2-9"}),
        **sampler(latent="edit.0"),
        **decode(),
    },
    "AudioXTimedText": {
        "text": ("AudioXTimedText", {"lines": "0:00 light rain\n0:10 thunder and wind\n0:20 birds singing"}),
        "latent": ("AudioXEmptyLatent", {"seconds": "text.1"}),
        **sampler(positive="text.0", latent="latent.0"),
    },
    "AudioXWindows": {
        **LOAD,
        "windows": ("AudioXWindows", {"model": "load.0"}),
        "sampler": ("KSampler", {"model": "windows.0", **RECIPE}),
    },
    "AudioXGuider": {
        **TEXT,
        **SEEN,
        "both": ("AudioXCombine", {"text": "text.0", "video": "seen.0"}),
        "guider": ("AudioXGuider", {"positive": "both.0", "text_guidance": 5.0}),
        "sampler": ("SamplerCustomAdvanced", {"guider": "guider.0"}),
    },
    "AudioXTake": {
        **DECODE,
        "take": ("AudioXTake", {"audio": "decode.0", "take": 2}),
        "player": ("PreviewAudio", {"audio": "take.0"}),
    },
}
# Columns from left to right, as wide as their widest node; the node that is meant is framed.
ARRANGE = """([depths, type]) => {
    const nodes = app.graph.nodes, columns = [];
    for (const node of nodes) node.setSize([Math.max(node.size[0], 11 * node.title.length + 60), node.size[1]]);
    for (const node of nodes) (columns[depths[node.id]] ??= []).push(node);
    let left = 0;
    for (const column of columns) {
        let top = 0;
        for (const node of column) {
            node.pos = [left, top];
            top += node.size[1] + 70;
        }
        left += Math.max(...column.map(node => node.size[0])) + 70;
    }
    for (const node of nodes) {
        if (node.type === type) { node.color = '#4a3b6b'; node.bgcolor = '#2e2745'; }
        for (const widget of node.widgets ?? [])
            if (widget.name === 'control_after_generate') widget.value = 'fixed';
    }
    app.canvas.setDirty(true, true);
}"""


def prompt_of(graph: Graph) -> dict[str, Any]:
    """The graph in ComfyUI's API format."""
    numbers = {name: str(i) for i, name in enumerate(graph, 1)}

    def value(given: Any) -> Any:
        name, _, output = given.partition(".") if isinstance(given, str) else ("", "", "")
        return [numbers[name], int(output)] if name in numbers and output.isdigit() else given

    return {
        numbers[name]: {"class_type": kind, "inputs": {key: value(given) for key, given in inputs.items()}}
        for name, (kind, inputs) in graph.items()
    }


def depths_of(prompt: dict[str, Any]) -> dict[str, int]:
    """The column of each node: right of all that it is connected to."""

    def depth(number: str) -> int:
        links = [value for value in prompt[number]["inputs"].values() if isinstance(value, list)]
        return max((depth(source) + 1 for source, _ in links), default=0)

    return {number: depth(number) for number in prompt}


def draw(page: ComfyPage, node: str, target: Path) -> None:
    """Write the picture of a node's graph."""
    from PIL import Image

    prompt = prompt_of(GRAPHS[node])
    page.open()  # new nodes of an open page may begin with the values of those before
    page.from_prompt(prompt)
    page.page.wait_for_timeout(1500)  # until a video's first picture is there
    page.page.evaluate(ARRANGE, [depths_of(prompt), node])
    page.page.wait_for_timeout(500)  # a node's bounds are those of its last drawing
    with tempfile.TemporaryDirectory() as folder:
        page.picture(Path(folder) / "graph.png")
        with Image.open(Path(folder) / "graph.png") as picture:
            picture.thumbnail((WIDEST, WIDEST))
            picture.convert("RGB").save(target, quality=82, method=6)
    assert target.stat().st_size < MOST_BYTES, f"{target}: {target.stat().st_size} bytes"


def main(names: list[str]) -> int:
    """Draws the pictures of these nodes, or of all."""
    comfyui = find_comfyui()
    obstacle = "COMFYUI_PATH is not set" if comfyui is None else why_no_browser()
    if obstacle or comfyui is None or not set(names) <= GRAPHS.keys():
        print(obstacle or __doc__, file=sys.stderr)
        return 2
    PICTURES.mkdir(exist_ok=True)
    with ComfyServer(comfyui) as server:
        shutil.copyfile(SAMPLE, server.base / "input" / SAMPLE.name)
        with ComfyPage(server, width=2200, height=1400) as page:
            for name in names or GRAPHS:
                draw(page, name, PICTURES / f"{name}.webp")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
