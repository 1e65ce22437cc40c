"""A sound heard on this machine, by a player that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from torch import Tensor

from ..errors import MediaError
from .audio import check_waveform
from .checks import check_rate
from .player import wav_bytes

# Programs that play a WAV file and end, in the order in which they are looked for, and their options.
PLAYERS = {
    "afplay": (),
    "pw-play": (),
    "paplay": (),
    "aplay": ("-q",),
    "ffplay": ("-nodisp", "-autoexit", "-loglevel", "error"),
    "play": ("-q",),
}
ADVICE = {
    "darwin": "macOS has afplay, which is missing here",
    "linux": "Install one, such as alsa-utils (aplay) or FFmpeg (ffplay)",
}


def play(waveform: Tensor, sample_rate: int) -> None:
    """Plays (C, N), full scale 1 and clipped there, and returns when it has ended. Ctrl-C stops it.

    Raises MediaError where there is no player, or it fails, as on a machine without a sound card.
    """
    content = wav_bytes(check_waveform(waveform), check_rate(sample_rate))
    if sys.platform == "win32":
        import winsound

        winsound.PlaySound(content, winsound.SND_MEMORY)
        return
    name = next((name for name in PLAYERS if shutil.which(name)), None)
    if name is None:
        advice = ADVICE.get(sys.platform, "Install FFmpeg (ffplay)")
        raise MediaError(f"There is no program to play sounds ({', '.join(PLAYERS)}). {advice}, or save the sound.")
    place, file = tempfile.mkstemp(suffix=".wav")
    try:
        with os.fdopen(place, "wb") as out:
            out.write(content)
        done = subprocess.run([name, *PLAYERS[name], file], stdin=subprocess.DEVNULL, capture_output=True)
    finally:
        Path(file).unlink(missing_ok=True)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines() or [f"it ended with {done.returncode}"]
        raise MediaError(
            f"{name} cannot play the sound ({words[-1][:200]}). Is there a sound card? Else save the sound."
        )
