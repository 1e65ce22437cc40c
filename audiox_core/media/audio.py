"""Sound from and to files, and the few changes a model needs: rate, channels, length, peak."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from .files import Source, name_of, pyav, suffix_of, whole_file
from .samples import read_samples
from .track import SoundTrack

AUDIO_SUFFIXES = (".wav", ".flac")
# per extension: option -> (codec, sample format); the first is the default
SUBTYPES = {
    ".wav": {"float32": ("pcm_f32le", "flt"), "int16": ("pcm_s16le", "s16")},
    ".flac": {"int24": ("flac", "s32"), "int16": ("flac", "s16")},
}
# Seconds read around a window that is resampled, so that its edges equal those of the whole sound resampled.
CONTEXT = Fraction(1, 4)


def read_audio(
    source: Source, *, start: float = 0.0, seconds: float | Fraction | None = None, sample_rate: int = 44100
) -> Tensor:
    """The sound of any audio or video file: float32 (2, N) at `sample_rate`, full scale 1.

    It begins exactly `start` seconds after the first sample and lasts `seconds` (None: to the end), less
    where the file ends sooner. Mono is doubled, of more than two channels the first two are kept. Only what
    is needed is decoded. Raises MediaError for files without sound, broken ones, a `start` past the end, NaN
    or infinity.
    """
    name = name_of(source)
    begin, length = _window(name, start, seconds)
    read_from = max(begin - CONTEXT, Fraction(0))
    found = read_samples(source, read_from, None if length is None else begin + length + CONTEXT - read_from)
    lead = round(begin * found.rate) - found.first
    if found.waveform.shape[1] <= lead:
        until = "" if found.announced is None else f" ({found.announced:.3f} s)"
        raise MediaError(f"{name}: start={start:g} s is past the end of the sound{until}. Choose an earlier start.")
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

    `source` is a file, or a waveform (C, N) that is already at `sample_rate`. Raises MediaError as
    `read_audio` does.
    """
    if not isinstance(source, Tensor):
        sound = read_audio(source, start=start, seconds=Fraction(samples, sample_rate), sample_rate=sample_rate)
        return fit(sound, samples, pad="start")
    begin, _ = _window("the waveform", start, None)
    sound = to_stereo(check_waveform(source))[:, round(begin * sample_rate) :][:, :samples]
    if sound.shape[1] == 0:
        length = source.shape[-1] / sample_rate
        raise MediaError(f"the waveform: start={start:g} s is past its end ({length:.3f} s). Choose an earlier start.")
    return fit(sound, samples, pad="start")


def prepare(waveform: Tensor, from_rate: int, n: int, sample_rate: int = 44100) -> Tensor:
    """Initial audio: (C, N) at `from_rate` as (2, n) at `sample_rate`: resampled, cut or zero-padded at the
    end, stereo.
    """
    return to_stereo(fit(resample(check_waveform(waveform), from_rate, sample_rate), n))


def to_stereo(waveform: Tensor) -> Tensor:
    """(..., C, N) as (..., 2, N): mono is doubled, of more than two channels the first two are kept."""
    if waveform.ndim < 2 or waveform.shape[-2] == 0:
        raise InputError(f"waveform has shape {tuple(waveform.shape)}. Give (channels, samples).")
    if waveform.shape[-2] == 1:
        return waveform.expand(*waveform.shape[:-2], 2, -1).contiguous()
    return waveform[..., :2, :]


def resample(waveform: Tensor, from_rate: int, to_rate: int) -> Tensor:
    """(..., N) at `from_rate` Hz as (..., ceil(N to_rate / from_rate)): Hann-windowed sinc, torchaudio's
    defaults.
    """
    for rate in (from_rate, to_rate):
        if not (isinstance(rate, int) and rate > 0):
            raise InputError(f"sample rate {rate!r}. Give a whole number of samples a second above 0.")
    if from_rate == to_rate or waveform.shape[-1] == 0:
        return waveform
    try:
        from torchaudio.transforms import Resample
    except (ImportError, OSError) as error:
        raise MediaError(
            f"Sound at {from_rate} Hz must be resampled to {to_rate} Hz, which needs the package torchaudio; "
            f"it cannot be imported ({error}). Install the torchaudio that belongs to torch {torch.__version__}, "
            f"or give sound at {to_rate} Hz."
        ) from error
    converted: Tensor = Resample(from_rate, to_rate)(waveform)
    return converted


def fit(waveform: Tensor, n: int, pad: str = "end") -> Tensor:
    """(..., N) as (..., n): what is too long is cut at the end, what is too short gets zeros at its `pad`
    ("end" or "start").
    """
    if pad not in ("end", "start"):
        raise InputError(f"pad={pad!r}. Valid: end, start.")
    missing = n - waveform.shape[-1]
    if missing <= 0:
        return waveform[..., :n]
    return torch.nn.functional.pad(waveform, (0, missing) if pad == "end" else (missing, 0))


def normalize_peak(waveform: Tensor, peak: float = 1.0) -> Tensor:
    """The waveform scaled so that its largest magnitude is `peak`; silence stays silence."""
    loudest = waveform.abs().max() if waveform.numel() else 0
    return waveform / loudest * peak if loudest > 0 else waveform


def check_waveform(waveform: Tensor) -> Tensor:
    """The waveform (C, N) or (1, C, N) as (C, N) float32 on the CPU. Raises InputError for other shapes and
    types, MediaError for NaN and infinity.
    """
    if isinstance(waveform, Tensor) and waveform.ndim == 3 and len(waveform) == 1:
        waveform = waveform[0]
    if not isinstance(waveform, Tensor) or waveform.ndim != 2 or 0 in waveform.shape:
        shape = tuple(getattr(waveform, "shape", ()))
        raise InputError(f"waveform has shape {shape}. Give one sound as (channels, samples), neither of them 0.")
    if not waveform.is_floating_point():
        raise InputError(f"waveform is {waveform.dtype}. Give floating point samples, full scale 1.")
    waveform = waveform.detach().float().cpu()
    broken = int((~torch.isfinite(waveform)).sum())
    if broken:
        raise MediaError(
            f"waveform: {broken} of {waveform.numel()} samples are NaN or infinite. "
            "Generate it in a higher precision, or check the weights."
        )
    return waveform


def write_audio(
    path: str | os.PathLike[str], waveform: Tensor, sample_rate: int, *, subtype: str | None = None
) -> Path:
    """Writes (C, N) or (1, C, N), C 1 or 2, full scale 1, and returns the path.

    .wav as "float32" (default, values beyond 1 are kept) or "int16"; .flac as "int24" (default) or "int16".
    Integers are clipped to -1..1 and cut towards zero, as the reference does. The file appears whole or not
    at all; an existing one is kept until then. Raises MediaError for unknown extensions, NaN, and places that
    cannot be written; InputError for other wrong arguments.
    """
    suffix = suffix_of(os.fspath(path), AUDIO_SUFFIXES)
    kinds = SUBTYPES[suffix]
    if subtype is not None and subtype not in kinds:
        raise InputError(f"subtype {subtype!r} does not exist for {suffix}. Valid: {', '.join(kinds)}.")
    sound = check_waveform(waveform)
    if len(sound) > 2 or not (isinstance(sample_rate, int) and sample_rate > 0):
        raise InputError(f"{len(sound)} channels at {sample_rate} Hz. Give 1 or 2 channels and a whole rate above 0.")
    codec, kind = kinds[subtype or next(iter(kinds))]
    av = pyav()
    # bitexact: the same samples give the same file
    with (
        whole_file(path) as file,
        av.open(file, "w", format=suffix[1:], options={"fflags": "bitexact"}) as container,
    ):
        track = SoundTrack(container, codec, kind, sample_rate, quantize(sound, kind))
        track.write(None)
    return Path(path)


def quantize(waveform: Tensor, kind: str) -> Tensor:
    """float32 (C, N) as PyAV's sample format `kind`: "flt" and "fltp" as it is, "s16" int16, "s32" 24 bits in
    the upper part of int32.
    """
    if kind == "s16":
        return (waveform.clamp(-1, 1) * 32767).to(torch.int16)
    if kind == "s32":
        return (waveform.double().clamp(-1, 1) * 8388607).to(torch.int32) * 256
    return waveform


def _window(name: str, start: float, seconds: float | Fraction | None) -> tuple[Fraction, Fraction | None]:
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"{name}: start={start} s. Give seconds from the beginning, 0 or more.")
    if seconds is not None and not (math.isfinite(seconds) and seconds > 0):
        raise MediaError(f"{name}: seconds={seconds}. Give a length above 0.")
    return Fraction(start), None if seconds is None else Fraction(seconds)
