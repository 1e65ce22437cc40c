"""How the golden cases of the members behind a fusion block are computed: one function a case."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from audiox_core.models.settings import Settings
from audiox_core.networks.hidden_span import draw_spans
from audiox_core.networks.mel import log_mel
from audiox_core.networks.synchformer import Synchformer, SynchformerConfig
from audiox_core.sampling import BrownianNoise, get_sigmas_polyexponential, sample
from tests.golden import cases
from tests.golden.cases import SDE, Outputs, Runner, guided, seeded
from tests.golden.reader import GoldenSet, filled

SYNCHFORMER = "vfeat_extractor."


def said(golden: GoldenSet, case: str, pattern: str) -> tuple[float, ...]:
    """The numbers that a case's description says where the pattern has groups."""
    found = re.search(pattern, golden.cases[case]["call"])
    if found is None:
        raise LookupError(f"case {case} of {golden.folder.name} does not say {pattern!r}")
    return tuple(map(float, found.groups()))


def stored(golden: GoldenSet, case: str, whole: Outputs) -> Outputs:
    """Outputs as the set keeps them: some are thinned out to every so manieth number along an axis."""
    kept = {}
    for name, output in golden.cases[case]["outputs"].items():
        value = whole[name]
        steps = [-(-n // m) for n, m in zip(value.shape, output["shape"], strict=True)]
        kept[name] = value[tuple(slice(None, None, step) for step in steps)]
    return kept


def video(golden: GoldenSet, case: str) -> Outputs:
    net, g = cases.part(golden, "video").video, golden.inputs(case)
    return stored(golden, case, {"tokens": net(g["frames"], g["sync"]), "no_sync_crop": net(g["frames"])})


def audio(golden: GoldenSet, case: str) -> Outputs:
    """The conditioner of sound, with its spans and its noise from the seed that the set names."""
    net, g = cases.part(golden, "audio"), golden.inputs(case)
    (seed,) = said(golden, case, r"torch\.manual_seed\((\d+)\)")
    share = said(golden, case, r"share is uniform in \[([\d.]+), ([\d.]+)\]")
    waves = g["audio"]
    one, silence = waves[:1], torch.zeros_like(waves[:1])
    mel = not hasattr(net, "latents")
    length = net.config.frames(waves.shape[-1]) if mel else waves.shape[-1]

    def drawn(batch: int, hidden: bool) -> tuple[Tensor | None, ...]:
        generator = seeded(int(seed))
        spans = draw_spans(batch, length, (share[0], share[1]), generator) if hidden else None
        if spans is not None:
            assert spans.tolist() == g["hidden_span" if batch == 1 else "both_spans"]
        shape = None if mel else (batch, net.config.autoencoder.latent_dim, net.config.latents)
        return (spans,) if shape is None else (spans, torch.randn(shape, generator=generator))

    both = waves.clone()
    if mel:
        found = {"log_mel": log_mel(one.mean(dim=1), net.config), "whole": net(one)}
    else:
        mean, deviation = net.latents(one)
        found = {
            "mean": mean,
            "deviation": deviation,
            "mean_tokens": net(one),
            "whole_crop": net(one, *drawn(1, False)),
        }
        (cut,) = said(golden, case, r"without its last (\d+) samples")
        both[0, :, -int(cut) :] = 0
    found |= {
        "hidden": net(one, *drawn(1, True)),
        "both_crop": net(both, *drawn(len(both), True)),
        "mono_crop": net(one[:, :1], *drawn(1, False)),
        "silence_crop": net(silence, *drawn(1, mel)),
    }
    return stored(golden, case, found)


def fusion(golden: GoldenSet, case: str) -> Outputs:
    block, g = cases.network(golden).maf_block, golden.inputs(case)
    names = ("video", "text", "audio")
    shifted = dict(zip(names, block(*(g[name] for name in names)), strict=True))
    context = torch.cat(block.fuse(**{name: g[name] for name in names}), dim=1)
    return {**{f"block_{name}": value for name, value in shifted.items()}, "context": context}


def network(golden: GoldenSet, case: str) -> Outputs:
    net, g = cases.network(golden), golden.inputs(case)

    def answer(negative: Tensor | None = None, **options: float) -> Tensor:
        return guided(net, g["cond"], negative, **options)(g["x"], torch.tensor(g["t"]))

    scale = g["scale"]
    outputs = {
        "plain": answer(scale=1.0),
        "guided": answer(scale=scale),
        "rescaled": answer(scale=scale, rescale=g["phi"]),
        "against": answer(g["negative"], scale=scale),
    }
    return stored(golden, case, outputs)


class Timed:
    """A velocity that keeps the times it was asked for."""

    def __init__(self, inner: Any):
        self.inner, self.times = inner, []

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.times.append(t[0].item())
        return self.inner(x, t)


def sampler(golden: GoldenSet, case: str) -> Outputs:
    return (distilled if golden.model.recipe.sampler == "dmd" else stochastic)(golden, case)


def stochastic(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    low, high, steps = g["low"], g["high"], g["steps"]
    model = Timed(guided(cases.network(golden), g["cond"], scale=g["scale"]))
    (seed,) = said(golden, case, r"torch\.manual_seed\((\d+)\)")
    options = {"sigma_min": low, "sigma_max": high, "sampler": SDE, "generator": seeded(int(seed))}
    latents = sample(model, g["noise"], steps=steps, **options)
    sigmas = get_sigmas_polyexponential(steps, low, high)
    tree = BrownianNoise(g["noise"], sigmas[-2].item(), sigmas[0].item(), golden.entropy(case))
    draws = torch.stack([tree(a, b) for a, b in pairwise(sigmas[:-1].tolist())])
    found = {"latents": latents, "sigmas": sigmas, "times": torch.tensor(model.times), "draws": draws}
    return stored(golden, case, found)


def distilled(golden: GoldenSet, case: str) -> Outputs:
    """The sampler of few steps, each count that the set has."""
    g, found = golden.inputs(case), {}
    shape = golden.cases[case]["outputs"]["draws"]["shape"][1:]
    counts = [int(name.rsplit("_", 1)[1]) for name in golden.cases[case]["outputs"] if name.startswith("latents_")]
    for steps in sorted(counts):  # the most last: the set keeps the draws and the estimates of those
        generator, clean = seeded(g["seed"]), list[Tensor]()
        model = Timed(guided(cases.network(golden), g["cond"], scale=1.0))
        noise = torch.randn(shape, generator=generator)
        options = {"objective": "rectified_flow", "sampler": "dmd", "generator": generator}
        found[f"latents_{steps}"] = sample(
            model,
            noise,
            steps=steps,
            sigma_max=1.0,
            callback=lambda info, clean=clean: clean.append(info["denoised"].clone()),
            **options,
        )
        found[f"times_{steps}"] = torch.tensor(model.times)
        found["clean_crop"] = torch.stack(clean)
    generator = seeded(g["seed"])
    found["draws"] = torch.stack([torch.randn(shape, generator=generator) for _ in range(max(counts))])
    return stored(golden, case, found)


def flow(golden: GoldenSet, case: str) -> Outputs:
    g = golden.inputs(case)
    model = guided(cases.network(golden), g["cond"], scale=g["scale"])
    options = {"objective": "rectified_flow", "sampler": "rectified-flow", "sigma_max": 1.0}
    return {"latents": sample(model, g["noise"], steps=g["steps"], **options)}


def generate(golden: GoldenSet, case: str) -> Outputs:
    """From inputs to sound; features of motion are given, in the place of the pictures that they are made from."""
    g, pipe = golden.inputs(case), cases.pipeline(golden)
    draws = pipe.draw(g["seed"], g["sample_size"] // pipe.timing.downsampling_ratio)
    conditioner, drawn = pipe.conditioner, draws.conditions
    given = {"text": conditioner.encode("text", [g["text"]])}
    if "frames" in g:
        given["video"] = cases.part(golden, "video").video(g["frames"], g["sync"])
    if "audio" in g:
        given["audio"] = conditioner.encode("audio", g["audio"], drawn["audio"])
    names = {"steps": "steps", "scale": "guidance", "low": "sigma_min", "high": "sigma_max"}
    own = {ours: g[theirs] for theirs, ours in names.items() if theirs in g}
    if pipe.model.recipe.sampler == "dmd":
        own["steps"] = int(said(golden, case, r"(\d+) steps")[0])
    settings = Settings(text="", **own).resolved(pipe.model)
    latents = pipe.sample(conditioner.complete(given, drawn), None, draws, settings)
    sound = pipe.decode(latents)
    return {
        "latents": latents,
        "audio_start": sound[..., :2048],
        "audio_mean": sound.mean(-1),
        "audio_std": sound.std(-1),
    }


def synchformer(golden: GoldenSet, case: str) -> Outputs:
    """The encoder of motion alone, at the sizes that its list of keys has."""
    keys = golden.json(f"keys.synchformer.{case.removeprefix('synchformer_')}.json")
    shapes = {key.removeprefix(SYNCHFORMER): tuple(shape) for key, (shape, _) in keys.items()}
    depth = len({key.split(".")[1] for key in shapes if key.startswith("blocks.")})
    net = Synchformer(SynchformerConfig(width=shapes["cls_token"][-1], depth=depth), device="meta")
    state = {name: filled(SYNCHFORMER + name, shapes[name]) for name in net.state_dict()}
    net.load_state_dict(state, assign=True)
    return {"features": net.eval()(golden.inputs(case)["frames"])}


RUNNERS: dict[str, Runner] = {
    "video": video,
    "audio": audio,
    "fusion": fusion,
    "network": network,
    "sampler": sampler,
    "flow": flow,
    "generate_*": generate,
    "synchformer_*": synchformer,
    "resize": cases.resize,
}
