"""The few small pictures a model looks at, chosen by time from a video, an image or a tensor of images."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from ..errors import InputError, MediaError
from .decode import Pictures, Upright
from .files import Source, name_of

log = logging.getLogger("audiox")

BAND_PIXELS = 1 << 21  # of a picture that are floats at once when it is resized

Item = TypeVar("Item")
Progress = Callable[[int, int], None]


def read_frames(
    source: Source,
    *,
    start: float = 0.0,
    fps: float = 5.0,
    count: int = 50,
    size: int = 224,
    end: float | None = None,
    on_frame: Progress | None = None,
) -> Tensor:
    """`count` pictures of a video or image file, `fps` a second: uint8 RGB (count, 3, size, size), aspect
    ratio not kept.

    Picture k is the one nearest in presentation time to `start + k / fps` (at equal distance the earlier),
    with time in seconds since the first picture. Once that time is past the end of the video (or past `end`,
    the end of a trim window), the last picture chosen is repeated. An image file fills all places.
    `on_frame(done, count)` is told of each place that is filled; it may raise to stop. Only one full picture
    and the small ones are held; one decoding pass, from the keyframe before `start`.

    Raises MediaError for files that are missing, broken, without pictures, or that end before `start`.
    """
    name = name_of(source)
    wanted = _wanted_times(name, start, fps, count, size, end)
    pictures = Pictures(source, wanted[0])
    limit = None if end is None else _exact(end)
    shown_until = pictures.end

    def inside() -> Iterator[tuple[Fraction, Tensor | object]]:
        nonlocal shown_until
        for time, frame in pictures:
            if limit is not None and time >= limit:
                shown_until = limit
                return
            yield time, frame
            if pictures.still:
                shown_until = wanted[-1] + 1
                return
        shown_until = pictures.end if limit is None else min(limit, pictures.end)

    upright = Upright()

    def small(frame: object) -> Tensor:
        return resize(upright(frame).permute(2, 0, 1), size)  # (3, size, size)

    found = choose(inside(), wanted, lambda: shown_until)
    frames = _collect(found, small, count, size, on_frame)
    _report(pictures, shown_until if limit is None else None)
    if frames is None:
        raise _nothing_found(pictures, wanted[0], shown_until, limit)
    return frames


def frames_from_images(
    images: Tensor,
    *,
    fps: float | Fraction,
    start: float = 0.0,
    rate: float = 5.0,
    count: int = 50,
    size: int = 224,
    on_frame: Progress | None = None,
) -> Tensor:
    """Like `read_frames`, from images (F, H, W, 3 or 4) that are shown `fps` a second; `rate` is how many a
    second are taken.

    Float images are in 0..1 (values outside are clipped), uint8 in 0..255; alpha is dropped. A single image
    is a still and fills all places. Only the chosen images are touched. Raises InputError for other shapes
    and a `start` past the last image.
    """
    if images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape:
        raise InputError(
            f"images have shape {tuple(images.shape)}. Give (frames, height, width, 3 or 4), none of them 0."
        )
    if not fps > 0:
        raise InputError(f"images are shown at fps={fps}. Give a rate above 0.")
    wanted = _wanted_times("images", start, rate, count, size, None)
    shown = _exact(fps)
    still = len(images) == 1
    end = wanted[-1] + 1 if still else len(images) / shown
    if wanted[0] >= end:
        raise InputError(f"images: start={start} s is past the end ({float(end):.3f} s). Choose an earlier start.")
    times = ((Fraction(i) / shown, i) for i in range(len(images)))

    def small(index: int) -> Tensor:
        return resize(_to_uint8(images[index, ..., :3]).permute(2, 0, 1), size)  # (3, size, size)

    frames = _collect(choose(times, wanted, lambda: end), small, count, size, on_frame)
    assert frames is not None
    return frames


def read_image(source: Source) -> Tensor:
    """An image file (png, jpg, webp, ...), or a video's first picture: (3, H, W) uint8 RGB, upright, alpha
    dropped.
    """
    pictures = Pictures(source)
    for _, frame in pictures:
        return Upright()(frame).permute(2, 0, 1).clone(memory_format=torch.contiguous_format)  # (3, H, W)
    raise _nothing_found(pictures, Fraction(0), Fraction(0), None)


def resize(pictures: Tensor, size: int = 224) -> Tensor:
    """Pictures (..., 3, H, W) as (..., 3, size, size): bilinear with antialiasing, aspect ratio not kept,
    computed in float32.

    uint8 is rounded (half to even) to uint8, bit for bit torchvision's `Resize((size, size))` on tensors;
    other types give float32. Pictures that have the size already keep their values.
    """
    if tuple(pictures.shape[-2:]) == (size, size):
        return pictures.contiguous()
    planes = pictures.flatten(0, -3)  # (planes, H, W)
    kind = torch.uint8 if pictures.dtype == torch.uint8 else torch.float32
    out = torch.empty(len(planes), size, size, dtype=kind, device=pictures.device)
    # One plane at a time, and the width of a few rows at a time, which do not depend on each other: the same
    # numbers as all at once, in a fraction of the memory.
    rows = max(1, BAND_PIXELS // planes.shape[-1])
    for plane, small in zip(planes, out, strict=True):
        narrow = torch.cat([_scaled(band.float(), len(band), size) for band in plane.split(rows)])  # (H, size)
        scaled = _scaled(narrow, size, size)
        small.copy_(scaled.round_() if kind == torch.uint8 else scaled)
    return out.view(*pictures.shape[:-2], size, size)


def _scaled(plane: Tensor, height: int, width: int) -> Tensor:
    """(H, W) float as (height, width)."""
    batch = plane[None, None]  # (1, 1, H, W)
    batch = functional.interpolate(batch, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return batch[0, 0]


def choose(
    timed: Iterable[tuple[Fraction, Item]], wanted: Sequence[Fraction], end: Callable[[], Fraction]
) -> Iterator[tuple[int, Item]]:
    """For each wanted time in turn its place and the item nearest in time; at equal distance the earlier.

    `timed` rises in time and is read no further than needed. `end()`, asked after its last item, is when that
    stops being shown: wanted times from there on get nothing.
    """
    place = 0
    before: tuple[Fraction, Item] | None = None
    for time, item in timed:
        while before is not None and place < len(wanted) and wanted[place] - before[0] <= time - wanted[place]:
            yield place, before[1]
            place += 1
        if place == len(wanted):
            return
        before = time, item
    if before is not None:
        last = end()
        for k in range(place, len(wanted)):
            if wanted[k] < last:
                yield k, before[1]


def _collect(
    found: Iterator[tuple[int, Item]], small: Callable[[Item], Tensor], count: int, size: int, on_frame: Progress | None
) -> Tensor | None:
    """The small pictures of the chosen items, the last one repeated to `count`; None if there is none."""
    out = torch.empty(count, 3, size, size, dtype=torch.uint8)
    filled, previous = 0, None
    for place, item in found:
        if item is previous:
            out[place] = out[place - 1]
        else:
            out[place] = small(item)
        filled, previous = place + 1, item
        if on_frame is not None:
            on_frame(filled, count)
    if filled == 0:
        return None
    out[filled:] = out[filled - 1]
    if on_frame is not None and filled < count:
        on_frame(count, count)
    return out


def _wanted_times(name: str, start: float, fps: float, count: int, size: int, end: float | None) -> list[Fraction]:
    if not (math.isfinite(start) and start >= 0):
        raise MediaError(f"{name}: start={start} s. Give seconds from the beginning, 0 or more.")
    if end is not None and not end > start:
        raise MediaError(
            f"{name}: the window from start={start} s to end={end} s is empty. Choose an end after the start."
        )
    if not (math.isfinite(fps) and fps > 0) or count < 1 or size < 1:
        raise InputError(f"{name}: fps={fps}, count={count}, size={size}. Each must be above 0.")
    return [_exact(start) + k / _exact(fps) for k in range(count)]


def _exact(number: float | Fraction) -> Fraction:
    """The number somebody wrote: 0.45 is 9/20, not the nearest binary fraction."""
    return number if isinstance(number, Fraction) else Fraction(number).limit_denominator(1_000_000)


def _to_uint8(image: Tensor) -> Tensor:
    if image.dtype == torch.uint8:
        return image
    if not torch.isfinite(image).all():
        raise InputError("images contain NaN or infinite values. Give values in 0..1.")
    return (image.float().clamp(0, 1) * 255).round().to(torch.uint8)


def _report(pictures: Pictures, reached: Fraction | None) -> None:
    """Warns once about pictures that were lost; `reached` is the end of the readable pictures, if they were
    read to it.
    """
    if pictures.broken:
        log.warning(
            "%s: %d packets could not be decoded; going on with the pictures that could.",
            pictures.name,
            pictures.broken,
        )
    if reached and pictures.announced is not None and reached + Fraction(1, 2) < pictures.announced:
        log.warning(
            "%s: the pictures break off at %.2f s of %.2f s; the last one is repeated.",
            *(pictures.name, float(reached), float(pictures.announced)),
        )


def _nothing_found(pictures: Pictures, start: Fraction, end: Fraction, limit: Fraction | None) -> MediaError:
    if end > 0:
        until = "the trim window ends" if limit is not None and limit <= end else "the pictures end"
        return MediaError(
            f"{pictures.name}: start={float(start):g} s is past the end ({until} at {float(end):.3f} s). "
            "Choose an earlier start."
        )
    return MediaError(
        f"{pictures.name}: not one picture could be decoded ({pictures.broken} broken packets). "
        "The file is broken or cut off: re-export it, or give another one."
    )
