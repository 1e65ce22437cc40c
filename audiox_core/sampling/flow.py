"""The sampler of rectified flows: Euler's method in time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from .steps import Callback, Model, Run


@torch.no_grad()
def sample_rectified_flow(
    model: Model,
    x: Tensor,
    sigmas: Tensor,
    extra_args: Mapping[str, Any] | None = None,
    callback: Callback | None = None,
    disable: bool | None = None,
) -> Tensor:
    """Latents by x += (t_next - t) v along the times in sigmas, noise at 1, data at 0; n calls for n steps.

    The velocity is v = (x - denoised) / t (Liu et al., arXiv:2209.03003). No noise. disable is not used.
    """
    run = Run(model, sigmas, extra_args, callback)
    for i, (t, t_next) in enumerate(run.steps):
        denoised = run.denoise(x, t)
        velocity = (x - denoised) / t
        run.report(i, x, t, denoised)
        x = x + (t_next - t) * velocity
    return x
