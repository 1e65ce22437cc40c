"""Whatever form a sound, a video or a picture is given in, the model hears and sees the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from audiox_core import Sound
from audiox_core.errors import InputError, MediaError
from audiox_core.media import probe, read_audio, write_audio, write_picture
from audiox_core.media.decode import Pictures, Upright
from audiox_core.media.inputs import image_of, sound_of, video_of
from audiox_core.media.shown import Shown
from audiox_core.memory.machine import measure
from audiox_core.pipeline import Pipeline

SAMPLE = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"
QUICK: dict[str, Any] = {"steps": 1, "seconds": 0.5}


@pytest.fixture(scope="module")
def frames() -> tuple[Tensor, Fraction]:
    """The pictures of the sample (F, H, W, 3) uint8, and its rate."""
    upright = Upright()
    pictures = torch.stack([upright(frame).clone() for _, frame in Pictures(SAMPLE)])
    return pictures, Fraction(probe(SAMPLE).fps or 0).limit_denominator(1001)


def noise(rate: int, channels: int = 2) -> Tensor:
    return 0.1 * torch.randn(channels, rate, generator=torch.Generator().manual_seed(0))


def test_a_sound_in_any_form(pipe: Pipeline, tmp_path: Path) -> None:
    wave = noise(44100)
    path = write_audio(tmp_path / "a.wav", wave, 44100)
    expected = pipe(audio=path, **QUICK).waveform
    assert not torch.equal(expected, pipe(audio=wave.flip(1), **QUICK).waveform)
    with path.open("rb") as file:
        for given in (
            str(path),
            file,
            wave,
            wave[None],
            wave.numpy(),
            (wave, 44100),
            [wave.numpy(), np.int64(44100)],
            (wave.double(), 44100),
            Sound(wave, 44100),
            {"waveform": wave[None], "sample_rate": 44100},
        ):
            assert torch.equal(pipe(audio=given, **QUICK).waveform, expected), type(given)
            assert torch.equal(pipe.vary(given, 0).waveform, wave), type(given)


@pytest.mark.parametrize("channels", [1, 2])
def test_a_sound_brings_its_rate(channels: int, tmp_path: Path) -> None:
    wave = noise(22050, channels)
    read = read_audio(write_audio(tmp_path / "a.wav", wave, 22050), sample_rate=44100)
    assert torch.equal(sound_of("audio", (wave, 22050), 44100), read)
    assert torch.equal(sound_of("audio", Sound(wave, 22050), 44100), read)
    if channels == 1:
        assert torch.equal(sound_of("audio", (wave[0].numpy(), 22050), 44100), read)


def test_a_sound_that_is_none() -> None:
    with pytest.raises(MediaError, match="NaN"):
        sound_of("source", (torch.full((2, 9), torch.nan), 44100), 44100)
    with pytest.raises(InputError, match=r"source: expected a file or a sound, got dict"):
        sound_of("source", {"samples": torch.zeros(2, 9)}, 44100)
    with pytest.raises(InputError, match="one sound as"):
        sound_of("audio", {"waveform": torch.zeros(3, 2, 9), "sample_rate": 44100}, 44100)


def test_frames_with_their_rate_are_a_video(pipe: Pipeline, frames: tuple[Tensor, Fraction]) -> None:
    pictures, fps = frames
    expected = pipe(video=SAMPLE, start=1.5, **QUICK).waveform
    assert not torch.equal(expected, pipe(video=SAMPLE, **QUICK).waveform)
    for given in (
        (pictures, fps),
        (pictures.numpy(), float(fps)),
        (pictures.float() / 255, fps),
        ([Image.fromarray(picture.numpy()) for picture in pictures], fps),
    ):
        assert torch.equal(pipe(video=given, start=1.5, **QUICK).waveform, expected)


def test_frames_last_as_long_as_their_rate_says(pipe: Pipeline, frames: tuple[Tensor, Fraction]) -> None:
    pictures, _ = frames
    assert pipe(video=(pictures[:30], 20), seconds=0, start=0.5, steps=1).seconds == pytest.approx(1.0)
    with pytest.raises(InputError, match=r"start is 2 s, the video lasts 1\.50 s"):
        pipe(video=(pictures[:30], 20), start=2.0, **QUICK)
    with pytest.raises(InputError, match="the video in memory doesn't say how long"):
        pipe(video=(pictures[:1], 20), seconds=0, steps=1)
    long = pipe(video=(pictures, 5), seconds=0, steps=1)  # in windows, each of which sees its own stretch
    assert long.seconds == pytest.approx(len(pictures) / 5) and len(long.windows) > 1


def test_a_picture_in_any_form(pipe: Pipeline, tmp_path: Path) -> None:
    picture = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    path = write_picture(tmp_path / "a.png", picture)
    expected = pipe(image=path, **QUICK).waveform
    alpha = torch.cat([picture, torch.zeros(48, 64, 1, dtype=torch.uint8)], dim=-1)
    for given in (
        Image.open(path),
        Image.fromarray(picture.numpy()),
        Image.fromarray(alpha.numpy(), "RGBA"),
        picture,
        picture[None].numpy(),
        picture.float() / 255,
        alpha,
    ):
        assert torch.equal(pipe(image=given, **QUICK).waveform, expected)


def test_a_photo_is_turned_upright(tmp_path: Path) -> None:
    picture = Image.fromarray(np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture.save(tmp_path / "a.png", exif=exif)
    found = image_of(Image.open(tmp_path / "a.png"))
    assert torch.equal(found.images[0], torch.rot90(torch.from_numpy(np.array(picture)), -1))


def test_a_lists_pictures_are_checked(frames: tuple[Tensor, Fraction]) -> None:
    with pytest.raises(InputError, match="video: frames: list is not an array"):
        video_of(([], 25))
    shown = Shown(frames[0][:2], 25)
    assert video_of(shown) is shown and image_of(shown) is shown


def test_a_sound_is_saved_with_frames(frames: tuple[Tensor, Fraction], tmp_path: Path) -> None:
    sound = Sound(noise(44100), 44100)
    path = sound.save_with_video((frames[0][:40], 20), tmp_path / "a.mp4", offset=0.5)
    info = probe(path)
    assert info.has_audio and info.has_video and info.duration == pytest.approx(2.0, abs=0.05)
    heard = read_audio(path)
    assert heard[:, :20000].abs().max() < 0.01 < heard[:, 30000:50000].abs().max()
    for options in ({"mode": "mix"}, {"keep_rest": True}, {"fade_in": 1.0}):
        with pytest.raises(InputError, match="frames have no sound of their own"):
            sound.save_with_video((frames[0][:40], 20), tmp_path / "b.mp4", **options)
    assert not (tmp_path / "b.mp4").exists()


def test_a_device_may_be_torchs_own() -> None:
    assert measure(torch.device("cpu")).device == measure("cpu").device == "cpu"
