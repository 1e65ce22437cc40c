"""Sound from and to files, and the few changes a model needs: rate, channels, length, peak."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError, MediaError
from . import compressed
from .checks import HIGHEST_RATE, LOWEST_RATE, MOST_SAMPLES, check_rate, check_seconds, check_start, tensor_of, whole
from .compressed import COMPRESSED
from .reading import Source, name_of, pyav
from .resampling import resample
from .samples import read_samples
from .track import SoundTrack
from .writing import suffix_of, whole_file

MOST_CHANNELS = 256  # more are samples in the place of channels
# per extension of what is written without loss: option -> (codec, sample format); the first is the default
SUBTYPES = {
    ".wav": {"float32": ("pcm_f32le", "flt"), "int16": ("pcm_s16le", "s16")},
    ".flac": {"int24": ("flac", "s32"), "int16": ("flac", "s16")},
}
AUDIO_SUFFIXES = (*SUBTYPES, *COMPRESSED)
# Seconds read around a window that is resampled, so that its edges equal those of the whole sound resampled.
CONTEXT = Fraction(1, 4)


def read_audio(
    source: Source, *, start: float = 0.0, seconds: float | Fraction | None = None, sample_rate: int = 44100
) -> Tensor:
    """The sound of any audio or video file: float32 (2, N) at `sample_rate`, full scale 1.

    It begins exactly `start` seconds after the first sample and lasts `seconds` (None: to the end), less
    where the file ends sooner. Mono is doubled, of more than two channels the first two are kept. Only what
    is needed is decoded. Raises MediaError for files without sound, broken ones, a `start` past the end, NaN
    or infinity, InputError for arguments of the wrong kind and rates outside 10 Hz to 1 MHz.
    """
    name = name_of(source)
    sample_rate = check_rate(sample_rate)
    begin, length = _window(name, start, seconds)
    if length is not None and round(length * sample_rate) < 1:
        raise MediaError(f"{name}: seconds={float(length):g} is less than a sample at {sample_rate} Hz. Give more.")
    read_from = max(begin - CONTEXT, Fraction(0))
    found = read_samples(source, read_from, None if length is None else begin + length + CONTEXT - read_from)
    lead = round(begin * found.rate) - found.first
    if not LOWEST_RATE <= found.rate <= HIGHEST_RATE:
        raise MediaError(f"{name}: its sound has {found.rate} samples a second. Convert it to 44100 Hz.")
    if found.waveform.shape[1] <= lead:
        until = "" if found.announced is None else f" ({found.announced:.3f} s)"
        raise MediaError(
            f"{name}: start={float(begin):g} s is past the end of the sound{until}. Choose an earlier start."
        )
    # cut the context to whole periods of the two rates, where samples of the one fall on samples of the other
    period = found.rate // math.gcd(found.rate, sample_rate)
    kept = lead // period * period
    waveform = resample(found.waveform[:, lead - kept :], found.rate, sample_rate)  # (2, N)
    inside = math.ceil((found.waveform.shape[1] - lead) * sample_rate / found.rate)
    wanted = inside if length is None else min(inside, round(length * sample_rate))
    first = kept * sample_rate // found.rate
    return waveform[:, first : first + wanted].contiguous()


def prompt_audio(
    source: Source | Tensor, *, start: float = 0.0, samples: int = 441_000, sample_rate: int = 44100
) -> Tensor:
    """The audio prompt: float32 (2, samples) from `start` seconds on; what is too short gets silence at the
    FRONT.

    `source` is a file, or a waveform (C, N), tensor or numpy array, that is already at `sample_rate`. Raises
    MediaError and InputError as `read_audio` does.
    """
    samples, sample_rate = whole(samples, "samples", 1, MOST_SAMPLES), check_rate(sample_rate)
    if not isinstance(source, (Tensor, np.ndarray)):
        sound = read_audio(source, start=start, seconds=Fraction(samples, sample_rate), sample_rate=sample_rate)
        return fit(sound, samples, pad="start")
    whole_sound = check_waveform(source)
    begin, _ = _window("the waveform", start, None)
    sound = to_stereo(whole_sound)[:, round(begin * sample_rate) :][:, :samples]
    if sound.shape[1] == 0:
        length = whole_sound.shape[1] / sample_rate
        raise MediaError(
            f"the waveform: start={float(begin):g} s is past its end ({length:.3f} s). Choose an earlier start."
        )
    return fit(sound, samples, pad="start")


def prepare(waveform: Tensor, from_rate: int, n: int, sample_rate: int = 44100) -> Tensor:
    """Initial audio: (C, N) at `from_rate` as (2, n) at `sample_rate`: resampled, cut or zero-padded at the
    end, stereo.
    """
    return to_stereo(fit(resample(check_waveform(waveform), from_rate, sample_rate), n))


def to_stereo(waveform: Tensor) -> Tensor:
    """(..., C, N) as (..., 2, N): mono is doubled, of more than two channels the first two are kept."""
    waveform = tensor_of(waveform, "waveform")
    if waveform.ndim < 2 or waveform.shape[-2] == 0:
        raise InputError(f"waveform has shape {tuple(waveform.shape)}. Give (channels, samples).")
    if waveform.shape[-2] == 1:
        return waveform.expand(*waveform.shape[:-2], 2, -1).contiguous()
    return waveform[..., :2, :]


def fit(waveform: Tensor, n: int, pad: str = "end") -> Tensor:
    """(..., N) as (..., n): what is too long is cut at the end, what is too short gets zeros at its `pad`
    ("end" or "start"). Raises InputError for another `pad`, and n that is no number of samples.
    """
    if pad not in ("end", "start"):
        raise InputError(f"pad={pad!r}. Valid: end, start.")
    waveform, n = tensor_of(waveform, "waveform"), whole(n, "n", 0, MOST_SAMPLES)
    missing = n - waveform.shape[-1]
    if missing <= 0:
        return waveform[..., :n]
    return torch.nn.functional.pad(waveform, (0, missing) if pad == "end" else (missing, 0))


def normalize_peak(waveform: Tensor, peak: float = 1.0) -> Tensor:
    """The waveform scaled so that its largest magnitude is `peak`; silence stays silence."""
    waveform = tensor_of(waveform, "waveform")
    loudest = waveform.abs().max() if waveform.numel() else 0
    return waveform / loudest * peak if loudest > 0 else waveform


def check_waveform(waveform: Tensor) -> Tensor:
    """The waveform (C, N) or (1, C, N), tensor or numpy array, as a tensor (C, N) float32 on the CPU. Raises
    InputError for other shapes and types and an empty sound, MediaError for NaN and infinity.
    """
    waveform = tensor_of(waveform, "waveform")
    shape = tuple(waveform.shape)
    if waveform.ndim == 3 and len(waveform) == 1:
        waveform = waveform[0]
    if waveform.ndim != 2:
        raise InputError(f"waveform has shape {shape}. Give one sound as (channels, samples).")
    if 0 in shape:
        raise InputError(f"waveform has shape {shape}: the sound is empty. Give at least one sample of one channel.")
    if len(waveform) > MOST_CHANNELS:
        raise InputError(f"waveform has shape {shape}: {len(waveform)} channels. Give it as (channels, samples).")
    if not waveform.is_floating_point():
        raise InputError(f"waveform is {waveform.dtype}. Give floating point samples, full scale 1.")
    waveform = waveform.detach().float().cpu()
    broken = sum(int((~torch.isfinite(part)).sum()) for part in waveform.split(1 << 22, dim=1))
    if broken:
        raise MediaError(
            f"waveform: {broken} of {waveform.numel()} samples are NaN or infinite. Give finite samples, full scale 1."
        )
    return waveform


def write_audio(
    path: str | os.PathLike[str],
    waveform: Tensor,
    sample_rate: int,
    *,
    subtype: str | None = None,
    bit_rate: int | None = None,
    inputs: Iterable[Source] = (),
    exact: bool = False,
) -> Path:
    """Writes (C, N) or (1, C, N), C 1 or 2, full scale 1, and returns the path.

    .wav as "float32" (default, values beyond 1 are kept) or "int16"; .flac as "int24" (default) or "int16".
    Integers are clipped to -1..1 and cut towards zero, as the reference does; `exact` rounds them to steps of
    2**-15 or 2**-23 instead, in which files of so many bits come back bit for bit. .mp3, .m4a (AAC), .ogg and .opus
    (Opus, at 48 kHz) are compressed to `bit_rate` bits a second, 16000 to 320000 (default 256000, Opus 192000). The
    file appears whole or not at all; an existing one is kept until then, a link is written through. Raises MediaError
    for unknown extensions, an encoder that PyAV lacks, NaN, places that cannot be written, and a `path` that is one of
    the `inputs` (files that the sound was made from, which stay); InputError for other wrong arguments.
    """
    suffix = suffix_of(path, AUDIO_SUFFIXES)
    kinds = SUBTYPES.get(suffix, {})
    if subtype is not None and subtype not in kinds:
        valid = f"Valid: {', '.join(kinds)}." if kinds else "Leave it out."
        raise InputError(f"subtype {subtype!r} does not exist for {suffix}. {valid}")
    if bit_rate is not None and kinds:
        raise InputError(f"bit_rate: {suffix} is not compressed to one. Leave it out, or write .mp3, .m4a or .ogg.")
    sound, sample_rate = check_waveform(waveform), check_rate(sample_rate)
    if len(sound) > 2:
        raise InputError(f"waveform has {len(sound)} channels. Give 1 or 2.")
    if kinds:
        name, bits = suffix[1:], None
        codec, kind = kinds[subtype or next(iter(kinds))]
        samples = quantize(sound, kind, exact)
    else:
        name, codec, kind, _, usual = COMPRESSED[suffix]
        bits = usual if bit_rate is None else whole(bit_rate, "bit_rate", compressed.LEAST, compressed.MOST)
        bits = min(bits, compressed.EACH * len(sound))
        samples, sample_rate = compressed.fitted(sound, sample_rate, suffix)
    av = pyav()
    # bitexact: the same samples give the same file
    with (
        whole_file(path, inputs) as file,
        av.open(file, "w", format=name, options={"fflags": "bitexact"}) as container,
    ):
        SoundTrack(container, codec, kind, sample_rate, samples, bit_rate=bits).write(None)
    return Path(path)


def quantize(waveform: Tensor, kind: str, exact: bool = False) -> Tensor:
    """float32 (C, N) as PyAV's sample format `kind`: "flt" and "fltp" as it is, "s16" int16, "s32" 24 bits in
    the upper part of int32. `exact`: what was read from as many bits becomes what it was.
    """
    if exact and kind in ("s16", "s32"):
        full = 32768 if kind == "s16" else 8388608
        steps = (waveform.double() * full).round_().clamp_(-full, full - 1)
        return steps.to(torch.int16) if kind == "s16" else steps.to(torch.int32) * 256
    if kind == "s16":
        return (waveform.clamp(-1, 1) * 32767).to(torch.int16)
    if kind == "s32":
        return (waveform.double().clamp(-1, 1) * 8388607).to(torch.int32) * 256
    return waveform


def _window(name: str, start: object, seconds: object) -> tuple[Fraction, Fraction | None]:
    begin = Fraction(check_start(name, start))
    return begin, None if seconds is None else Fraction(check_seconds(name, seconds))
