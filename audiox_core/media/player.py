"""A sound as a notebook shows it: a player and its spectrogram, in HTML that needs no file beside it."""

from __future__ import annotations

import wave
from base64 import b64encode
from collections.abc import Iterable
from html import escape
from io import BytesIO
from typing import Any

from torch import Tensor

from .audio import check_waveform, quantize
from .checks import check_rate
from .drawn import png_bytes
from .spans import Span
from .spectrogram import spectrogram_image

HEARD_SECONDS = 60  # what a notebook keeps of a sound at most: 14 MB at 44.1 kHz in stereo
WIDTH, HEIGHT = 800, 240  # pixels of the spectrogram


def player(
    waveform: Tensor, sample_rate: int, title: str, *, regions: Iterable[Span] = (), windows: Iterable[Span] = ()
) -> str:
    """HTML with a title, the sound (C, N) as 16-bit WAV in an audio element, and the spectrogram of what is heard.

    Of more than HEARD_SECONDS only the first ones are put in, which a line beneath says. regions and windows, pairs of
    seconds, are marked. Raises InputError and MediaError as check_waveform does.
    """
    sound, sample_rate = check_waveform(waveform), check_rate(sample_rate)
    heard = sound[:, : HEARD_SECONDS * sample_rate]
    until = heard.shape[1] / sample_rate
    marks: dict[str, Any] = {
        name: [(start, end) for start, end in spans if start < until]
        for name, spans in (("regions", regions), ("windows", windows))
    }
    picture = png_bytes(spectrogram_image(heard, sample_rate, WIDTH, HEIGHT, **marks))
    lines = [
        f"<div>{escape(title)}</div>",
        f'<audio controls src="{_data("audio/wav", wav_bytes(heard, sample_rate))}"></audio>',
        f'<div><img alt="spectrogram" style="max-width: 100%" src="{_data("image/png", picture)}"></div>',
    ]
    if heard.shape[1] < sound.shape[1]:
        lines.append(f"<div>The first {HEARD_SECONDS} seconds are shown; save() writes all of it.</div>")
    return "\n".join(lines)


def wav_bytes(waveform: Tensor, sample_rate: int) -> bytes:
    """(C, N) float, full scale 1 and clipped there, as the bytes of a 16-bit WAV file."""
    file = BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(waveform.shape[0])
        out.setsampwidth(2)
        out.setframerate(sample_rate)
        out.writeframes(quantize(waveform, "s16").T.contiguous().numpy().astype("<i2").tobytes())
    return file.getvalue()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode('ascii')}"
