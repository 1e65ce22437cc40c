"""One sound to be sampled, of any length, by a network that makes a window at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .guidance import Guidance
from .in_turn import Held, InTurn
from .objective import Velocity
from .run import sample
from .windows import Together, Windows

OnStep = Callable[[int, int], None]


@dataclass(eq=False)
class Task:
    """What is to be made: the noise (1, C, L) that it starts from, the windows, and what holds and guides it.

    schedule holds sample()'s objective, steps, sampler and sigmas. source (1, C, L) is kept where mask (L,) is 0; init
    (1, C, L) is varied, as far as the schedule's sigma_max says. together: see windows.LONG. at_once and kept are
    Together's. A call that runs out of memory may be made again: it goes on with the window that failed.
    """

    noise: Tensor
    windows: Windows
    guidance: Guidance
    generator: torch.Generator
    schedule: Mapping[str, Any]
    together: bool = False
    source: Tensor | None = None
    mask: Tensor | None = None
    init: Tensor | None = None
    at_once: int = 1
    kept: int | None = None
    in_turn: InTurn = field(init=False)

    def __post_init__(self) -> None:
        windows = self.windows
        if self.together and not windows.single:  # the blended windows are sampled like one of the sound's whole length
            windows = Windows(windows.latents, windows.latents, (0,))
        self.in_turn = InTurn(self.noise, windows, generator=self.generator, source=self.source, mask=self.mask)

    @property
    def finished(self) -> bool:
        """Whether no window is left to be made."""
        return self.in_turn.finished

    @property
    def finished_latents(self) -> int:
        """How many latents are finished from the beginning on, where windows are made in the order of time.

        0 of a loop, which is one only as a whole.
        """
        done, windows = self.in_turn.order[: self.in_turn.done], self.in_turn.windows
        if windows.loop or not done or done != list(range(len(done))) or self.mask is not None:
            return 0
        return min(windows.starts[done[-1]] + windows.length, windows.latents)

    def run(
        self, network: Any, *, device: torch.device, on_step: OnStep | None = None, most: int | None = None
    ) -> Tensor:
        """The latents (1, C, L), float32 on the CPU, after `most` windows more (None: all of them).

        on_step(done, total) is told of each step of each window. Raises what sample() does.
        """
        steps, in_turn = self.schedule["steps"], self.in_turn

        def velocity_of(numbers: Sequence[int]) -> Velocity:
            return self.guidance.velocity(network, numbers, device)

        def one(number: int, noise: Tensor, held: Held) -> Tensor:
            def callback(info: dict[str, Any]) -> None:
                if on_step is not None:
                    on_step(round((in_turn.done + info["done"]) * steps), steps * len(in_turn.order))

            velocity: Velocity
            if in_turn.windows is self.windows:
                velocity = velocity_of([number])
            else:
                velocity = Together(self.windows, velocity_of, at_once=self.at_once, kept=self.kept)
            init = {} if self.init is None else {"init": in_turn.windows.cut(self.init, number)}
            return sample(
                velocity,
                noise.to(device),
                generator=self.generator,
                callback=callback,
                **{**self.schedule, **held, **init},
            )

        return in_turn(one, most=most)
