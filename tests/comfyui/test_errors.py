"""Wrong inputs: each shows at its node, names the input, and leaves the queue ready for the next prompt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.comfyui.graphs import Graph, demo_checkpoint, text_to_audio
from tests.comfyui.media_files import make_sound, make_video
from tests.comfyui.result import PromptRejected
from tests.comfyui.server import ComfyServer


@pytest.fixture(scope="module", autouse=True)
def input_files(comfy: ComfyServer) -> None:
    """Files that the graphs below load."""
    make_video(comfy.base / "input" / "short.mp4", seconds=2)
    make_video(comfy.base / "input" / "silent.mp4", seconds=2, sound=False)
    make_sound(comfy.base / "input" / "short.wav", seconds=2)
    (comfy.base / "models" / "audiox").mkdir(exist_ok=True)
    (comfy.base / "models" / "audiox" / "broken.safetensors").write_bytes(b"this is no checkpoint")


def no_picture(graph: Graph, encoders: tuple[str, int]) -> str:
    return graph.add("AudioXEncodeVideo", encoders=encoders)


def video_and_images(graph: Graph, encoders: tuple[str, int]) -> str:
    images = graph.add("EmptyImage", batch_size=4, width=64, height=64)
    video = graph.add("LoadVideo", file="short.mp4")
    return graph.add("AudioXEncodeVideo", encoders=encoders, video=(video, 0), images=(images, 0))


def start_after_the_video(graph: Graph, encoders: tuple[str, int]) -> str:
    video = graph.add("LoadVideo", file="short.mp4")
    return graph.add("AudioXEncodeVideo", encoders=encoders, video=(video, 0), start=60.0)


def start_after_the_sound(graph: Graph, encoders: tuple[str, int]) -> str:
    audio = graph.add("LoadAudio", audio="short.wav")
    return graph.add("AudioXEncodeAudio", encoders=encoders, audio=(audio, 0), start=60.0)


def nothing_to_combine(graph: Graph, encoders: tuple[str, int]) -> str:
    return graph.add("AudioXCombine")


@pytest.mark.parametrize(
    ("make_node", "words"),
    [
        (no_picture, ["video", "images"]),
        (video_and_images, ["video", "images"]),
        (start_after_the_video, ["start", "60", "2"]),
        (start_after_the_sound, ["start", "60", "2"]),
        (nothing_to_combine, ["AudioX Combine", "condition"]),
    ],
)
def test_a_wrong_input_shows_at_its_node(
    comfy: ComfyServer, make_node: Callable[[Graph, tuple[str, int]], str], words: list[str]
) -> None:
    info = comfy.object_info()
    graph = Graph(info)
    load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(info))
    wrong = make_node(graph, (load, 1))
    latent = graph.add("AudioXEmptyLatent")
    sample = graph.add("AudioXSampler", model=(load, 0), positive=(wrong, 0), latent=(latent, 0), steps=2)
    graph.add("SaveAudio", audio=(graph.add("AudioXDecode", vae=(load, 2), latent=(sample, 0)), 0))
    expect_error(comfy, graph, wrong, words)


def test_a_broken_checkpoint_is_named(comfy: ComfyServer) -> None:
    graph, ids = text_to_audio(comfy.object_info())
    graph.prompt[ids["load"]]["inputs"]["checkpoint"] = "broken.safetensors"
    expect_error(comfy, graph, ids["load"], ["broken.safetensors"])


@pytest.mark.parametrize(
    ("task", "change"),
    [
        ("latent", {"seconds": -1}),
        ("latent", {"batch_size": 0}),
        ("sample", {"steps": -1}),
    ],
)
def test_values_out_of_range_are_refused_before_anything_runs(
    comfy: ComfyServer, info: dict[str, Any], task: str, change: dict[str, Any]
) -> None:
    graph, ids = text_to_audio(info)
    graph.prompt[ids[task]]["inputs"].update(change)
    with pytest.raises(PromptRejected) as rejected:
        comfy.queue(graph.prompt)
    errors = rejected.value.node_errors[ids[task]]["errors"]
    assert any(name in str(errors) for name in change), errors


@pytest.mark.parametrize(
    ("task", "name", "value"),
    [("load", "checkpoint", "no_such_file.safetensors"), ("sample", "sampler", "no_such_sampler")],
)
def test_an_unknown_choice_is_named(comfy: ComfyServer, info: dict[str, Any], task: str, name: str, value: str) -> None:
    graph, ids = text_to_audio(info)
    graph.prompt[ids[task]]["inputs"][name] = value
    text = refusal(comfy, graph, ids[task])
    assert value in text
    if task == "load":  # ours to tell, and once
        assert text.count("is not in ComfyUI's model folders") == 1


def refusal(comfy: ComfyServer, graph: Graph, node_id: str) -> str:
    """The error of a node, whether the prompt is refused or, in v0.3.64, only fails when the node runs."""
    try:
        prompt_id = comfy.queue(graph.prompt)
    except PromptRejected as rejected:
        return str(rejected.node_errors[node_id]["errors"])
    result = comfy.follow(prompt_id, timeout=60)
    assert result.status == "execution_error"
    assert result.error is not None
    assert result.error["node_id"] == node_id
    return result.error["exception_message"]


def expect_error(comfy: ComfyServer, graph: Graph, node_id: str, words: list[str]) -> None:
    """The prompt fails in that node; its message has the words and a mend; the next prompt runs."""
    result = comfy.run(graph.prompt, timeout=60)
    assert result.status == "execution_error"
    assert result.error is not None
    assert result.error["node_id"] == node_id
    message = result.error["exception_message"]
    assert [word for word in words if word not in message] == [], message
    assert message.strip().endswith("."), message
    comfy.wait_idle()
    good = Graph(comfy.object_info())
    latent = good.add("AudioXEmptyLatent", seconds=3.0)
    save = good.add("SaveLatent", samples=(latent, 0), filename_prefix="after_an_error")
    assert comfy.run(good.prompt).check().files_of(save)
