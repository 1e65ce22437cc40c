"""The host's nodes in the place of ours: text encoder, empty latent, decode, encode, guiders, LoRA."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.comfyui.graphs import Graph, demo_checkpoint
from tests.comfyui.media_files import make_sound, make_video, read_sound
from tests.comfyui.model_files import make_lora, make_t5_base
from tests.comfyui.server import ComfyServer

STEPS, GUIDANCE = 4, 3.0


class Shortest:
    """Load, encode text, empty latent, KSampler, decode, save: each part can be another node."""

    def __init__(self, comfy: ComfyServer) -> None:
        self.comfy = comfy
        info = comfy.object_info()
        self.graph = Graph(info)
        load = self.graph.add("AudioXLoad", checkpoint=demo_checkpoint(info))
        self.model, self.encoders, self.vae = (load, 0), (load, 1), (load, 2)
        self.negative = (self.graph.add("AudioXNull"), 0)

    def text(self, words: str = "a small bell") -> tuple[str, int]:
        return (self.graph.add("AudioXEncodeText", encoders=self.encoders, text=words), 0)

    def sample(self, **other: Any) -> tuple[str, int]:
        given = {"model": self.model, "negative": self.negative}
        given |= {"steps": STEPS, "cfg": GUIDANCE, "sampler_name": "dpmpp_3m_sde", "scheduler": "exponential"} | other
        if "positive" not in given:
            given["positive"] = self.text()
        if "latent_image" not in given:
            given["latent_image"] = (self.graph.add("AudioXEmptyLatent"), 0)
        return (self.graph.add("KSampler", **given), 0)

    def sound(self, samples: tuple[str, int], decode: str = "AudioXDecode") -> np.ndarray:
        """Samples (2, N) of the saved file of these latents; nothing in it is silent or infinite."""
        name = {"AudioXDecode": "latent", "VAEDecodeAudio": "samples"}[decode]
        audio = (self.graph.add(decode, vae=self.vae, **{name: samples}), 0)
        save = self.graph.add("SaveAudio", audio=audio, filename_prefix="host")
        result = self.comfy.run(self.graph.prompt).check()
        sound = read_sound(result.files_of(save)[0])
        assert sound.rate == 44100
        assert sound.rms > 1e-3
        assert np.isfinite(sound.samples).all()
        return sound.samples


def test_clip_loader_and_clip_text_encode(comfy: ComfyServer) -> None:
    make_t5_base(comfy.base / "models" / "text_encoders" / "t5_base.safetensors")
    graph = Shortest(comfy)
    clip = graph.graph.add("CLIPLoader", clip_name="t5_base.safetensors", type="stable_audio")
    words = graph.graph.add("CLIPTextEncode", clip=(clip, 0), text="rain on a roof")
    graph.sound(graph.sample(positive=(words, 0)))
    comfy.free()


def test_clip_text_encode_and_a_video(comfy: ComfyServer) -> None:
    make_t5_base(comfy.base / "models" / "text_encoders" / "t5_base.safetensors")
    make_video(comfy.base / "input" / "host.mp4", seconds=2)
    graph = Shortest(comfy)
    clip = graph.graph.add("CLIPLoader", clip_name="t5_base.safetensors", type="stable_audio")
    words = graph.graph.add("CLIPTextEncode", clip=(clip, 0), text="rain on a roof")
    video = graph.graph.add("LoadVideo", file="host.mp4")
    seen = graph.graph.add("AudioXEncodeVideo", encoders=graph.encoders, video=(video, 0))
    both = graph.graph.add("AudioXCombine", text=(words, 0), video=(seen, 0))
    graph.sound(graph.sample(positive=(both, 0)))
    comfy.free()


def test_empty_latent_audio(comfy: ComfyServer) -> None:
    graph = Shortest(comfy)
    latent = graph.graph.add("EmptyLatentAudio", seconds=4.0)
    samples = graph.sound(graph.sample(latent_image=(latent, 0)))
    assert abs(samples.shape[1] / 44100 - 4.0) < 0.1


def test_vae_decode_audio(comfy: ComfyServer) -> None:
    graph = Shortest(comfy)
    samples = graph.sound(graph.sample(), decode="VAEDecodeAudio")
    assert samples.shape[0] == 2


def test_vae_encode_audio(comfy: ComfyServer) -> None:
    make_sound(comfy.base / "input" / "host.wav", seconds=5)
    graph = Shortest(comfy)
    audio = graph.graph.add("LoadAudio", audio="host.wav")
    latent = graph.graph.add("VAEEncodeAudio", audio=(audio, 0), vae=graph.vae)
    samples = graph.sound(graph.sample(latent_image=(latent, 0), denoise=0.5))
    assert abs(samples.shape[1] / 44100 - 5.0) < 0.1


@pytest.mark.parametrize("style", ["regular", "nested"])
def test_dual_guidance(comfy: ComfyServer, info: dict[str, Any], style: str) -> None:
    graph = Shortest(comfy)
    add = graph.graph.add
    settings = {"style": style} if "style" in str(info["DualCFGGuider"]["input"]) else {}
    guider = add(
        "DualCFGGuider",
        model=graph.model,
        cond1=graph.text("a bell"),
        cond2=graph.text("a drum"),
        negative=graph.negative,
        **settings,
    )
    sigmas = add("PolyexponentialScheduler", steps=STEPS, sigma_max=500.0, sigma_min=0.3, rho=1.0)
    sampled = add(
        "SamplerCustomAdvanced",
        noise=(add("RandomNoise", noise_seed=3), 0),
        guider=(guider, 0),
        sampler=(add("SamplerDPMPP_3M_SDE"), 0),
        sigmas=(sigmas, 0),
        latent_image=(add("AudioXEmptyLatent"), 0),
    )
    graph.sound((sampled, 0))


def test_a_lora_changes_the_sound_with_its_strength(comfy: ComfyServer) -> None:
    make_lora(comfy.base / "models" / "loras" / "audiox_test.safetensors")
    plain = Shortest(comfy)
    unpatched = plain.sound(plain.sample())
    sounds = []
    for strength in (0.0, 1.0):
        graph = Shortest(comfy)
        lora = graph.graph.add(
            "LoraLoaderModelOnly", model=graph.model, lora_name="audiox_test.safetensors", strength_model=strength
        )
        sounds.append(graph.sound(graph.sample(model=(lora, 0))))
    assert np.array_equal(sounds[0], unpatched)
    assert np.abs(sounds[1] - unpatched).max() > 1e-3
    assert "lora key not loaded" not in comfy.log
