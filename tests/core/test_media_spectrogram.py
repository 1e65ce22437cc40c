"""The spectrogram shows pitch, time and loudness where they are, and PNG files hold what was given."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiox_core.errors import InputError, MediaError
from audiox_core.media import read_image, spectrogram, spectrogram_image, write_png

ROOT = Path(__file__).parents[2]


def tone(hertz: float, seconds: float = 2, rate: int = 44100) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate).repeat(2, 1)


@pytest.mark.parametrize("hertz", [60, 440, 5000, 15000])
def test_a_tone_is_a_bright_line_at_its_pitch(hertz: float) -> None:
    image = spectrogram_image(tone(hertz), 44100, width=300, height=200, ticks=False)
    assert image.shape == (200, 300, 3)
    assert image.dtype == torch.uint8
    row = 199 - int(image[:, 150].float().sum(-1).argmax())
    found = 40 * (22050 / 40) ** (row / 199)
    assert found == pytest.approx(hertz, rel=0.2 if hertz < 100 else 0.04)


def test_time_runs_to_the_right() -> None:
    sound = torch.zeros(2, 88200)
    sound[:, 66150:] = tone(1000, 0.5)
    light = spectrogram_image(sound, 44100, width=200, ticks=False).float().amax((0, 2))
    assert light[:140].max() < 60
    assert light[160:].min() > 200


def test_silence_short_and_quiet_sounds_and_ticks() -> None:
    silence = spectrogram_image(torch.zeros(1, 44100), 44100, ticks=False)
    assert len(silence.flatten(0, 1).unique(dim=0)) == 1
    assert spectrogram_image(torch.zeros(1, 3), 44100, width=50, height=40).shape == (40, 50, 3)
    loud = spectrogram_image(tone(500), 44100, ticks=False)
    assert (loud.int() - spectrogram_image(tone(500) / 500, 44100, ticks=False)).abs().max() <= 1
    with_ticks = spectrogram_image(tone(500), 44100)
    assert (with_ticks[-1, 600] == 255).all()  # at one of two seconds
    assert not torch.equal(loud, with_ticks)
    with pytest.raises(InputError, match="width=1"):
        spectrogram_image(tone(500), 44100, width=1)


def test_png_files(tmp_path: Path) -> None:
    image = torch.randint(0, 256, (33, 47, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    path = write_png(tmp_path / "bild ä.png", image)
    assert torch.equal(read_image(path), image.permute(2, 0, 1))
    assert write_png(tmp_path / "strided.png", image[:, ::2]).exists()
    (tmp_path / "file").touch()
    for target, said in [
        (tmp_path / "a.jpg", r"unknown extension"),
        (tmp_path / "file" / "a.png", "cannot be written"),
    ]:
        with pytest.raises(MediaError, match=said):
            write_png(target, image)
    with pytest.raises(InputError, match="uint8"):
        write_png(tmp_path / "a.png", image.float())


@pytest.mark.parametrize(("samples", "width"), [(3, 50), (2047, 300), (88_201, 777), (500_000, 40)])
def test_computed_in_parts_it_is_the_picture_of_the_whole(
    samples: int, width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sound = torch.randn(2, samples, generator=torch.Generator().manual_seed(0)) * torch.linspace(0, 1, samples)
    mono, hop = sound.mean(0), min(max(samples // width, 64), spectrogram.WINDOW // 2)
    half = spectrogram.WINDOW // 2
    padded = torch.nn.functional.pad(mono, (half, half + hop))
    window = torch.hann_window(spectrogram.WINDOW)
    power = torch.stft(padded, 2 * half, hop, window=window, center=False, return_complex=True).abs() ** 2
    power = spectrogram._log_bands(60, 44100) @ power  # (60, T), all at once
    pooled = torch.nn.functional.adaptive_max_pool1d(power[None], width)[0]
    for spectra in (1, 37, 2048):
        monkeypatch.setattr(spectrogram, "SPECTRA", spectra)
        found = spectrogram._power(sound, width, spectrogram._log_bands(60, 44100))
        assert torch.allclose(found, pooled, rtol=1e-4, atol=1e-6)


def test_a_long_sound_takes_little_more_memory_than_itself() -> None:
    code = """
import resource, torch
from audiox_core.media import spectrogram_image
spectrogram_image(torch.zeros(2, 44100), 44100)
sound = torch.ones(1, 1).expand(2, 44100 * 600)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
assert spectrogram_image(sound, 44100, height=60).shape == (60, 1200, 3)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert int(done.stdout) < 250_000  # KiB; ten minutes at once took 700 MB


def test_ticks_are_in_their_rows_and_columns() -> None:
    """Seconds at the bottom, each fifth one longer; 100, 1000 and 10000 Hz on the left, where a tone would lie."""
    image = spectrogram_image(torch.zeros(1, 44100 * 6), 44100, width=240, height=200)
    dark = spectrogram_image(torch.zeros(1, 44100 * 6), 44100, width=240, height=200, ticks=False)
    marked = (image != dark).any(-1)
    rows = [199 - round(199 * math.log(hertz / 40) / math.log(22050 / 40)) for hertz in (10000, 1000, 100)]
    assert marked[:, 0].nonzero()[:, 0].tolist() == rows == [25, 98, 170]
    assert marked[:180].sum() == 3 * 8 and marked[rows][:, :8].all()
    long = {column: 10 if column == 200 else 5 for column in (40, 80, 120, 160, 200)}
    assert {int(c): int(marked[180:, c].sum()) for c in marked[180:].any(0).nonzero()[:, 0]} == long
    assert marked[-1, list(long)].all()
    low = spectrogram_image(torch.zeros(1, 2000), 2000, width=40, height=100) != spectrogram_image(
        torch.zeros(1, 2000), 2000, width=40, height=100, ticks=False
    )
    assert int(low[:, 0].any(-1).sum()) == 1, "of 2000 samples a second there is nothing at 1000 Hz"
