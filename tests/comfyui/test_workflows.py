"""Every shipped workflow, queued with the demo model: it runs, and its files are what its graph promises."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from tests.comfyui import shipped
from tests.comfyui.graphs import downstream
from tests.comfyui.media_files import (
    picture_packets,
    picture_seconds,
    read_sound,
    stream_kinds,
)
from tests.comfyui.result import Result
from tests.comfyui.server import ComfyServer, Prompt

SAMPLE_RATE = 44100


def test_there_are_workflows() -> None:
    assert len(shipped.PATHS) >= 10


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_no_node_is_deprecated(comfy: ComfyServer, path: Path) -> None:
    info, kinds = comfy.object_info(), {node["type"] for node in shipped.read(path)["nodes"]}
    assert [kind for kind in sorted(kinds) if info.get(kind, {}).get("deprecated")] == []


@pytest.mark.parametrize("path", shipped.PATHS, ids=lambda path: path.stem)
def test_workflow_runs_and_its_files_are_right(comfy: ComfyServer, path: Path) -> None:
    prompt = shipped.quick_prompt(comfy, shipped.read(path))
    result = comfy.run(prompt, timeout=400).check()
    outputs = [key for key, node in prompt.items() if node["class_type"] in CHECKS]
    assert outputs, "the workflow writes nothing that this test knows"
    for key in outputs:
        CHECKS[prompt[key]["class_type"]](comfy, prompt, result, key)


def check_sound(comfy: ComfyServer, prompt: Prompt, result: Result, key: str) -> None:
    """Stereo at the model's rate, as long as asked for, neither silent nor clipped throughout."""
    files = result.files_of(key)
    assert files
    for path in files:
        assert "audio" in stream_kinds(path)
        sound = read_sound(path)
        assert sound.rate in (SAMPLE_RATE, 48000)  # Opus knows no 44.1 kHz
        assert sound.samples.shape[0] == 2
        assert sound.seconds == pytest.approx(wanted_seconds(prompt, key), abs=0.06)
        assert 1e-3 < sound.rms < 0.9
        assert np.isfinite(sound.samples).all()


def check_video(comfy: ComfyServer, prompt: Prompt, result: Result, key: str) -> None:
    """Picture and sound of one length; a loaded video's packets are those of its file."""
    (path,) = result.files_of(key)
    assert stream_kinds(path) == ["audio", "video"]
    sound = read_sound(path)
    assert sound.rms > 1e-3
    assert sound.seconds == pytest.approx(picture_seconds(path), abs=0.06)
    source = source_file(comfy, prompt, prompt[key]["inputs"]["video"][0])
    if source is not None:
        assert picture_packets(path) == picture_packets(source)
        assert not np.array_equal(sound.samples, read_sound(source).samples)


def check_image(comfy: ComfyServer, prompt: Prompt, result: Result, key: str) -> None:
    """A picture that shows something."""
    for path in result.files_of(key):
        with av.open(str(path)) as container:
            assert next(container.decode(video=0)).to_ndarray(format="gray").std() > 1


CHECKS = {
    "SaveAudio": check_sound,
    "SaveAudioMP3": check_sound,
    "SaveAudioOpus": check_sound,
    "PreviewAudio": check_sound,
    "SaveVideo": check_video,
    "PreviewImage": check_image,
    "SaveImage": check_image,
}


def wanted_seconds(prompt: Prompt, key: str) -> float:
    """How long the sound shall be, from the nodes before `key`: an empty latent's seconds, or the source's length."""
    before = {name: node["inputs"] for name, node in prompt.items() if key in downstream(prompt, name)}
    kinds = {prompt[name]["class_type"]: inputs for name, inputs in before.items()}
    if "VAEEncodeAudio" in kinds:
        return shipped.SOURCE_SECONDS
    seconds = (kinds.get("AudioXEmptyLatent") or kinds["EmptyLatentAudio"])["seconds"]
    if isinstance(seconds, list):  # what AudioXEncodeVideo looked at; of a still, as much as it was asked for
        return shipped.SOURCE_SECONDS if "LoadVideo" in kinds else kinds["AudioXEncodeVideo"]["seconds"]
    return seconds


def source_file(comfy: ComfyServer, prompt: Prompt, key: str) -> Path | None:
    """The input file whose picture node `key` hands on, or None when the picture was made in the graph."""
    node = prompt[key]
    if node["class_type"] == "LoadVideo":
        return comfy.base / "input" / node["inputs"]["file"]
    video = node["inputs"].get("video")
    return source_file(comfy, prompt, video[0]) if isinstance(video, list) else None
