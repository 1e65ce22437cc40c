"""The samplers by the names of the released recipes."""

from __future__ import annotations

from ..errors import InputError, nearest
from .dpm_solver import sample_dpm_adaptive, sample_dpm_fast
from .flow import sample_rectified_flow
from .multistep import sample_dpmpp_2m_sde, sample_dpmpp_3m_sde, sample_lms
from .singlestep import sample_dpm_2, sample_dpmpp_2s_ancestral, sample_heun
from .steps import Sampler

SAMPLERS: dict[str, Sampler] = {
    "dpmpp-3m-sde": sample_dpmpp_3m_sde,
    "dpmpp-2m-sde": sample_dpmpp_2m_sde,
    "k-heun": sample_heun,
    "k-dpm-2": sample_dpm_2,
    "k-lms": sample_lms,
    "k-dpmpp-2s-ancestral": sample_dpmpp_2s_ancestral,
    "k-dpm-fast": sample_dpm_fast,
    "k-dpm-adaptive": sample_dpm_adaptive,
    "rectified-flow": sample_rectified_flow,
}

BROWNIAN = frozenset({"dpmpp-3m-sde", "dpmpp-2m-sde"})
"""Samplers that draw Brownian noise."""

ANCESTRAL = frozenset({"k-dpmpp-2s-ancestral"})
"""Samplers that draw independent noise at each step."""

ENDS_AT_SIGMA_MIN = frozenset({"k-dpm-fast", "k-dpm-adaptive"})
"""Samplers that take sigma_min as an option and stop there instead of at 0."""


def sampler(name: str) -> Sampler:
    """The sampler of that name; InputError, offering the nearest names, if there is none."""
    if name not in SAMPLERS:
        raise InputError(f"Unknown sampler {name!r}.{nearest(name, list(SAMPLERS))}")
    return SAMPLERS[name]
