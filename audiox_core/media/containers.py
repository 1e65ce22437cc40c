"""The kinds of video file that are written: their sound, their clock, and which pictures they can hold."""

from __future__ import annotations

import math
from io import BytesIO
from typing import Any, NamedTuple

import torch

from ..errors import MediaError
from .decode import Upright
from .packets import PictureTrack
from .reading import open_media, pyav
from .streams import demuxed, video_stream
from .writing import Target


class Container(NamedTuple):
    """A kind of video file: FFmpeg's name, its sound (codec, PyAV's sample format, rate, bits a second), its
    picture encoder.

    `hides_pictures`: whether pictures before a cut can be stored without being shown. `whole_packets`: the
    samples of a sound packet where the last one cannot be shortened, else 1.
    """

    format: str
    codec: str
    kind: str
    rate: int
    bit_rate: int
    encoder: str
    hides_pictures: bool = False
    whole_packets: int = 1


AAC = ("aac", "fltp", 44100, 320_000)
OPUS = ("libopus", "flt", 48000, 192_000)
MP4 = Container("mp4", *AAC, "libx264", hides_pictures=True)
MKV = Container("matroska", *AAC, "libx264", whole_packets=1024)
CONTAINERS = {
    ".mp4": MP4,
    ".m4v": MP4,
    ".mov": MP4._replace(format="mov"),
    ".mkv": MKV,
    ".webm": Container("webm", *OPUS, "libvpx-vp9"),
}
VIDEO_SUFFIXES = tuple(CONTAINERS)


def container_for(track: PictureTrack, source: Any, stream: Any, suffix: str, target: str) -> Container:
    """The container for the target's extension ("": mp4 or else Matroska), which must be able to hold the
    pictures of `track`. `source` is the open video and is read on. Raises MediaError if it is not.
    """
    excerpt = track.excerpt(source, stream)
    shown = _first_picture(source, excerpt)
    if suffix == "":
        return MP4 if _holds(MP4, track, stream, excerpt, shown) else MKV
    if _holds(CONTAINERS[suffix], track, stream, excerpt, shown):
        return CONTAINERS[suffix]
    able = [s for s in VIDEO_SUFFIXES if _holds(CONTAINERS[s], track, stream, excerpt, shown)]
    mend = f"Write to {' or '.join(able)}" if able else "Convert the video to H.264 in .mp4 first"
    raise MediaError(f"{target}: {suffix} cannot hold {track.codec} pictures without re-encoding them. {mend}.")


def _holds(kind: Container, track: PictureTrack, stream: Any, excerpt: list[Any], shown: Any) -> bool:
    """Whether a first picture that is written is read back as it was: FFmpeg's writers promise more than they
    keep, and some write pictures that no one can read.
    """
    av = pyav()
    trial = BytesIO()
    try:
        with av.open(trial, "w", format=kind.format) as out:
            copy = track.add_to(out, stream)
            out.start_encoding()
            time = 0  # rising, whatever the pictures' lengths are
            for packet in excerpt:
                packet.stream, packet.time_base = copy, stream.time_base
                packet.pts = packet.dts = time
                time += max(packet.duration or 0, 1)
                out.mux(packet)
        if shown is None:
            return True
        with open_media(trial) as container:
            written = demuxed(container, video_stream(container, "the trial"), lambda error: None)
            back = _first_picture(container, list(written))
    except (av.FFmpegError, MediaError, ValueError):
        return False
    return back is not None and back.shape == shown.shape and torch.equal(back, shown)


def _first_picture(container: Any, packets: list[Any]) -> torch.Tensor | None:
    """The first picture of a few packets, (H, W, 3) uint8, or None."""
    decoder = video_stream(container, "the video").codec_context
    for packet in [*packets, None]:
        try:
            frames = decoder.decode(packet if packet is not None and packet.size else None)
        except (EOFError, pyav().FFmpegError):
            continue
        if frames:
            return Upright()(frames[0]).clone()
    return None


def options(kind: Container, target: Target, track: PictureTrack | None = None) -> dict[str, str]:
    """For mp4 and mov: a clock fine enough for exact lengths, and, in files, the index at the front (a second
    pass over them).
    """
    if not kind.hides_pictures:
        return {}
    ticks = kind.rate
    if track is not None and track.begin > 0:
        both = math.lcm(kind.rate, track.base.denominator)
        ticks = both if both <= 10_000_000 else ticks
    chosen = {"movie_timescale": str(ticks)}
    return chosen if isinstance(target, BytesIO) else {**chosen, "movflags": "+faststart"}


def rewound(target: Target) -> Target:
    """`target`, a BytesIO at its start."""
    if isinstance(target, BytesIO):
        target.seek(0)
    return target
