"""Schedules, objectives, noise and samplers as pure functions; `sample` puts them together.

Every sampler in SAMPLERS can be called as sampler(model, x, sigmas, extra_args=None, callback=None,
disable=None), also by a host: model(x, sigma, **extra_args) gives the denoised latents, sigma is (B,).
OBJECTIVES says which of them can run which model. Nothing touches the global RNG.
"""

from .noise import BrownianNoise, GaussianNoise, draw_entropy, generator_from, randn_like_from, window_seed
from .objective import OBJECTIVES, FlowDenoiser, Objective, VDenoiser, Velocity, find_objective
from .run import ENDS_AT_SIGMA_MIN, SAMPLERS, sample, sampler, sampler_of_takes
from .schedules import MAX_STEPS, check_schedule, check_times, get_sigmas_polyexponential, get_times_linear
from .steps import Callback, Model, NoiseSampler, Sampler

__all__ = [
    "ENDS_AT_SIGMA_MIN",
    "MAX_STEPS",
    "OBJECTIVES",
    "SAMPLERS",
    "BrownianNoise",
    "Callback",
    "FlowDenoiser",
    "GaussianNoise",
    "Model",
    "NoiseSampler",
    "Objective",
    "Sampler",
    "VDenoiser",
    "Velocity",
    "check_schedule",
    "check_times",
    "draw_entropy",
    "find_objective",
    "generator_from",
    "get_sigmas_polyexponential",
    "get_times_linear",
    "randn_like_from",
    "sample",
    "sampler",
    "sampler_of_takes",
    "window_seed",
]
