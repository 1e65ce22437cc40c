"""What stands around a spectrogram: numbers of seconds, hertz and decibels, marks, and the waveform above it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .lettering import tall, wide, write
from .pitch import NUMBERED, place_of
from .spans import Span

PALE, DIM, WAVE = (225, 225, 235), (120, 120, 140), (140, 190, 255)
REGION, WINDOW = (90, 230, 140), (100, 170, 255)
# Seconds from one number to the next, and from when on they are written as minutes and seconds.
STEPS = (*(m * 10.0**p for p in range(-6, 1) for m in (1, 2, 5)), 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)
MINUTES = 120
LEAST = 60, 40  # dots of a plot that are worth the numbers around it


@dataclass(frozen=True)
class Box:
    """A part of a picture, in pixels."""

    left: int
    top: int
    width: int
    height: int

    @property
    def right(self) -> int:
        return self.left + self.width

    @property
    def bottom(self) -> int:
        return self.top + self.height

    def of(self, image: Tensor) -> Tensor:
        """The part (height, width, 3) itself, not a copy."""
        return image[self.top : self.bottom, self.left : self.right]


@dataclass(frozen=True)
class Axes:
    """The places of a picture: the spectrogram's `plot`, and above it, if it is wanted, the waveform's.

    dot is the size of a letter's dot in pixels, 0 where there are no numbers.
    """

    plot: Box
    wave: Box | None
    dot: int
    seconds: float
    sample_rate: int
    scale: str

    @classmethod
    def within(
        cls, image: Tensor, seconds: float, sample_rate: int, scale: str, *, numbers: bool, show_waveform: bool
    ) -> Axes:
        """The places within (H, W, 3) for a sound of so many seconds; without numbers where they have no room."""
        height, width = image.shape[:2]
        dot = max(1, min(width // 300, height // 110)) if numbers else 0
        left = wide("100k" if sample_rate > 200_000 else "10k", dot) + 5 * dot
        whole = Box(left, 9 * dot, width - left - wide("-80", dot) - 12 * dot, height - 20 * dot)
        if dot and (whole.width < LEAST[0] or whole.height < LEAST[1]):
            dot, whole = 0, Box(0, 0, width, height)
        if not show_waveform or whole.height < 8:
            return cls(whole, None, dot, seconds, sample_rate, scale)
        top, high = 2 * dot, whole.height // 4
        wave = replace(whole, top=top, height=high)
        first = wave.bottom + max(10 * dot, 2)
        return cls(replace(whole, top=first, height=whole.bottom - first), wave, dot, seconds, sample_rate, scale)

    def draw(
        self,
        image: Tensor,
        sound: Tensor,
        bar: Tensor,
        decibels: int,
        *,
        regions: Iterable[Span],
        windows: Iterable[Span],
    ) -> None:
        """Draws all but the plot, in place: sound is (C, N), bar (plot.height, 1, 3) the colours from 0 dB down."""
        if self.wave is not None:
            self._waveform(image, self.wave, sound)
        self._marks(image, list(regions), list(windows))
        if self.dot:
            self._seconds(image)
            self._hertz(image)
            self._decibels(image, bar, decibels)

    def column(self, second: float) -> int:
        """The pixel column of a moment, within the plot."""
        return self.plot.left + min(round(second / self.seconds * self.plot.width), self.plot.width - 1)

    def row(self, hertz: float) -> int:
        """The pixel row of a frequency."""
        share = place_of(hertz, self.sample_rate, self.scale)
        return self.plot.bottom - 1 - round(share * (self.plot.height - 1))

    def _seconds(self, image: Tensor) -> None:
        """Ticks and numbers below the plot, as close as they can be read."""
        dot, long = self.dot, self.seconds >= MINUTES
        room = {step: step / self.seconds * self.plot.width for step in STEPS}
        step = next((s for s in STEPS if room[s] >= wide(_time(self.seconds, s, long) + "00", dot)), STEPS[-1])
        top = self.plot.bottom
        for number in range(math.floor(self.seconds / step) + 1):
            column, said = self.column(number * step), _time(number * step, step, long)
            image[top : top + 2 * dot, column : column + dot] = _colour(PALE)
            left = min(column - wide(said, dot) // 2 + dot // 2, self.plot.right + 6 * dot - wide(said, dot))
            write(image, said, left, top + 3 * dot, dot, _colour(PALE))
        unit = "min" if long else "s"
        write(image, unit, image.shape[1] - wide(unit, dot) - dot, top + 3 * dot, dot, _colour(DIM))

    def _hertz(self, image: Tensor) -> None:
        """Ticks and numbers at the left, those of NUMBERED that keep apart."""
        dot, taken = self.dot, list[int]()
        for hertz in NUMBERED:
            row = self.row(hertz)
            inside = self.plot.top + 3 * dot <= row < self.plot.bottom - dot
            if not inside or any(abs(row - other) < 10 * dot for other in taken):
                continue
            taken.append(row)
            image[row : row + dot, self.plot.left - 2 * dot : self.plot.left] = _colour(PALE)
            said = f"{hertz // 1000}k" if hertz >= 1000 else str(hertz)
            left = self.plot.left - 3 * dot - wide(said, dot)
            write(image, said, left, row - tall(dot) // 2 + dot // 2, dot, _colour(PALE))
        write(image, "Hz", dot, self.plot.top - 8 * dot, dot, _colour(DIM))

    def _decibels(self, image: Tensor, bar: Tensor, decibels: int) -> None:
        """The colours of the levels at the right, and what they mean."""
        dot, top, high = self.dot, self.plot.top, self.plot.height
        left = self.plot.right + 3 * dot
        image[top : top + high, left : left + 4 * dot] = bar
        step = next((s for s in (10, 20, 40) if s / decibels * high >= 11 * dot), decibels)
        for down in range(0, decibels + 1, step):
            row = top + round(down / decibels * (high - 1))
            image[row : row + dot, left + 4 * dot : left + 5 * dot] = _colour(PALE)
            said = f"-{down}" if down else "0"
            above = min(max(row - tall(dot) // 2, top), top + high - tall(dot))
            write(image, said, left + 6 * dot, above, dot, _colour(PALE))
        write(image, "dB", left + 6 * dot, top - 8 * dot, dot, _colour(DIM))

    def _waveform(self, image: Tensor, box: Box, sound: Tensor) -> None:
        """From the lowest to the highest sample of each column, of all channels; full scale, or more, is the box."""
        most, count, middle = max(1.0, float(sound.abs().max())), sound.shape[1], (box.height - 1) / 2
        canvas = box.of(image)
        canvas[round(middle)] = _colour(DIM)
        for column in range(box.width):
            first = column * count // box.width
            piece = sound[:, first : max((column + 1) * count // box.width, first + 1)]
            top, bottom = (round(middle - float(v) / most * middle) for v in (piece.max(), piece.min()))
            canvas[top : bottom + 1, column] = _colour(WAVE)
        for value in (1, -1) if self.dot else ():
            row, said = box.top + round(middle - value / most * middle), str(value)
            above = min(max(row - tall(self.dot) // 2, box.top), box.bottom - tall(self.dot))
            image[row : row + self.dot, box.left - 2 * self.dot : box.left] = _colour(PALE)
            write(image, said, box.left - 3 * self.dot - wide(said, self.dot), above, self.dot, _colour(PALE))

    def _marks(self, image: Tensor, regions: list[Span], windows: list[Span]) -> None:
        """Bars above the plot, of windows in two rows as they overlap, and lines through it at their ends."""
        thick = max(self.dot, 1)
        for spans, rows, colour in ((regions, (0,), REGION), (windows, (3, 6), WINDOW)):
            for number, (start, end) in enumerate(spans):
                first, last = self.column(start), self.column(end)
                top = max(self.plot.top - 9 * thick + rows[number % len(rows)] * thick, 0) if self.dot else 0
                image[top : top + 2 * thick, first : max(last, first + 1)] = _colour(colour)
                ends = [column for column, end in ((first, start == 0), (last, end == self.seconds)) if not end]
                for box in (self.plot,) if self.wave is None else (self.plot, self.wave):
                    for column in ends:
                        self._dashes(box.of(image), column - box.left, colour)

    def _dashes(self, canvas: Tensor, column: int, colour: tuple[int, int, int]) -> None:
        """A line from top to bottom of which every second piece is left out."""
        piece = 4 * max(self.dot, 1)
        for top in range(0, canvas.shape[0], 2 * piece):
            canvas[top : top + piece, column : column + max(self.dot // 2, 1)] = _colour(colour)


def _time(seconds: float, step: float, long: bool) -> str:
    """A moment as an axis of such a step writes it: 12, 0.25, or 1:30."""
    if long:
        whole = round(seconds)
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{seconds:.{max(0, -math.floor(math.log10(step) + 1e-9))}f}"


def _colour(values: tuple[int, int, int]) -> Tensor:
    return torch.tensor(values, dtype=torch.uint8)
