"""Stopping a prompt in the middle of its work: the work isn't done to its end, and the next prompt runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.comfyui.graphs import Graph, demo_checkpoint, text_to_audio
from tests.comfyui.media_files import make_video
from tests.comfyui.server import ComfyServer, Prompt


def interrupt_in(comfy: ComfyServer, prompt: Prompt, node_id: str, *, progress: int) -> None:
    """Interrupts a prompt after `progress` messages of a node, which then ends before its work does."""
    since = comfy.events.mark()
    prompt_id = comfy.queue(prompt)
    seen = []

    def is_deep_in_the_node(message: Any) -> bool:
        same = message.data.get("prompt_id") == prompt_id and message.data.get("node") == node_id
        if same and message.kind == ("progress" if progress else "executing"):
            seen.append(message)
        if message.ends(prompt_id):
            pytest.fail(f"{message.kind} before the interruption: {message.data.get('exception_message')}")
        return len(seen) > progress

    comfy.wait_for(is_deep_in_the_node, 120, since=since, what=f"progress of node {node_id}")
    comfy.interrupt()
    result = comfy.follow(prompt_id, timeout=60)
    comfy.wait_idle()
    assert result.status == "execution_interrupted", result.error
    assert result.error is not None
    assert result.error["node_id"] == node_id
    assert seen[-1].data["value"] < seen[-1].data["max"]


def run_short_prompt(comfy: ComfyServer, info: dict[str, Any], seed: int) -> None:
    graph, ids = text_to_audio(info, seed=seed)
    assert comfy.run(graph.prompt, timeout=120).check().files_of(ids["save"])


def test_in_the_middle_of_sampling(comfy: ComfyServer, info: dict[str, Any]) -> None:
    graph, ids = text_to_audio(info, seed=21, steps=1000)
    interrupt_in(comfy, graph.prompt, ids["sample"], progress=3)
    run_short_prompt(comfy, info, seed=22)


@pytest.mark.parametrize("sampler", ["KSampler"])
def test_in_the_middle_of_the_hosts_sampler(comfy: ComfyServer, info: dict[str, Any], sampler: str) -> None:
    graph = Graph(info)
    load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(info))
    text = graph.add("AudioXEncodeText", encoders=(load, 1), text="wind")
    sample = graph.add(
        sampler,
        model=(load, 0),
        positive=(text, 0),
        negative=(graph.add("AudioXNull"), 0),
        latent_image=(graph.add("AudioXEmptyLatent"), 0),
        steps=1000,
        sampler_name="dpmpp_3m_sde",
        scheduler="exponential",
    )
    graph.add("SaveAudio", audio=(graph.add("AudioXDecode", vae=(load, 2), latent=(sample, 0)), 0))
    interrupt_in(comfy, graph.prompt, sample, progress=3)
    run_short_prompt(comfy, info, seed=23)


def test_in_the_middle_of_encoding(comfy: ComfyServer) -> None:
    make_video(comfy.base / "input" / "large.mp4", seconds=10, fps=60, size=(1280, 720), sound=False)
    info = comfy.object_info()
    graph = Graph(info)
    load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(info))
    video = graph.add("LoadVideo", file="large.mp4")
    encode = graph.add("AudioXEncodeVideo", encoders=(load, 1), video=(video, 0))
    latent = graph.add("AudioXEmptyLatent")
    sample = graph.add("AudioXSampler", model=(load, 0), positive=(encode, 0), latent=(latent, 0), steps=4)
    graph.add("SaveAudio", audio=(graph.add("AudioXDecode", vae=(load, 2), latent=(sample, 0)), 0))
    interrupt_in(comfy, graph.prompt, encode, progress=1)
    run_short_prompt(comfy, info, seed=24)


def test_a_waiting_prompt_runs_after_an_interrupted_one(comfy: ComfyServer, info: dict[str, Any]) -> None:
    long, long_ids = text_to_audio(info, seed=25, steps=1000)
    short, _ = text_to_audio(info, seed=26)
    since = comfy.events.mark()
    first, second = comfy.queue(long.prompt), comfy.queue(short.prompt)
    comfy.wait_for(lambda m: m.kind == "progress" and m.data["node"] == long_ids["sample"], 60, since=since)
    comfy.interrupt()
    assert comfy.follow(first).status == "execution_interrupted"
    comfy.follow(second, timeout=120).check()
