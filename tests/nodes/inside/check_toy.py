"""A toy member (tests/toy.py), registered in the pack: the nodes, as they are, load, encode, sample and decode it."""

from __future__ import annotations

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pack
from pack import module, near, node, raises, values

SEED = 11
EXACT = 1e-5


def toy_module() -> Any:
    """tests/toy.py, which knows neither package's name."""
    spec = importlib.util.spec_from_file_location("audiox_toy", Path(__file__).parents[2] / "toy.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    return found


@cache
def toy() -> Any:
    """The member's constants, and its MODEL, encoders, VAE and report, from files in the model folder."""
    found = toy_module()
    module("audiox_core.models").members()  # all others are there first
    module("audiox_core.models").register(found.make(module))
    folder = pack.BASE / "models" / "audiox" / "toy"
    folder.mkdir(parents=True, exist_ok=True)
    found.write(module, folder)
    model, encoders, vae, report = node("AudioXLoad")(
        checkpoint=f"toy/{found.CHECKPOINT}", text_encoder="auto", precision="fp32", offload="auto", max_vram_gb=0.0
    )
    return SimpleNamespace(model=model, encoders=encoders, vae=vae, report=report, own=found)


def text(prompt: str = "rain") -> Any:
    return node("AudioXEncodeText")(encoders=toy().encoders, text=prompt)[0]


@cache
def everything() -> Any:
    """Text, video and sound in one condition."""
    import torch

    video = node("AudioXEncodeVideo")(
        encoders=toy().encoders, images=torch.rand(4, 64, 64, 3), fps=2.0, start=0.0, seconds=10.0
    )[0]
    wave = 0.3 * torch.randn(1, 2, 44100, generator=torch.Generator().manual_seed(0))
    sound = {"waveform": wave, "sample_rate": 44100}
    audio = node("AudioXEncodeAudio")(encoders=toy().encoders, audio=sound, start=0.0, seconds=10.0)[0]
    return node("AudioXCombine")(text=text(), video=video, audio=audio)[0]


def latent(length: int | None = None) -> dict[str, Any]:
    import torch

    return {"samples": torch.zeros(1, 64, length or toy().own.LENGTH), "type": "audio"}


def sample(**changed: Any) -> Any:
    """Latents of AudioXSampler, by the toy's recipe."""
    recipe = {"seed": SEED, "steps": toy().own.STEPS, "guidance": toy().own.GUIDANCE, "sampler": "rectified-flow"}
    recipe |= {"sigma_min": 0.3, "sigma_max": 500.0, "rho": 1.0, "rescale": 0.0, "denoise": 1.0}
    recipe |= {"model": toy().model, "positive": everything(), "latent": latent()}
    return node("AudioXSampler")(**recipe | changed)[0]["samples"]


def check_the_toy_equals_the_core() -> None:
    import torch

    opened, given = toy().encoders.opened, toy()
    tokens = given.model.model.audiox_tokens(values(everything()))
    assert [tokens[name].shape[2] for name in ("audio", "text", "video")] == [7, 16, 128]
    network = module("audiox_core.weights.load").load_part(opened.model.backbone, opened.weights, dtype=torch.float32)
    velocity = module("audiox_core.sampling.guidance").GuidedVelocity(network, tokens, scale=given.own.GUIDANCE)
    noise = torch.randn(1, 64, given.own.LENGTH, generator=torch.Generator().manual_seed(SEED))
    core = module("audiox_core.sampling").sample(velocity, noise, objective="rectified_flow", steps=given.own.STEPS)
    near(sample(), core, EXACT)


def check_the_host_s_sampler_equals_the_toy_s() -> None:
    import nodes

    null = node("AudioXNull")()[0]
    (done,) = nodes.KSampler().sample(
        *(toy().model, SEED, toy().own.STEPS, toy().own.GUIDANCE, "euler", "simple"),
        *(everything(), null, latent()),
        denoise=1.0,
    )
    near(done["samples"], sample(), EXACT)


def check_every_condition_of_the_toy_matters() -> None:
    import torch

    whole, entry = sample(), everything()[0]
    for name in ("video", "audio"):
        less = {key: value for key, value in entry[1].items() if key != module("nodes.names").tokens_key(name)}
        assert len(less) == len(entry[1]) - 1
        assert not torch.allclose(sample(positive=[[entry[0], less]]), whole, atol=1e-3), name
    assert not torch.allclose(sample(positive=[[text("hail")[0][0], entry[1]]]), whole, atol=1e-3)
    network = toy().model.model.diffusion_model
    learned = network.nothing
    network.nothing = torch.nn.Parameter(torch.zeros_like(learned), requires_grad=False)
    try:
        assert not torch.allclose(sample(), whole, atol=1e-3), "the null condition is a learned one"
    finally:
        network.nothing = learned
    assert sample().equal(whole)


def check_the_toy_s_attention_is_the_host_s() -> None:
    import comfy.ldm.modules.attention as host

    calls, usual = [], host.optimized_attention

    def spy(*given: Any, **options: Any) -> Any:
        calls.append(given[0].shape)
        return usual(*given, **options)

    host.optimized_attention = spy
    try:
        sample(steps=1)
    finally:
        host.optimized_attention = usual
    assert len(calls) == 8 and all(shape[0] == 2 for shape in calls), calls


def check_the_toy_in_little_memory() -> None:
    model = node("AudioXLoad")(
        checkpoint=f"toy/{toy().own.CHECKPOINT}", text_encoder="auto", precision="fp32", offload="on", max_vram_gb=0.0
    )[0]
    near(sample(model=model), sample(), EXACT)


def check_the_toy_decodes() -> None:
    import torch

    sound = node("AudioXDecode")(vae=toy().vae, latent={"samples": sample()}, seconds=0.0, normalize="peak")[0]
    assert sound["waveform"].shape == (1, 2, toy().own.LENGTH * 2048)
    assert float(sound["waveform"].abs().max()) > 0.99
    plain = node("AudioXDecode")(vae=toy().vae, latent={"samples": sample()}, seconds=0.0, normalize="off")[0]
    opened = toy().encoders.opened
    network = module("audiox_core.weights.load").load_part(
        opened.model.autoencoder, opened.weights, dtype=torch.float32
    )
    near(plain["waveform"], network.decode(sample()).clamp(-1, 1), EXACT)


def check_the_toy_refuses_what_it_cannot_do() -> None:
    error = module("audiox_core.errors").InputError
    raises(
        error, "AudioX Sampler: latent is 19 long, this model makes no less than 20", lambda: sample(latent=latent(19))
    )
    start = "AudioX Sampler: Sampler 'dpmpp-3m-sde' cannot run this model"
    raises(error, start, lambda: sample(sampler="dpmpp-3m-sde"))
    (pack.BASE / "models" / "audiox" / "deaf").mkdir(exist_ok=True)
    for name in (toy().own.CHECKPOINT, "config.json", "t5-base.safetensors"):
        target = pack.BASE / "models" / "audiox" / "deaf" / name
        target.write_bytes((pack.BASE / "models" / "audiox" / "toy" / name).read_bytes())
    deaf = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
    missing = module("audiox_core.errors").ModelNotFound
    start = "AudioX Load: toy-ears: toy_ears.safetensors not found here"
    raises(missing, start, lambda: node("AudioXLoad")(checkpoint=f"deaf/{toy().own.CHECKPOINT}", **deaf))
