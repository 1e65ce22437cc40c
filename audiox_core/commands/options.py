"""The options of every command, and what they mean in the core's words."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import InputError, alike

TASKS = """examples
  text to audio     generate --text "Ocean waves crashing" -o waves.wav
  text to music     generate --text "An orchestral piece with a soaring melody" -o music.flac
  video to audio    generate --video clip.mp4 -o clip_with_sound.mp4
  video to music    generate --video clip.mp4 --text "Generate music for the video" -o clip_with_music.mp4
  text and video    generate --video clip.mp4 --text "footsteps on gravel" -o clip_with_sound.mp4
  image to audio    generate --image beach.jpg -o beach.wav
  audio prompt      generate --audio example.wav --text "the same, slower" -o variation.wav
  its whole length  generate --video long.mp4 --seconds 0 -o long_with_sound.mp4
  timed prompts     generate --seconds 30 --text rain --at 0:12 thunder -o storm.wav
  seamless loop     generate --seconds 8 --loop --text "a campfire" -o fire.wav
  no download       generate --model demo --text "anything" -o noise.wav
"""
EDITING = """What is kept stays bit for bit what it was in .wav (32-bit floating point). In .flac (24 bits) so do
sources of 16 and 24 bits; others are rounded there, and what is louder than full scale is clipped. A source at another
rate than the model's is resampled first. A video's sound is encoded again. Seconds of a video count from its first
picture."""
VARYING = (
    "In between, the more strength, the less is left of it. A video's pictures are copied, its sound is encoded again."
)
BATCH = """a row (of .jsonl; the header of a .csv has the same names)
  {"text": "rain on a roof", "seconds": 30, "seed": 7, "output": "rain.wav"}
  {"video": "clips/door.mp4", "text": "a door slams", "mix": true, "normalize": "loudness"}

Names are those of the settings: text, negative_text, video, image, audio, seconds, steps, guidance, seed, ..., and
output, takes, spectrogram, mix, keep_rest, keep, duck, fade_in, fade_out. Files are looked for from the list's folder
on. The same command goes on where it was stopped: rows that are finished and unchanged are passed over. For several
devices, or machines that share a folder: accelerate launch --multi_gpu --num_processes 2 -m audiox_core batch ..."""


class _Parser(argparse.ArgumentParser):
    """Offers the option that is most like an unknown one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Mapping[str, argparse.ArgumentParser] = {}

    def error(self, message: str) -> NoReturn:
        intro, unknown, words = message.partition("unrecognized arguments: ")
        options = [o for p in (self, *self.commands.values()) for o in p._option_string_actions if o.startswith("--")]
        wrong = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        hints = [self._owners(word) or alike(word, options, most=1) for word in wrong] if unknown and not intro else []
        super().error(message + "".join(f".{hint}" for hint in hints if hint))

    def _owners(self, word: str) -> str:
        """Which commands have an option that another one does not; nothing where none has."""
        owners = [name for name, command in self.commands.items() if word in command._option_string_actions]
        return f" {word} is an option of {', '.join(owners)}" if owners else ""


class _Version(argparse.Action):
    """Prints the version, which is looked up only then, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .. import __version__

        print(f"audiox {__version__}")
        parser.exit()


def parser(prog: str = "python -m audiox_core") -> argparse.ArgumentParser:
    """All commands; prog is what messages call the program."""
    top = _Parser(prog=prog, description="AudioX: anything to audio.")
    top.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True)

    make = commands.add_parser(
        "generate",
        help="make a sound",
        epilog=TASKS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _model_options(make)
    _followed(make)
    how = make.add_argument_group("how it is made (defaults: the model's released recipe)")
    _length(how)
    _ways(how)
    out = make.add_argument_group("output")
    name = ".wav or .flac for the sound; .mp4, .mov, .mkv or .webm for the video with its new sound"
    out.add_argument("-o", "--output", required=True, metavar="FILE", help=name)
    _soundtrack_options(out)
    _level(out)
    _written(out)
    out.add_argument(
        "--preview",
        metavar="FILE",
        help="what is finished of a longer sound, .wav or .flac, whole again after each window",
    )
    out.add_argument(
        "--keep-finished", action="store_true", help="Ctrl-C ends a longer sound with the windows that are finished"
    )
    _changing(commands)
    _batch(commands)

    info = commands.add_parser("info", help="what the machine has, and the plan for a model")
    _model_options(info)

    convert = commands.add_parser("convert", help="model.ckpt to model.safetensors, plain tensors only")
    convert.add_argument("source", metavar="CKPT")
    convert.add_argument("target", metavar="SAFETENSORS")
    convert.add_argument("--config", metavar="JSON", help="config.json or a model's name, if the weights don't tell")
    convert.add_argument("--overwrite", action="store_true", help="replace a file that exists")
    top.commands = commands.choices
    return top


def _followed(command: argparse.ArgumentParser) -> None:
    """What a sound follows."""
    what = command.add_argument_group("what the sound follows (one or several)")
    words = "a prompt; words past 128 tokens are not read. @FILE: a file with one, or with lines such as 0:12 thunder"
    what.add_argument("--text", help=words)
    what.add_argument(
        "--at",
        nargs=2,
        action="append",
        metavar=("TIME", "TEXT"),
        help='a prompt from a moment on, such as 12 or 0:12 "thunder"; may be repeated. Each window follows one prompt',
    )
    what.add_argument("--negative-text", help="what the sound should be unlike")
    what.add_argument("--video", metavar="FILE", help="seen ten seconds at a time")
    what.add_argument("--image", metavar="FILE", help="seen as a still video")
    what.add_argument("--audio", metavar="FILE", help="ten seconds of it are heard as an example")
    what.add_argument("--start", type=float, default=0.0, help="where the video begins, in seconds")
    what.add_argument("--audio-start", type=float, default=0.0, help="where the audio prompt begins, in seconds")


def _length(how: argparse._ArgumentGroup) -> None:
    """How long a sound is, and whether it goes round."""
    how.add_argument(
        "--seconds",
        type=_seconds,
        help="length of the sound, up to an hour; 0 or all: as long as the video (default 10.0)",
    )
    how.add_argument("--loop", action="store_true", help="a sound whose end runs into its beginning")


def _seconds(text: str) -> float:
    return 0.0 if text == "all" else float(text)


_seconds.__name__ = "number of seconds"  # as argparse calls it in its message


def _ways(how: argparse._ArgumentGroup) -> None:
    """How a sound is made."""
    how.add_argument(
        "--long",
        default="continue",
        metavar="WAY",
        help="what is longer than a window: continue makes one window after the other (default), together blends all "
        "windows in every step",
    )
    how.add_argument(
        "--kept",
        type=float,
        metavar="SECONDS",
        help="what each window of a longer sound keeps of the one before it and carries on (default half a window)",
    )
    how.add_argument("--steps", type=int, help="sampling steps")
    how.add_argument("--cfg", type=float, dest="guidance", help="guidance; 1 is off")
    for name in ("text", "video", "audio"):
        how.add_argument(f"--{name}-guidance", type=float, metavar="CFG", help=f"guidance by the {name} alone")
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


def _level(out: argparse._ArgumentGroup) -> None:
    level = out.add_mutually_exclusive_group()
    level.add_argument(
        "--normalize",
        choices=("peak", "loudness", "off"),
        default=True,
        help="the level: peak brings the loudest sample to full scale (default), loudness each sound to -16 LUFS, less "
        "where its peaks leave no room, off leaves it as it was decoded",
    )
    level.add_argument("--no-normalize", dest="normalize", action="store_false", help="the same as --normalize off")


def _written(out: argparse._ArgumentGroup) -> None:
    """What goes with every command that writes one output."""
    out.add_argument("--spectrogram", metavar="PNG", help="also draw the sound")
    out.add_argument(
        "--takes",
        type=int,
        default=1,
        metavar="N",
        help="so many sounds, with the seed and those after it, as NAME_1, NAME_2, ...",
    )
    out.add_argument("--overwrite", action="store_true", help="replace files that exist")
    out.add_argument("--quiet", action="store_true", help="no report and no progress bars")


def _changing(commands: Any) -> None:
    """The commands that change a sound that is there: edit, extend and vary."""
    texts = {
        "edit": ("make seconds of a sound anew; all others stay as they are", EDITING),
        "extend": ("continue a sound: add seconds before or after it", EDITING),
        "vary": ("make a sound again, near to what it was", VARYING),
    }
    for name, (text, note) in texts.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=note)
        command.add_argument("source", metavar="SOURCE", help="a sound, or a video whose sound is meant")
        _model_options(command)
        what = command.add_argument_group("what is made")
        if name == "edit":
            what.add_argument("--regions", required=True, metavar="SECONDS", help='such as "3-5, 8.2-9"')
        elif name == "extend":
            what.add_argument("--before", type=float, default=0.0, metavar="SECONDS", help="to add before it")
            what.add_argument("--after", type=float, default=0.0, metavar="SECONDS", help="to add after it")
        else:
            near = "0 gives the sound itself, 1 leaves only its length (default %(default)s)"
            what.add_argument("--strength", type=float, default=0.5, help=near)
        if name != "vary":
            cross = "over which what is new comes in and goes out, inside it (default %(default)s)"
            what.add_argument("--feather", type=float, default=0.05, metavar="SECONDS", help=cross)
        _followed(command)
        _ways(command.add_argument_group("how it is made (defaults: the model's released recipe)"))
        out = command.add_argument_group("output")
        kinds = ".wav or .flac; of a video also .mp4, .mov, .mkv or .webm, its pictures copied"
        out.add_argument("-o", "--output", required=True, metavar="FILE", help=kinds)
        if name == "vary":
            _level(out)
        _written(out)


def _batch(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="make many sounds with one loading of the model",
        description="Make many sounds with one loading of the model. Options hold for rows that say nothing else.",
        epilog=BATCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    batch.add_argument("list", metavar="LIST", help=".jsonl, .csv with a header, or a folder of videos")
    _model_options(batch)
    _followed(batch)
    how = batch.add_argument_group("how it is made (defaults: the model's released recipe)")
    _length(how)
    _ways(how)
    out = batch.add_argument_group("output")
    out.add_argument("--out", required=True, metavar="DIR", help="where all outputs go")
    _soundtrack_options(out)
    _level(out)
    out.add_argument("--spectrogram", action="store_true", help="also draw each sound")
    out.add_argument("--takes", type=int, default=1, metavar="N", help="so many sounds of each row")
    out.add_argument("--overwrite", action="store_true", help="replace files that exist, but for finished rows")
    out.add_argument("--quiet", action="store_true", help="no report and no progress bars")


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


def _soundtrack_options(group: argparse._ArgumentGroup) -> None:
    """What the video's own sound and the new one have to do with each other."""
    group.add_argument("--mix", action="store_true", help="keep the video's own sound underneath")
    group.add_argument(
        "--keep-rest",
        action="store_true",
        help="keep the video's own sound before the new one begins and after it ends",
    )
    group.add_argument(
        "--keep",
        metavar="SECONDS",
        help='keep the video\'s own sound alone there, such as dialogue: "3-5, 8.2-9", in seconds of the video',
    )
    group.add_argument(
        "--duck", type=float, default=0.0, metavar="DB", help="with --mix: lower the new sound while the old one sounds"
    )
    for name, way in (("--fade-in", "in"), ("--fade-out", "out")):
        group.add_argument(name, type=float, default=0.0, metavar="SECONDS", help=f"fade the new sound {way}")


def soundtrack_of(args: argparse.Namespace, to_video: bool) -> dict[str, Any]:
    """How a sound is put under its video, as set_soundtrack takes it. Raises InputError for such a wish without a
    video to be written.
    """
    if args.mix and not to_video:
        raise InputError("--mix: there is no video to mix with. Give --video and a video file as -o.")
    wanted = {name: getattr(args, name) for name in ("keep_rest", "keep", "duck", "fade_in", "fade_out")}
    for name, value in wanted.items():
        if value and not to_video:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option}: there is no video with a sound. Give --video and a video file as -o.")
    return {"mode": "mix" if args.mix else "replace", **wanted}


def place_of(args: argparse.Namespace) -> dict[str, Any]:
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
