"""Sounds longer than a model's window: windows one after the other, each carrying on the end of the one before.

On sounds of an unknown constant level, whose exact denoiser is known, the level is still the same six windows on
(tests/core/test_long.py); windows that are denoised beside each other and blended don't hear of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from .objective import Velocity
from .run import sample


class InTurn:
    """A run over windows that start at the given latents of noise (1, C, L) and are `length` long, the last up to L.

    made (1, C, L) holds what is finished. Each window but the first keeps what is made of it already, and the generator
    goes on drawing where the window before it stopped. A second call after a failure takes up the window that failed.
    """

    def __init__(self, noise: Tensor, starts: Sequence[int], length: int, generator: torch.Generator):
        self.noise, self.starts, self.length, self.generator = noise, tuple(starts), length, generator
        self.made = torch.zeros_like(noise)
        self._states = [generator.get_state()]  # as each window found it, the finished ones and the next

    def __call__(
        self,
        velocity_of: Callable[[int], Velocity],
        *,
        device: torch.device | str = "cpu",
        on_step: Callable[[float, int], None] | None = None,
        **options: Any,
    ) -> Tensor:
        """The latents (1, C, L), float32 on the CPU. velocity_of(number) gives a window's velocity function.

        on_step(done, number) is told of each step: the share of the window that is done, 0 to 1, and its number.
        options: as in sample(). Raises what sample() does.
        """
        for number in range(len(self._states) - 1, len(self.starts)):
            self.generator.set_state(self._states[-1])
            here = slice(self.starts[number], self.starts[number] + self.length)
            if number:
                kept = self.starts[number - 1] + self.length - self.starts[number]
                options |= {"source": self.made[..., here].clone(), "mask": (torch.arange(self.length) >= kept).float()}

            def callback(info: dict[str, Any], number: int = number) -> None:
                if on_step is not None:
                    on_step(info["done"], number)

            noise = self.noise[..., here].to(device)
            found = sample(velocity_of(number), noise, generator=self.generator, callback=callback, **options)
            self.made[..., here] = found.cpu()
            self._states.append(self.generator.get_state())
        return self.made
