"""A sampling run of AudioX Sampler over ComfyUI's guider: any length, takes that have seeds of their own, masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import comfy.sample
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ..audiox_core.errors import InputError
from ..audiox_core.media.picture import latent_picture
from ..audiox_core.sampling import ENDS_AT_SIGMA_MIN, sampler_of_takes, window_seed
from ..audiox_core.sampling.in_turn import Held, InTurn
from ..audiox_core.sampling.regions import over_time
from . import host
from .names import LOOP, SOURCE, WINDOWS
from .windows import Wish, hosts_windows, of_window, plan_in, windows_of, wish_of


def wished(model: Any, described: Any, long: str, kept: float, latent: dict[str, Any]) -> Wish:
    """How windows are wanted: by the sampler's own widgets and the latent, and else by the MODEL (AudioX Windows)."""
    wish = wish_of(model.model_options)
    if kept:
        wish = replace(wish, kept=described.timing.nearest_latents(kept))
    return replace(wish, loop=wish.loop or bool(latent.get(LOOP)))


@dataclass(frozen=True)
class Run:
    """One node's run: the MODEL, what guides it, and how it is sampled."""

    model: Any
    positive: Any
    negative: Any
    guidance: float
    sampler: str
    sigmas: Tensor
    seed: int

    def __call__(self, latent: dict[str, Any], described: Any, wish: Wish, *, together: bool) -> Tensor:
        """Latents like those given, on the CPU. Each item of a batch is what a run with its own seed makes."""
        start = check_latent(comfy.sample.fix_empty_latent_channels(self.model, latent["samples"]), described)
        # A take that was cut out of a batch has the number that it had there, so that it can be made again alone.
        numbers = latent.get("batch_index") or ()
        numbers = numbers if len(numbers) == len(start) else range(len(start))
        seeds = [(self.seed + int(number)) % 2**64 for number in numbers]
        noise = torch.cat([comfy.sample.prepare_noise(start[i : i + 1], seed) for i, seed in enumerate(seeds)])
        mask = latent.get("noise_mask")
        mask = None if mask is None else over_time(mask, start.shape[-1])
        plan, kept = plan_in([*self.positive, *self.negative]), latent.get(SOURCE)
        windows = windows_of(described.timing, start.shape[-1], plan, wish)
        if kept is not None and plan is None and kept.edit.latents == windows.latents:
            shared = wish.kept or described.timing.latents // 2
            windows = kept.edit.windows(shared, together=together)  # around what is made anew
        joint = together or windows.only_together or hosts_windows(self.model.model_options) is not None
        if windows.single or joint:
            tell = self._tell(1)
            model = self.model.clone()
            model.model_options[WINDOWS] = wish
            return self._each(model, self.positive, self.negative, noise, start, mask, seeds, tell)
        if mask is not None and len(mask) > 1:
            raise InputError("a latent of several windows takes one mask for all its takes. Give one mask.")
        turn = InTurn(noise, windows, source=start, mask=None if mask is None else mask[0, 0])
        plain = self.model.clone()
        plain.model_options[WINDOWS] = replace(wish, loop=False)
        count = len(turn.order)

        def one(number: int, noise: Tensor, held: Held) -> Tensor:
            there = held.get("source", windows.cut(start, number))
            free = held["mask"].expand(1, 1, -1) if held else None
            own = [window_seed(seed, turn.done) for seed in seeds]
            conditions = of_window(self.positive, number), of_window(self.negative, number)
            return self._each(plain, *conditions, noise, there, free, own, self._tell(count, turn.done))

        return turn(one)

    def _tell(self, windows: int, done: int = 0) -> Any:
        steps = max(len(self.sigmas) - 1, 1)
        tell = host.step_callback(steps * windows, latent_picture)

        def told(step: int, denoised: Tensor, x: Tensor, total: int) -> None:
            tell(done * steps + step, denoised, x, steps * windows)

        return told

    def _each(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        noise: Tensor,
        start: Tensor,
        mask: Tensor | None,
        seeds: Sequence[int],
        tell: Any,
    ) -> Tensor:
        """ComfyUI's guider over a batch; one item after the other for samplers that choose steps by all of them."""
        alone = self.sampler in ENDS_AT_SIGMA_MIN and len(noise) > 1
        groups = [slice(i, i + 1) for i in range(len(noise))] if alone else [slice(None)]
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(positive, negative)
        guider.set_cfg(self.guidance)
        found = [
            guider.sample(
                noise[group],
                start[group],
                comfy.samplers.KSAMPLER(sampler_of_takes(self.sampler, seeds[group])),
                self.sigmas,
                denoise_mask=mask if mask is None or len(mask) == 1 else mask[group],
                callback=tell,
                disable_pbar=not comfy.utils.PROGRESS_BAR_ENABLED,
                seed=seeds[group][0],
            )
            for group in groups
        ]
        return torch.cat(found).to("cpu")


def check_latent(samples: torch.Tensor, described: Any) -> torch.Tensor:
    """The latents themselves, if they are a sound's, and as long as the model takes them."""
    channels, length = described.channels, described.length
    if samples.ndim != 3 or samples.shape[1] != channels:
        raise InputError(
            f"latent has shape {tuple(samples.shape)}, this model takes (batch, {channels}, length). "
            "Connect AudioX Empty Latent, or a sound encoded with AudioX's VAE."
        )
    if length is not None and samples.shape[-1] < length:
        raise InputError(
            f"latent is {samples.shape[-1]} long, this model makes no less than {length}. Connect AudioX Empty Latent."
        )
    return samples
