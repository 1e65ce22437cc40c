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
  no download       generate --model demo --text "anything" -o noise.wav
"""


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
    _soundtrack_options(out)
    level = out.add_mutually_exclusive_group()
    level.add_argument(
        "--normalize",
        choices=("peak", "loudness", "off"),
        default=True,
        help="the level: peak brings the loudest sample to full scale (default), loudness each sound to -16 LUFS, less "
        "where its peaks leave no room, off leaves it as it was decoded",
    )
    level.add_argument("--no-normalize", dest="normalize", action="store_false", help="the same as --normalize off")
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


def settings_of(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of a generation, by their names in Settings."""
    same = ["text", "video", "audio", "image", "negative_text", "seconds", "steps", "seed", "sampler", "sigma_min"]
    same += ["sigma_max", "rho", "rescale", "start", "audio_start", "prompt_hidden", "kept", "normalize"]
    return {name: getattr(args, name) for name in same} | {"guidance": args.cfg}
