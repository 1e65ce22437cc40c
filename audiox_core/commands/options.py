"""The options of every command, and what they mean in the core's words."""

from __future__ import annotations

import argparse
from typing import Any

from ..errors import InputError
from .drawing import drawing_options
from .examples import BATCH, EDITING, TASKS, VARYING
from .parsing import Parser, Version


def parser(prog: str = "python -m audiox_core") -> argparse.ArgumentParser:
    """All commands; prog is what messages call the program."""
    top = Parser(prog=prog, description="AudioX: sound effects and music from text, video, images and sound.")
    top.add_argument("--version", action=Version, nargs=0, help="print the version and exit")
    commands = top.add_subparsers(dest="command", required=True)

    make = commands.add_parser(
        "generate",
        help="make a sound",
        epilog=TASKS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _model_options(make)
    _followed(make)
    how = make.add_argument_group("how to make it (defaults: the model's own)")
    _length(how)
    _ways(how)
    out = make.add_argument_group("output")
    name = ".wav, .flac, .mp3, .m4a, .ogg or .opus for the sound; .mp4, .mov, .mkv or .webm for the video with it"
    out.add_argument("-o", "--output", required=True, metavar="FILE", help=name)
    _soundtrack_options(out)
    _level(out)
    _written(out)
    out.add_argument(
        "--preview",
        metavar="FILE",
        help="keep writing the finished part of a longer sound here, as .wav for instance, after each window",
    )
    out.add_argument(
        "--keep-finished", action="store_true", help="on Ctrl-C, save the windows of a longer sound that are finished"
    )
    _changing(commands)
    _batch(commands)

    info = commands.add_parser("info", help="show your hardware, the planned memory use and which model files are here")
    _model_options(info)

    convert = commands.add_parser(
        "convert", help="turn model.ckpt into model.safetensors, which is safe to share and loads faster"
    )
    convert.add_argument("source", metavar="CKPT")
    convert.add_argument("target", metavar="SAFETENSORS")
    convert.add_argument(
        "--config",
        metavar="JSON",
        help="config.json or a model's name, if the weights alone don't tell which model it is",
    )
    convert.add_argument("--overwrite", action="store_true", help="replace an existing file")
    top.commands = commands.choices
    return top


def _followed(command: argparse.ArgumentParser) -> None:
    """What a sound follows."""
    what = command.add_argument_group("what the sound should follow (one or several)")
    words = "the prompt (at most 128 tokens); @FILE reads it from a file, which may have lines such as 0:12 thunder"
    what.add_argument("--text", help=words)
    what.add_argument(
        "--at",
        nargs=2,
        action="append",
        metavar=("TIME", "TEXT"),
        help='a prompt from that time on, such as 0:12 "thunder"; may be repeated. Each window follows one prompt',
    )
    what.add_argument("--negative-text", help="what the sound should avoid")
    what.add_argument("--video", metavar="FILE", help="a video to make sound for (only its picture is used)")
    what.add_argument("--image", metavar="FILE", help="an image, treated as a motionless video")
    what.add_argument("--audio", metavar="FILE", help="a sound to use as an example (up to 10 s)")
    what.add_argument("--start", type=_time, default=0.0, help="where in the video to begin, in seconds or as 0:30")
    what.add_argument(
        "--audio-start", type=_time, default=0.0, help="where in the example to begin, in seconds or as 0:30"
    )


def _length(how: argparse._ArgumentGroup) -> None:
    """How long a sound is, and whether it goes round."""
    how.add_argument(
        "--seconds",
        type=_length_of,
        help="length of the sound, up to an hour, such as 30 or 0:30; 0 or all: the video's length (default 10.0)",
    )
    how.add_argument("--loop", action="store_true", help="make a seamless loop: the end leads back into the beginning")


def _length_of(text: str) -> float:
    return 0.0 if text == "all" else _time(text)


def _time(text: str) -> float:
    """Seconds, or minutes and seconds such as 0:30. Which numbers will do is checked with all other settings."""
    from ..models.timed import parse_time

    try:
        return parse_time(text, "time") if ":" in text else float(text)
    except ValueError:
        words = f"{text!r} is not a time. Give seconds, or minutes and seconds such as 0:30."
        raise argparse.ArgumentTypeError(words) from None


def _ways(how: argparse._ArgumentGroup) -> None:
    """How a sound is made."""
    how.add_argument(
        "--long",
        default="continue",
        metavar="WAY",
        help="how to make sounds longer than a window: continue makes one window after another (default), together "
        "blends all windows in every step",
    )
    how.add_argument(
        "--kept",
        type=float,
        metavar="SECONDS",
        help="how much each window of a longer sound keeps from the one before it (default: half a window)",
    )
    how.add_argument("--steps", type=int, help="number of sampling steps")
    how.add_argument("--cfg", type=float, dest="guidance", help="guidance scale; 1 turns it off")
    for name in ("text", "video", "audio"):
        how.add_argument(
            f"--{name}-guidance", type=float, metavar="CFG", help=f"separate guidance scale for the {name}"
        )
    how.add_argument("--rescale", type=float, default=0.0, help="guidance rescale, 0 to 1 (default %(default)s)")
    how.add_argument(
        "--guidance-interval",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="use guidance only between these noise levels: faster, but a different sound",
    )
    how.add_argument("--seed", type=int, default=0, help="the same seed gives the same sound (default %(default)s)")
    how.add_argument("--sampler", help="sampler to use; an unknown name lists the valid ones")
    how.add_argument("--sigma-min", type=float, help="the lowest noise level")
    how.add_argument("--sigma-max", type=float, help="the highest noise level")
    how.add_argument("--rho", type=float, help="spacing of the noise levels")
    how.add_argument(
        "--prompt-hidden",
        type=float,
        metavar="SHARE",
        help="share of the example to hide at random, 0 to 1; 0 uses all of it",
    )


def _level(out: argparse._ArgumentGroup) -> None:
    level = out.add_mutually_exclusive_group()
    level.add_argument(
        "--normalize",
        choices=("peak", "loudness", "off"),
        default=True,
        help="the level: peak brings the loudest sample to full scale (default), loudness brings the sound to -16 "
        "LUFS, or less if its peaks leave no room, off leaves it as it was decoded",
    )
    level.add_argument("--no-normalize", dest="normalize", action="store_false", help="same as --normalize off")


def _written(out: argparse._ArgumentGroup) -> None:
    """What goes with every command that writes one output."""
    drawing_options(out)
    out.add_argument(
        "--takes",
        type=int,
        default=1,
        metavar="N",
        help="make N sounds, with the seed and the ones after it, as NAME_1, NAME_2, ...",
    )
    out.add_argument("--overwrite", action="store_true", help="replace existing files")
    out.add_argument("--quiet", action="store_true", help="print no report and no progress bars")


def _changing(commands: Any) -> None:
    """The commands that change a sound that is there: edit, extend and vary."""
    texts = {
        "edit": ("regenerate some seconds of a sound and keep the rest", EDITING),
        "extend": ("continue a sound: add seconds before or after it", EDITING),
        "vary": ("make a variation of a sound", VARYING),
    }
    for name, (text, note) in texts.items():
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", epilog=note)
        command.add_argument("source", metavar="SOURCE", help="a sound file, or a video whose sound to use")
        _model_options(command)
        what = command.add_argument_group("what to do")
        if name == "edit":
            what.add_argument(
                "--regions", required=True, metavar="SECONDS", help='what to regenerate, such as "3-5, 8.2-9"'
            )
        elif name == "extend":
            what.add_argument("--before", type=_time, default=0.0, metavar="SECONDS", help="how much to add before it")
            what.add_argument("--after", type=_time, default=0.0, metavar="SECONDS", help="how much to add after it")
        else:
            near = "0 returns the sound itself, 1 keeps only its length (default %(default)s)"
            what.add_argument("--strength", type=float, default=0.5, help=near)
        if name != "vary":
            cross = "crossfade just inside what is new (default %(default)s)"
            what.add_argument("--feather", type=float, default=0.05, metavar="SECONDS", help=cross)
        _followed(command)
        _ways(command.add_argument_group("how to make it (defaults: the model's own)"))
        out = command.add_argument_group("output")
        kinds = ".wav, .flac, .mp3, .m4a, .ogg or .opus; of a video also .mp4, .mov, .mkv or .webm, its picture copied"
        out.add_argument("-o", "--output", required=True, metavar="FILE", help=kinds)
        if name == "vary":
            _level(out)
        _written(out)


def _batch(commands: Any) -> None:
    batch = commands.add_parser(
        "batch",
        help="make many sounds, loading the model once",
        description="Make many sounds, loading the model once. Options apply to all rows that don't set their own.",
        epilog=BATCH,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    batch.add_argument("list", metavar="LIST", help=".jsonl, .csv with a header, or a folder of videos")
    _model_options(batch)
    _followed(batch)
    how = batch.add_argument_group("how to make it (defaults: the model's own)")
    _length(how)
    _ways(how)
    out = batch.add_argument_group("output")
    out.add_argument("--out", required=True, metavar="DIR", help="folder for all outputs")
    _soundtrack_options(out)
    _level(out)
    drawing_options(out, each=True)
    out.add_argument("--takes", type=int, default=1, metavar="N", help="make N sounds of each row")
    out.add_argument("--overwrite", action="store_true", help="replace existing files, except those of finished rows")
    out.add_argument("--quiet", action="store_true", help="print no report and no progress bars")


def _model_options(command: argparse.ArgumentParser) -> None:
    group = command.add_argument_group("model")
    named = "a model's name, the path of a checkpoint, or demo (default %(default)s)"
    group.add_argument("--model", default="AudioX", help=named)
    group.add_argument("--config", metavar="JSON", help="config.json, if it is not next to the checkpoint")
    group.add_argument(
        "--text-encoder", metavar="PATH", help="t5_base.safetensors or its folder, if it is not found automatically"
    )
    group.add_argument(
        "--models-dir",
        metavar="DIR",
        action="append",
        default=[],
        help="another folder to look for models in; may be repeated",
    )
    group.add_argument("--offline", action="store_true", help="never download")
    group.add_argument("--device", default="auto", help="auto, cuda, cuda:1, xpu, mps or cpu (default %(default)s)")
    group.add_argument("--dtype", default="auto", help="auto, fp32, bf16, fp16 or fp8 (default %(default)s)")
    group.add_argument("--no-half", action="store_true", help="use float32 throughout; same as --dtype fp32")
    group.add_argument("--no-cpu-offload", action="store_true", help="keep the whole model on the GPU")
    group.add_argument(
        "--max-vram",
        type=float,
        metavar="GB",
        help="use at most this much GPU memory, in GB of 1e9 bytes",
    )
    group.add_argument(
        "--compile", action="store_true", help="compile the transformer: steps are faster after a first one of minutes"
    )
    group.add_argument(
        "--graph",
        default="off",
        help="replay each step as one CUDA graph: off, auto (where there is an NVIDIA GPU) or on (default %(default)s)",
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
        help='where to keep only the video\'s own sound, for dialogue: "3-5, 8.2-9", in seconds of the video',
    )
    group.add_argument(
        "--duck",
        type=float,
        default=0.0,
        metavar="DB",
        help="with --mix: lower the new sound by this much while the video's own sound is heard",
    )
    for name, way in (("--fade-in", "in"), ("--fade-out", "out")):
        group.add_argument(name, type=float, default=0.0, metavar="SECONDS", help=f"fade the new sound {way}")


def soundtrack_of(args: argparse.Namespace, to_video: bool, dashes: str = "--") -> dict[str, Any]:
    """How a sound is put under its video, as set_soundtrack takes it. Raises InputError, in which options have these
    dashes, for such a wish without a video to be written, and for ducking without mixing.
    """
    if args.mix and not to_video:
        raise InputError("--mix: there is no video to mix with. Give --video, and a video file as -o.")
    wanted = {name: getattr(args, name) for name in ("keep_rest", "keep", "duck", "fade_in", "fade_out")}
    for name, value in wanted.items():
        if value and not to_video:
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option}: there is no video with a sound. Give --video and a video file as -o.")
    if args.duck and not args.mix:
        raise InputError(
            f"{dashes}duck lowers the new sound under the video's own, which is only kept with {dashes}mix. "
            f"Add {dashes}mix, or leave {dashes}duck out."
        )
    return {"mode": "mix" if args.mix else "replace", **wanted}


def stepping_of(args: argparse.Namespace) -> dict[str, Any]:
    """How the steps are to be run, as load_pipeline takes it."""
    return {"compile": args.compile, "graph": args.graph}


def place_of(args: argparse.Namespace) -> dict[str, Any]:
    """Where and in what a model is to run, as load_pipeline and plan_for take it."""
    if args.no_half and args.dtype not in ("auto", "fp32"):
        raise InputError(f"--no-half and --dtype {args.dtype} contradict each other: use only one")
    return {
        "device": args.device,
        "dtype": "fp32" if args.no_half else args.dtype,
        "offload": "off" if args.no_cpu_offload else "auto",
        "max_vram_gb": args.max_vram,
        "config": args.config,
        "models_dirs": args.models_dir,
    }
