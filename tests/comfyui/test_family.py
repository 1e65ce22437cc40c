"""The demo of each newer member through a real ComfyUI: all conditions at once, cache, seeds, the host's sampler."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.comfyui.graphs import Graph, demo_checkpoint, downstream
from tests.comfyui.media_files import make_sound, make_video, read_sound
from tests.comfyui.result import Result
from tests.comfyui.server import ComfyServer, find_comfyui

MEMBERS = ("demo-maf", "demo-mmdit", "demo-turbo")
STEPS = 4
EXACT = 1e-5  # of the latents' largest value
KSAMPLER = {  # what KSampler is set to for a member's own sampler
    "demo-maf": {"sampler_name": "dpmpp_3m_sde", "scheduler": "exponential", "cfg": 7.0},
    "demo-mmdit": {"sampler_name": "dpmpp_3m_sde", "scheduler": "exponential", "cfg": 7.0},
    "demo-turbo": {"sampler_name": "lcm", "scheduler": "simple", "cfg": 1.0},
}
# The base model's recipe ends at 500.00006 where KSampler's levels begin at 500: the noise tree draws a hair otherwise.
BOUNDS = {"demo-maf": 1e-3, "demo-mmdit": 1e-3, "demo-turbo": EXACT}


@pytest.fixture(scope="module", autouse=True)
def input_files(comfy: ComfyServer) -> None:
    make_video(comfy.base / "input" / "family.mp4", seconds=4)
    make_sound(comfy.base / "input" / "family.wav", seconds=4)


@pytest.fixture(scope="module", params=MEMBERS)
def member(request: pytest.FixtureRequest) -> str:
    """One member after the other: what it has seen stays cached from test to test."""
    return request.param


class Everything:
    """One graph: a member, a text, a video and a sound in one condition, its sampler, decoded and saved."""

    def __init__(self, info: dict[str, Any], member: str, **sampler: Any) -> None:
        self.graph = graph = Graph(info)
        load = graph.add("AudioXLoad", checkpoint=demo_checkpoint(info, member))
        self.model, self.encoders, self.vae = (load, 0), (load, 1), (load, 2)
        text = graph.add("AudioXEncodeText", encoders=self.encoders, text="a ball bounces to music")
        video = graph.add("LoadVideo", file="family.mp4")
        self.see = graph.add("AudioXEncodeVideo", encoders=self.encoders, video=(video, 0))
        sound = graph.add("LoadAudio", audio="family.wav")
        self.hear = graph.add("AudioXEncodeAudio", encoders=self.encoders, audio=(sound, 0))
        both = {"video": (self.see, 0), "audio": (self.hear, 0)}
        self.positive = (graph.add("AudioXCombine", text=(text, 0), **both), 0)
        self.latent = (graph.add("AudioXEmptyLatent", seconds=(self.see, 1)), 0)
        given = {"model": self.model, "positive": self.positive, "latent": self.latent, "seed": 1, "steps": STEPS}
        self.sample = graph.add("AudioXSampler", **given | sampler)
        decode = graph.add("AudioXDecode", vae=self.vae, latent=(self.sample, 0))
        self.save = graph.add("SaveAudio", audio=(decode, 0), filename_prefix=member)

    def run(self, comfy: ComfyServer) -> Result:
        return comfy.run(self.graph.prompt, timeout=120).check()

    def sound(self, comfy: ComfyServer) -> np.ndarray:
        """Samples (2, N) of the saved file, run as it is now."""
        return read_sound(self.run(comfy).files_of(self.save)[0]).samples


def test_text_video_and_sound_give_a_sound(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    graph = Everything(info, member)
    result = graph.run(comfy)
    sound = read_sound(result.files_of(graph.save)[0])
    assert sound.rate == 44100 and sound.samples.shape[0] == 2
    assert sound.seconds == pytest.approx(4.0, abs=0.06)
    assert 1e-3 < sound.rms < 0.9 and np.isfinite(sound.samples).all()
    assert len(result.progress[graph.sample]) >= STEPS
    assert graph.run(comfy).executed == [], "the second run is cached"


def test_only_the_sampler_runs_for_another_seed(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    graph = Everything(info, member)
    first = graph.sound(comfy)
    graph.graph.prompt[graph.sample]["inputs"]["seed"] = 2
    result = graph.run(comfy)
    assert set(result.executed) == downstream(graph.graph.prompt, graph.sample)
    assert not np.array_equal(read_sound(result.files_of(graph.save)[0]).samples, first)
    comfy.free()  # everything is loaded and encoded again
    again = Everything(info, member)
    again.graph.prompt[again.save]["inputs"]["filename_prefix"] = "again"
    assert np.array_equal(again.sound(comfy), first)


def test_every_condition_is_heard(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    whole = Everything(info, member).sound(comfy)
    for name in ("text", "video", "audio"):
        graph = Everything(info, member)
        del graph.graph.prompt[graph.positive[0]]["inputs"][name]
        assert not np.array_equal(graph.sound(comfy), whole), name


def test_the_hidden_share_is_the_seed_s(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    sounds, hides = [], member != "demo-mmdit"
    for changed in ({}, {"hidden_seed": 3}, {"prompt_hidden": 0.0}):
        graph = Everything(info, member)
        graph.graph.prompt[graph.hear]["inputs"].update(changed)
        sounds.append(graph.sound(comfy))
    assert [not np.array_equal(sounds[0], other) for other in sounds[1:]] == [hides, hides]


def latents(comfy: ComfyServer, graph: Everything, *samplers: str) -> list[np.ndarray]:
    """Latents (B, 64, L) that each of these sampler nodes gives."""
    saves = [graph.graph.add("SaveLatent", samples=(key, 0), filename_prefix=f"f{key}") for key in samplers]
    result = graph.run(comfy)
    return [load_file(result.files_of(save)[0])["latent_tensor"] for save in saves]


def ksampler(graph: Everything, seed: int, **settings: Any) -> str:
    given = {"model": graph.model, "positive": graph.positive, "latent_image": graph.latent, "steps": STEPS}
    return graph.graph.add("KSampler", negative=(graph.graph.add("AudioXNull"), 0), seed=seed, **given | settings)


def needs_lcm_with_noise_of_its_own() -> None:
    """Skips the test on a ComfyUI whose lcm can't be what Turbo's sampler is."""
    comfyui = find_comfyui()
    assert comfyui is not None
    source = (comfyui / "comfy/k_diffusion/sampling.py").read_text(encoding="utf-8")
    sampler = source.split("def default_noise_sampler(")[1].split("return lambda")[0]
    if "seed += 1" not in sampler:
        pytest.skip("this ComfyUI's lcm draws the run's first noise again (its default_noise_sampler has no seed += 1)")


def test_ksampler_gives_what_our_sampler_gives(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    """For Turbo its own four steps: lcm on the levels 1, 0.75, 0.5, 0.25, 0, with the same noise in each."""
    if member == "demo-turbo":
        needs_lcm_with_noise_of_its_own()
    steps = 0 if member == "demo-turbo" else STEPS  # 0: the model's own, which are these 4
    graph = Everything(info, member, seed=5, steps=steps)
    ours, theirs = latents(comfy, graph, graph.sample, ksampler(graph, 5, **KSAMPLER[member]))
    assert ours.shape == (1, 64, 236)
    assert np.abs(ours - theirs).max() <= BOUNDS[member] * np.abs(theirs).max()


@pytest.mark.parametrize("member", ["demo-turbo"], indirect=True)
def test_turbo_s_sound_is_the_same_by_ksampler(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    """The waveforms in the files, which have 16 bits; another noise, or another count of steps, is far off."""
    needs_lcm_with_noise_of_its_own()
    sounds = []
    for changed in ({}, {"seed": 6}, {"steps": 5}):
        graph = Everything(info, member, seed=5, steps=0)
        given = {"seed": 5} | KSAMPLER[member] | changed
        other = ksampler(graph, **given)
        decode = graph.graph.add("AudioXDecode", vae=graph.vae, latent=(other, 0))
        save = graph.graph.add("SaveAudio", audio=(decode, 0), filename_prefix="theirs")
        result = graph.run(comfy)
        ours, theirs = (read_sound(result.files_of(key)[0]).samples for key in (graph.save, save))
        sounds.append(np.abs(ours - theirs).max())
    assert sounds[0] <= 2 / 32768
    assert min(sounds[1:]) > 0.01, sounds


@pytest.mark.parametrize("member", ["demo-turbo"], indirect=True)
def test_conditions_of_another_member_are_refused(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    """Both samplers; the tokens of these members have the same shape."""
    for (kind, name), host in product((("hear", "audio"), ("see", "video")), (False, True)):
        graph = Everything(info, member)
        other = graph.graph.add("AudioXLoad", checkpoint=demo_checkpoint(info, "demo-mmdit"))
        graph.graph.prompt[getattr(graph, kind)]["inputs"]["encoders"] = [other, 1]
        if host:
            node = ksampler(graph, 1, **KSAMPLER[member])
            graph.graph.prompt[graph.save]["inputs"]["audio"] = [
                graph.graph.add("AudioXDecode", vae=graph.vae, latent=(node, 0)),
                0,
            ]
        result = comfy.run(graph.graph.prompt, timeout=120)
        assert result.status == "execution_error" and result.error is not None
        message = result.error["exception_message"]
        assert f"{name}: this condition was encoded for demo-mmdit, the model connected is demo-turbo" in message


@pytest.mark.parametrize("member", ["demo-mmdit", "demo-turbo"], indirect=True)
def test_another_window_is_refused(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    graph = Everything(info, member)
    short = graph.graph.add("EmptyLatentAudio", seconds=4.0)
    graph.graph.prompt[graph.sample]["inputs"]["latent"] = [short, 0]
    result = comfy.run(graph.graph.prompt, timeout=120)
    assert result.status == "execution_error" and result.error is not None
    assert "this model makes no less than 236" in result.error["exception_message"]


@pytest.mark.parametrize("member", ["demo-turbo"], indirect=True)
def test_guidance_that_turbo_cannot_mean_is_told(comfy: ComfyServer, info: dict[str, Any], member: str) -> None:
    Everything(info, member, guidance=7.0).run(comfy)
    assert "this model was made for guidance 1; with 7 its sound may suffer" in comfy.log
