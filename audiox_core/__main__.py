"""The command line: python -m audiox_core generate | info | convert."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

from .errors import AudioXError, InputError, alike

log = logging.getLogger("audiox")

TASKS = """examples
  text to audio     generate --text "Ocean waves crashing" -o waves.wav
  text to music     generate --text "An orchestral piece with a soaring melody" -o music.flac
  video to audio    generate --video clip.mp4 -o clip_with_sound.mp4
  video to music    generate --video clip.mp4 --text "Generate music for the video" -o clip_with_music.mp4
  text and video    generate --video clip.mp4 --text "footsteps on gravel" -o clip_with_sound.mp4
  image to audio    generate --image beach.jpg -o beach.wav
  audio prompt      generate --audio example.wav --text "the same, slower" -o variation.wav
  its whole length  generate --video long.mp4 --seconds 0 -o long_with_sound.mp4
  no download       generate --model demo --text "anything" -o noise.wav
"""


class Stopped(BaseException):
    """SIGTERM or SIGHUP, by its number."""


class _Parser(argparse.ArgumentParser):
    """Offers the option that is most like an unknown one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Mapping[str, argparse.ArgumentParser] = {}

    def error(self, message: str) -> NoReturn:
        intro, unknown, words = message.partition("unrecognized arguments: ")
        options = [o for p in (self, *self.commands.values()) for o in p._option_string_actions if o.startswith("--")]
        wrong = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        hints = [alike(word, options, most=1) for word in wrong] if unknown and not intro else []
        super().error(message + "".join(f".{hint}" for hint in hints if hint))


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="python -m audiox_core", description="AudioX: anything to audio.")
    commands = top.add_subparsers(dest="command", required=True)

    make = commands.add_parser(
        "generate",
        help="make a sound",
        epilog=TASKS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _model_options(make)
    what = make.add_argument_group("what the sound follows (one or several)")
    what.add_argument("--text", help="a prompt; words past 128 tokens are not read")
    what.add_argument("--negative-text", help="what the sound should be unlike")
    what.add_argument("--video", metavar="FILE", help="seen ten seconds at a time")
    what.add_argument("--image", metavar="FILE", help="seen as a still video")
    what.add_argument("--audio", metavar="FILE", help="ten seconds of it are heard as an example")
    what.add_argument("--start", type=float, default=0.0, help="where the video begins, in seconds")
    what.add_argument("--audio-start", type=float, default=0.0, help="where the audio prompt begins, in seconds")
    how = make.add_argument_group("how it is made (defaults: the model's released recipe)")
    how.add_argument("--seconds", type=float, help="length of the sound; 0: as long as the video (default 10.0)")
    how.add_argument(
        "--kept",
        type=float,
        metavar="SECONDS",
        help="what each window of a longer sound keeps of the one before it and carries on (default half a window)",
    )
    how.add_argument("--steps", type=int, help="sampling steps")
    how.add_argument("--cfg", type=float, help="guidance; 1 is off")
    how.add_argument("--rescale", type=float, default=0.0, help="guidance rescale, 0 to 1 (default %(default)s)")
    how.add_argument("--seed", type=int, default=0, help="the same seed gives the same sound (default %(default)s)")
    how.add_argument("--sampler", help="its name; an unknown one lists those that can run the model")
    how.add_argument("--sigma-min", type=float, help="the lowest noise level")
    how.add_argument("--sigma-max", type=float, help="the highest noise level")
    how.add_argument("--rho", type=float, help="curve of the sigma schedule")
    how.add_argument(
        "--prompt-hidden",
        type=float,
        metavar="SHARE",
        help="share of the audio prompt that is hidden at random, 0 to 1; 0 lets all of it be heard",
    )
    out = make.add_argument_group("output")
    out.add_argument(
        "-o",
        "--output",
        required=True,
        metavar="FILE",
        help=".wav or .flac for the sound; .mp4, .mov, .mkv or .webm for the video with its new sound",
    )
    out.add_argument("--mix", action="store_true", help="keep the video's own sound underneath")
    out.add_argument("--no-normalize", action="store_true", help="leave the level as it was decoded")
    out.add_argument("--spectrogram", metavar="PNG", help="also draw the sound")
    out.add_argument("--overwrite", action="store_true", help="replace files that exist")
    out.add_argument("--quiet", action="store_true", help="no report and no progress bars")

    info = commands.add_parser("info", help="what the machine has, and the plan for a model")
    _model_options(info)

    convert = commands.add_parser("convert", help="model.ckpt to model.safetensors, plain tensors only")
    convert.add_argument("source", metavar="CKPT")
    convert.add_argument("target", metavar="SAFETENSORS")
    convert.add_argument("--config", metavar="JSON", help="config.json or a model's name, if the weights don't tell")
    convert.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    top.commands = commands.choices
    return top


def _model_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("model")
    named = "a model's name, its checkpoint's path, or demo (default %(default)s)"
    group.add_argument("--model", default="AudioX", help=named)
    group.add_argument("--config", metavar="JSON", help="config.json, if it does not lie beside the checkpoint")
    group.add_argument("--text-encoder", metavar="PATH", help="t5_base.safetensors or a folder, if not found by itself")
    group.add_argument("--models-dir", metavar="DIR", action="append", default=[], help="another place to look")
    group.add_argument("--offline", action="store_true", help="never download")
    group.add_argument("--device", default="auto", help="auto, cuda, cuda:1, xpu, mps or cpu (default %(default)s)")
    group.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16 or fp8 (default %(default)s)")
    group.add_argument("--no-half", action="store_true", help="float32 throughout; the same as --dtype fp32")
    group.add_argument("--no-cpu-offload", action="store_true", help="keep everything on the device")
    group.add_argument(
        "--max-vram",
        type=float,
        metavar="GB",
        help="use at most this much memory of the device, in units of 1e9 bytes",
    )


def _place(args: argparse.Namespace) -> dict[str, Any]:
    """Where and in what a model is to run, as load_pipeline and plan_for take it."""
    if args.no_half and args.dtype not in ("auto", "fp32"):
        raise InputError(f"--no-half and --dtype {args.dtype} contradict each other: drop one of them")
    return {
        "device": args.device,
        "dtype": "fp32" if args.no_half else args.dtype,
        "offload": "off" if args.no_cpu_offload else "auto",
        "max_vram_gb": args.max_vram,
        "config": args.config,
        "models_dirs": args.models_dir,
    }


def _settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of a generation, by their names in Settings."""
    same = ["text", "video", "audio", "image", "negative_text", "seconds", "steps", "seed", "sampler", "sigma_min"]
    same += ["sigma_max", "rho", "rescale", "start", "audio_start", "prompt_hidden", "kept"]
    return {name: getattr(args, name) for name in same} | {"guidance": args.cfg, "normalize": not args.no_normalize}


def generate(args: argparse.Namespace) -> None:
    """Makes a sound and writes it. What can be found wrong is found before anything is downloaded or loaded."""
    from .media import check_soundtrack, set_soundtrack
    from .media.reading import name_of
    from .media.sound import uncovered
    from .memory.machine import measure
    from .memory.plan import check_options
    from .settings import Settings, check_output, check_picture, check_sources
    from .weights.open import describe_model

    target, place, settings = Path(args.output), _place(args), _settings(args)
    inputs = [args.image, args.audio, args.video]
    free: dict[str, Any] = {"inputs": inputs, "overwrite": args.overwrite}
    to_video = check_output(target, video=args.video, name="-o", **free)
    if args.mix and not to_video:
        raise InputError("--mix: there is no video to mix with. Give --video and a video file as -o.")
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
        rest = uncovered(args.video, heard, start=args.start, mix=args.mix)
        if rest is not None:
            log.warning("%s%s", rest, "" if args.seconds else " --seconds 0 makes it as long as the video.")
        heard = min(heard, float(check_soundtrack(args.video, target)) - args.start)

    from .pipeline import load_pipeline

    shown = not args.quiet
    pipe = load_pipeline(args.model, text_encoder=args.text_encoder, download=not args.offline, progress=shown, **place)
    if shown:
        print(pipe.report)
    if pipe.notice:
        print(pipe.notice)
    sound = pipe(**settings, progress=shown)
    if to_video:
        mode = "mix" if args.mix else "replace"
        set_soundtrack(args.video, sound.waveform, sound.sample_rate, target, mode=mode, offset=args.start)
    else:
        sound.save(target)
    if args.spectrogram:
        from .media import spectrogram_image, write_png

        write_png(args.spectrogram, spectrogram_image(sound.waveform, sound.sample_rate))
    if shown:
        print(f"{name_of(target)}: {heard:.2f} s of sound at {sound.sample_rate} Hz")


def info(args: argparse.Namespace) -> None:
    """Prints what the machine has, and where the parts of the model would go."""
    from .memory.report import report
    from .pipeline import plan_for

    machine, plan = plan_for(args.model, **_place(args))
    print(report(plan, machine))


def convert(args: argparse.Namespace) -> None:
    """Rewrites a checkpoint as safetensors."""
    from .media.reading import name_of
    from .weights.convert import convert as rewrite

    rewrite(args.source, args.target, config=args.config, overwrite=args.overwrite)
    print(f"{name_of(args.target)}: written")


class _Outputs:
    """The files that a command is to write, and which of them it has written."""

    def __init__(self, args: argparse.Namespace) -> None:
        named = [getattr(args, name, None) for name in ("output", "spectrogram", "target")]
        self.before = {name: self._stamp(name) for name in named if name is not None}

    def written(self) -> str:
        """A clause that names them; nothing where there are none."""
        from .media.reading import name_of

        done = [name_of(name) for name, stamp in self.before.items() if self._stamp(name) != stamp]
        return f"{' and '.join(done)} {'were' if len(done) > 1 else 'was'} written" if done else ""

    @staticmethod
    def _stamp(name: str) -> tuple[int, int, int] | None:
        with suppress(OSError, ValueError):
            found = os.stat(name)
            return found.st_ino, found.st_size, found.st_mtime_ns
        return None


@contextmanager
def _ends_at_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does, by an exception, so that nothing half-written stays.

    Where they are ignored (nohup) or handled by whoever called, they stay so; so do they off the main thread.
    """

    def stop(number: int, _: Any) -> NoReturn:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)  # a second one must not break the tidying up
        raise Stopped(number)

    ours: list[int] = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with suppress(ValueError):  # not the main thread
                signal.signal(number, stop)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it worked, 1 after an error that was told, 130 after Ctrl-C, 143 after SIGTERM."""
    args = parser().parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    outputs = _Outputs(args)
    try:
        with _ends_at_signals():
            {"generate": generate, "info": info, "convert": convert}[args.command](args)
    except AudioXError as error:
        done = outputs.written()
        print(f"error: {error}" + (f" ({done})" if done else ""), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped) as stopped:
        print(f"interrupted; {outputs.written() or 'nothing was written'}", file=sys.stderr)
        return 128 + (stopped.args[0] if isinstance(stopped, Stopped) else signal.SIGINT)
    except BrokenPipeError:  # whoever read what is printed has gone: so has the place for another word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
