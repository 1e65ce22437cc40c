"""Sampling: the released recipe over ComfyUI's guider, callback and noise."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError, SamplingError
from ..audiox_core.media.picture import latent_picture
from ..audiox_core.sampling.guidance import guide_denoised
from ..audiox_core.sampling.registry import SAMPLERS
from ..audiox_core.sampling.schedules import get_sigmas_polyexponential
from . import host
from .condition import null_condition
from .schema import schema

SAMPLER_NAMES = [name for name in SAMPLERS if name != "rectified-flow"]


class AudioXSampler(io.ComfyNode):
    """The released recipe's sampler and schedule."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXSampler",
            "AudioX Sampler",
            "Samples a sound with the recipe of the model's authors: 250 steps of dpmpp-3m-sde from sigma 500 to 0.3, "
            "guidance 7. KSampler with dpmpp_3m_sde and the exponential scheduler does the same.",
            ["ksampler", "audio sampler", "generate sound", "generate music", "text to audio", "video to audio"],
            inputs=[
                io.Model.Input("model", tooltip="The model of AudioX Load, with or without patches such as LoRAs."),
                io.Conditioning.Input("positive", tooltip="What the sound shall follow."),
                io.Latent.Input(
                    "latent",
                    tooltip="Empty to start from noise, or a sound's latents to vary it (with denoise below 1).",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed and settings give the same sound, on every device.",
                ),
                io.Int.Input(
                    "steps",
                    default=250,
                    min=1,
                    max=1000,
                    tooltip="Noise levels to go through. 250 is the recipe; 100 is quicker, with little loss.",
                ),
                io.Float.Input(
                    "guidance",
                    default=7.0,
                    min=-20.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly the sound follows the condition rather than the negative one. 1 switches it "
                    "off and takes half the time.",
                ),
                io.Combo.Input(
                    "sampler",
                    options=SAMPLER_NAMES,
                    default="dpmpp-3m-sde",
                    tooltip="The solver. dpmpp-3m-sde is the recipe's; k-heun and k-dpm-2 call the model twice a step.",
                ),
                io.Float.Input(
                    "sigma_min",
                    default=0.3,
                    min=0.001,
                    max=100.0,
                    step=0.001,
                    round=False,
                    tooltip="The lowest noise level. The recipe's 0.3 suits this model; lower ones tend to add hiss.",
                ),
                io.Float.Input(
                    "sigma_max",
                    default=500.0,
                    min=0.01,
                    max=5000.0,
                    step=0.1,
                    round=False,
                    tooltip="The noise level to start from.",
                ),
                io.Float.Input(
                    "rho",
                    default=1.0,
                    min=0.1,
                    max=10.0,
                    step=0.1,
                    tooltip="How the levels are spaced: 1 evenly in log sigma; above 1 more of them are low.",
                ),
                io.Float.Input(
                    "rescale",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Draws back the loudness that strong guidance adds. 0 is off.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1 only the last part of the schedule is run, so that the latent's own sound stays "
                    "recognisable.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What the sound shall keep away from. Nothing connected: the model's null condition, as in "
                    "the recipe.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(
        cls,
        model: Any,
        positive: Any,
        latent: dict[str, Any],
        seed: int,
        steps: int,
        guidance: float,
        sampler: str,
        sigma_min: float,
        sigma_max: float,
        rho: float,
        rescale: float,
        denoise: float,
        negative: Any = None,
    ) -> io.NodeOutput:
        import comfy.sample
        import comfy.samplers
        import comfy.utils

        if rescale:
            model = model.clone()
            model.set_model_sampler_cfg_function(rescaled_guidance(rescale))
        start = check_latent(comfy.sample.fix_empty_latent_channels(model, latent["samples"]))
        sigmas = schedule(steps, sigma_min, sigma_max, rho, denoise)
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, null_condition() if negative is None else negative)
        guider.set_cfg(guidance)
        samples = guider.sample(
            comfy.sample.prepare_noise(start, seed, latent.get("batch_index")),
            start,
            comfy.samplers.KSAMPLER(SAMPLERS[sampler]),
            sigmas,
            denoise_mask=latent.get("noise_mask"),
            callback=host.step_callback(max(len(sigmas) - 1, 1), latent_picture),
            disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
            seed=seed,
        )
        if not torch.isfinite(samples).all():
            raise SamplingError(
                "AudioX Sampler: the latents became NaN or infinite. Choose precision bf16 or fp32 in AudioX Load, "
                "lower guidance, and check the model's patches."
            )
        kept = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio_")}
        return io.NodeOutput({**kept, "samples": samples.to("cpu")})


def schedule(steps: int, sigma_min: float, sigma_max: float, rho: float, denoise: float) -> torch.Tensor:
    """The noise levels to run through; with denoise below 1 the last ones of a longer schedule."""
    if denoise <= 0:
        return torch.zeros(0)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    return get_sigmas_polyexponential(total, sigma_min, sigma_max, rho)[-(steps + 1) :]


def rescaled_guidance(rescale: float) -> Any:
    """Guidance with rescale as ComfyUI asks for it: from an answer's distance to x, to the guided one's."""

    def guided(args: dict[str, Any]) -> torch.Tensor:
        denoised = guide_denoised(
            args["cond_denoised"],
            args["uncond_denoised"],
            args["input"],
            args["sigma"],
            args["cond_scale"],
            rescale,
        )
        return args["input"] - denoised

    return guided


def check_latent(samples: torch.Tensor) -> torch.Tensor:
    """The latents themselves, if they are a sound's."""
    if samples.ndim != 3 or samples.shape[1] != 64:
        raise InputError(
            f"AudioX Sampler: latent has shape {tuple(samples.shape)}, this model takes (batch, 64, length). "
            "Connect AudioX Empty Latent, or a sound encoded with AudioX's VAE."
        )
    return samples
