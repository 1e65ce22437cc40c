"""How the golden cases of inpainting and variation are computed: generation from a sound."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from audiox_core.media import audio as media_audio
from audiox_core.sampling import get_sigmas_polyexponential, randn_like_from, sample
from audiox_core.sampling.regions import KeepSource, build_mask, crop_and_paste
from tests.golden.cases import SDE, Outputs, Runner, part, pipeline, seeded, velocity
from tests.golden.reader import GoldenSet


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


def masks(golden: GoldenSet, case: str) -> Outputs:
    arguments = golden.inputs(case)["arguments"]
    return {str(i): build_mask(length, **mask_options(given)) for i, (length, given) in enumerate(arguments)}


def edit(golden: GoldenSet, case: str) -> Outputs:
    """Generation from initial audio: a variation, or inpainting when the case has a mask."""
    g, pipe = golden.inputs(case), pipeline(golden)
    timing, net = pipe.timing, part(golden, "autoencoder")
    generator = seeded(g["seed"])
    noise = torch.randn(1, golden.model.channels, g["samples"] // timing.downsampling_ratio, generator=generator)
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


RUNNERS: dict[str, Runner] = {
    "inpaint_*": inpaint,
    "masks": masks,
    "generate_variation": edit,
    "generate_inpaint": edit,
}
