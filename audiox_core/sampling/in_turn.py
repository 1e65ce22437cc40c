"""Sounds longer than a model's window: windows one after the other, each carrying on what is there already.

On sounds of an unknown constant level, whose exact denoiser is known, the level is still the same six windows on
(tests/core/test_long.py); windows that are denoised beside each other and blended don't hear of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .windows import Windows

Held = Mapping[str, Tensor]  # what sample() is to hold a window to: source and mask, or nothing


class InTurn:
    """A run over the windows of noise (B, C, L) that a mask leaves something of, in Windows.order.

    made (B, C, L) holds what is finished, at first the source (zeros without one); mask (L,) is 1 where the sound is
    made anew (everywhere without one) and 0 where it stays. Each window keeps what is known of it, and the generator
    goes on drawing where the window before it stopped. A second call after a failure takes up the window that failed.
    """

    def __init__(
        self,
        noise: Tensor,
        windows: Windows,
        *,
        generator: torch.Generator | None = None,
        source: Tensor | None = None,
        mask: Tensor | None = None,
    ):
        self.noise, self.windows, self.generator = noise, windows, generator
        self.made = torch.zeros_like(noise) if source is None else source.expand_as(noise).clone()
        self.free = torch.ones(windows.latents) if mask is None else mask.float().clone()
        self.order = windows.order(self.free)
        self.done = 0  # windows that are finished, of the order
        self._state = None if generator is None else generator.get_state()  # as the next window is to find it

    @property
    def finished(self) -> bool:
        return self.done == len(self.order)

    def __call__(self, run: Callable[[int, Tensor, Held], Tensor], *, most: int | None = None) -> Tensor:
        """made, after `most` windows more (None: all): run(number, noise (B, C, length), held) makes one, like noise.

        number is the window's in the order of starts. Raises what run does.
        """
        for number in self.order[self.done :][:most]:
            if self.generator is not None and self._state is not None:
                self.generator.set_state(self._state)
            free = self.windows.cut(self.free, number)
            known = bool((free < 1).any())
            held = {"source": self.windows.cut(self.made, number).clone(), "mask": free.clone()} if known else {}
            found = run(number, self.windows.cut(self.noise, number), held)
            self.windows.put(self.made, number, found.cpu())
            self.windows.put(self.free, number, 0.0)
            self.done += 1
            self._state = None if self.generator is None else self.generator.get_state()
        return self.made
