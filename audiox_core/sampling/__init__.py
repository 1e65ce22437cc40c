"""Schedules, objectives, noise and samplers as pure functions; `sample` puts them together.

Every sampler in SAMPLERS can be called as sampler(model, x, sigmas, extra_args=None, callback=None,
disable=None), also by a host: model(x, sigma, **extra_args) gives the denoised latents, sigma is (B,).
Nothing touches the global RNG.
"""

from .noise import BrownianNoise, GaussianNoise, draw_entropy, randn_like_from
from .objective import FlowDenoiser, VDenoiser, Velocity
from .registry import SAMPLERS, sampler
from .run import sample, sample_flow
from .schedules import get_sigmas_polyexponential, get_times_linear
from .steps import Callback, Model, NoiseSampler, Sampler

__all__ = [
    "SAMPLERS",
    "BrownianNoise",
    "Callback",
    "FlowDenoiser",
    "GaussianNoise",
    "Model",
    "NoiseSampler",
    "Sampler",
    "VDenoiser",
    "Velocity",
    "draw_entropy",
    "get_sigmas_polyexponential",
    "get_times_linear",
    "randn_like_from",
    "sample",
    "sample_flow",
    "sampler",
]
