"""A sound as people look at it: one line, a numpy array, a player in a notebook."""

from __future__ import annotations

import re
from base64 import b64decode
from io import BytesIO

import av
import numpy as np
import pytest
import torch

from audiox_core import Sound
from audiox_core.errors import MediaError
from audiox_core.media import spectrogram_image
from audiox_core.media.player import HEARD_SECONDS, HEIGHT, WIDTH

RATE = 8000


def tone(seconds: float, channels: int = 2) -> torch.Tensor:
    return (0.5 * torch.sin(torch.arange(round(seconds * RATE)) / 3)).expand(channels, -1).contiguous()


def embedded(html: str, kind: str) -> bytes:
    (data,) = re.findall(rf'src="data:{kind};base64,([^"]+)"', html)
    return b64decode(data, validate=True)


def decoded(wav: bytes) -> torch.Tensor:
    with av.open(BytesIO(wav)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        channels, rate = file.streams.audio[0].channels, file.streams.audio[0].rate
    assert rate == RATE
    return torch.from_numpy(np.concatenate(frames, axis=1).reshape(-1, channels).T.copy()).float() / 32767


@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        (1, "Sound(2.50 s, 8000 Hz, mono)"),
        (2, "Sound(2.50 s, 8000 Hz, stereo)"),
        (6, "Sound(2.50 s, 8000 Hz, 6 channels)"),
    ],
)
def test_a_sound_prints_as_one_line(channels: int, shown: str) -> None:
    assert repr(Sound(tone(2.5, channels), RATE, ("a file",))) == shown


def test_numpy_gives_the_samples_without_a_copy() -> None:
    sound = Sound(tone(0.1), RATE)
    samples = sound.numpy()
    assert samples.dtype == np.float32 and samples.shape == (2, 800)
    assert samples.ctypes.data == sound.waveform.data_ptr()


def test_a_notebook_plays_the_sound_and_shows_its_spectrogram() -> None:
    wave = tone(1.5)
    html = Sound(wave, RATE)._repr_html_()
    assert html.startswith("<div>Sound(1.50 s, 8000 Hz, stereo)</div>") and "<audio controls" in html
    assert (decoded(embedded(html, "audio/wav")) - wave).abs().max() < 1e-4
    with av.open(BytesIO(embedded(html, "image/png"))) as file:
        picture = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(picture, spectrogram_image(wave, RATE, WIDTH, HEIGHT).numpy())
    assert "are shown" not in html


def test_a_long_sound_is_cut_in_a_notebook_and_that_is_said() -> None:
    whole = Sound(tone(HEARD_SECONDS), RATE)._repr_html_()
    longer = Sound(torch.cat([tone(HEARD_SECONDS), torch.ones(2, RATE)], dim=1), RATE)._repr_html_()
    assert "are shown" not in whole and f"The first {HEARD_SECONDS} seconds are shown" in longer
    assert embedded(longer, "audio/wav") == embedded(whole, "audio/wav")
    assert embedded(longer, "image/png") == embedded(whole, "image/png")


def test_what_is_louder_than_full_scale_is_clipped_in_the_player() -> None:
    heard = decoded(embedded(Sound(4 * tone(0.5), RATE)._repr_html_(), "audio/wav"))
    assert heard.abs().max() == 1


def test_a_broken_sound_is_not_shown() -> None:
    with pytest.raises(MediaError, match="NaN"):
        Sound(torch.full((2, 800), torch.nan), RATE)._repr_html_()
