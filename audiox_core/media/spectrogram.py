"""A picture of a sound: time to the right, pitch upwards on a logarithmic scale, loudness as colour."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, MediaError
from .audio import check_waveform
from .checks import check_rate, tensor_of, whole
from .reading import pyav
from .writing import suffix_of, whole_file

WINDOW = 2048  # samples of one spectrum: 46 ms at 44.1 kHz, a compromise between pitch and rhythm
LOWEST_HZ = 40.0
SPECTRA = 2048  # computed at once: about 50 MB
LARGEST = 8192  # pixels of a side
RANGE_DB = 80.0  # what is this much quieter than the loudest spot is black
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
TICK = torch.tensor((255, 255, 255), dtype=torch.uint8)


def spectrogram_image(
    waveform: Tensor, sample_rate: int, width: int = 1200, height: int = 400, ticks: bool = True
) -> Tensor:
    """The spectrogram of (C, N), channels averaged, as (height, width, 3) uint8.

    Rows run from half the sample rate (top) to 40 Hz, colours from the loudest spot down to 80 dB below it.
    With `ticks`, short lines mark every second at the bottom (longer: every fifth) and 100, 1000 and 10000 Hz
    on the left. Raises InputError and MediaError as `check_waveform` does, and for sizes outside 2 to 8192.
    """
    check_rate(sample_rate)
    width, height = whole(width, "width", 2, LARGEST), whole(height, "height", 2, LARGEST)
    if not sample_rate > 2 * LOWEST_HZ:
        raise InputError(f"sample_rate={sample_rate} holds nothing above {LOWEST_HZ:g} Hz. Give at least 81.")
    sound = check_waveform(waveform)
    count = sound.shape[1]
    image = _colours(_power(sound, width, _log_bands(height, sample_rate))).flip(0)  # (height, width, 3)
    if ticks:
        _draw_ticks(image, count / sample_rate, sample_rate)
    return image


def write_png(path: str | os.PathLike[str], image: Tensor) -> Path:
    """Writes (H, W, 3) uint8, tensor or numpy array, as a PNG file, whole or not at all, and returns the path.
    MediaError where it cannot be written, InputError for another image.
    """
    data = png_bytes(image)
    suffix_of(os.fspath(path), (".png",))
    with whole_file(path) as file:
        if not isinstance(file, str):
            raise MediaError(f"{path} is not a path. Give one that ends in .png.")
        Path(file).write_bytes(data)
    return Path(path)


def png_bytes(image: Tensor) -> bytes:
    """(H, W, 3) uint8, tensor or numpy array, as the bytes of a PNG file. InputError for another image."""
    image = tensor_of(image, "image")
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != torch.uint8 or 0 in image.shape:
        raise InputError(f"image is {image.dtype} of shape {tuple(image.shape)}. Give uint8 (height, width, 3).")
    av = pyav()
    codec = av.CodecContext.create("png", "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = "rgb24"
    codec.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(image.contiguous().cpu().numpy(), format="rgb24")
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


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


def _row_hertz(height: int, sample_rate: int) -> Tensor:
    """The middle frequency of each row, lowest first, (height,)."""
    return LOWEST_HZ * (sample_rate / 2 / LOWEST_HZ) ** torch.linspace(0, 1, height)


def _log_bands(height: int, sample_rate: int) -> Tensor:
    """Weights (height, WINDOW / 2 + 1) that average spectrum bins into rows: triangles as wide as the rows
    are apart, at least a bin.
    """
    middle = _row_hertz(height, sample_rate) * WINDOW / sample_rate  # in bins
    apart = torch.diff(middle, append=2 * middle[-1:] - middle[-2:-1]).clamp(min=1)
    bins = torch.arange(WINDOW // 2 + 1)
    weights = (1 - (bins - middle[:, None]).abs() / apart[:, None]).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


def _colours(power: Tensor) -> Tensor:
    """(height, width) power as (height, width, 3) uint8, relative to its maximum; silence is the darkest
    colour.
    """
    loudest = power.max()
    if loudest > 0:
        decibels = 10 * torch.log10((power / loudest).clamp(min=10 ** (-RANGE_DB / 10)))
        level = 1 + decibels / RANGE_DB  # 0..1
    else:
        level = torch.zeros_like(power)
    table = torch.tensor(COLOURS, dtype=torch.float32)
    place = level * (len(table) - 1)
    below = place.long().clamp(max=len(table) - 2)
    share = (place - below)[..., None]
    return (table[below] * (1 - share) + table[below + 1] * share).round().to(torch.uint8)


def _draw_ticks(image: Tensor, seconds: float, sample_rate: int) -> None:
    """Marks seconds and decades of pitch on the picture's lower and left edge, in place."""
    height, width = image.shape[:2]
    for second in range(1, int(seconds) + 1):
        column = round(second / seconds * width)
        if column < width:
            image[height - (10 if second % 5 == 0 else 5) :, column] = TICK
    rows = _row_hertz(height, sample_rate)
    for hertz in (100, 1000, 10000):
        if hertz < sample_rate / 2:
            image[height - 1 - int((rows - hertz).abs().argmin()), :8] = TICK
