"""Videos with a new soundtrack: the picture packets are copied as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fractions import Fraction
from typing import Any

from torch import Tensor

from ..errors import HiddenPicturesError, MediaError
from .audio import check_waveform, to_stereo
from .blending import check_blend
from .checks import LONGEST, Number, check_rate, real
from .containers import VIDEO_SUFFIXES as VIDEO_SUFFIXES
from .containers import Container, container_for, options, rewound
from .decode import Pictures
from .packets import PictureTrack
from .placing import check_placing, place, sound_track
from .reading import Source, name_of, open_media, pyav
from .resampling import resample
from .samples import read_samples
from .streams import audio_stream, is_image, video_stream
from .writing import Target, refuse_inputs, suffix_of, whole_file

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
    fade_in: float = 0.0,
    fade_out: float = 0.0,
    keep: str | Iterable[Sequence[float]] | None = None,
    duck: float = 0.0,
    keep_rest: bool = False,
    on_progress: Callable[[int, int], None] | None = None,
) -> Target:
    """Writes `video` with the sound (C, N) to `target` and returns `target`; picture packets keep their
    bytes, times and order.

    `mode` "replace" drops the old sound, "mix" adds the new one to it. The new sound begins `offset` seconds
    after the first picture (negative: its beginning is cut off), times `gain`, and is clipped to -1..1. The
    soundtrack starts with the first picture and lasts min(length of the pictures, offset + length of the
    sound); with "mix" the longer of that and the old sound, but never past the last picture. AAC at 44.1 kHz
    stereo, in .webm Opus at 48 kHz. Subtitles, chapters and data are left out.

    What is heard of the new sound fades in and out over `fade_in` and `fade_out` seconds. In `keep`, stretches
    in seconds from the first picture ("3-5, 8.2-9" or pairs), it is left out and the old one is heard, with
    crossfades of 50 ms around them. `keep_rest` keeps the old sound where the new one doesn't reach, before and
    after it ("mix" always does). `duck` lowers the new sound by so many dB while the old one sounds ("mix" only):
    from 0.1 s before to 0.25 s after it, back within another 0.5 s.

    `target` is a path (.mp4, .m4v, .mov, .mkv, .webm) or a BytesIO (mp4, or Matroska if mp4 cannot hold the
    codec; rewound at the end), and not `video` itself under any name. `start` and `end` (seconds from the
    first picture) keep only that part: still without re-encoding, the pictures between the keyframe and
    `start` are hidden by the container (.mp4, .m4v, .mov only), and a few pictures after `end` may stay. A
    path appears whole or not at all. `on_progress(done, total)` is told how far the work is; it may raise to
    stop. Raises MediaError for sources, codecs and places that do not fit, InputError for arguments.
    """
    name = name_of(video)
    blend = check_blend(mode, fade_in, fade_out, keep, duck, keep_rest)
    shift, level = check_placing(offset, gain)
    first, last = _window(name, start, end)
    suffix = suffix_of(target, VIDEO_SUFFIXES)
    refuse_inputs(target, [video])
    sound, sample_rate = to_stereo(check_waveform(waveform)), check_rate(sample_rate)
    progress = _Progress(on_progress)
    with open_media(video) as source:
        metadata = {k: v for k, v in source.metadata.items() if k.lower() not in OWN_METADATA}
        has_sound = audio_stream(source) is not None
    track, kind = _copied(video, target, suffix, first, last, progress.stage(0, 300))
    if track.hidden and not kind.hides_pictures:
        cut = f"start={float(first):g} s lies between keyframes" if first > 0 else "the video was cut between keyframes"
        instead = "Write to .mp4 or .mov, or start at 0." if first > 0 else "Write to .mp4 or .mov."
        raise HiddenPicturesError(
            f"{name_of(target)}: {cut}, and {kind.format} cannot hide the pictures before it. {instead}"
        )
    blend.check(name, has_sound, track.length)
    old = None
    if blend.needs_old and has_sound:
        old = _old_sound(video, track, kind.rate, progress.stage(300, 500))
    sound = resample(sound, sample_rate, kind.rate) * level
    audio = place(sound, kind, shift, track.length, old, blend)
    written = progress.stage(500, 1000)
    with (
        open_media(video) as source,
        whole_file(target, [video]) as file,
        pyav().open(file, "w", format=kind.format, options=options(kind, target, track)) as out,
    ):
        out.metadata.update(metadata)
        stream = video_stream(source, name)
        copy = track.add_to(out, stream)
        new = sound_track(out, kind, audio, track.begin)
        for number, packet in enumerate(track.packets(source, stream, copy)):
            written(number, track.stop - track.skip)
            new.write(packet.dts * track.base + LEAD)
            out.mux(packet)
        new.write(None)
        written(1, 1)
    return rewound(target)


def check_soundtrack(video: Source, target: Target, *, mode: str = "replace", **blend: Any) -> Fraction:
    """How many seconds the pictures of `video` last, after all checks of whether they can be copied to
    `target`, and `mode`, `fade_in`, `fade_out`, `keep`, `duck` and `keep_rest` fit them. Writes nothing, and
    reads the file as far as `set_soundtrack` does before it writes.

    Raises MediaError and InputError as `set_soundtrack`.
    """
    wanted = check_blend(mode, **blend)
    suffix = suffix_of(target, VIDEO_SUFFIXES)
    refuse_inputs(target, [video])
    with open_media(video) as source:
        if is_image(source):
            raise MediaError(
                f"{name_of(video)} is a still picture, not a video. Write the sound on its own, as .wav or .flac."
            )
        has_sound = audio_stream(source) is not None
    first, last = _window(name_of(video), 0.0, None)
    track, _ = _copied(video, target, suffix, first, last, None)
    wanted.check(name_of(video), has_sound, track.length)
    return track.length


def _copied(
    video: Source,
    target: Target,
    suffix: str,
    first: Number,
    last: Number | None,
    on_bytes: Callable[[int, int], None] | None,
) -> tuple[PictureTrack, Container]:
    """Which pictures of the video are copied, and into what kind of file."""
    name = name_of(video)
    with open_media(video) as source:
        track = PictureTrack(source, video_stream(source, name), name, first, last, on_bytes)
    _check_decodable(video)
    with open_media(video) as source:
        return track, container_for(track, source, video_stream(source, name), suffix, name_of(target))


class _Progress:
    """Tells a caller in thousandths how far several stages are; now and then also where they stand still, so
    that he can stop them.
    """

    def __init__(self, tell: Callable[[int, int], None] | None) -> None:
        self.tell = tell
        self.told = -1
        self.calls = 0

    def stage(self, first: int, last: int) -> Callable[[int, int], None]:
        """What one stage is to call: with the part of it that is done, and the whole."""

        def step(done: int, total: int) -> None:
            if self.tell is None:
                return
            self.calls += 1
            value = max(self.told, first + (last - first) * min(done, total) // max(total, 1))
            if value > self.told or self.calls % 100 == 0:
                self.told = value
                self.tell(value, 1000)

        return step


def _window(name: str, start: object, end: object) -> tuple[Number, Number | None]:
    """The part to keep, in seconds; MediaError unless these are times."""
    mend = f" s. Give seconds from the first picture, 0 to {LONGEST}."
    first = real(start, f"{name}: start", mend, -LONGEST, LONGEST, MediaError)
    return first, None if end is None else real(end, f"{name}: end", mend, -LONGEST, LONGEST, MediaError)


def _check_decodable(video: Source) -> None:
    """MediaError unless the video has a picture that somebody can see."""
    pictures = Pictures(video)
    if next(iter(pictures), None) is None:
        raise MediaError(
            f"{pictures.name}: not one picture could be decoded ({pictures.broken} broken packets). "
            "The file is broken or cut off: re-export it, or give another one."
        )


def _old_sound(video: Source, track: PictureTrack, rate: int, step: Callable[[int, int], None]) -> Tensor:
    """The video's own sound (2, n) at `rate`, from the first picture kept to the last."""
    expected = max(int(track.length * rate), 1)
    found = read_samples(video, Fraction(0), track.length, track.origin, lambda count: step(count, expected))
    return resample(found.waveform, found.rate, rate)
