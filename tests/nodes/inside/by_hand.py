"""Short sampling runs of the demo model through its sampler node, and the same computed without anything clever."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

from pack import DEMO, demo, latent, module, near, node, values
from pack import prompt as encode

STEPS, LATENTS = 4, 16
prompt = cache(encode)
# Layers of every kind, the one that only prepare uses among them.
LORA_LAYERS = (
    "to_cond_embed.0",
    "transformer.layers.0.cross_attn.to_kv",
    "transformer.layers.0.cross_attn.to_q",
    "transformer.layers.1.self_attn.to_qkv",
    "transformer.layers.1.ff.ff.2",
)


@dataclass(frozen=True, eq=False)
class Given:
    """A condition of the computation by hand: tokens (B, 1, M, D) by modality, and how it counts when."""

    tokens: dict[str, Any]
    strength: float = 1.0
    start: float = 0.0  # share of the run, as in Set Timestep Range
    end: float = 1.0
    weights: Callable[[float], float] | None = None  # noise level -> strength of the LoRA


def by_hand(
    positive: list[Given],
    negative: list[Given],
    *,
    batch: int = 1,
    guidance: Callable[[float], float] = lambda sigma: 7.0,
    latents: int = LATENTS,
) -> Any:
    """A run without anything clever: each condition prepared for each row and state of the weights, no row skipped.

    latents cuts the noise: only so many of the first are made.
    """
    import torch

    sampling, scale = module("audiox_core.sampling"), demo()[0].model.model_sampling

    @cache
    def prepared(weights: float, one: Given) -> Any:
        tokens = {name: value.expand(batch, *value.shape[1:]) for name, value in one.tokens.items()}
        return network_with(weights).prepare(tokens)

    def velocity(given: list[Given], x: Any, t: Any, sigma: float) -> Any:
        total, strengths = torch.zeros_like(x), 0.0
        for one in given:
            if scale.percent_to_sigma(one.start) < sigma or scale.percent_to_sigma(one.end) > sigma:
                continue
            weights = one.weights(sigma) if one.weights else 0.0
            total += one.strength * network_with(weights)(x, t, prepared(weights, one))
            strengths += one.strength
        return total / strengths

    def model(x: Any, sigma: Any, **_: Any) -> Any:
        def guided(x: Any, t: Any) -> Any:
            answers = [velocity(given, x, t, float(sigma[0])) for given in (positive, negative)]
            return answers[1] + guidance(float(sigma[0])) * (answers[0] - answers[1])

        return sampling.VDenoiser(guided)(x, sigma)

    sigmas = sampling.get_sigmas_polyexponential(STEPS, 0.3, 500.0, 1.0)
    # The items of a batch are takes, with seeds of their own.
    generators = [torch.Generator().manual_seed(7 + i) for i in range(batch)]
    noise = torch.cat([torch.randn(1, 64, LATENTS, generator=generator) for generator in generators])
    return sampling.SAMPLERS["k-lms"](model, noise[..., :latents] * sigmas[0], sigmas)


def by_host(positive: Any, negative: Any, *, batch: int = 1, **changed: Any) -> Any:
    """The run through AudioX Sampler."""
    recipe = {"seed": 7, "steps": STEPS, "guidance": 7.0, "sampler": "k-lms", "sigma_min": 0.3, "sigma_max": 500.0}
    recipe |= {"rho": 1.0, "rescale": 0.0, "denoise": 1.0, "model": demo()[0], "latent": latent(LATENTS, batch)}
    return node("AudioXSampler")(**recipe | changed, positive=positive, negative=negative)[0]["samples"]


def scaled(factor: float) -> Any:
    """Another MODEL, the demo with its network's weights times a factor."""
    options = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
    model = node("AudioXLoad")(checkpoint=DEMO, **options)[0]
    for weight in model.model.diffusion_model.parameters():
        weight.data = weight.data * factor
    return model


def core_network(**options: Any) -> Any:
    """The demo's network by the core alone."""
    import torch

    opened = demo()[1].opened
    load_part = module("audiox_core.weights.load").load_part
    return load_part(opened.model.backbone, opened.weights, dtype=torch.float32, **options)


@cache
def network_with(strength: float) -> Any:
    """The core's network, with a LoRA merged into its weights."""
    network = core_network()
    for layer in LORA_LAYERS if strength else ():
        up, down = (lora()[f"diffusion_model.{layer}.{half}.weight"] for half in ("lora_up", "lora_down"))
        weight = network.get_submodule(layer).weight
        weight.data = weight + strength * (up @ down)
    return network


@cache
def lora() -> dict[str, Any]:
    import torch

    generator, out = torch.Generator().manual_seed(3), {}
    for layer in LORA_LAYERS:
        outs, ins = core_network().get_submodule(layer).weight.shape
        out[f"diffusion_model.{layer}.lora_up.weight"] = torch.randn(outs, 4, generator=generator) * 0.2
        out[f"diffusion_model.{layer}.lora_down.weight"] = torch.randn(4, ins, generator=generator) * ins**-0.5
    return out


def tokens_of(condition: Any) -> dict[str, Any]:
    """A CONDITIONING's tokens; of the null condition zeros, for which nothing is skipped."""
    import torch

    found = demo()[0].model.audiox_tokens(values(condition))
    return found or {name: torch.zeros_like(tokens) for name, tokens in tokens_of(prompt("rain")).items()}


def differ(a: Any, b: Any) -> bool:
    """Whether two results are far apart."""
    return bool((a - b).abs().max() / b.abs().max() > 1e-2)


def null() -> Any:
    return node("AudioXNull")()[0]


@cache
def sound(batch: int = 1) -> Any:
    import torch

    waveform = torch.rand(batch, 2, 44100, generator=torch.Generator().manual_seed(batch)) - 0.5
    audio = {"waveform": waveform, "sample_rate": 44100}
    return node("AudioXEncodeAudio")(encoders=demo()[1], audio=audio, start=0.0, seconds=10.0)[0]


@cache
def picture() -> Any:
    import torch

    images = torch.rand(3, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    return node("AudioXEncodeVideo")(encoders=demo()[1], images=images, fps=1.0, start=0.0, seconds=10.0)[0]


@contextmanager
def stepping(model: Any) -> Iterator[list[int]]:
    """The rows of each call of a model's network within."""
    network, rows = model.model.diffusion_model, []
    velocity = network.velocity

    def counting(x: Any, *rest: Any) -> Any:
        rows.append(x.shape[0])
        return velocity(x, *rest)

    network.velocity = counting
    try:
        yield rows
    finally:
        del network.velocity


@contextmanager
def counted() -> Iterator[list[Any]]:
    """What the network is asked to prepare within."""
    network, calls = demo()[0].model.diffusion_model, []
    prepare = network.prepare

    def counting(tokens: Any, **options: Any) -> Any:
        calls.append(tokens)
        return prepare(tokens, **options)

    network.prepare = counting
    try:
        yield calls
    finally:
        del network.prepare


def same(positive: Any, negative: Any, given: list[Given], against: list[Given], **options: Any) -> None:
    """A run equals the one by hand, and has asked for each condition once."""
    with counted() as calls:
        found = by_host(positive, negative, **options)
    assert len(calls) == len(given) + len(against), calls
    near(found, by_hand(given, against, batch=options.get("batch", 1)))
