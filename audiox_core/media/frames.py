"""The few small pictures a model looks at, chosen by time from a video, an image or a tensor of images."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction

import torch
from einops import rearrange
from torch import Tensor

from ..errors import InputError, MediaError
from .checks import LONGEST, exact, real, shown, tensor_of
from .choosing import FASTEST, SLOWEST, Progress, choose, collect, places
from .decode import Pictures, Upright
from .reading import Source, name_of
from .resizing import resize

log = logging.getLogger("audiox")


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

    Raises MediaError for files that are missing, broken, without pictures, or that end before `start`, and
    for times that are none; InputError for rates, counts and sizes outside any use.
    """
    return read_frame_sets(source, start=start, wanted=[(fps, count)], size=size, end=end, on_frame=on_frame)[0]


def read_frame_sets(
    source: Source,
    *,
    start: float = 0.0,
    wanted: Sequence[tuple[float, int]],
    size: int = 224,
    end: float | None = None,
    on_frame: Progress | None = None,
) -> list[Tensor]:
    """Several sets of pictures in one decoding pass: for each (fps, count) of `wanted` what `read_frames`
    gives, (count, 3, size, size) uint8.

    A picture that several places want is scaled once. `on_frame(done, total)` counts the places of all sets.
    Raises what `read_frames` raises.
    """
    name = name_of(source)
    chosen = places(name, start, wanted, size)
    limit = _limit(name, start, end)
    pictures = Pictures(source, chosen[0].time)
    shown_until = pictures.end

    def inside() -> Iterator[tuple[Fraction, Tensor | object]]:
        nonlocal shown_until
        for time, frame in pictures:
            if limit is not None and time >= limit:
                shown_until = limit
                return
            yield time, frame
            if pictures.still:
                shown_until = chosen[-1].time + 1
                return
        shown_until = pictures.end if limit is None else min(limit, pictures.end)

    upright = Upright()

    def small(frame: object) -> Tensor:
        return resize(rearrange(upright(frame), "h w c -> c h w"), size)  # (3, size, size)

    found = choose(inside(), [place.time for place in chosen], lambda: shown_until)
    sets = collect(found, chosen, small, size, on_frame)
    _report(pictures, shown_until if limit is None else None)
    if sets is None:
        raise _nothing_found(pictures, chosen[0].time, shown_until, limit)
    return sets


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
    """Like `read_frames`, from images (F, H, W, 3 or 4), tensor or numpy array, that are shown `fps` a second;
    `rate` is how many a second are taken.

    Float images are in 0..1 (values outside are clipped), uint8 in 0..255; alpha is dropped. A single image
    is a still and fills all places. Only the chosen images are touched. Raises InputError for other shapes
    and types, and a `start` past the last image.
    """
    wanted = [(rate, count)]
    return frame_sets_from_images(images, fps=fps, start=start, wanted=wanted, size=size, on_frame=on_frame)[0]


def frame_sets_from_images(
    images: Tensor,
    *,
    fps: float | Fraction,
    start: float = 0.0,
    wanted: Sequence[tuple[float, int]],
    size: int = 224,
    on_frame: Progress | None = None,
) -> list[Tensor]:
    """Several sets at once: for each (pictures a second, count) of `wanted` what `frames_from_images` gives.

    An image that several places want is scaled once. `on_frame(done, total)` counts the places of all sets.
    Raises what `frames_from_images` raises.
    """
    images = tensor_of(images, "images")
    if images.ndim != 4 or images.shape[-1] not in (3, 4) or 0 in images.shape:
        raise InputError(
            f"images have shape {tuple(images.shape)}. Give (frames, height, width, 3 or 4), none of them 0."
        )
    if images.dtype != torch.uint8 and not images.is_floating_point():
        raise InputError(f"images are {images.dtype}. Give floating point values in 0..1, or uint8.")
    mend = f". Give a rate from {SLOWEST:g} to {FASTEST}."
    rate = exact(real(fps, "images are shown at fps", mend, SLOWEST, FASTEST))
    chosen = places("images", start, wanted, size)
    first = chosen[0].time
    end = chosen[-1].time + 1 if len(images) == 1 else len(images) / rate
    if first >= end:
        raise InputError(
            f"images: start={shown(start)} s is past the end ({float(end):.3f} s). Choose an earlier start."
        )
    times = ((Fraction(i) / rate, i) for i in range(len(images)))

    def small(index: int) -> Tensor:
        return resize(rearrange(_to_uint8(images[index, ..., :3]), "h w c -> c h w"), size)  # (3, size, size)

    sets = collect(choose(times, [place.time for place in chosen], lambda: end), chosen, small, size, on_frame)
    assert sets is not None
    return sets


def read_image(source: Source) -> Tensor:
    """An image file (png, jpg, webp, ...), or a video's first picture: (3, H, W) uint8 RGB, upright, alpha
    dropped.
    """
    pictures = Pictures(source)
    for _, frame in pictures:
        return rearrange(Upright()(frame), "h w c -> c h w").clone(memory_format=torch.contiguous_format)
    raise _nothing_found(pictures, Fraction(0), Fraction(0), None)


def _limit(name: str, start: float, end: float | None) -> Fraction | None:
    """The end of the trim window in seconds, if there is one; MediaError unless it lies after the start."""
    if end is None:
        return None
    limit = real(end, f"{name}: end", " s. Give seconds from the beginning, or leave it out.", 0, LONGEST, MediaError)
    if not limit > start:
        raise MediaError(
            f"{name}: the window from start={shown(start)} s to end={shown(end)} s is empty. "
            "Choose an end after the start."
        )
    return exact(limit)


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
            "%s: %d packets could not be decoded; continuing with those that could.",
            pictures.name,
            pictures.broken,
        )
    if reached and pictures.announced is not None and reached + Fraction(1, 2) < pictures.announced:
        log.warning(
            "%s: the pictures end at %.2f s of %.2f s; the last one is repeated.",
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
