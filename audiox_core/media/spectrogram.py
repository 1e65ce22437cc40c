"""A picture of a sound: time to the right, pitch upwards, loudness as colour, with numbers at its sides."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError
from .audio import check_waveform
from .axes import Axes
from .checks import check_rate, shown, whole
from .pitch import LOWEST_HZ, SCALES, row_hertz
from .spans import Span, check_spans

WINDOW = 2048  # samples of one spectrum: 46 ms at 44.1 kHz, a compromise between pitch and rhythm
SPECTRA = 2048  # computed at once: about 50 MB
LARGEST = 8192  # pixels of a side
RANGE_DB = 80  # what is this much quieter than the loudest spot is black
# From silence to the loudest spot, evenly spaced; lightness rises all the way, so that it also reads in grey.
COLOURS = (
    (6, 5, 20),
    (30, 18, 74),
    (84, 22, 110),
    (140, 36, 110),
    (196, 56, 86),
    (236, 96, 52),
    (250, 160, 46),
    (252, 222, 120),
    (254, 252, 226),
)


def spectrogram_image(
    waveform: Tensor,
    sample_rate: int,
    width: int = 1200,
    height: int = 400,
    *,
    axes: bool = True,
    scale: str = "log",
    show_waveform: bool = False,
    regions: str | Iterable[Sequence[float]] = (),
    windows: Sequence[Span] = (),
) -> Tensor:
    """The spectrogram of (C, N), channels averaged, as (height, width, 3) uint8.

    scale "log" runs from 40 Hz to half the sample rate in equal ratios, "mel" from 0 Hz in steps that sound alike.
    Colours run from the loudest spot down to 80 dB below it. `axes` put numbers at the sides: seconds (minutes:seconds
    from two minutes on), Hz and dB, where the picture has room for them: none below about 110 x 70 pixels.
    `show_waveform` puts the waveform above, all channels in one, from -1 to 1 or as far as it goes. `regions`, pairs of
    seconds or text as `parse_spans` reads it, and `windows`, pairs that may overlap, are marked by bars above the
    picture and lines through it. Raises InputError and MediaError as `check_waveform` does, InputError for sizes
    outside 2 to 8192, an unknown scale, and marks outside the sound.
    """
    check_rate(sample_rate)
    width, height = whole(width, "width", 2, LARGEST), whole(height, "height", 2, LARGEST)
    if not sample_rate > 2 * LOWEST_HZ:
        raise InputError(f"sample_rate={sample_rate} holds nothing above {LOWEST_HZ:g} Hz. Give at least 81.")
    if scale not in SCALES:
        raise InputError(f"scale {shown(scale)} does not exist. Valid: {', '.join(SCALES)}.")
    sound = check_waveform(waveform)
    seconds = sound.shape[1] / sample_rate
    marks = {
        "regions": _inside(check_spans(regions), "regions", seconds),
        "windows": _inside([span for one in windows for span in check_spans([one], "windows")], "windows", seconds),
    }
    image = torch.empty(height, width, 3, dtype=torch.uint8)
    image[:] = torch.tensor(COLOURS[0])
    frame = Axes.within(image, seconds, sample_rate, scale, numbers=axes, show_waveform=show_waveform)
    power = _power(sound, frame.plot.width, _bands(frame.plot.height, sample_rate, scale))
    frame.plot.of(image)[:] = _colours(_level(power)).flip(0)
    frame.draw(image, sound, _colours(torch.linspace(1, 0, frame.plot.height)[:, None]), RANGE_DB, **marks)
    return image


def _inside(spans: Iterable[Span], name: str, seconds: float) -> list[Span]:
    """Spans cut to the sound. Raises InputError for one that lies outside it."""
    found = []
    for start, end in spans:
        if start >= seconds:
            raise InputError(
                f"{name}: {start:g}-{end:g} s lies outside the sound, which lasts {seconds:.2f} s. "
                "Choose an earlier one."
            )
        found.append((start, min(end, seconds)))
    return found


def _power(sound: Tensor, width: int, bands: Tensor) -> Tensor:
    """The power (height, width) of a sound (C, N) in the rows of `bands`, the loudest moment of each column.

    Few columns are computed at a time: the memory does not grow with the sound.
    """
    count = sound.shape[1]
    hop = min(max(count // width, 64), WINDOW // 2)
    spectra = 1 + (count + hop) // hop  # the first one around the first sample, the last one after the last
    window = torch.hann_window(WINDOW)
    at_once = max(SPECTRA * width // spectra, 1)  # columns
    power = torch.empty(len(bands), width)
    for left in range(0, width, at_once):
        edges = [
            (c * spectra // width, -(-(c + 1) * spectra // width)) for c in range(left, min(left + at_once, width))
        ]
        first, last = edges[0][0], edges[-1][1]
        part = _part(sound, first * hop - WINDOW // 2, (last - 1) * hop + WINDOW // 2)
        found = torch.stft(part, WINDOW, hop, window=window, center=False, return_complex=True).abs() ** 2
        rows = bands @ found  # (height, last - first)
        for column, (begin, end) in enumerate(edges, left):
            power[:, column] = rows[:, begin - first : end - first].amax(1)
    return power


def _part(sound: Tensor, begin: int, end: int) -> Tensor:
    """The mean of the channels from sample `begin` to `end`, zeros where the sound is not."""
    inside = sound[:, max(begin, 0) : max(end, 0)].mean(0)
    return functional.pad(inside, (max(-begin, 0), end - max(begin, 0) - len(inside)))


def _bands(height: int, sample_rate: int, scale: str = "log") -> Tensor:
    """Weights (height, WINDOW / 2 + 1) that average spectrum bins into rows: triangles as wide as the rows
    are apart, at least a bin.
    """
    middle = row_hertz(height, sample_rate, scale) * WINDOW / sample_rate  # in bins
    apart = torch.diff(middle, append=2 * middle[-1:] - middle[-2:-1]).clamp(min=1)
    bins = torch.arange(WINDOW // 2 + 1)
    weights = (1 - (bins - middle[:, None]).abs() / apart[:, None]).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _level(power: Tensor) -> Tensor:
    """Power (height, width) relative to its maximum: 1 there, 0 at RANGE_DB below it, and in silence."""
    loudest = power.max()
    if not loudest > 0:
        return torch.zeros_like(power)
    return 1 + 10 * torch.log10((power / loudest).clamp(min=10 ** (-RANGE_DB / 10))) / RANGE_DB


def _colours(level: Tensor) -> Tensor:
    """Levels (height, width) in 0..1 as (height, width, 3) uint8."""
    table = torch.tensor(COLOURS, dtype=torch.float32)
    place = level * (len(table) - 1)
    below = place.long().clamp(max=len(table) - 2)
    share = (place - below)[..., None]
    return (table[below] * (1 - share) + table[below + 1] * share).round().to(torch.uint8)
