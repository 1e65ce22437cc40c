"""Videos with a new soundtrack: picture packets copied as they are, or pictures that exist only as tensors
encoded once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from io import BytesIO
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from .audio import check_waveform, quantize, resample, to_stereo
from .files import Source, Target, audio_stream, name_of, open_media, pyav, suffix_of, video_stream, whole_file
from .packets import PictureTrack
from .samples import read_samples
from .track import SoundTrack


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
# About a container's make and clock: the new file has its own.
OWN_METADATA = frozenset(("encoder", "major_brand", "minor_version", "compatible_brands", "creation_time", "duration"))
# Seconds that the sound is written ahead of the pictures, so that players find both together.
LEAD = Fraction(1, 2)


def set_soundtrack(
    video: Source,
    waveform: Tensor,
    sample_rate: int,
    target: Target,
    *,
    mode: str = "replace",
    offset: float = 0.0,
    gain: float = 1.0,
    start: float = 0.0,
    end: float | None = None,
) -> Target:
    """Writes `video` with the sound (C, N) to `target` and returns `target`; picture packets keep their
    bytes, times and order.

    `mode` "replace" drops the old sound, "mix" adds the new one to it. The new sound begins `offset` seconds
    after the first picture (negative: its beginning is cut off), times `gain`, and is clipped to -1..1. The
    soundtrack starts with the first picture and lasts min(length of the pictures, offset + length of the
    sound); with "mix" the longer of that and the old sound, but never past the last picture. AAC at 44.1 kHz
    stereo, in .webm Opus at 48 kHz. Subtitles, chapters and data are left out.

    `target` is a path (.mp4, .m4v, .mov, .mkv, .webm) or a BytesIO (mp4, or Matroska if mp4 cannot hold the
    codec; rewound at the end). `start` and `end` (seconds from the first picture) keep only that part: still
    without re-encoding, the pictures between the keyframe and `start` are hidden by the container (.mp4,
    .m4v, .mov only), and a few pictures after `end` may stay. A path appears whole or not at all. Raises
    MediaError for sources, codecs and places that do not fit, InputError for arguments.
    """
    name = name_of(video)
    _check_arguments(mode, offset, gain)
    if isinstance(target, BytesIO) and video is target:
        raise InputError("video and target are the same object. Write into another BytesIO.")
    sound = to_stereo(check_waveform(waveform))
    suffix = suffix_of(target, VIDEO_SUFFIXES)
    with open_media(video) as source:
        stream = video_stream(source, name)
        track = PictureTrack(source, stream, name, start, end)
        kind = _container_for(track, stream, suffix, name_of(target))
        has_sound = audio_stream(source) is not None
        metadata = {k: v for k, v in source.metadata.items() if k.lower() not in OWN_METADATA}
    if track.hidden and not kind.hides_pictures:
        raise MediaError(
            f"{name_of(target)}: start={start:g} s lies between keyframes, and {kind.format} cannot hide the "
            "pictures before it. Write to .mp4 or .mov, or start at 0."
        )
    old = _old_sound(video, track, kind.rate) if mode == "mix" and has_sound else None
    sound = resample(sound, sample_rate, kind.rate) * gain
    audio = _place(sound, kind, offset, track.length, old)
    options = _options(kind, target, track)
    with (
        open_media(video) as source,
        whole_file(target) as file,
        pyav().open(file, "w", format=kind.format, options=options) as out,
    ):
        out.metadata.update(metadata)
        stream = video_stream(source, name)
        copy = track.add_to(out, stream)
        sound_track = _sound_track(out, kind, audio, track.begin)
        for packet in track.packets(source, stream, copy):
            sound_track.write(packet.dts * track.base + LEAD)
            out.mux(packet)
        sound_track.write(None)
    return _rewound(target)


def encode_video(
    frames: Iterable[Tensor],
    fps: float | Fraction,
    target: Target,
    waveform: Tensor | None = None,
    sample_rate: int = 44100,
    *,
    offset: float = 0.0,
    gain: float = 1.0,
    crf: int = 17,
    preset: str = "medium",
) -> Target:
    """Encodes pictures (H, W, 3 or 4), float in 0..1 or uint8, as a video of `fps` pictures a second, and
    returns `target`.

    H.264 (VP9 in .webm) in BT.709, odd sizes padded by repeating the last row or column, alpha dropped. The
    sound (C, N), if given, is placed as `set_soundtrack` does and never runs past the last picture. One
    picture is held at a time. `target` as there; a path appears whole or not at all, also when `frames`
    raises. Raises InputError for no frames, or frames that differ in size.
    """
    _check_arguments("replace", offset, gain)
    if not fps > 0:
        raise InputError(f"fps={fps}. Give a frame rate above 0.")
    rate = fps if isinstance(fps, Fraction) else Fraction(fps).limit_denominator(1001)
    kind = CONTAINERS[suffix_of(target, VIDEO_SUFFIXES) or ".mp4"]
    audio = None
    if waveform is not None:
        sound = resample(to_stereo(check_waveform(waveform)), sample_rate, kind.rate) * gain
        audio = _place(sound, kind, offset)
    av = pyav()
    if kind.encoder not in av.codecs_available:
        raise MediaError(f"This build of PyAV has no {kind.encoder}. Install the wheel from PyPI: pip install av")
    options = _options(kind, target)
    with whole_file(target) as file, av.open(file, "w", format=kind.format, options=options) as out:
        stream, track, shape, count = None, None, None, 0
        for frame in frames:
            if stream is None:
                shape = frame.shape
                stream = _video_encoder(out, kind, rate, frame, crf, preset)
                track = None if audio is None else _sound_track(out, kind, audio, Fraction(0))
            if frame.shape != shape:
                raise InputError(
                    f"frame {count} has shape {tuple(frame.shape)}, the first {tuple(shape or ())}. Give one size."
                )
            out.mux(stream.encode(_video_frame(frame, count, rate)))
            count += 1
            if track is not None:
                track.write(_longest(count / rate, kind))
        if stream is None:
            raise InputError("there are no frames to encode. Give at least one.")
        out.mux(stream.encode(None))
        if track is not None:
            track.write(None, last=_longest(count / rate, kind))
    return _rewound(target)


def _check_arguments(mode: str, offset: float, gain: float) -> None:
    if mode not in ("replace", "mix"):
        raise InputError(f"mode {mode!r} does not exist. Valid: replace, mix.")
    if not (math.isfinite(offset) and math.isfinite(gain)):
        raise InputError(f"offset={offset}, gain={gain}. Give finite numbers.")


def _container_for(track: PictureTrack, stream: Any, suffix: str, target: str) -> Container:
    """The container for the target's extension ("": mp4 or else Matroska), which must be able to hold the
    pictures.
    """
    if suffix == "":
        return MP4 if _holds(MP4, track, stream) else MKV
    if _holds(CONTAINERS[suffix], track, stream):
        return CONTAINERS[suffix]
    able = [s for s in VIDEO_SUFFIXES if _holds(CONTAINERS[s], track, stream)]
    mend = f"Write to {' or '.join(able)}" if able else "Convert the video to H.264 in .mp4 first"
    raise MediaError(f"{target}: {suffix} cannot hold {track.codec} pictures without re-encoding them. {mend}.")


def _holds(kind: Container, track: PictureTrack, stream: Any) -> bool:
    """Whether FFmpeg writes a header for these pictures: its own list of codecs promises more than its
    writers keep.
    """
    av = pyav()
    with av.open(BytesIO(), "w", format=kind.format) as trial:
        try:
            track.add_to(trial, stream)
            trial.start_encoding()
        except (av.FFmpegError, ValueError):
            return False
        return True


def _options(kind: Container, target: Target, track: PictureTrack | None = None) -> dict[str, str]:
    """For mp4 and mov: a clock fine enough for exact lengths, and, in files, the index at the front (a second
    pass over them).
    """
    if not kind.hides_pictures:
        return {}
    ticks = kind.rate
    if track is not None and track.begin > 0:
        both = math.lcm(kind.rate, track.base.denominator)
        ticks = both if both <= 10_000_000 else ticks
    options = {"movie_timescale": str(ticks)}
    return options if isinstance(target, BytesIO) else {**options, "movflags": "+faststart"}


def _old_sound(video: Source, track: PictureTrack, rate: int) -> Tensor:
    """The video's own sound (2, n) at `rate`, from the first picture kept to the last."""
    found = read_samples(video, Fraction(0), track.length, origin=track.origin)
    return resample(found.waveform, found.rate, rate)


def _place(
    sound: Tensor, kind: Container, offset: float, length: Fraction | None = None, old: Tensor | None = None
) -> Tensor:
    """The soundtrack (2, n): `sound` from `offset` seconds on, over `old` if given, clipped, not longer than
    `length` seconds.
    """
    shift = round(Fraction(offset) * kind.rate)
    sound = sound[:, max(-shift, 0) :]
    shift = max(shift, 0)
    total = shift + sound.shape[1]
    if old is not None:
        total = max(total, old.shape[1])
    if length is not None:
        total = min(total, math.floor(_longest(length, kind) * kind.rate))
    if total <= shift or sound.shape[1] == 0:
        until = "" if length is None else f" (the pictures last {float(length):.3f} s)"
        raise InputError(
            f"offset={offset:g} s leaves nothing of the sound to hear{until}. Choose one with which they overlap."
        )
    track = torch.zeros(2, total)
    if old is not None:
        heard = min(old.shape[1], total)
        track[:, :heard] = old[:, :heard]
    heard = min(sound.shape[1], total - shift)
    track[:, shift : shift + heard] += sound[:, :heard]
    return track.clamp_(-1, 1)


def _longest(length: Fraction, kind: Container) -> Fraction:
    """How long sound may be beside pictures of this length: where packets stay whole, it ends with the last
    that fits.
    """
    samples = math.floor(length * kind.rate)
    return Fraction(samples // kind.whole_packets * kind.whole_packets, kind.rate)


def _sound_track(out: Any, kind: Container, audio: Tensor, begin: Fraction) -> SoundTrack:
    return SoundTrack(out, kind.codec, kind.kind, kind.rate, quantize(audio, kind.kind), begin, kind.bit_rate)


def _video_encoder(out: Any, kind: Container, rate: Fraction, frame: Tensor, crf: int, preset: str) -> Any:
    if frame.ndim != 3 or frame.shape[-1] not in (3, 4) or 0 in frame.shape:
        raise InputError(f"a frame has shape {tuple(frame.shape)}. Give (height, width, 3 or 4), none of them 0.")
    stream = out.add_stream(kind.encoder, rate=rate)
    stream.height, stream.width = frame.shape[0] + frame.shape[0] % 2, frame.shape[1] + frame.shape[1] % 2
    stream.pix_fmt = "yuv420p"
    if kind.encoder == "libx264":
        stream.options = {"crf": str(crf), "preset": preset}
    else:  # VP9's scale is 0..63, and its bit rate must be 0 for a constant quality
        stream.options = {"crf": str(round(crf * 63 / 51)), "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        stream.bit_rate = 0
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1  # BT.709, limited range
    return stream


def _video_frame(frame: Tensor, index: int, rate: Fraction) -> Any:
    """(H, W, 3 or 4) as a yuv420p VideoFrame of even size with its place in time."""
    from av.video.reformatter import ColorRange, Colorspace

    picture = frame[..., :3].cpu()
    if picture.dtype != torch.uint8:
        picture = (picture.float().clamp(0, 1) * 255).round().to(torch.uint8)
    height, width = picture.shape[:2]
    if height % 2:
        picture = torch.cat([picture, picture[-1:]])
    if width % 2:
        picture = torch.cat([picture, picture[:, -1:]], dim=1)
    rgb = pyav().VideoFrame.from_ndarray(picture.contiguous().numpy(), format="rgb24")
    out = rgb.reformat(
        format="yuv420p",
        src_colorspace=Colorspace.DEFAULT,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
    out.pts, out.time_base = index, 1 / rate
    return out


def _rewound(target: Target) -> Target:
    if isinstance(target, BytesIO):
        target.seek(0)
    return target
