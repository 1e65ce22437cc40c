"""Windows of a sound that is longer than what a model makes at once: where they lie, and how they are blended."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from ..errors import InputError
from .objective import Velocity

LONG = ("continue", "together")
"""How windows are made: one after the other, each carrying on what the others have left; or all in every step."""


@dataclass(frozen=True)
class Windows:
    """Windows of `length` latents in a sound of so many, by where they start; after a loop's end comes its beginning.

    A loop may be shorter than a window, which then sees it more than once.
    """

    latents: int
    length: int
    starts: tuple[int, ...]
    loop: bool = False

    @property
    def only_together(self) -> bool:
        """Whether it is a loop no longer than a window, which has no windows that could follow each other."""
        return self.loop and self.latents <= self.length

    @property
    def single(self) -> bool:
        """Whether the only window is the whole sound, so that there is nothing to be put together."""
        return self.starts == (0,) and self.length == self.latents and not self.loop

    def spans(self, latent: float, seconds: float) -> tuple[tuple[float, float], ...]:
        """Where windows lie in a sound of so many seconds, at `latent` seconds a latent: nothing for a single one.

        What of a loop's window comes after its end is left out.
        """
        if len(self.starts) == 1:
            return ()
        ends = [(start * latent, min((start + self.length) * latent, seconds)) for start in self.starts]
        return tuple((start, end) for start, end in ends if start < end)

    def runs(self, number: int) -> Iterator[tuple[int, int, int]]:
        """The window's stretches of the sound: (position in the window, position in the sound, how many)."""
        done = 0
        while done < self.length:
            place = (self.starts[number] + done) % self.latents
            count = min(self.length - done, self.latents - place)
            yield done, place, count
            done += count

    def cut(self, x: Tensor, number: int) -> Tensor:
        """x (..., latents) -> the window (..., length), a view unless it wraps."""
        pieces = [x[..., place : place + count] for _, place, count in self.runs(number)]
        return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=-1)

    def put(self, x: Tensor, number: int, window: Tensor | float) -> None:
        """Writes a window (..., length), or one number, into x (..., latents)."""
        for offset, place, count in self.runs(number):
            x[..., place : place + count] = (
                window[..., offset : offset + count] if isinstance(window, Tensor) else window
            )

    def add(self, x: Tensor, number: int, window: Tensor) -> None:
        """Adds a window (..., length) to x (..., latents)."""
        for offset, place, count in self.runs(number):
            x[..., place : place + count] += window[..., offset : offset + count]

    def middles(self, *, together: bool = False) -> list[float]:
        """The middle of what each window makes, in latents: of what it adds to the one before it, or of all of it."""
        found = []
        for number, start in enumerate(self.starts):
            first = start if together or not number else self.starts[number - 1] + self.length
            found.append((min(first, self.latents) + min(start + self.length, self.latents)) / 2)
        return found

    def order(self, free: Tensor) -> list[int]:
        """The windows that reach something free (free (latents,), above 0), in the order in which to make them.

        From the beginning on where nothing is known, else always the first of those that see enough of what is known:
        a sound that grows backwards is made backwards.
        """
        left, order = free.clone(), []
        rest = [i for i in range(len(self.starts)) if bool((self.cut(left, i) > 0).any())]
        while rest:
            known = {i: int((self.cut(left, i) == 0).sum()) for i in rest}
            enough = min(max(known.values()), self.length // 2)
            best = next(i for i in rest if known[i] >= enough)
            order.append(best)
            self.put(left, best, 0.0)
            rest = [i for i in rest if i != best and bool((self.cut(left, i) > 0).any())]
        return order


def with_ends(latents: Tensor, halo: int) -> Tensor:
    """A loop's latents (..., L) with so many more at both ends, as it goes on there: (..., L + 2 halo)."""
    length = latents.shape[-1]
    return Windows(length, length + 2 * halo, (-halo,)).cut(latents, 0)


def around(spans: Sequence[tuple[int, int]], latents: int, length: int, kept: int) -> tuple[int, ...]:
    """Where windows start that make spans (first, end) of a sound of so many latents anew, and see what is around them.

    A span that leaves `kept` latents of a window to its surroundings gets one, around its middle; a longer one gets
    several, that share as many. Raises InputError unless kept leaves something new in each window.
    """
    if not 1 <= kept < length:
        raise InputError(f"kept: {kept} latents of {length} in a window. Keep at least 1 and not all of them.")
    starts: set[int] = set()
    last = max(latents - length, 0)
    for first, end in spans:
        low, high = max(first - kept, 0), min(end + kept, latents)
        if end - first <= length - kept or high - low <= length:
            starts.add(min(max((first + end - length) // 2, 0), last))
        else:
            count = math.ceil((high - low - length) / (length - kept))  # after the first
            starts |= {low + i * (high - low - length) // count for i in range(count + 1)}
    return tuple(sorted(starts))


@lru_cache(maxsize=4)
def _weights(windows: Windows, device: torch.device) -> tuple[Tensor, Tensor]:
    """How much each place of a window counts (length,), and what that comes to on the whole sound (latents,)."""
    position = (torch.arange(windows.length, dtype=torch.float64) + 0.5) / windows.length
    weights = (math.pi * position).sin().square().float().to(device)
    total = torch.zeros(windows.latents, device=device)
    for number in range(len(windows.starts)):
        windows.add(total, number, weights)
    return weights, total


class Together:
    """The velocity (B, C, L) of a whole sound, blended in every step from those of its windows.

    velocity_of(numbers) gives the velocity function of these windows, which takes them all at once: a row for each item
    and window, windows running faster. The weights are raised cosines, so that a window counts least at its ends, where
    it sees least. `at_once` windows go through the network in one call; what velocity_of gives is kept for as many
    windows as `kept` says (None: all) and asked for again in each step for the others.
    """

    def __init__(
        self,
        windows: Windows,
        velocity_of: Callable[[Sequence[int]], Velocity],
        *,
        at_once: int = 1,
        kept: int | None = None,
    ):
        numbers = range(len(windows.starts))
        self.windows, self.velocity_of = windows, velocity_of
        self.groups = [numbers[i : i + at_once] for i in range(0, len(numbers), at_once)]
        self.keeps = len(numbers) if kept is None else kept
        self._velocities: dict[Sequence[int], Velocity] = {}

    def _velocity(self, group: Sequence[int]) -> Velocity:
        if group in self._velocities:
            return self._velocities[group]
        velocity = self.velocity_of(group)
        if group[-1] < self.keeps:
            self._velocities[group] = velocity
        return velocity

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        weights, total = _weights(self.windows, x.device)
        out = torch.zeros_like(x, dtype=torch.float32)
        for group in self.groups:
            rows = torch.stack([self.windows.cut(x, i) for i in group], dim=1).flatten(0, 1)  # (B W, C, length)
            found = self._velocity(group)(rows, t.repeat_interleave(len(group)))
            for j, number in enumerate(group):
                self.windows.add(out, number, found[j :: len(group)] * weights)
        return (out / total).to(x.dtype)
