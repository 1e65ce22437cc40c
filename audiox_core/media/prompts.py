"""What a conditioner is shown and played: pictures by time from a file or a batch of images, seconds of a sound."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError
from ..models.parts import Hearing, Sight
from .audio import prompt_audio
from .frames import Progress, frame_sets_from_images, read_frame_sets
from .probing import probe
from .reading import Source
from .resampling import resample
from .shown import Shown

# Seconds before the end of a video at which its last picture is shown.
INSTANT = 1e-3


@dataclass(frozen=True)
class Seen:
    """Pictures (1, count, 3, size, size) uint8 at each rate of a conditioner, and the seconds they are of."""

    frames: list[Tensor]
    seconds: float


def offered(source: Source | Shown, *, start: float = 0.0, begin: float = 0.0, end: float | None = None) -> float:
    """The seconds of a video from start on, infinite for a picture; begin and end as in look(). Raises as look()."""
    info = probe(source)
    last = info.duration if end is None or (info.duration is not None and info.duration < end) else end
    if info.is_image or last is None:
        return math.inf
    there = float(last - begin - start)
    if there <= 0:
        lasts = max(there + start, 0)
        raise InputError(f"start is {start:g} s, the video lasts {lasts:.2f} s. Choose an earlier start.")
    return there


def look(
    reads: Sight,
    source: Source | Shown,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    begin: float = 0.0,
    end: float | None = None,
    on_frame: Progress | None = None,
) -> Seen:
    """The pictures of a video or image from start on, for so many seconds (None: all that the model sees).

    begin and end (in seconds of a file) are a part of it that counts as the whole video. What is past the end is the
    last picture again. Raises MediaError for unreadable files, InputError for a start past the end.
    """
    if isinstance(source, Shown):
        return look_at_images(reads, source.images, source.fps, start=start, seconds=seconds, on_frame=on_frame)
    limit = max(count / rate for rate, count in reads.rates)
    wanted = limit if seconds is None else min(seconds, limit)
    info, there = probe(source), offered(source, start=start, begin=begin, end=end)
    first, shown = begin + start, min(wanted, there)
    cut = end is not None or (seconds is not None and seconds < there)
    frames = read_frame_sets(
        source,
        start=first,
        wanted=reads.rates,
        size=reads.size,
        end=first + shown if cut and math.isfinite(shown) and not info.is_image else None,
        on_frame=on_frame,
    )
    return Seen([f[None] for f in frames], shown)


def look_in_turn(
    reads: Sight,
    source: Source | Shown,
    starts: Sequence[float],
    *,
    begin: float = 0.0,
    end: float | None = None,
    on_frame: Progress | None = None,
) -> Iterator[Seen]:
    """look() from each start on, one after the other, so that few pictures are held. The first is in the video; what
    begins after its end sees the last picture, as what runs past it does.
    """
    last = starts[0] + offered(source, start=starts[0], begin=begin, end=end)
    for start in starts:
        where = start if start == starts[0] else min(start, max(last - INSTANT, starts[0]))
        yield look(reads, source, start=where, begin=begin, end=end, on_frame=on_frame)


def look_at_images(
    reads: Sight,
    images: Tensor,
    fps: float | Fraction,
    *,
    start: float = 0.0,
    seconds: float | None = None,
    on_frame: Progress | None = None,
) -> Seen:
    """The pictures of a batch of images (F, H, W, 3), shown at a rate; a single one is a still.

    Raises InputError for a start past the end.
    """
    limit = max(count / rate for rate, count in reads.rates)
    wanted = limit if seconds is None else min(seconds, limit)
    still = len(images) == 1
    length = math.inf if still else float(len(images) / fps)
    if start >= length:
        raise InputError(
            f"start is {start:g} s, {len(images)} images at {float(fps):g} a second last {length:.2f} s. Choose an "
            "earlier start, or mend fps."
        )
    frames = frame_sets_from_images(
        images if still else images[: math.ceil((start + wanted) * fps - 1e-6)],
        fps=fps,
        start=0.0 if still else start,
        wanted=reads.rates,
        size=reads.size,
        on_frame=on_frame,
    )
    return Seen([f[None] for f in frames], min(wanted, length - start))


def hear(
    reads: Hearing,
    source: str | os.PathLike[str] | Tensor,
    *,
    sample_rate: int | None = None,
    start: float = 0.0,
    seconds: float | None = None,
) -> Tensor:
    """A sound's seconds from start on as a conditioner hears them: (B, 2, N) at its rate, silence before what is short.

    source is a file, or a waveform (2, N) or (B, C, N) at sample_rate (None: the conditioner's own). Raises
    MediaError for unreadable files, InputError for a start past the end.
    """
    options: dict[str, Any] = {"samples": reads.samples, "sample_rate": reads.sample_rate, "start": start}
    if not isinstance(source, Tensor):
        return prompt_audio(source, **options)[None]
    rate = sample_rate or reads.sample_rate
    waveform = source if source.ndim == 3 else source[None]
    length = waveform.shape[-1] / rate
    if not waveform.shape[-1]:
        raise InputError("the sound is empty. Give one that lasts.")
    if start >= length:
        raise InputError(f"start is {start:g} s, the sound lasts {length:.2f} s. Choose an earlier start.")
    until = None if seconds is None else round((start + seconds) * rate)
    heard = resample(waveform[..., :until].float().cpu(), rate, reads.sample_rate)
    return torch.stack([prompt_audio(item, **options) for item in heard])
