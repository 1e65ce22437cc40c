"""The kinds of compressed sound file that are written, by their endings."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ..errors import MediaError
from .reading import pyav
from .resampling import resample

LEAST, MOST = 16_000, 320_000  # bits a second
EACH = 256_000  # of them for a channel at most


class Compressed(NamedTuple):
    """FFmpeg's format and encoder, PyAV's sample format, the rates in Hz that there are, bits a second."""

    format: str
    codec: str
    kind: str
    rates: tuple[int, ...]
    bit_rate: int


OLD = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
OPUS = Compressed("ogg", "libopus", "flt", (48000,), 192_000)
COMPRESSED = {
    ".mp3": Compressed("mp3", "libmp3lame", "fltp", OLD, 256_000),
    ".m4a": Compressed("ipod", "aac", "fltp", (*OLD, 64000, 88200, 96000), 256_000),
    ".ogg": OPUS,
    ".opus": OPUS,
}


def fitted(sound: Tensor, rate: int, suffix: str) -> tuple[Tensor, int]:
    """A sound (C, N) as it is to be encoded for an ending, within -1..1, and the rate in Hz that it has then.

    The rate is the sound's own, else the next one above that there is, else the highest. Raises MediaError where PyAV
    lacks the encoder.
    """
    kind = COMPRESSED[suffix]
    if kind.codec not in pyav().codecs_available:
        raise MediaError(
            f"This build of PyAV has no {kind.codec}, which {suffix} needs. Write .wav or .flac, or install the wheel "
            "from PyPI: pip install av"
        )
    best = min((r for r in kind.rates if r >= rate), default=kind.rates[-1])
    return resample(sound, rate, best).clamp(-1, 1), best
