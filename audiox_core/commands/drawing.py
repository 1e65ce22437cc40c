"""How the command line asks for a spectrogram to be drawn."""

from __future__ import annotations

import argparse
from typing import Any


def drawing_options(out: argparse._ArgumentGroup, *, each: bool = False) -> None:
    """--spectrogram and what goes with it; each: of a list of sounds, beside each of them."""
    if each:
        out.add_argument("--spectrogram", action="store_true", help="also draw each sound")
    else:
        out.add_argument("--spectrogram", metavar="FILE", help="also draw the sound, as .png or .jpg")
    out.add_argument(
        "--spectrogram-scale",
        choices=("log", "mel"),
        default="log",
        help="its frequencies: log, every octave as high as the next, or mel, as far apart as they sound "
        "(default %(default)s)",
    )
    out.add_argument("--spectrogram-waveform", action="store_true", help="with the waveform above it")


def look_of(args: argparse.Namespace) -> dict[str, Any]:
    """How the picture is drawn, as spectrogram_image takes it."""
    return {"scale": args.spectrogram_scale, "show_waveform": args.spectrogram_waveform}
