"""The command generate: a sound or several takes of it, alone or under its video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .asked import settings_of
from .drawing import look_of
from .job import Job, is_video
from .options import place_of, soundtrack_of, stepping_of

if TYPE_CHECKING:
    from ..models.parts import Model
    from ..pipeline import Pipeline


def generate(args: argparse.Namespace) -> None:
    """Makes a sound and writes it. What can be found wrong is found before anything is downloaded or loaded."""
    target = Path(args.output)
    job = Job(
        settings_of(args),
        target,
        video=args.video,
        offset=args.start,
        soundtrack=soundtrack_of(args, is_video(target)),
        picture=optional(args.spectrogram),
        look=look_of(args),
        preview=optional(args.preview),
        takes=args.takes,
        keep_finished=args.keep_finished,
        overwrite=args.overwrite,
        inputs=(args.image, args.audio, args.video),
    )
    job.check_files()
    make(job, args, described(args), "" if args.seconds else " --seconds 0 makes the sound as long as the video.")


def make(job: Job, args: argparse.Namespace, model: Model, hint: str = "") -> None:
    """Makes a job whose files are checked, with the model that the options name."""
    given = job.check(model)
    reach = job.check_video(given, hint)
    pipe = loaded(args)
    for line in job.make(pipe, given, reach, progress=not args.quiet):
        if not args.quiet:
            print(line)


def described(args: argparse.Namespace) -> Model:
    """What the model is that the options name, after a check of where it is to run."""
    from ..memory.machine import measure
    from ..memory.plan import check_options
    from ..weights.open import describe_model

    place = place_of(args)
    check_options(place["dtype"], place["offload"], place["max_vram_gb"])
    measure(args.device)
    return describe_model(args.model, config=args.config, models_dirs=args.models_dir)


def loaded(args: argparse.Namespace) -> Pipeline:
    """The model that the options name, ready to be called; what it needs is told."""
    from ..pipeline import load_pipeline

    place, shown = {**place_of(args), **stepping_of(args)}, not args.quiet
    pipe = load_pipeline(args.model, text_encoder=args.text_encoder, download=not args.offline, progress=shown, **place)
    if shown:
        print(pipe.report)
    if pipe.notice:
        print(pipe.notice)
    return pipe


def optional(name: str | None) -> Path | None:
    """A path, where one is named."""
    return None if name is None else Path(name)
