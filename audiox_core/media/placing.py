"""Where a new sound lies under pictures: its offset and level, beside the old sound, never past the last picture."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .audio import quantize
from .blending import Blend
from .checks import LONGEST, MOST_SAMPLES, real
from .containers import Container
from .track import SoundTrack

LOUDEST = 1_000_000


def check_placing(offset: object, gain: object) -> tuple[Fraction, float]:
    """`offset` in seconds and `gain`; InputError unless they are finite numbers of a sensible size."""
    return (
        Fraction(real(offset, "offset", f". Give seconds from {-LONGEST} to {LONGEST}.", -LONGEST, LONGEST)),
        float(real(gain, "gain", f". Give a finite factor up to {LOUDEST}.", -LOUDEST, LOUDEST)),
    )


def place(
    sound: Tensor,
    kind: Container,
    offset: Fraction,
    length: Fraction | None = None,
    old: Tensor | None = None,
    blend: Blend | None = None,
) -> Tensor:
    """The soundtrack (2, n): `sound` from `offset` seconds on, with `old` if given as `blend` says (None: over it
    everywhere), clipped, not longer than `length` seconds. Raises InputError where nothing of the sound would be heard.
    """
    blend = blend or Blend("mix")
    shift = round(offset * kind.rate)
    sound = sound[:, min(max(-shift, 0), sound.shape[1]) :]
    shift = max(shift, 0)
    total = blend.reach(kind.rate, shift + sound.shape[1], old)
    if length is not None:
        total = min(total, math.floor(longest(length, kind) * kind.rate))
    if total <= shift or sound.shape[1] == 0:
        until = "" if length is None else f" (the pictures last {float(length):.3f} s)"
        raise InputError(
            f"offset={float(offset):g} s leaves nothing of the sound to hear{until}. "
            "Choose one with which they overlap."
        )
    if total > MOST_SAMPLES:
        raise InputError(
            f"offset={float(offset):g} s: the soundtrack would last {total / kind.rate:.0f} s, and can last "
            f"{MOST_SAMPLES // kind.rate} s. Choose a smaller offset."
        )
    track = torch.zeros(2, total)
    if old is not None:
        heard = min(old.shape[1], total)
        track[:, :heard] = old[:, :heard]
    heard = min(sound.shape[1], total - shift)
    sound = sound[:, :heard]
    if not blend.plain:
        new, own = blend.shares(kind.rate, shift, shift + heard, total, old)
        if not new[shift : shift + heard].any():
            raise InputError(
                "keep covers all of the new sound, so nothing of it would be heard. Name a shorter part of the video."
            )
        sound = sound * new[shift : shift + heard]
        track = track if own is None else track.mul_(own)
    track[:, shift : shift + heard] += sound
    return track.clamp_(-1, 1)


def longest(length: Fraction, kind: Container) -> Fraction:
    """How long sound may be beside pictures of this length: where packets stay whole, it ends with the last
    that fits.
    """
    samples = math.floor(length * kind.rate)
    return Fraction(samples // kind.whole_packets * kind.whole_packets, kind.rate)


def sound_track(out: Any, kind: Container, audio: Tensor, begin: Fraction) -> SoundTrack:
    """The sound stream of the open output `out` for the samples (2, n), heard from `begin` seconds on."""
    return SoundTrack(out, kind.codec, kind.kind, kind.rate, quantize(audio, kind.kind), begin, kind.bit_rate)
