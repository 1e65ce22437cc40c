"""--lowvram and --novram: a server whose processor plays a card with too little memory gives the same sound.

ComfyUI ignores both flags without a GPU, so a node pack beside ours makes it treat the processor as one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.graphs import Graph, text_to_audio
from tests.comfyui.media_files import read_sound
from tests.comfyui.result import Result
from tests.comfyui.server import ComfyServer

# Written into custom_nodes: while models are loaded, the processor counts as a card that is nearly full.
CARD = """
import comfy.model_management as management

load, state = management.load_models_gpu, management.VRAMState.{state}
management.vram_state = state
NODE_CLASS_MAPPINGS = {{}}


def load_on_the_card(models, *given, **named):
    before = management.is_device_cpu, management.get_free_memory
    management.is_device_cpu = lambda device: False
    management.get_free_memory = lambda device=None, torch_free_too=False: (0, 0) if torch_free_too else 0
    try:
        answer = load(models, *given, **named)
    finally:
        management.is_device_cpu, management.get_free_memory = before
    for model in models:
        name = type(model.model).__name__
        print("ON THE CARD", name, int(model.loaded_size()), int(model.model_size()), flush=True)
    return answer


management.load_models_gpu = load_on_the_card
"""
# What must be loaded in part: the network, the autoencoder, and our own encoders. T5 and CLIP are transformers'.
IN_PART = 3


def everything(info: dict[str, Any]) -> tuple[Graph, str]:
    """A graph through all parts of the model, and its node that saves."""
    graph, ids = text_to_audio(info)
    load = (ids["load"], 0)
    graph.prompt[ids["load"]]["inputs"]["precision"] = "fp32"
    images = graph.add("EmptyImage", batch_size=4, width=64, height=64)
    video = graph.add("AudioXEncodeVideo", encoders=(load[0], 1), images=(images, 0), fps=1.0)
    audio = graph.add("AudioXEncodeAudio", encoders=(load[0], 1), audio=(ids["decode"], 0))
    both = graph.add("AudioXCombine", text=(ids["encode"], 0), video=(video, 0), audio=(audio, 0))
    latent = (ids["latent"], 0)
    sample = graph.add("AudioXSampler", model=load, positive=(both, 0), latent=latent, seed=2, steps=3)
    decode = graph.add("AudioXDecode", vae=(load[0], 2), latent=(sample, 0))
    return graph, graph.add("SaveAudio", audio=(decode, 0), filename_prefix="card")


def sound_of(result: Result, node: str) -> np.ndarray:
    return read_sound(result.check().files_of(node)[0]).samples


@pytest.fixture(scope="module")
def plain(comfy: ComfyServer) -> np.ndarray:
    """What the usual server makes of the graph."""
    graph, save = everything(comfy.object_info())
    return sound_of(comfy.run(graph.prompt), save)


@pytest.fixture(scope="module", params=["LOW_VRAM", "NO_VRAM"])
def small(request: pytest.FixtureRequest, comfyui: Path) -> Iterator[ComfyServer]:
    management = (comfyui / "comfy" / "model_management.py").read_text(encoding="utf-8")
    if request.param == "LOW_VRAM" and "max(128 * 1024 * 1024" in management:
        pytest.skip("this ComfyUI grants every model 128 MB, more than the demo needs")
    server = ComfyServer(comfyui)
    pack = server.base / "custom_nodes" / "small_card"
    pack.mkdir(parents=True)
    (pack / "__init__.py").write_text(CARD.format(state=request.param), encoding="utf-8")
    with server:
        yield server


def test_what_is_loaded_in_part_gives_the_same_sound(small: ComfyServer, plain: np.ndarray) -> None:
    graph, save = everything(small.object_info())
    found = sound_of(small.run(graph.prompt), save)
    loads = re.findall(r"ON THE CARD (\w+) (\d+) (\d+)", small.log)
    in_part = {name for name, held, size in loads if int(held) < int(size) / 10}
    assert len(in_part) >= IN_PART, loads
    assert "AudioX" in in_part
    np.testing.assert_allclose(found, plain, atol=2e-4)  # files hold 16 bits
    assert np.abs(found).max() > 0.1
