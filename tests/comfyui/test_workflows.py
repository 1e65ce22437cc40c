"""Every shipped workflow, queued with the demo model: it runs, and its files are what its graph promises."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import av
import numpy as np
import pytest

from audiox_core.models.timing import Timing
from tests.comfyui import shipped
from tests.comfyui.graphs import downstream
from tests.comfyui.media_files import (
    picture_packets,
    picture_seconds,
    read_sound,
    stream_kinds,
)
from tests.comfyui.result import Result
from tests.comfyui.server import REPO, ComfyServer, Prompt

SAMPLE_RATE = 44100
BIT = 1 / 32768  # of the files' 16
TIMING = Timing()


def test_there_are_workflows() -> None:
    assert len(shipped.PATHS) >= 10
    assert len(shipped.APPS) >= 3
    assert len(shipped.BLUEPRINTS) >= 4


@pytest.mark.parametrize("path", shipped.PATHS + shipped.BLUEPRINTS, ids=lambda path: path.stem)
def test_no_node_is_deprecated(comfy: ComfyServer, path: Path) -> None:
    info, kinds = comfy.object_info(), {node["type"] for node in shipped.read_graph(path)["nodes"]}
    assert [kind for kind in sorted(kinds) if info.get(kind, {}).get("deprecated")] == []


@pytest.mark.parametrize("path", shipped.PATHS + shipped.BLUEPRINTS, ids=lambda path: path.stem)
def test_workflow_runs_and_its_files_are_right(comfy: ComfyServer, path: Path) -> None:
    prompt = shipped.quick_prompt(comfy, path)
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
    if "AudioXEdit" in kinds:
        edit, source = kinds["AudioXEdit"], kinds["LoadAudio"]["audio"]
        length = shipped.LONGER.get(source, shipped.SOURCE_SECONDS)
        return edit["extend_before"] + length + edit["extend_after"]
    latent = kinds.get("AudioXEmptyLatent") or kinds["EmptyLatentAudio"]
    seconds = latent["seconds"]
    if latent.get("loop"):
        seconds = TIMING.to_seconds(TIMING.loop_latents(seconds)) * (2 if "AudioConcat" in kinds else 1)
    if isinstance(seconds, list) and "AudioXTimedText" in kinds:
        return kinds["AudioXTimedText"]["seconds"]
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


def prompt_of(comfy: ComfyServer, name: str) -> Prompt:
    """The quick prompt of the workflow with that name."""
    return shipped.quick_prompt(comfy, REPO / f"workflows/{name}.json")


def only(prompt: Prompt, kind: str) -> str:
    """The key of the one node of that class."""
    (key,) = keys(prompt, kind)
    return key


def keys(prompt: Prompt, kind: str) -> list[str]:
    """The keys of the nodes of that class, in their order."""
    return [key for key, node in prompt.items() if node["class_type"] == kind]


def heard(comfy: ComfyServer, prompt: Prompt) -> list[np.ndarray]:
    """What a prompt's Preview Audio nodes play, in the nodes' order, each (2, N)."""
    result = comfy.run(prompt, timeout=400).check()
    return [read_sound(result.files_of(key)[0]).samples for key in keys(prompt, "PreviewAudio")]


def source_of(comfy: ComfyServer, prompt: Prompt) -> np.ndarray:
    """The sound that the prompt's Load Audio reads, (2, N)."""
    name = prompt[only(prompt, "LoadAudio")]["inputs"]["audio"]
    return read_sound(shipped.make_input(comfy, "LoadAudio", name)).samples


def test_long_video_soundtrack_is_as_long_as_the_video(comfy: ComfyServer) -> None:
    """And longer than a window of the model."""
    prompt = prompt_of(comfy, "long_video_soundtrack")
    (path,) = comfy.run(prompt, timeout=400).check().files_of(only(prompt, "SaveVideo"))
    assert read_sound(path).seconds == pytest.approx(13.0, abs=0.03)
    assert TIMING.max_seconds < 12


def test_repair_keeps_every_sample_outside_its_region(comfy: ComfyServer) -> None:
    prompt = prompt_of(comfy, "repair_seconds")
    assert prompt[only(prompt, "AudioXEdit")]["inputs"]["regions"] == "3-5"
    source, (made,) = source_of(comfy, prompt), heard(comfy, prompt)
    first, last = 3 * SAMPLE_RATE, 5 * SAMPLE_RATE
    assert made.shape == source.shape
    assert np.array_equal(made[:, :first], source[:, :first])
    assert np.array_equal(made[:, last:], source[:, last:])
    assert np.abs(made - source)[:, first:last].mean() > 1e-3


def test_continue_keeps_the_sound_and_goes_on(comfy: ComfyServer) -> None:
    prompt = prompt_of(comfy, "continue_sound")
    source, (made,) = source_of(comfy, prompt), heard(comfy, prompt)
    length = source.shape[1]
    assert made.shape[1] == length + 10 * SAMPLE_RATE
    assert np.array_equal(made[:, :length], source)
    seconds = made[:, length:].reshape(2, 10, SAMPLE_RATE)
    assert (np.sqrt(np.mean(np.square(seconds), axis=(0, 2))) > 1e-3).all()


def test_loop_is_whole_latents_and_is_played_twice(comfy: ComfyServer) -> None:
    once, twice = heard(comfy, prompt_of(comfy, "seamless_loop"))
    assert once.shape[1] % TIMING.downsampling_ratio == 0
    assert once.shape[1] / SAMPLE_RATE == pytest.approx(12.0, abs=0.1)
    assert np.array_equal(twice, np.concatenate([once, once], axis=1))


def test_loop_has_no_step_at_its_join(comfy: ComfyServer) -> None:
    """From the last sample to the first it is no further than elsewhere."""
    once, _ = heard(comfy, prompt_of(comfy, "seamless_loop"))
    steps = np.abs(np.diff(once, axis=1))
    assert (np.abs(once[:, 0] - once[:, -1]) <= np.quantile(steps, 0.999, axis=1)).all()


def test_takes_differ_and_each_can_be_made_alone(comfy: ComfyServer) -> None:
    prompt = prompt_of(comfy, "four_takes")
    takes = heard(comfy, prompt)
    assert [prompt[key]["inputs"]["take"] for key in keys(prompt, "AudioXTake")] == [1, 2, 3, 4]
    assert min(np.abs(a - b).mean() for a, b in combinations(takes, 2)) > 1e-2
    pictures = comfy.run(prompt, timeout=400).check()
    assert len({pictures.files_of(key)[0].read_bytes() for key in keys(prompt, "PreviewImage")}) == 4
    prompt[only(prompt, "AudioXSampler")]["inputs"]["seed"] += 2
    shipped.cut(comfy, prompt, {"AudioXEmptyLatent": {"batch_size": 1}, "AudioXTake": {"take": 1}})
    assert np.abs(heard(comfy, prompt)[0] - takes[2]).max() < 1e-3


def test_timed_prompts_hold_from_their_time_on(comfy: ComfyServer) -> None:
    """Another last prompt changes the last window alone."""
    prompt = prompt_of(comfy, "timed_prompts")
    made = []
    for words in ("thunder", "a choir of birds, bright and loud"):
        lines = {"AudioXTimedText": {"lines": f"0:00 rain\n0:11 {words}"}}
        # A common level would depend on the part that differs.
        made.append(heard(comfy, shipped.cut(comfy, prompt, lines | {"AudioXDecode": {"normalize": "off"}}))[0])
    difference = np.abs(made[0] - made[1])
    assert difference[:, : 9 * SAMPLE_RATE].max() <= BIT
    assert difference[:, 12 * SAMPLE_RATE :].mean() > 10 * BIT


def test_guidance_per_modality_weighs_each_by_itself(comfy: ComfyServer) -> None:
    """Equal scales are the guidance of CFGGuider; another one for a modality makes another sound."""
    prompt = prompt_of(comfy, "guidance_per_modality")
    guider, decode = only(prompt, "AudioXGuider"), only(prompt, "AudioXDecode")
    prompt["listen"] = {"class_type": "PreviewAudio", "inputs": {"audio": [decode, 0]}}
    names = ("text_guidance", "video_guidance", "audio_guidance")

    def at(**scales: float) -> np.ndarray:
        return heard(comfy, shipped.cut(comfy, prompt, {"AudioXGuider": dict.fromkeys(names, 4.0) | scales}))[0]

    equal = at()
    for name in names:
        assert np.abs(at(**{name: 1.0}) - equal).mean() > 1e-3, name
    inputs = prompt[guider]["inputs"]
    prompt["null"] = {"class_type": "AudioXNull", "inputs": {}}
    plain = {"model": inputs["model"], "positive": inputs["positive"], "negative": ["null", 0], "cfg": 4.0}
    prompt[guider] = {"class_type": "CFGGuider", "inputs": plain}
    assert np.abs(heard(comfy, prompt)[0] - equal).max() < 1e-3
