"""The commands edit, extend and vary: a sound that is there already, or a video's, and what is made of it."""

from __future__ import annotations

import argparse
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .asked import settings_of
from .drawing import look_of
from .job import Job, is_video
from .making import described, make, optional

if TYPE_CHECKING:
    from torch import Tensor

    from ..models.timing import Timing


def change(args: argparse.Namespace) -> None:
    """Makes a sound from a source and writes it. What can be found wrong is found before anything is loaded."""
    from ..editing import check_feather, followed
    from ..media import probe
    from ..media.given import check_file
    from ..media.reading import name_of

    check_file("SOURCE", args.source)
    info = probe(args.source)
    if not info.has_audio:
        raise InputError(f"SOURCE: {name_of(args.source)} has no sound. Give a file with sound.")
    moving, target = info.has_video and not info.is_image, Path(args.output)
    if is_video(target) and not moving:
        raise InputError(f"-o {name_of(target)}: a video file needs a video as SOURCE. Use .wav or .flac.")
    job = Job(
        followed(settings_of(args)),
        target,
        video=args.source if moving else None,
        covers=False,
        picture=optional(args.spectrogram),
        look=look_of(args),
        takes=args.takes,
        overwrite=args.overwrite,
        inputs=(args.source, args.image, args.audio, args.video),
    )
    job.check_files()
    if args.command != "vary":
        check_feather(args.feather)
    model = described(args)
    waveform = heard(args.source, model.timing.sample_rate, info.start if moving else None)
    seconds, way = _way(args, model.timing, waveform)
    job = job.changed(settings=job.settings | {"seconds": seconds}, way=way)
    if job.to_video and args.command == "extend":
        _check_reach(args, seconds, info.duration)
    make(job, args, model)


def heard(source: str, rate: int, start: float | None) -> Tensor:
    """A source's sound (2, N) at a rate, of a video from its first picture on, which is at `start` of its clock."""
    from ..media import read_audio, resample
    from ..media.reading import name_of
    from ..media.samples import read_samples

    if start is None:
        return read_audio(source, sample_rate=rate)
    found = read_samples(source, Fraction(0), None, Fraction(start))
    if not found.waveform.shape[-1]:
        raise InputError(f"SOURCE: the sound of {name_of(source)} ends before its pictures begin. Give another file.")
    return resample(found.waveform, found.rate, rate)


def _way(args: argparse.Namespace, timing: Timing, waveform: Tensor) -> tuple[float, Any]:
    """How long the sound will be, in seconds, and how it is made."""
    from .. import editing
    from ..media.spans import parse_spans
    from ..sampling.edits import Edit

    source, samples = (waveform, timing.sample_rate), waveform.shape[-1]
    if args.command == "vary":
        editing.check_strength(args.strength)
        editing.check_lasting(samples / timing.sample_rate)
        return samples / timing.sample_rate, partial(_called, editing.vary, source=source, strength=args.strength)
    if args.command == "edit":
        regions = parse_spans(args.regions, "--regions")
        made = Edit.of(timing, samples, regions)
        editing.check_lasting(made.seconds)
        return made.seconds, partial(_called, editing.edit, source=source, regions=regions, feather=args.feather)
    added = {"before": args.before, "after": args.after}
    editing.check_added(timing, **added)
    made = Edit.of(timing, samples, (), **added)
    editing.check_lasting(made.seconds, **added)
    return made.seconds, partial(_called, editing.extend, source=source, feather=args.feather, **added)


def _called(function: Any, pipe: Any, **given: Any) -> Any:
    return function(pipe, **given)


def _check_reach(args: argparse.Namespace, seconds: float, pictures: float | None) -> None:
    """Raises InputError unless a video's pictures reach as far as its longer sound."""
    if args.before:
        raise InputError("--before: a video has no pictures before its first one. Write only the sound, as .wav.")
    if pictures is not None and seconds > pictures + 0.1:
        most = max(pictures - (seconds - args.after), 0.0)
        raise InputError(
            f"--after: {args.after:g} s reach past the pictures, which last {pictures:.2f} s. Give at most {most:.2f}, "
            "or write the sound alone, as .wav."
        )
