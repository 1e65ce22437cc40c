"""A ComfyUI without torchaudio, or with one that cannot be imported: everything runs, and the log says so once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.comfyui.graphs import Graph, demo_checkpoint
from tests.comfyui.media_files import make_sound
from tests.comfyui.server import ComfyServer

HIDDEN = Path(__file__).with_name("without_torchaudio")


@pytest.fixture(params=["absent", "broken"])
def server(comfyui: Path, request: pytest.FixtureRequest) -> Iterator[ComfyServer]:
    environment = {"AUDIOX_TEST_TORCHAUDIO": request.param}
    with ComfyServer(comfyui, packages=[HIDDEN], environment=environment) as started:
        yield started


def test_sounds_are_resampled_and_models_loaded(server: ComfyServer) -> None:
    make_sound(server.base / "input" / "example.wav", seconds=2, rate=48000)
    graph = Graph(server.object_info())
    load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(graph.object_info))
    sound = graph.add("LoadAudio", audio="example.wav")
    example = graph.add("AudioXEncodeAudio", encoders=(load, 1), audio=(sound, 0))
    text = graph.add("AudioXEncodeText", encoders=(load, 1), text="rain")
    both = graph.add("AudioXCombine", text=(text, 0), audio=(example, 0))
    picture = graph.add("EmptyImage", batch_size=4, width=64, height=64, color=255)
    seen = graph.add("AudioXEncodeVideo", encoders=(load, 1), images=(picture, 0), fps=2.0)
    everything = graph.add("AudioXCombine", text=(both, 0), video=(seen, 0), audio=(both, 0))
    latent = graph.add("AudioXEmptyLatent", seconds=2.0)
    sample = graph.add("AudioXSampler", model=(load, 0), positive=(everything, 0), latent=(latent, 0), steps=2)
    save = graph.add("SaveAudio", audio=(graph.add("AudioXDecode", vae=(load, 2), latent=(sample, 0)), 0))
    assert server.run(graph.prompt).check().files_of(save)
    assert server.log.count("torchaudio cannot be imported") == 1, server.log[-3000:]
    broken = server.environment["AUDIOX_TEST_TORCHAUDIO"] == "broken"
    assert server.log.count("torchaudio is installed but broken") == int(broken), server.log[-3000:]
