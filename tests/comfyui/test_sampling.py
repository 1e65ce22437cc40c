"""The host's samplers and ours: the same model, noise and levels give the same latents; the preview is a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.comfyui.graphs import Graph, demo_checkpoint
from tests.comfyui.server import ComfyServer

SEED, STEPS, GUIDANCE = 5, 5, 3.0
BOUND = 1e-4  # of the latents' largest value


class Sampling:
    """One graph up to the sampler: demo model, a text, its null condition, and an empty latent."""

    def __init__(self, info: dict[str, Any]) -> None:
        self.graph = Graph(info)
        load = self.graph.add("AudioXLoad", checkpoint=demo_checkpoint(info))
        self.model = (load, 0)
        self.positive = (self.graph.add("AudioXEncodeText", encoders=(load, 1), text="surf on pebbles"), 0)
        self.negative = (self.graph.add("AudioXNull"), 0)
        self.latent = (self.graph.add("AudioXEmptyLatent"), 0)

    def own(self, **settings: Any) -> str:
        """AudioXSampler."""
        given = {"seed": SEED, "steps": STEPS, "guidance": GUIDANCE} | settings
        return self.graph.add("AudioXSampler", model=self.model, positive=self.positive, latent=self.latent, **given)

    def ksampler(self, sampler: str) -> str:
        """The host's KSampler with the exponential scheduler."""
        return self.graph.add(
            "KSampler",
            model=self.model,
            positive=self.positive,
            negative=self.negative,
            latent_image=self.latent,
            seed=SEED,
            steps=STEPS,
            cfg=GUIDANCE,
            sampler_name=sampler,
            scheduler="exponential",
        )

    def custom(self, sampler: str) -> str:
        """The host's SamplerCustomAdvanced with CFGGuider and the polyexponential schedule."""
        add = self.graph.add
        guider = add("CFGGuider", model=self.model, positive=self.positive, negative=self.negative, cfg=GUIDANCE)
        sigmas = add("PolyexponentialScheduler", steps=STEPS, sigma_max=500.0, sigma_min=0.3, rho=1.0)
        return add(
            "SamplerCustomAdvanced",
            noise=(add("RandomNoise", noise_seed=SEED), 0),
            guider=(guider, 0),
            sampler=(add("KSamplerSelect", sampler_name=sampler), 0),
            sigmas=(sigmas, 0),
            latent_image=self.latent,
        )

    def latents(self, comfy: ComfyServer, *samplers: str) -> list[np.ndarray]:
        """Latents (B, 64, L) that each of these sampler nodes gives."""
        saves = [self.graph.add("SaveLatent", samples=(key, 0), filename_prefix=f"n{key}") for key in samplers]
        result = comfy.run(self.graph.prompt).check()
        return [load_file(result.files_of(save)[0])["latent_tensor"] for save in saves]


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, as a part of the largest value."""
    assert a.shape == b.shape
    return float(np.abs(a - b).max() / np.abs(a).max())


@pytest.mark.parametrize(("own", "host"), [("dpmpp-3m-sde", "dpmpp_3m_sde"), ("dpmpp-2m-sde", "dpmpp_2m_sde")])
def test_samplers_agree_on_the_same_noise(comfy: ComfyServer, info: dict[str, Any], own: str, host: str) -> None:
    sampling = Sampling(info)
    ours, theirs = sampling.latents(comfy, sampling.own(sampler=own), sampling.custom(host))
    assert np.isfinite(ours).all()
    assert difference(ours, theirs) < BOUND


def test_ksampler_needs_no_model_sampling_node(comfy: ComfyServer, info: dict[str, Any]) -> None:
    sampling = Sampling(info)
    ours, theirs = sampling.latents(comfy, sampling.own(), sampling.ksampler("dpmpp_3m_sde"))
    # Its first level is 500, ours 500.00006, so the noise tree draws slightly other numbers: 8e-5 at the most measured.
    assert difference(ours, theirs) < BOUND


def test_no_negative_is_the_null_condition(comfy: ComfyServer, info: dict[str, Any]) -> None:
    sampling = Sampling(info)
    absent, null = sampling.latents(comfy, sampling.own(), sampling.own(negative=sampling.negative))
    assert np.array_equal(absent, null)


def test_the_preview_is_a_picture(comfy: ComfyServer, info: dict[str, Any]) -> None:
    sampling = Sampling(info)
    own = sampling.own(seed=31)
    sampling.graph.add("SaveLatent", samples=(own, 0))
    result = comfy.run(sampling.graph.prompt).check()
    assert len(result.progress[own]) >= STEPS
    assert result.previews
    assert result.previews[-1][:2] in (b"\xff\xd8", b"\x89P")  # JPEG or PNG
