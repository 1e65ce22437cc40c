"""Sounds at another sample rate: by torchaudio, or by its filter written out where torchaudio is not to be had."""

from __future__ import annotations

import logging
import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from .checks import MOST_SAMPLES, check_rate, tensor_of

log = logging.getLogger("audiox")

# torchaudio's defaults: zero crossings of the sinc on each side, and the share of the lower half rate that passes.
CROSSINGS, ROLLOFF = 6, 0.99
# Bytes of torchaudio's table of filters, which holds the product of the two rates without their common divisor.
TABLE_BYTES = 64 << 20
BLOCK = 1 << 20  # products computed at once


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """(..., N) at `from_rate` Hz as (..., ceil(N to_rate / from_rate)): Hann-windowed sinc, torchaudio's
    defaults, in memory that does not grow with the rates.

    Takes floating point tensors or numpy arrays, keeps type and device, computes in float32. Raises InputError
    for other types, rates outside 10 Hz to 1 MHz, and a result of more than 2**30 samples.
    """
    from_rate, to_rate = check_rate(from_rate), check_rate(to_rate)
    waveform = tensor_of(waveform, "waveform")
    if not waveform.is_floating_point():
        raise InputError(f"waveform is {waveform.dtype}. Give floating point samples, full scale 1.")
    if from_rate == to_rate or waveform.numel() == 0:
        return waveform
    if waveform.shape[-1] * to_rate / from_rate > MOST_SAMPLES:
        raise InputError(
            f"{waveform.shape[-1]} samples at {from_rate} Hz are {waveform.shape[-1] / from_rate:.0f} s, too long at "
            f"{to_rate} Hz. Check the sample rate, or give a part."
        )
    shared = math.gcd(from_rate, to_rate)
    old, new = from_rate // shared, to_rate // shared
    transform = _torchaudio() if new * (old + 2 * _reach(old, new)) * 8 <= TABLE_BYTES else None
    sound = waveform.float()
    if transform is None:
        converted = _sinc(sound.reshape(-1, sound.shape[-1]), old, new).view(*sound.shape[:-1], -1)
    else:
        converted = transform(from_rate, to_rate).to(sound.device)(sound)
    return converted.to(waveform.dtype)


@cache
def _torchaudio() -> Any | None:
    """torchaudio's Resample, or None, said once, where it cannot be imported: absent, or built for another
    torch, which may fail in any way.
    """
    try:
        from torchaudio.transforms import Resample
    except Exception as error:
        log.warning("torchaudio cannot be imported (%s): sounds are resampled without it, the same but slower.", error)
        return None
    return Resample


def _reach(old: int, new: int) -> int:
    """How many samples before and after a moment are heard in it."""
    return math.ceil(CROSSINGS * old / (min(old, new) * ROLLOFF))


def _sinc(sound: Tensor, old: int, new: int) -> Tensor:
    """(C, N) as (C, ceil(N new / old)), with torchaudio's filter; of its table only what is not zero.

    PyAV's own resampler would not do: at half of the band its filters differ from this one by 0.4 % of full
    scale, whatever their length.
    """
    reach = _reach(old, new)
    filters = _filters(old, new, reach).to(sound.device)  # (new, taps)
    taps = filters.shape[1]
    count = math.ceil(sound.shape[1] * new / old)
    windows = torch.nn.functional.pad(sound, (reach, taps)).unfold(1, taps, 1)  # (C, N + reach + 1, taps), a view
    pieces = []
    for first in range(0, count, max(BLOCK // taps, 1)):
        place = torch.arange(first, min(first + max(BLOCK // taps, 1), count), device=sound.device)  # (n,)
        pieces.append((windows[:, place * old // new] * filters[place % new]).sum(-1))  # (C, n)
    return torch.cat(pieces, dim=1)


def _filters(old: int, new: int, reach: int) -> Tensor:
    """The filter of each of the `new` positions between samples: (new, 2 reach + 2) weights of the samples
    from `reach` before on.
    """
    phase = torch.arange(new, dtype=torch.float64)[:, None]
    between = phase * old / new - (torch.arange(new)[:, None] * old // new)  # (new, 1), 0..1
    share = min(old, new) * ROLLOFF / old
    apart = (torch.arange(-reach, reach + 2) - between) * share  # (new, taps), in zero crossings
    window = torch.cos(apart.clamp(-CROSSINGS, CROSSINGS) * math.pi / CROSSINGS / 2) ** 2
    return (torch.sinc(apart) * window * share).float()
