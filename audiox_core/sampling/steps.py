"""What all samplers share: their types, the call of the model, the report after it.

A model maps latents x = data + sigma * noise, and sigma (B,), to its estimate of the data. Coefficients are
computed as Python floats (double precision, no device traffic); only latents are tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

Model = Callable[..., Tensor]
"""model(x, sigma, **extra_args) -> denoised, like x; sigma is (B,), float32."""

NoiseSampler = Callable[[float, float], Tensor]
"""noise_sampler(sigma, sigma_next) -> noise of unit variance, like x."""

Callback = Callable[[dict[str, Any]], None]
"""callback({"x", "i", "sigma", "sigma_hat", "denoised", "done"}), once a step, after its first call of the model.

done rises within (0, 1] to 1: the share of the run that is over with this step, for progress. Where the number of
steps isn't known before, as in k-dpm-adaptive, i may go beyond it, done doesn't.
"""

Sampler = Callable[..., Tensor]
"""sampler(model, x, sigmas, extra_args=None, callback=None, disable=None, **options) -> latents, like x."""


class Run:
    """One run of a sampler: the model with its extra arguments, the sigmas as numbers, and who is told."""

    def __init__(
        self,
        model: Model,
        sigmas: Tensor,
        extra_args: Mapping[str, Any] | None,
        callback: Callback | None,
    ) -> None:
        self.model = model
        self.sigmas: list[float] = sigmas.tolist()
        self.extra_args = dict(extra_args or {})
        self.callback = callback

    @property
    def steps(self) -> list[tuple[float, float]]:
        """The (sigma, next sigma) of each step."""
        return list(pairwise(self.sigmas))

    def denoise(self, x: Tensor, sigma: float) -> Tensor:
        """The model's estimate of the data in x."""
        level = torch.full((x.shape[0],), sigma, dtype=torch.float32, device=x.device)  # (B,)
        return self.model(x, level, **self.extra_args)

    def report(self, step: int, x: Tensor, sigma: float, denoised: Tensor, done: float | None = None) -> None:
        """Tells the callback about a step. It may overwrite x in place (inpainting does) or raise to stop."""
        if self.callback is not None:
            info = {"x": x, "i": step, "sigma": sigma, "sigma_hat": sigma, "denoised": denoised}
            self.callback({**info, "done": (step + 1) / (len(self.sigmas) - 1) if done is None else done})
