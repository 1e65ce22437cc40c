"""VIDEO and IMAGE inputs: which pictures of them to look at, decoding no more than needed, in every ComfyUI version."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import Timing

TIMING = Timing()
FRAMES = TIMING.frames


@dataclass(frozen=True)
class FileVideo:
    """A VIDEO that is (a part of) a file: a path or BytesIO, and the part in seconds (end None: to the end)."""

    source: Any
    start: float = 0.0
    end: float | None = None


@dataclass(frozen=True)
class Picked:
    """Pictures (F, 3, H, W) uint8 for the video encoder, and how many of the wanted seconds there were."""

    frames: Tensor
    seconds: float


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


def pick_frames(
    video: Any,
    images: Any,
    fps: float,
    start: float,
    seconds: float,
    on_frame: Callable[[int, int], None],
) -> Picked:
    """The pictures that the model looks at, five a second, from start on for so many seconds."""
    if (video is None) == (images is None):
        given = "neither is connected" if video is None else "both are connected"
        raise InputError(f"AudioX Encode Video: {given}. Connect either video or images.")
    if video is None:
        return _from_images(images, fps, start, seconds, on_frame)
    found = file_video(video)
    if found is not None:
        return _from_file(found, start, seconds, on_frame)
    parts = video.get_components()
    return _from_images(parts.images, parts.frame_rate, start, seconds, on_frame)


def _from_file(video: FileVideo, start: float, seconds: float, on_frame: Any) -> Picked:
    from ..audiox_core.media import probe, read_frames

    info = probe(video.source)
    end = video.end if video.end is not None else info.duration
    if video.end is not None and info.duration is not None:
        end = min(video.end, info.duration)
    offered = seconds if end is None else end - video.start - start
    if offered <= 0:
        raise InputError(
            f"AudioX Encode Video: start is {start:g} s, the video lasts {max(offered + start, 0):.2f} s. "
            "Choose an earlier start."
        )
    first = video.start + start
    frames = read_frames(
        video.source,
        start=first,
        fps=TIMING.video_fps,
        count=FRAMES,
        end=first + min(seconds, offered) if video.end is not None or seconds < offered else None,
        on_frame=on_frame,
    )
    return Picked(frames, min(seconds, offered))


def _from_images(images: Tensor, fps: Any, start: float, seconds: float, on_frame: Any) -> Picked:
    from ..audiox_core.media import frames_from_images

    still = len(images) == 1
    length = math.inf if still else float(len(images) / fps)
    if start >= length:
        raise InputError(
            f"AudioX Encode Video: start is {start:g} s, {len(images)} images at {float(fps):g} a second last "
            f"{length:.2f} s. Choose an earlier start, or mend fps."
        )
    wanted = images if still else images[: math.ceil((start + seconds) * fps - 1e-6)]
    frames = frames_from_images(
        wanted,
        fps=fps,
        start=0.0 if still else start,
        rate=TIMING.video_fps,
        count=FRAMES,
        on_frame=on_frame,
    )
    return Picked(frames, min(seconds, length - start))
