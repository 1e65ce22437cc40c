"""Sampling: the released recipe over ComfyUI's guider, callback and noise."""

from __future__ import annotations

import logging
from typing import Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError, SamplingError
from ..audiox_core.sampling import MAX_STEPS, OBJECTIVES, find_objective
from ..audiox_core.sampling.guidance import guide_denoised
from ..audiox_core.sampling.windows import LONG
from .condition import null_condition
from .running import Run, wished
from .schema import named, schema

log = logging.getLogger("audiox")

AUTO = "auto"
SAMPLER_NAMES = [*(name for objective in OBJECTIVES.values() for name in objective.samplers), AUTO]
OWN = "0: the model's own"


class AudioXSampler(io.ComfyNode):
    """A model's own sampler and schedule, or others."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXSampler",
            "AudioX Sampler",
            "Generates a sound, by default with the settings of the model's authors: for AudioX 250 steps of "
            "dpmpp-3m-sde from sigma 500 to 0.3 and guidance 7, for AudioX-Turbo 4 steps. KSampler with dpmpp_3m_sde "
            "and the exponential scheduler does the same (for AudioX-Turbo: lcm and simple, cfg 1).",
            ["ksampler", "audio sampler", "generate sound", "generate music", "text to audio", "video to audio"],
            inputs=[
                io.Model.Input("model", tooltip="The model from AudioX Load, with or without patches such as LoRAs."),
                io.Conditioning.Input("positive", tooltip="What the sound should follow."),
                io.Latent.Input(
                    "latent",
                    tooltip="An empty latent to start from noise, or the latents of a sound to vary (with denoise "
                    "below 1).",
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    control_after_generate=True,
                    tooltip="The same seed and settings give the same sound on the same machine. Another device starts "
                    "from the same noise, but rounds differently.",
                ),
                io.Int.Input(
                    "steps",
                    default=0,
                    min=0,
                    max=1000,
                    tooltip=f"Number of sampling steps. {OWN} (250; AudioX-Turbo 4). Fewer are quicker.",
                ),
                io.Float.Input(
                    "guidance",
                    default=0.0,
                    min=-20.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly the sound follows the positive condition rather than the negative one. 1 "
                    f"turns guidance off and takes half the time. {OWN} (7; AudioX-Turbo 1).",
                ),
                io.Combo.Input(
                    "sampler",
                    options=SAMPLER_NAMES,
                    default=AUTO,
                    tooltip="The solver. auto: the model's own (dpmpp-3m-sde; AudioX-Turbo dmd). k-heun and k-dpm-2 "
                    "call the model twice per step.",
                ),
                io.Float.Input(
                    "sigma_min",
                    default=0.0,
                    min=0.0,
                    max=100.0,
                    step=0.001,
                    round=False,
                    tooltip=f"The lowest noise level. {OWN} (0.3); lower values tend to add hiss.",
                ),
                io.Float.Input(
                    "sigma_max",
                    default=0.0,
                    min=0.0,
                    max=5000.0,
                    step=0.1,
                    round=False,
                    tooltip=f"The noise level to start from. {OWN} (500).",
                ),
                io.Float.Input(
                    "rho",
                    default=0.0,
                    min=0.0,
                    max=10.0,
                    step=0.1,
                    tooltip="Spacing of the noise levels: 1 is even in log sigma; above 1, more of them are low. "
                    f"{OWN} (1).",
                ),
                io.Float.Input(
                    "rescale",
                    default=0.0,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    tooltip="Reduces the loudness that strong guidance adds. 0: off.",
                ),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1, only the last part of the schedule is run, so that the sound in the latent stays "
                    "recognisable.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What the sound should avoid. If nothing is connected: the model's null condition, as in "
                    "the authors' recipe.",
                ),
                io.Combo.Input(
                    "long",
                    options=list(LONG),
                    default=LONG[0],
                    optional=True,
                    tooltip="How to make a sound longer than the model's window (10.96 s). continue: one window after "
                    "another, each carrying on from the one before, so that a beat and a key last. together: all "
                    "windows are blended in every step, for ambience.",
                ),
                io.Float.Input(
                    "kept",
                    default=0.0,
                    min=0.0,
                    max=10.9,
                    step=0.1,
                    optional=True,
                    tooltip="Seconds that each window keeps from the one before it. 0: half a window. A video's "
                    "condition brings its own value.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    @named("AudioX Sampler")
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
        long: str = LONG[0],
        kept: float = 0.0,
    ) -> io.NodeOutput:
        from ..audiox_core.models.settings import number, whole

        described = model_of(model)
        recipe = described.recipe
        objective = find_objective(recipe.objective)
        guidance = number("guidance", guidance) or recipe.guidance
        steps, rho = whole("steps", steps) or recipe.steps, number("rho", rho) or recipe.rho
        sigma_min, sigma_max = sigma_min or recipe.sigma_min, sigma_max or recipe.sigma_max
        solver = recipe.sampler if sampler == AUTO else objective.choose(sampler)
        if recipe.guidance == 1.0 and guidance != 1.0:
            log.warning("AudioX Sampler: this model was made for guidance 1; with %g its sound may suffer", guidance)
        sigmas = schedule(objective, steps, sigma_min, sigma_max, rho, number("denoise", denoise))
        if rescale:
            model = model.clone()
            model.set_model_sampler_cfg_function(rescaled_guidance(rescale, objective))
        wish = wished(model, described, long, number("kept", kept), latent)
        run = Run(model, positive, null_condition() if negative is None else negative, guidance, solver, sigmas, seed)
        samples = run(latent, described, wish, together=long == LONG[1])
        if not torch.isfinite(samples).all():
            raise SamplingError(
                "the latents became NaN or infinite. Choose precision bf16 or fp32 in AudioX Load, lower guidance, "
                "and check the model's patches."
            )
        said = {key: value for key, value in latent.items() if not key.startswith("downscale_ratio_")}
        return io.NodeOutput({**said, "samples": samples.to("cpu")})


def model_of(patcher: Any) -> Any:
    """What the MODEL is, by the core's description. Raises InputError for another kind of model."""
    described = getattr(patcher.model, "audiox", None)
    if described is None:
        raise InputError("the connected model is not an AudioX model. Connect the MODEL from AudioX Load.")
    return described


def schedule(
    objective: Any, steps: int, sigma_min: float, sigma_max: float, rho: float, denoise: float
) -> torch.Tensor:
    """The noise levels to run through; with denoise below 1 the last ones of a longer schedule."""
    if denoise <= 0:
        return torch.zeros(0)
    objective.check_schedule(steps, sigma_min, sigma_max, rho)
    total = steps if denoise > 0.9999 else int(steps / denoise)
    if total > MAX_STEPS:
        raise InputError(f"{steps} steps at denoise {denoise:g} are too fine. Raise denoise, or lower steps.")
    return objective.schedule(total, sigma_min, sigma_max, rho)[-(steps + 1) :]


def rescaled_guidance(rescale: float, objective: Any) -> Any:
    """Guidance with rescale as ComfyUI asks for it: from an answer's distance to x, to the guided one's."""

    def guided(args: dict[str, Any]) -> torch.Tensor:
        denoised = guide_denoised(
            args["cond_denoised"],
            args["uncond_denoised"],
            args["input"],
            args["sigma"],
            args["cond_scale"],
            rescale,
            objective,
        )
        return args["input"] - denoised

    return guided
