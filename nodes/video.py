"""VIDEO and IMAGE inputs: which pictures of them to look at, decoding no more than needed, in every ComfyUI version."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import LONGEST, Timing

Done = Callable[[int, int], None]


@dataclass(frozen=True)
class FileVideo:
    """A VIDEO that is (a part of) a file: a path or BytesIO, and the part in seconds (end None: to the end)."""

    source: Any
    start: float = 0.0
    end: float | None = None


def file_video(video: Any) -> FileVideo | None:
    """The file behind a VIDEO, with its trim; None if the VIDEO is pictures in memory or a file with pending edits."""
    from comfy_api.latest import InputImpl

    if not isinstance(video, InputImpl.VideoFromFile):
        return None
    pending = getattr(video, "has_pending_frame_edits", None)
    if pending is not None and pending():
        return None
    window = getattr(video, "get_active_trim_window", None)
    if window is not None:
        start, length = window()
    else:  # versions that trim and don't tell have it in private fields; the oldest don't trim
        start = getattr(video, "_VideoFromFile__start_time", 0.0)
        length = getattr(video, "_VideoFromFile__duration", 0.0)
        if start < 0:
            return None
    return FileVideo(video.get_stream_source(), start, start + length if length else None)


@dataclass(frozen=True)
class Views:
    """What the windows of a sound see of a video, and how they were planned."""

    seconds: float  # of the video that the sound is for
    latents: int
    kept: int
    starts: tuple[int, ...]
    look: Callable[[Done], Iterator[Any]]  # told of pictures, (done, total) of a window's -> media.prompts.Seen of each


def see(
    reads: Any, timing: Timing, video: Any, images: Any, fps: float, start: float, seconds: float, kept: float
) -> Views:
    """The pictures that a model looks at, from start on for so many seconds (0: to the end of the video).

    kept: seconds that neighbouring windows share (0: half a window). Raises InputError unless either video or images
    are given, and for a start past the end.
    """
    if (video is None) == (images is None):
        given = "neither is connected" if video is None else "both are connected"
        raise InputError(f"{given}. Connect either video or images.")
    found = None if video is None else file_video(video)
    if found is None and video is not None:
        parts = video.get_components()
        images, fps = parts.images, parts.frame_rate
    there = _there(found, images, fps, start)
    shown = min(seconds or there, there)
    if math.isinf(shown):
        raise InputError("seconds is 0, but a single picture has no length. Set seconds to the length of the sound.")
    if shown > LONGEST:
        raise InputError(f"the video lasts {shown:.0f} s from start on. Choose at most {LONGEST:g} seconds.")
    at_once = max(count / rate for rate, count in reads.rates)  # what the model sees in one look
    latents = timing.latents if shown <= at_once else max(timing.latents, timing.to_latents(shown))
    shared = timing.kept_latents(kept)
    starts = timing.windows(latents, shared)
    places = [start + timing.to_seconds(s) for s in starts]

    def look(tell: Done) -> Iterator[Any]:
        return _look(reads, found, images, fps, places, shown, cut=shown < there, tell=tell)

    return Views(shown, latents, shared, starts, look)


def _there(found: FileVideo | None, images: Any, fps: float, start: float) -> float:
    """The seconds that a video has from start on."""
    from ..audiox_core.media.prompts import offered

    if found is not None:
        return offered(found.source, start=start, begin=found.start, end=found.end)
    return math.inf if len(images) == 1 else max(float(len(images) / fps) - start, 0.0)


def _look(
    reads: Any,
    found: FileVideo | None,
    images: Any,
    fps: float,
    places: Sequence[float],
    shown: float,
    *,
    cut: bool,
    tell: Done,
) -> Iterator[Any]:
    from ..audiox_core.media.prompts import INSTANT, look, look_at_images, look_in_turn

    if found is not None and len(places) == 1:
        yield look(
            *(reads, found.source), start=places[0], seconds=shown, begin=found.start, end=found.end, on_frame=tell
        )
    elif found is not None:
        end = found.start + places[0] + shown if cut else found.end
        yield from look_in_turn(reads, found.source, places, begin=found.start, end=end, on_frame=tell)
    else:
        last = places[0] + shown
        few = images if len(images) == 1 or not cut else images[: math.ceil(last * fps - 1e-6)]
        for place in places:
            where = place if place == places[0] else min(place, max(last - INSTANT, places[0]))
            seconds = shown if len(places) == 1 else None
            yield look_at_images(reads, few, fps, start=where, seconds=seconds, on_frame=tell)
