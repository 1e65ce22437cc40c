"""The command generate: a sound, alone or under its video."""

from __future__ import annotations

import argparse
import logging
import os
from pathlib import Path
from typing import Any

from ..errors import InputError
from .options import place_of, settings_of, soundtrack_of

log = logging.getLogger("audiox")


def generate(args: argparse.Namespace) -> None:
    """Makes a sound and writes it. What can be found wrong is found before anything is downloaded or loaded."""
    from ..media import check_soundtrack, set_soundtrack
    from ..media.given import check_output, check_picture, check_sources
    from ..media.reading import name_of
    from ..media.sound import uncovered
    from ..memory.machine import measure
    from ..memory.plan import check_options
    from ..models.settings import Settings
    from ..weights.open import describe_model

    target, place, settings = Path(args.output), place_of(args), settings_of(args)
    inputs = [args.image, args.audio, args.video]
    free: dict[str, Any] = {"inputs": inputs, "overwrite": args.overwrite}
    to_video = check_output(target, video=args.video, name="-o", **free)
    under = soundtrack_of(args, to_video)
    if args.spectrogram:
        check_picture(args.spectrogram, name="--spectrogram", **free)
        if os.path.realpath(args.spectrogram) == os.path.realpath(target):
            raise InputError(f"--spectrogram {name_of(args.spectrogram)} is the same file as -o. Choose another name.")
    check_options(place["dtype"], place["offload"], place["max_vram_gb"])
    measure(args.device)
    model = describe_model(args.model, config=args.config, models_dirs=args.models_dir)
    resolved = Settings(**settings).resolved(model)
    check_sources(resolved)
    heard = float(resolved.seconds or 0)
    if to_video:
        rest = uncovered(args.video, heard, start=args.start, mix=args.mix, keep_rest=args.keep_rest)
        if rest is not None:
            log.warning("%s%s", rest, "" if args.seconds else " --seconds 0 makes it as long as the video.")
        heard = min(heard, float(check_soundtrack(args.video, target, **under)) - args.start)

    from ..pipeline import load_pipeline

    shown = not args.quiet
    pipe = load_pipeline(args.model, text_encoder=args.text_encoder, download=not args.offline, progress=shown, **place)
    if shown:
        print(pipe.report)
    if pipe.notice:
        print(pipe.notice)
    sound = pipe(**settings, progress=shown)
    if to_video:
        set_soundtrack(args.video, sound.waveform, sound.sample_rate, target, offset=args.start, **under)
    else:
        sound.save(target)
    if args.spectrogram:
        from ..media import spectrogram_image, write_png

        write_png(args.spectrogram, spectrogram_image(sound.waveform, sound.sample_rate))
    if shown:
        print(f"{name_of(target)}: {heard:.2f} s of sound at {sound.sample_rate} Hz")
