"""Where a sound is made anew, and where it is kept: seconds, samples and latents of an edit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InputError
from ..media.splicing import Piece, splice
from ..models.timing import Timing
from .windows import Windows, around

MIRRORED = 1.0  # seconds of the source, mirrored, that the encoder hears past its ends in place of sudden silence


@dataclass(frozen=True)
class Edit:
    """A sound of `samples`, the source among them at `inside`, and the spans of samples that are made anew."""

    timing: Timing
    samples: int
    inside: tuple[int, int]
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(
        cls,
        timing: Timing,
        source: int,
        regions: Sequence[tuple[float, float]],
        before: float = 0.0,
        after: float = 0.0,
    ) -> Edit:
        """An edit of a source of so many samples: regions of it in seconds, and seconds made before and after it.

        Raises InputError for regions past its end, and where nothing is to be made.
        """
        lead, tail = timing.to_samples(before), timing.to_samples(after)
        length = source / timing.sample_rate
        spans = [(0, lead)] if lead else []
        for start, end in regions:
            first, last = timing.to_samples(start), timing.to_samples(end)
            if last > source + timing.sample_rate // 100 or first >= source:
                raise InputError(
                    f"regions: {start:g}-{end:g} s reaches past the end of the sound, which lasts {length:.2f} s. "
                    "Choose an earlier one, or extend the sound."
                )
            last = min(last, source)
            if last > first:
                spans.append((lead + first, lead + last))
        if tail:
            spans.append((lead + source, lead + source + tail))
        if not spans:
            raise InputError(
                "regions: there is nothing to regenerate. Give a region, or seconds to add before or after."
            )
        return cls(timing, lead + source + tail, (lead, lead + source), tuple(spans))

    @property
    def seconds(self) -> float:
        return self.samples / self.timing.sample_rate

    @property
    def latents(self) -> int:
        """Latents that are sampled: a window at least, for some models make no less."""
        return max(self.timing.latents, math.ceil(self.samples / self.timing.downsampling_ratio))

    @property
    def anew(self) -> list[tuple[int, int]]:
        """The spans in latents: all that hold a sample of them."""
        ratio = self.timing.downsampling_ratio
        return [(first // ratio, math.ceil(end / ratio)) for first, end in self.spans]

    def mask(self) -> Tensor:
        """(latents,): 1 where the sound is made anew, and past its end, 0 where it is kept."""
        mask = torch.zeros(self.latents)
        for first, end in self.anew:
            mask[first:end] = 1
        mask[math.ceil(self.samples / self.timing.downsampling_ratio) :] = 1
        return mask

    def windows(self, kept: int, *, together: bool = False) -> Windows:
        """The windows that make the spans; together, those of the whole sound. kept: latents that neighbours share."""
        length = self.timing.latents
        if self.latents == length:
            return Windows(length, length, (0,))
        starts = self.timing.windows(self.latents, kept) if together else around(self.anew, self.latents, length, kept)
        return Windows(self.latents, length, starts)

    def reached(self, windows: Windows) -> list[tuple[int, int]]:
        """The stretches of latents that the windows see, in the order of time."""
        found: list[tuple[int, int]] = []
        for start in sorted(windows.starts):
            end = min(start + windows.length, windows.latents)
            if found and start <= found[-1][1]:
                found[-1] = (found[-1][0], max(end, found[-1][1]))
            else:
                found.append((start, end))
        return found

    def placed(self, source: Tensor) -> Tensor:
        """The source (2, N) where it belongs: (2, samples), zero elsewhere."""
        return torch.nn.functional.pad(source, (self.inside[0], self.samples - self.inside[1]))

    def padded(self, source: Tensor) -> Tensor:
        """placed(), as long as the latents are, with a little of the source mirrored past its ends."""
        out = torch.zeros(source.shape[0], self.latents * self.timing.downsampling_ratio)
        first, end = self.inside
        out[:, first:end] = source
        most = min(self.timing.to_samples(MIRRORED), end - first)
        before, after = min(most, first), min(most, out.shape[-1] - end)
        out[:, first - before : first] = source[:, :before].flip(-1)
        out[:, end : end + after] = source[:, source.shape[-1] - after :].flip(-1)
        return out

    def piece(self, span: tuple[int, int], decode: Callable[[Tensor], Tensor], latents: Tensor, halo: int) -> Piece:
        """What a span of samples became: decode (of latents (1, C, L), exact but for `halo` latents at its ends)."""
        ratio, (first, end) = self.timing.downsampling_ratio, span
        low = max((first - 1) // ratio - halo, 0)
        high = min(math.ceil((end + 1) / ratio) + halo, latents.shape[-1])
        waveform = torch.nn.functional.pad(decode(latents[..., low:high])[0], (1, 1))
        start = first - low * ratio  # the sample before the first, behind the one of padding
        return Piece(first, end, waveform[:, start : start + end - first + 2])

    def sound(
        self, source: Tensor, latents: Tensor, decode: Callable[[Tensor], Tensor], *, halo: int, feather: int
    ) -> Tensor:
        """The edited sound (2, samples): the source's own samples but in what was made anew. See piece and splice."""
        pieces = [self.piece(span, decode, latents, halo) for span in self.spans]
        return splice(self.placed(source), pieces, inside=self.inside, feather=feather)
