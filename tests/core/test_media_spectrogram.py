"""The spectrogram shows pitch, time and loudness where its numbers say; picture files hold what was drawn."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from audiox_core.errors import InputError, MediaError
from audiox_core.media import axes as axes_module
from audiox_core.media import read_image, spectrogram, spectrogram_image, write_picture
from audiox_core.media.axes import DIM, PALE, REGION, WAVE, WINDOW, Axes
from audiox_core.media.lettering import wide, write

ROOT = Path(__file__).parents[2]


def tone(hertz: float, seconds: float = 2, rate: int = 44100) -> torch.Tensor:
    return 0.5 * torch.sin(2 * torch.pi * hertz * torch.arange(int(seconds * rate)) / rate).repeat(2, 1)


@pytest.mark.parametrize("hertz", [60, 440, 5000, 15000])
def test_a_tone_is_a_bright_line_at_its_pitch(hertz: float) -> None:
    image = spectrogram_image(tone(hertz), 44100, width=300, height=200, axes=False)
    assert image.shape == (200, 300, 3)
    assert image.dtype == torch.uint8
    row = 199 - int(image[:, 150].float().sum(-1).argmax())
    found = 40 * (22050 / 40) ** (row / 199)
    assert found == pytest.approx(hertz, rel=0.2 if hertz < 100 else 0.04)


def test_time_runs_to_the_right() -> None:
    sound = torch.zeros(2, 88200)
    sound[:, 66150:] = tone(1000, 0.5)
    light = spectrogram_image(sound, 44100, width=200, axes=False).float().amax((0, 2))
    assert light[:140].max() < 60
    assert light[160:].min() > 200


def test_silence_short_and_quiet_sounds() -> None:
    silence = spectrogram_image(torch.zeros(1, 44100), 44100, axes=False)
    assert len(silence.flatten(0, 1).unique(dim=0)) == 1
    assert spectrogram_image(torch.zeros(1, 3), 44100, width=50, height=40).shape == (40, 50, 3)
    loud = spectrogram_image(tone(500), 44100, axes=False)
    assert (loud.int() - spectrogram_image(tone(500) / 500, 44100, axes=False)).abs().max() <= 1
    with pytest.raises(InputError, match="width=1"):
        spectrogram_image(tone(500), 44100, width=1)
    with pytest.raises(InputError, match="scale 'bark' does not exist"):
        spectrogram_image(tone(500), 44100, scale="bark")


@pytest.mark.parametrize("hertz", [60, 440, 5000, 15000])
def test_mel_rows_are_as_far_apart_as_they_are_heard(hertz: float) -> None:
    image = spectrogram_image(tone(hertz), 44100, width=300, height=400, axes=False, scale="mel")
    row = 399 - int(image[:, 150].float().sum(-1).argmax())
    found = 700 * (10 ** (row / 399 * math.log10(1 + 22050 / 700)) - 1)
    assert found == pytest.approx(hertz, rel=0.04, abs=15)


def test_files_by_their_endings(tmp_path: Path) -> None:
    """PNG keeps every pixel; JPEG is near to it, letters and colours alike."""
    image = torch.randint(0, 256, (33, 47, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    path = write_picture(tmp_path / "bild ä.png", image)
    assert torch.equal(read_image(path), image.permute(2, 0, 1))
    assert write_picture(tmp_path / "strided.png", image[:, ::2]).exists()
    drawn = spectrogram_image(tone(500), 44100, width=400, height=200)
    for ending in (".jpg", ".JPEG"):
        path = write_picture(tmp_path / f"a{ending}", drawn)
        assert path.read_bytes()[:3] == b"\xff\xd8\xff"
        assert (read_image(path).float() - drawn.permute(2, 0, 1).float()).abs().mean() < 2
    (tmp_path / "file").touch()
    for target, said in [
        (tmp_path / "a.gif", r"unknown extension '.gif'. Valid: .png, .jpg, .jpeg"),
        (tmp_path / "file" / "a.png", "cannot be written"),
    ]:
        with pytest.raises(MediaError, match=said):
            write_picture(target, image)
    for target in (tmp_path / "a.png", tmp_path / "a.jpg"):
        with pytest.raises(InputError, match="uint8"):
            write_picture(target, image.float())


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
    power = spectrogram._bands(60, 44100) @ power  # (60, T), all at once
    pooled = torch.nn.functional.adaptive_max_pool1d(power[None], width)[0]
    for spectra in (1, 37, 2048):
        monkeypatch.setattr(spectrogram, "SPECTRA", spectra)
        found = spectrogram._power(sound, width, spectrogram._bands(60, 44100))
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


def same(image: torch.Tensor, colour: tuple[int, int, int]) -> torch.Tensor:
    """Where a picture has a colour, (H, W) bool."""
    return (image == torch.tensor(colour, dtype=torch.uint8)).all(-1)


def places(seconds: float, rate: int, width: int, height: int, **options: object) -> Axes:
    given = {"scale": "log", "numbers": True, "show_waveform": False, **options}
    scale = str(given.pop("scale"))
    return Axes.within(torch.empty(height, width, 3), seconds, rate, scale, **given)  # type: ignore[arg-type]


def test_ticks_are_where_the_tones_are() -> None:
    """A tone of 1 kHz is brightest in the row of the tick of 1 kHz, a click in the column of its second."""
    sound = tone(1000, 4) * 0.1
    sound[:, 3 * 44100] = 20
    image = spectrogram_image(sound, 44100, width=640, height=300)
    frame = places(4, 44100, 640, 300)
    plot = frame.plot
    ticks = same(image[:, plot.left - 2 * frame.dot : plot.left], PALE).all(1).nonzero()[:, 0].tolist()
    light = plot.of(image).float().sum(-1)
    assert plot.top + int(light[:, : plot.width // 2].mean(1).argmax()) == pytest.approx(frame.row(1000), abs=1)
    numbers = [50, 100, 200, 500, 1000, 2000, 5000, 10000]
    assert ticks[:: frame.dot] == sorted(frame.row(hertz) for hertz in numbers)
    assert plot.left + int(light[: plot.height // 3].mean(0).argmax()) == pytest.approx(frame.column(3), abs=3)
    below = same(image[plot.bottom : plot.bottom + 2 * frame.dot], PALE).all(0).nonzero()[:, 0].tolist()
    assert [c for c in below if c < plot.right][:: frame.dot] == [frame.column(s / 2) for s in range(9)]


@pytest.mark.parametrize(
    ("seconds", "rate", "scale", "said"),
    [
        (0.05, 44100, "log", {"0.00", "0.05", "500", "10k", "-80", "Hz", "dB", "s"}),
        (10.0, 44100, "log", {"0", "2", "10", "1k", "-20", "s"}),
        (10.0, 44100, "mel", {"0", "10", "1k", "5k", "10k", "20k"}),
        (119.0, 44100, "log", {"0", "60", "s"}),
        (200.0, 44100, "log", {"0:00", "1:00", "3:00", "min"}),
        (3600.0, 8000, "log", {"0:00", "30:00", "60:00", "2k"}),
        (2.0, 500_000, "log", {"100k"}),
    ],
)
def test_numbers_are_those_of_the_sound(
    seconds: float, rate: int, scale: str, said: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All texts, none of which touches another or the plot, or leaves the picture."""
    texts: list[tuple[str, int, int, int, int]] = []

    def noted(image: torch.Tensor, text: str, left: int, top: int, size: int, colour: torch.Tensor) -> None:
        texts.append((text, left, top, left + wide(text, size), top + 7 * size))
        write(image, text, left, top, size, colour)

    monkeypatch.setattr(axes_module, "write", noted)
    for width, height in ((1024, 384), (640, 240), (300, 120), (2000, 1500)):
        texts.clear()
        image = torch.zeros(height, width, 3, dtype=torch.uint8)
        frame = places(seconds, rate, width, height, scale=scale)
        bar = torch.zeros(frame.plot.height, 1, 3, dtype=torch.uint8)
        frame.draw(image, torch.zeros(1, 4), bar, 80, regions=[], windows=[])
        if width == 1024:
            assert said <= {text for text, *_ in texts}
        assert not frame.plot.of(image).any()
        for number, (text, left, top, right, bottom) in enumerate(texts):
            assert left >= 0 and top >= 0 and right <= width and bottom <= height, text
            for other, a, b, c, d in texts[:number]:
                assert left >= c or right <= a or top >= d or bottom <= b, (text, other, width)


def test_every_letter_is_another_and_what_is_outside_is_cut() -> None:
    white = torch.full((3,), 255, dtype=torch.uint8)
    seen = set()
    for letter in "0123456789-.:HzkdBsmin":
        image = torch.zeros(14, 10, 3, dtype=torch.uint8)
        write(image, letter, 0, 0, 2, white)
        assert torch.equal(image[::2, ::2], image[1::2, 1::2]), "dots of two by two pixels"
        seen.add(tuple(image[::2, ::2, 0].flatten().tolist()))
    assert len(seen) == 22
    whole, cut = torch.zeros(30, 40, 3, dtype=torch.uint8), torch.zeros(10, 12, 3, dtype=torch.uint8)
    write(whole, "84", 7, 8, 2, white)
    write(cut, "84", -3, -2, 2, white)
    assert torch.equal(cut, whole[10:20, 10:22])
    write(cut, "8", 500, -500, 2, white)


def test_small_pictures_have_no_numbers() -> None:
    small = spectrogram_image(tone(500), 44100, width=90, height=64)
    assert torch.equal(small, spectrogram_image(tone(500), 44100, width=90, height=64, axes=False))
    assert not torch.equal(
        spectrogram_image(tone(500), 44100, width=300, height=120),
        spectrogram_image(tone(500), 44100, width=300, height=120, axes=False),
    )


def test_the_waveform_stands_above_its_moments() -> None:
    sound = torch.zeros(2, 88200)
    sound[0, 44100:66150], sound[1, 44100:66150] = 0.5, -1.0
    image = spectrogram_image(sound, 44100, width=640, height=320, show_waveform=True)
    frame = places(2, 44100, 640, 320, show_waveform=True)
    assert frame.wave is not None and frame.wave.bottom < frame.plot.top
    drawn = same(frame.wave.of(image), WAVE).sum(0)
    first, end = frame.column(1) - frame.wave.left, frame.column(1.5) - frame.wave.left
    assert drawn[: first - 1].max() <= 1 and drawn[end + 1 :].max() <= 1
    assert (drawn[first + 1 : end - 1] / frame.wave.height).mean() == pytest.approx(0.75, abs=0.03)
    rows = same(frame.wave.of(image), WAVE)[:, (first + end) // 2].nonzero()[:, 0]
    assert rows[-1] == frame.wave.height - 1, "full scale is the edge"
    louder = spectrogram_image(sound * 4, 44100, width=640, height=320, show_waveform=True)
    assert same(frame.wave.of(louder), WAVE).sum(0).max() <= frame.wave.height
    bare = spectrogram_image(sound, 44100, width=640, height=320, show_waveform=True, axes=False)
    assert not same(bare, PALE).any() and same(bare, WAVE).any()


def test_regions_and_windows_are_marked_where_they_are() -> None:
    sound, size = tone(500, 10), {"width": 640, "height": 320}
    plain = spectrogram_image(sound, 44100, **size)
    assert not same(plain, REGION).any() and not same(plain, WINDOW).any()
    image = spectrogram_image(sound, 44100, regions="2-3, 8-20", windows=[(0, 6), (4, 10)], **size)
    frame = places(10, 44100, 640, 320)
    strip, lines = image[: frame.plot.top], frame.plot.of(image)
    columns = same(strip, REGION).any(0).nonzero()[:, 0].tolist()
    expected = [*range(frame.column(2), frame.column(3)), *range(frame.column(8), frame.column(10))]
    assert columns == expected
    rows = same(strip, WINDOW)
    assert rows[:, frame.column(5)].sum() == 2 * rows[:, frame.column(2)].sum(), "two rows where they overlap"
    for colour, seconds in ((REGION, (2, 3, 8)), (WINDOW, (4, 6))):
        found = same(lines, colour).any(0).nonzero()[:, 0] + frame.plot.left
        assert found.tolist() == [frame.column(second) for second in seconds]
    for name, value in (("regions", [(10, 11)]), ("windows", [(0, 2), (12, 13)])):
        with pytest.raises(InputError, match=rf"{name}: 1\d-1\d s lies outside the sound, which lasts 10.00 s"):
            spectrogram_image(sound, 44100, **{name: value})
    with pytest.raises(InputError, match="regions: 'x' is not a start and an end"):
        spectrogram_image(sound, 44100, regions="x")
    bare = spectrogram_image(sound, 44100, axes=False, regions=[(2, 3)], **size)
    assert same(bare, REGION).any() and not same(bare, DIM).any()
