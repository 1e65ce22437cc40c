"""How each golden case is computed with this library: one function a case, returning its outputs by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audiox_core.media import audio as media_audio
from audiox_core.media import frames as media_frames
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.pipeline import Draws, Pipeline
from audiox_core.sampling import (
    BrownianNoise,
    VDenoiser,
    get_sigmas_polyexponential,
    randn_like_from,
    sample,
    sample_flow,
)
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.sampling.regions import KeepSource, build_mask, crop_and_paste
from audiox_core.weights.load import load_component
from audiox_core.weights.open import assemble
from tests.golden.reader import GoldenSet

Outputs = dict[str, Tensor]
SDE = "dpmpp-3m-sde"


@lru_cache(maxsize=2)
def network(golden: GoldenSet, case: str | None = None) -> Any:
    """The set's DiT, or the one that a case describes."""
    config = golden.config_of(case) if case else golden.config
    return load_component("dit", golden.tensors(config), config)


@lru_cache(maxsize=1)
def pipeline(golden: GoldenSet) -> Pipeline:
    config = golden.config
    return assemble(
        config, golden.tensors(config), golden.text_tensors(config), ByteTokenizer(), device="cpu", dtype="fp32"
    )


def component(golden: GoldenSet, name: str) -> Any:
    return pipeline(golden).residence.components[name]


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def velocity(golden: GoldenSet, given: dict[str, Any], scale: float | None = None) -> GuidedVelocity:
    return GuidedVelocity(network(golden), given["cond"], scale=given["scale"] if scale is None else scale)


def dit(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    net = network(golden, case if "diffusion_config" in golden.cases[case] else None)

    def guided(scale: float, negative: Tensor | None = None, rescale: float = 0.0) -> Tensor:
        return GuidedVelocity(net, g["cond"], negative, scale=scale, rescale=rescale)(g["x"], g["t"])

    return {
        "plain": guided(1.0),
        "unconditional": net(g["x"], g["t"]),
        "guided": guided(g["scale"]),
        "guided_phi": guided(g["scale"], rescale=g["phi"]),
        "guided_negative": guided(g["scale"], g["negative"]),
        "guided_negative_mask": guided(g["scale"], g["negative"] * g["mask"][..., None]),
    }


def text(golden: GoldenSet, case: str) -> Outputs:
    return {"embeddings": component(golden, "text")(golden.inputs(case)["input_ids"])}


def video(golden: GoldenSet, case: str) -> Outputs:
    net, frames = component(golden, "video"), golden.inputs(case)["frames"]
    states = net.clip(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])  # (B, F, 50, D)
    return {
        "tokens": net(frames),
        # The stored answer for frame 0 has the frame's temporal position added to it already.
        "clip_first_frame": states[:, 0] + net.Temp_pos_embedding[:, :1],
        "temporal_first_token": net.temporal(states)[:, :, 0],
    }


def resize(golden: GoldenSet, case: str) -> Outputs:
    outputs = {}
    for name, frames in golden.inputs(case).items():
        outputs[name] = media_frames.resize(frames, 224)
        whole = media_frames.resize(frames.float() / 255.0, 224)
        outputs[f"{name}_float_crop"] = whole[..., 100:132, 100:132]
    return outputs


def audio(golden: GoldenSet, case: str) -> Outputs:
    net, waveform = component(golden, "audio"), golden.inputs(case)["audio"]
    mean, deviation = net.latents(waveform)
    seed = int(re.search(r"torch\.manual_seed\((\d+)\)", golden.cases[case]["call"]).group(1))
    noise = torch.randn(mean.shape, generator=seeded(seed))
    return {
        "tokens": net(waveform),
        "mean": mean,
        "deviation": deviation,
        "sampled_crop": net(waveform, noise)[:, :4],
    }


def vae(golden: GoldenSet, case: str) -> Outputs:
    net, g = component(golden, "autoencoder"), golden.inputs(case)
    mean, deviation = net.encode(g["audio"])
    seed = int(re.search(r"torch\.manual_seed\((\d+)\)", golden.cases[case]["call"]).group(1))
    noise = torch.randn(mean.shape, generator=seeded(seed))
    return {
        "mean": mean,
        "deviation": deviation,
        "sampled": mean + deviation * noise,
        "decoded": net.decode(g["latents"]),
    }


def prepare(golden: GoldenSet, case: str) -> Outputs:
    outputs = {}
    for name, waveform in golden.inputs(case).items():
        rate, length = int(name.rsplit("_", 1)[1]), golden.cases[case]["outputs"][name]["shape"][-1]
        outputs[name] = media_audio.prepare(waveform, rate, length)[None]
    return outputs


def sampled(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    latents = sample(
        velocity(golden, g),
        g["noise"],
        steps=g["steps"],
        sigma_min=g["sigma_min"],
        sigma_max=g["sigma_max"],
        sampler=case.removeprefix("sample_") if case.startswith("sample_") else SDE,
        generator=seeded(g["seed"]),
        init=g.get("init"),
    )
    return {"latents": latents, "noise": g["noise"]}


def trace(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    seen: list[dict[str, Any]] = []
    latents = sample(
        velocity(golden, g),
        g["noise"],
        steps=g["steps"],
        sigma_min=g["sigma_min"],
        sigma_max=g["sigma_max"],
        sampler=case.removeprefix("trace_"),
        generator=seeded(g["seed"]),
        callback=lambda info: seen.append({k: info[k].clone() for k in ("x", "denoised")}),
    )
    sigmas = get_sigmas_polyexponential(g["steps"], g["sigma_min"], g["sigma_max"])
    tree = BrownianNoise(g["noise"], sigmas[-2].item(), sigmas[0].item(), golden.entropy(case))
    levels = sigmas[:-1].tolist()
    noise = torch.stack([tree(a, b) for a, b in pairwise(levels)])
    return {
        "x": torch.stack([s["x"] for s in seen]),
        "denoised": torch.stack([s["denoised"] for s in seen]),
        "noise": noise,
        "latents": latents,
    }


def inpaint(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    length = g["noise"].shape[-1]
    mask = build_mask(length, **mask_options(g["mask_args"]))
    name = case.removeprefix("inpaint_")
    return {
        "latents": inpainted(golden, g, g["noise"], g["init"], mask, name, seeded(g["seed"])),
        "mask": mask,
    }


def mask_options(given: dict[str, float]) -> dict[str, float]:
    """The set's mask arguments under this library's names."""
    names = {"maskstart": "start", "maskend": "end", "softnessL": "softness_left", "softnessR": "softness_right"}
    wanted = ("maskstart", "maskend", "softnessL", "softnessR", "marination")
    return {names.get(k, k): given[k] for k in wanted}


def inpainted(
    golden: GoldenSet,
    g: dict[str, Any],
    noise: Tensor,
    init: Tensor,
    mask: Tensor,
    sampler: str,
    generator: torch.Generator,
) -> Tensor:
    sigmas = get_sigmas_polyexponential(g["steps"], g["sigma_min"], g["sigma_max"])
    draw = randn_like_from(generator)
    keep = KeepSource(init, mask, g["steps"], draw)

    def callback(info: dict[str, Any]) -> None:
        if sampler in ("k-heun", "k-dpm-2"):
            draw(init)  # these two draw once a step for a noise of strength zero, before the model call
        keep(info)

    return sample(
        velocity(golden, g),
        noise,
        steps=g["steps"],
        sigma_min=g["sigma_min"],
        sigma_max=g["sigma_max"],
        sampler=sampler,
        generator=generator,
        init=keep.start() if sigmas[0] > 0 else None,
        callback=callback,
    )


def sigmas(golden: GoldenSet, case: str) -> Outputs:
    return {
        "_".join(str(a) for a in arguments): get_sigmas_polyexponential(*arguments)
        for arguments in golden.inputs(case)["arguments"]
    }


def denoise(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    rows = g["x"].shape[0]

    def at_each(scale: float) -> Tensor:
        model = VDenoiser(velocity(golden, g, scale))
        return torch.stack([model(g["x"] * (s**2 + 1) ** 0.5, torch.full((rows,), s)) for s in g["sigmas"]])

    scale = float(re.search(r"guided with scale ([\d.]+\d)", golden.cases[case]["call"]).group(1))
    return {"plain": at_each(1.0), "guided": at_each(scale)}


def masks(golden: GoldenSet, case: str) -> Outputs:
    arguments = golden.inputs(case)["arguments"]
    return {str(i): build_mask(length, **mask_options(given)) for i, (length, given) in enumerate(arguments)}


def flow(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    model, steps = velocity(golden, g), g["steps"]
    return {
        "latents": sample_flow(model, g["noise"], steps=steps),
        "variation": sample_flow(model, g["noise"], steps=steps, sigma_max=g["sigma_max"], init=g["init"]),
    }


def generate(golden: GoldenSet, case: str) -> Outputs:
    g, pipe = golden.inputs(case), pipeline(golden)
    timing, channels = pipe.timing, golden.config.dit.io_channels
    length = g["samples"] // timing.downsampling_ratio
    draws = Draws.from_seed(g["seed"], channels, length, timing.prompt_latents)
    frames, waveform = g.get("frames"), g.get("audio")
    tokens = pipe.encode(
        ids=g["text"],
        frames=None if frames is None else frames[None],
        waveform=None if waveform is None else waveform[None],
        prompt_noise=draws.prompt_noise,
    )
    latents = pipe.sample(
        tokens,
        None,
        draws,
        steps=g["steps"],
        guidance=g["scale"],
        sampler=g["sampler"],
        sigma_min=g["low"],
        sigma_max=g["high"],
    )
    sound = pipe.decode(latents)
    return {
        "latents": latents,
        "audio_start": sound[..., :2048],
        "audio_mean": sound.mean(-1),
        "audio_std": sound.std(-1),
    }


def edit(golden: GoldenSet, case: str) -> Outputs:
    """Generation from initial audio: a variation, or inpainting when the case has a mask."""
    g, pipe = golden.inputs(case), pipeline(golden)
    timing, net = pipe.timing, component(golden, "autoencoder")
    generator = seeded(g["seed"])
    noise = torch.randn(
        1, golden.config.dit.io_channels, g["samples"] // timing.downsampling_ratio, generator=generator
    )
    mean, deviation = net.encode(media_audio.prepare(g["audio"], g["rate"], g["samples"])[None])
    init = mean + deviation * torch.randn(mean.shape, generator=generator)
    given = g.get("mask_args")
    if given is None:
        latents = sample(
            velocity(golden, g),
            noise,
            steps=g["steps"],
            sigma_min=g["sigma_min"],
            sigma_max=g["level"],
            sampler=SDE,
            generator=generator,
            init=init,
        )
        return {"latents": latents}
    init = crop_and_paste(init, crop_from=given["cropfrom"], paste_from=given["pastefrom"], paste_to=given["pasteto"])
    mask = build_mask(init.shape[-1], **mask_options(given))
    return {"latents": inpainted(golden, g, noise, init, mask, SDE, generator)}


RUNNERS: list[tuple[str, Callable[[GoldenSet, str], Outputs]]] = [
    ("dit*", dit),
    ("text", text),
    ("video", video),
    ("resize", resize),
    ("audio", audio),
    ("vae", vae),
    ("prepare", prepare),
    ("sample_*", sampled),
    ("variation", sampled),
    ("trace_*", trace),
    ("inpaint_*", inpaint),
    ("sigmas", sigmas),
    ("denoise", denoise),
    ("masks", masks),
    ("flow", flow),
    ("generate_text*", generate),
    ("generate_variation", edit),
    ("generate_inpaint", edit),
    ("generate_*", generate),
]


def run(golden: GoldenSet, case: str) -> Outputs:
    """All outputs of a case. An unknown case is an error: nothing is skipped silently."""
    for pattern, runner in RUNNERS:
        if fnmatchcase(case, pattern):
            with torch.inference_mode():
                return runner(golden, case)
    raise LookupError(f"no way to compute golden case {case!r} of {json.dumps(str(golden.folder.name))}")
