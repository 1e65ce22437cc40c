"""What a media file holds, without decoding more than a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import MediaError
from .decode import Pictures, Run
from .reading import Source, name_of, open_media, pyav
from .shown import Shown
from .streams import audio_stream, is_image, nominal_rate, quarter_turns


@dataclass(frozen=True)
class MediaInfo:
    """What a media file holds. Absent parts are None (numbers and names) or False (`has_...`).

    `duration` (of the pictures, from the first one on; of the sound where there are none) and `start` are
    seconds, `fps` the average frame rate; `width` and `height` are those of the upright picture, `rotation`
    the counter-clockwise turn in degrees (0, 90, 180 or 270) that made it upright. A still image has no
    duration.
    """

    name: str
    container: str
    has_video: bool
    has_audio: bool
    is_image: bool = False
    duration: float | None = None
    start: float | None = None
    fps: float | None = None
    width: int | None = None
    height: int | None = None
    rotation: int = 0
    video_codec: str | None = None
    audio_codec: str | None = None
    sample_rate: int | None = None
    channels: int | None = None


def probe(source: Source | Shown) -> MediaInfo:
    """What `source` holds; one frame is decoded, to know whether it can be and how it is turned.

    Raises MediaError for files that are missing, broken, no media, or have a video stream without a picture.
    """
    if isinstance(source, Shown):
        seen: dict[str, Any] = {"is_image": source.still, "duration": source.seconds}
        seen |= {"start": 0.0, "fps": None if source.still else float(source.fps)}
        return MediaInfo(source.name, "memory", True, False, **seen)
    av, name = pyav(), name_of(source)
    with open_media(source) as container:
        sound = audio_stream(container)
        cover = av.stream.Disposition.attached_pic
        has_video = any(not s.disposition & cover for s in container.streams.video)
        if sound is None and not has_video:
            raise MediaError(f"{name} has neither video nor audio. Give a media file.")
        facts: dict[str, Any] = {"duration": _container_seconds(container)}
        if sound is not None:
            facts.update(audio_codec=sound.codec_context.codec.canonical_name)
            facts.update(sample_rate=sound.codec_context.sample_rate, channels=sound.codec_context.channels)
        if has_video:
            facts.update(_probe_video(container, source))
        return MediaInfo(name, container.format.name, has_video, sound is not None, **facts)


def _container_seconds(container: Any) -> float | None:
    """How long the container says it is, from its first stream on."""
    if container.duration is None:
        return None
    length = container.duration
    if container.format.name.startswith("matroska"):  # which counts from 0, not from its first packet
        length -= max(container.start_time or 0, 0)
    return length / pyav().time_base


def _probe_video(container: Any, source: Source) -> dict[str, Any]:
    run = Run(Pictures(source), container)
    stream = run.stream
    frame = next(run.decode(), None)
    if frame is None:
        raise MediaError(
            f"{run.owner.name} has a video stream without a single picture that can be decoded. "
            "Re-export it, or give another file."
        )
    still, turns = is_image(container), quarter_turns(frame)
    upright = (frame.height, frame.width) if turns % 2 else (frame.width, frame.height)
    facts = {
        "is_image": still,
        "start": None if frame.pts is None else float(frame.pts * run.base),
        "fps": None if still else float(nominal_rate(stream)),
        "width": upright[0],
        "height": upright[1],
        "rotation": turns * 90,
        "video_codec": stream.codec_context.codec.canonical_name,
    }
    told = run.owner.announced
    if still:
        facts["duration"] = None
    elif told is not None and not stream.codec_context.has_b_frames:
        facts["duration"] = float(told)
    elif (end := run.last_end()) is not None and frame.pts is not None:
        # What is told of reordered pictures ends when the last one is decoded, and may be too short at varying rates.
        facts["duration"] = float(max(end - frame.pts * run.base, told or 0))
    elif told is not None:
        facts["duration"] = float(told)
    return facts
