"""How each golden case is computed with this library: one function a case, returning its outputs by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audiox_core.media import audio as media_audio
from audiox_core.media import frames as media_frames
from audiox_core.memory.machine import measure
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline, assemble
from audiox_core.sampling import (
    BrownianNoise,
    VDenoiser,
    get_sigmas_polyexponential,
    sample,
)
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.weights.load import load_part
from tests.golden.reader import GoldenSet

Outputs = dict[str, Tensor]
Runner = Callable[[GoldenSet, str], Outputs]
SDE = "dpmpp-3m-sde"


@lru_cache(maxsize=2)
def network(golden: GoldenSet, case: str | None = None) -> Any:
    """The set's network, or the one that a case describes."""
    model = golden.model_of(case) if case else golden.model
    return load_part(model.backbone, golden.tensors(model))


@lru_cache(maxsize=1)
def pipeline(golden: GoldenSet) -> Pipeline:
    return assemble(golden.opened(golden.model), measure("cpu"), dtype="fp32")


def part(golden: GoldenSet, name: str) -> Any:
    return pipeline(golden).residence.networks[name]


class Joined:
    """A network that is given tokens (B, M, D) which are joined already, as the sets store them."""

    def __init__(self, inner: Any):
        self.inner = inner

    def prepare(self, tokens: Mapping[str, Tensor] | None, device: torch.device | None = None) -> Any:
        return self.inner.prepare(None, device) if tokens is None else self.inner.prepare_context(tokens["joined"])

    def __call__(self, *given: Any) -> Tensor:
        return self.inner(*given)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def guided(net: Any, cond: Tensor, negative: Tensor | None = None, **options: float) -> GuidedVelocity:
    """A network's velocity under tokens that are joined already."""
    return GuidedVelocity(Joined(net), {"joined": cond}, None if negative is None else {"joined": negative}, **options)


def velocity(golden: GoldenSet, given: dict[str, Any], scale: float | None = None) -> GuidedVelocity:
    return guided(network(golden), given["cond"], scale=given["scale"] if scale is None else scale)


def dit(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    net = network(golden, case if "diffusion_config" in golden.cases[case] else None)

    def answer(scale: float, negative: Tensor | None = None, rescale: float = 0.0) -> Tensor:
        return guided(net, g["cond"], negative, scale=scale, rescale=rescale)(g["x"], g["t"])

    return {
        "plain": answer(1.0),
        "unconditional": net(g["x"], g["t"]),
        "guided": answer(g["scale"]),
        "guided_phi": answer(g["scale"], rescale=g["phi"]),
        "guided_negative": answer(g["scale"], g["negative"]),
        "guided_negative_mask": answer(g["scale"], g["negative"] * g["mask"][..., None]),
    }


def text(golden: GoldenSet, case: str) -> Outputs:
    return {"embeddings": part(golden, "text")(golden.inputs(case)["input_ids"])}


def video(golden: GoldenSet, case: str) -> Outputs:
    net, frames = part(golden, "video"), golden.inputs(case)["frames"]
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
    net, waveform = part(golden, "audio"), golden.inputs(case)["audio"]
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
    net, g = part(golden, "autoencoder"), golden.inputs(case)
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


def flow(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    model, steps = velocity(golden, g), g["steps"]
    euler: dict[str, Any] = {"objective": "rectified_flow", "sampler": "rectified-flow"}
    return {
        "latents": sample(model, g["noise"], steps=steps, sigma_max=1.0, **euler),
        "variation": sample(model, g["noise"], steps=steps, sigma_max=g["sigma_max"], init=g["init"], **euler),
    }


def generate(golden: GoldenSet, case: str) -> Outputs:
    g, pipe = golden.inputs(case), pipeline(golden)
    draws = pipe.draw(g["seed"], g["samples"] // pipe.timing.downsampling_ratio)
    conditioner, drawn = pipe.conditioner, draws.conditions
    given = {"text": conditioner.encode("text", [g["text"]])}
    if g.get("frames") is not None:
        given["video"] = conditioner.encode("video", [g["frames"][None]], drawn["video"])
    if g.get("audio") is not None:
        given["audio"] = conditioner.encode("audio", g["audio"][None], drawn["audio"])
    settings = Settings(
        text="",
        steps=g["steps"],
        guidance=g["scale"],
        sampler=g["sampler"],
        sigma_min=g["low"],
        sigma_max=g["high"],
    ).resolved(pipe.model)
    latents = pipe.sample(conditioner.complete(given, drawn), None, draws, settings)
    sound = pipe.decode(latents)
    return {
        "latents": latents,
        "audio_start": sound[..., :2048],
        "audio_mean": sound.mean(-1),
        "audio_std": sound.std(-1),
    }


RUNNERS: dict[str, Runner] = {
    "dit*": dit,
    "text": text,
    "video": video,
    "resize": resize,
    "audio": audio,
    "vae": vae,
    "prepare": prepare,
    "sample_*": sampled,
    "variation": sampled,
    "trace_*": trace,
    "sigmas": sigmas,
    "denoise": denoise,
    "flow": flow,
    "generate_*": generate,
}


def runners(golden: GoldenSet) -> Mapping[str, Runner]:
    """The ways to compute a set's cases, by pattern, the first that fits: those of its kind of model."""
    from tests.golden import cases_edit, cases_family

    return cases_family.RUNNERS if golden.fused else {**cases_edit.RUNNERS, **RUNNERS}


def run(golden: GoldenSet, case: str) -> Outputs:
    """All outputs of a case. An unknown case is an error: nothing is skipped silently."""
    for pattern, runner in runners(golden).items():
        if fnmatchcase(case, pattern):
            with torch.inference_mode():
                return runner(golden, case)
    raise LookupError(f"no way to compute golden case {case!r} of {json.dumps(str(golden.folder.name))}")
