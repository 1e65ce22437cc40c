"""VIDEO and IMAGE inputs: which pictures of them to look at, decoding no more than needed, in every ComfyUI version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..audiox_core.errors import InputError


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


def see(
    reads: Any,
    video: Any,
    images: Any,
    fps: float,
    start: float,
    seconds: float,
    on_frame: Callable[[int, int], None],
) -> Any:
    """The pictures that the model looks at, from start on for so many seconds (see media.prompts.Seen)."""
    from ..audiox_core.media.prompts import look, look_at_images

    if (video is None) == (images is None):
        given = "neither is connected" if video is None else "both are connected"
        raise InputError(f"{given}. Connect either video or images.")
    window: dict[str, Any] = {"start": start, "seconds": seconds, "on_frame": on_frame}
    if video is None:
        return look_at_images(reads, images, fps, **window)
    found = file_video(video)
    if found is not None:
        return look(reads, found.source, begin=found.start, end=found.end, **window)
    parts = video.get_components()
    return look_at_images(reads, parts.images, parts.frame_rate, **window)
