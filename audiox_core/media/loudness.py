"""How loud a sound is to the ear, and sounds brought to one level: ITU-R BS.1770-4 and EBU R 128."""

from __future__ import annotations

import logging
import math

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .audio import check_waveform, normalize_peak
from .checks import check_rate, real, shown
from .resampling import resample

log = logging.getLogger("audiox")

LEVELS = ("peak", "loudness", "off")
# LUFS and dBTP. Platforms play films and music at -14 to -16 and turn only the louder ones down. 15 dB lie between
# these two: most sounds have room there, at -14 many more would end at the ceiling, below the loudness asked for.
TARGET, CEILING = -16.0, -1.0
# Bounds of what may be asked for: below the gate nothing counts as sound, above full scale there is no room.
QUIETEST, LOUDEST = -70.0, 0.0

# The standard's filter, given there for 48 kHz only, as the analogue one that it was made from: a high shelf of so
# many dB above the first frequency (Hz; the ear's own, for the head's shadow), and a high-pass at the second.
SHELF_HZ, SHELF_Q, SHELF_DB, SHELF_MIDDLE = 1681.974450955533, 0.7071752369554196, 3.999843853973347, 0.4996667741545416
PASS_HZ, PASS_Q = 38.13547087602444, 0.5003270373238773
# Below so many samples a second the shelf does not fit: such sounds are resampled first.
LEAST_RATE, ENOUGH_RATE = 8000, 48000

GATE, RELATIVE_GATE = -70.0, -10.0  # LUFS, and LU below the mean of what is above the first
HOPS_A_SECOND, HOPS_A_BLOCK = 10, 4  # blocks of 400 ms, one every 100 ms
# Hops filtered at once, and those before them whose ringing is heard (after half a second it is below e-100).
AT_ONCE, RINGING = 100, 5
OVERSAMPLED = 4
PART, AROUND = 1 << 17, 1 << 10  # samples looked at once for peaks, and heard around them


def integrated_loudness(waveform: Tensor, sample_rate: int) -> float:
    """The loudness of (C, N) in LUFS, gated at -70 LUFS and at 10 LU below the mean; -inf for what is silent, or
    shorter than 0.4 s.

    Every channel counts alike: a waveform does not say which of more than two are behind the listener. One channel
    is 3 LU quieter than two of the same. Raises InputError and MediaError as `check_waveform` does.
    """
    sound, rate = check_waveform(waveform), check_rate(sample_rate)
    if rate < LEAST_RATE:
        sound, rate = resample(sound, rate, ENOUGH_RATE), ENOUGH_RATE
    powers = _hop_powers(sound, rate)
    if len(powers) < HOPS_A_BLOCK:
        return -math.inf
    blocks = powers.unfold(0, HOPS_A_BLOCK, 1).mean(-1)
    heard = blocks[blocks > _power(GATE)]
    if len(heard) == 0:
        return -math.inf
    heard = heard[heard > heard.mean() * 10 ** (RELATIVE_GATE / 10)]
    return _lufs(float(heard.mean()))


def true_peak(waveform: Tensor) -> float:
    """The largest magnitude of (C, N) also between its samples, in dBTP (0: full scale): of the samples and of
    four times as many. -inf for silence.
    """
    sound = check_waveform(waveform)
    loudest = float(sound.abs().max())
    for first in range(0, sound.shape[1], PART):
        # A longer spectrum is a sound of more samples, which goes round in a circle: there is silence around it.
        part = sound[:, max(first - AROUND, 0) : first + PART + AROUND]
        part = torch.nn.functional.pad(part, (AROUND, AROUND + part.shape[1] % 2))
        begin = AROUND + min(first, AROUND)
        spectrum = torch.fft.rfft(part)
        spectrum[:, -1] /= 2  # half the rate: of a longer spectrum's pairs it is both
        finer = torch.fft.irfft(spectrum, OVERSAMPLED * part.shape[1]) * OVERSAMPLED  # (C, 4 n)
        loudest = max(loudest, float(finer[:, OVERSAMPLED * begin : OVERSAMPLED * (begin + PART)].abs().max()))
    return 20 * math.log10(loudest) if loudest > 0 else -math.inf


def normalize_loudness(waveform: Tensor, sample_rate: int, target: float = TARGET, ceiling: float = CEILING) -> Tensor:
    """(C, N) made so much louder or quieter that it has `target` LUFS, or less where its true peak would pass
    `ceiling` dBTP, which is told in the log.

    One factor for the whole sound, and no limiter: one that holds back single peaks changes the sound and, with it,
    the loudness that was asked for. What is silent or shorter than 0.4 s stays as it is. Raises InputError for
    levels outside -70..0 and as `check_waveform` does, MediaError for NaN and infinity.
    """
    mend = f". Give {QUIETEST:g} to {LOUDEST:g}."
    target = float(real(target, "target", mend, QUIETEST, LOUDEST))
    ceiling = float(real(ceiling, "ceiling", mend, QUIETEST, LOUDEST))
    found = integrated_loudness(waveform, sample_rate)
    if found == -math.inf:
        return waveform
    wanted, room = target - found, ceiling - true_peak(waveform)
    if room < wanted - 0.05:
        log.info(
            "loudness: %.1f LUFS instead of %g: louder, the peaks of this sound would pass %g dBTP",
            *(found + room, target, ceiling),
        )
    return waveform * 10 ** (min(wanted, room) / 20)


def check_level(value: object) -> str:
    """How a sound's level is set: "peak", "loudness" or "off"; True and False are the first and the last. Raises
    InputError for anything else.
    """
    if isinstance(value, (bool, np.bool_)):
        return "peak" if value else "off"
    if not isinstance(value, str) or value not in LEVELS:
        raise InputError(f"normalize: expected peak, loudness or off (True or False), got {shown(value)}")
    return value


def at_level(waveform: Tensor, sample_rate: int, level: object) -> Tensor:
    """(C, N) at the level that `check_level` names: the loudest sample at 1, a loudness of -16 LUFS, or as it is."""
    kind = check_level(level)
    if kind == "loudness":
        return normalize_loudness(waveform, sample_rate)
    return normalize_peak(waveform) if kind == "peak" else waveform


def _power(lufs: float) -> float:
    return float(10 ** ((lufs + 0.691) / 10))


def _lufs(power: float) -> float:
    return 10 * math.log10(power) - 0.691


def _hop_powers(sound: Tensor, rate: int) -> Tensor:
    """The weighted mean square of each whole tenth of a second of (C, N), summed over channels: (hops,) float64."""
    hop = round(rate / HOPS_A_SECOND)
    count = sound.shape[1] // hop
    powers = []
    for first in range(0, count, AT_ONCE):
        last = min(first + AT_ONCE, count)
        begin = first - RINGING
        part = sound[:, max(begin, 0) * hop : last * hop].double()
        part = torch.nn.functional.pad(part, ((last - begin) * hop - part.shape[1], 0))
        # A product of spectra is a filter that goes round in a circle; what comes round dies away in the hops before.
        weighted = torch.fft.irfft(torch.fft.rfft(part) * _weighting(part.shape[1], rate), part.shape[1])
        powers.append(weighted.unflatten(1, (-1, hop))[:, RINGING:].square().mean(-1).sum(0))
    return torch.cat(powers) if powers else torch.zeros(0, dtype=torch.float64)


def _weighting(samples: int, rate: int) -> Tensor:
    """The K-weighting of each frequency of a spectrum of so many samples: (samples // 2 + 1,) complex128."""
    # The bilinear transform, z = e^(iw): s = (z - 1) / (z + 1) = i tan(w / 2), over the filter's own place on it.
    turns = torch.arange(samples // 2 + 1, dtype=torch.float64) / samples
    s = 1j * torch.tan(math.pi * turns).clamp(max=1e15)  # half the rate is the analogue filter's infinity
    gain = 10 ** (SHELF_DB / 20)
    p = s / math.tan(math.pi * SHELF_HZ / rate)
    shelf = (gain * p * p + gain**SHELF_MIDDLE / SHELF_Q * p + 1) / (p * p + p / SHELF_Q + 1)
    place = math.tan(math.pi * PASS_HZ / rate)
    p = s / place
    # The standard's table has a plain 1, -2, 1 above the line, which passes high tones by this much louder than 1.
    return shelf * (1 + place / PASS_Q + place**2) * p * p / (p * p + p / PASS_Q + 1)
