"""How a new sound and the old one share a video's time: fades, stretches that are kept, and ducking."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from .checks import LONGEST, Number, real
from .spans import Span, check_spans, merged

MODES = ("replace", "mix")
CROSSFADE = Fraction(1, 20)  # seconds in which one sound gives way to the other
DEEPEST = 100  # dB
# Ducking. The old sound is heard in blocks of so many a second. It counts as sounding where it is above the floor
# (dB below full scale), and at most so many dB below the mean of what is above it: speech, not the room behind it.
BLOCKS, FLOOR, BELOW = 20, 60, 15
# Seconds in which the new sound goes down, before the old one begins; waits, after it ends; and comes back.
DOWN, WAIT, UP = Fraction(1, 10), Fraction(1, 4), Fraction(1, 2)


@dataclass(frozen=True)
class Blend:
    """What `set_soundtrack` says of the two sounds, checked: spans and times in seconds, `duck` in dB."""

    mode: str = "replace"
    fade_in: Number = 0
    fade_out: Number = 0
    keep: tuple[Span, ...] = ()
    duck: float = 0.0
    keep_rest: bool = False

    @property
    def needs_old(self) -> bool:
        """Whether the video's own sound is heard anywhere."""
        return self.mode == "mix" or self.keep_rest or bool(self.keep)

    @property
    def plain(self) -> bool:
        """Whether the new sound is as loud everywhere, and the old one either there or not."""
        return not (self.fade_in or self.fade_out or self.keep or self.duck or self.keep_rest)

    def check(self, name: str, has_sound: bool, length: Number) -> None:
        """Raises MediaError where the video `name` has no sound to keep, InputError where a span is past its end."""
        if self.keep and not has_sound:
            raise MediaError(f"{name} has no sound of its own, and keep names some of it. Leave keep empty.")
        if self.keep and self.keep[-1][0] >= length:
            start, end = self.keep[-1]
            raise InputError(
                f"keep: {start:g}-{end:g} lies past the end of {name} ({float(length):.2f} s). Give times within it."
            )

    def reach(self, rate: int, end: int, old: Tensor | None) -> int:
        """How many samples are heard, where the new sound ends with `end`."""
        if old is None:
            return end
        if self.mode == "mix" or self.keep_rest:
            return max(end, old.shape[1])
        last = round((self.keep[-1][1] + CROSSFADE) * rate) if self.keep else 0
        return max(end, min(old.shape[1], last))

    def shares(self, rate: int, begin: int, end: int, total: int, old: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """By what to multiply each of `total` samples of the new sound, which is heard from `begin` to `end`, and
        of the old one (2, n): two of (total,). None: the old one as it is.

        Where one gives way to the other, their powers add up to 1.
        """
        rest = self.keep_rest and old is not None and self.mode == "replace"
        cross = round(CROSSFADE * rate)
        own = near(total, [(round(a * rate), round(b * rate)) for a, b in self.keep], cross, cross)
        gone = own.clone()
        for start, stop, fade in ((0, begin, self.fade_in), (end, total, self.fade_out)):
            kept = rest and stop > start  # at the video's own beginning and end the new sound fades from and to silence
            ramp = min(max(round(fade * rate), cross if kept else 0), end - begin)
            outside = near(total, [(start, stop)], ramp, ramp)
            gone = torch.maximum(gone, outside)
            own = torch.maximum(own, outside) if kept else own
        new = gone.mul(math.pi / 2).cos_().masked_fill_(gone == 1, 0.0)  # the cosine of a rounded right angle isn't 0
        if self.mode == "mix":
            if self.duck and old is not None:
                down, wait, up = (round(seconds * rate) for seconds in (DOWN, WAIT, UP))
                depth = near(total, sounding(old, rate), down, up, wait)
                new *= depth.mul_(-self.duck / 20 * math.log(10)).exp_()
            return new, None
        return new, own.mul_(math.pi / 2).sin_()


def check_blend(
    mode: object,
    fade_in: object = 0.0,
    fade_out: object = 0.0,
    keep: str | Iterable[Sequence[Any]] | None = None,
    duck: object = 0.0,
    keep_rest: object = False,
) -> Blend:
    """What was given as a Blend. Raises InputError for what is out of range, and what contradicts each other."""
    if mode not in MODES:
        raise InputError(f"mode {mode!r} does not exist. Valid: {', '.join(MODES)}.")
    mend = f". Give seconds from 0 to {LONGEST}."
    depth = float(real(duck, "duck", f". Give the dB by which the new sound goes down, 0 to {DEEPEST}.", 0, DEEPEST))
    if depth and mode != "mix":
        raise InputError(
            f"duck={depth:g}: the video's own sound is dropped, so the new one can't be lowered under it. Choose mode "
            "mix."
        )
    if keep is None or (isinstance(keep, str) and not keep.strip()):
        keep = ()
    return Blend(
        str(mode),
        real(fade_in, "fade_in", mend, 0, LONGEST),
        real(fade_out, "fade_out", mend, 0, LONGEST),
        tuple(check_spans(keep, "keep")),
        depth,
        bool(keep_rest),
    )


def near(total: int, spans: Iterable[tuple[int, int]], rise: int, fall: int, wait: int = 0) -> Tensor:
    """(total,) float32: 1 within spans of samples and `wait` after them, rising over `rise` samples before, falling
    over `fall` after, else 0. Where spans are near each other, the larger.
    """
    found = torch.zeros(total)
    for start, stop in merged((start, stop + wait) for start, stop in spans):
        found[max(start, 0) : max(stop, 0)] = 1
        for first, ramp in (
            (start - rise, torch.arange(1, rise + 1) / (rise + 1)),
            (stop, torch.arange(fall, 0, -1) / (fall + 1)),
        ):
            low, high = min(max(first, 0), total), min(max(first + len(ramp), 0), total)
            part = found[low:high]
            torch.maximum(part, ramp[low - first : high - first], out=part)
    return found


def sounding(sound: Tensor, rate: int) -> list[tuple[int, int]]:
    """The spans of samples in which (C, n) sounds."""
    block = max(rate // BLOCKS, 1)
    padded = torch.nn.functional.pad(sound, (0, -sound.shape[1] % block))
    powers = padded.unflatten(1, (-1, block)).square().mean((0, 2))  # (blocks,)
    floor = 10 ** (-FLOOR / 10)
    if not (powers > floor).any():
        return []
    heard = powers > max(floor, float(powers[powers > floor].mean()) * 10 ** (-BELOW / 10))
    edges = torch.nn.functional.pad(heard.int(), (1, 1)).diff().nonzero().flatten().tolist()
    return [(a * block, b * block) for a, b in zip(edges[::2], edges[1::2], strict=True)]
