"""A generated sound: its samples, and how it is saved alone or with a video."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

log = logging.getLogger("audiox")


@dataclass(frozen=True)
class Sound:
    """Stereo samples (2, N), float32 on the CPU, within -1..1 when normalised; inputs: the files it was made from."""

    waveform: Tensor
    sample_rate: int
    inputs: tuple[Any, ...] = ()

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate

    def save(self, path: str | Path, **options: Any) -> Path:
        """Writes .wav or .flac; options: subtype, as in media.write_audio. An existing file is replaced.

        Raises MediaError for other endings, unwritable paths, and a file that the sound was made from.
        """
        from . import write_audio

        write_audio(path, self.waveform, self.sample_rate, **{"inputs": self.inputs, **options})
        return Path(path)

    def save_with_video(
        self, video: str | Path, path: str | Path, *, mode: str = "replace", offset: float = 0.0, gain: float = 1.0
    ) -> Path:
        """Writes the video with this sound: its picture packets are copied, the sound is added from offset seconds on.

        mode "mix" keeps the video's own sound underneath. What of the video gets no new sound is told in the log.
        Raises MediaError as set_soundtrack does, and for a path that is a file that the sound was made from.
        """
        from . import refuse_inputs, set_soundtrack

        refuse_inputs(path, self.inputs)
        set_soundtrack(video, self.waveform, self.sample_rate, path, mode=mode, offset=offset, gain=gain)
        rest = uncovered(video, self.seconds, start=max(offset, 0.0), mix=mode == "mix")
        if rest is not None:
            log.warning("%s", rest)
        return Path(path)


def uncovered(video: Any, seconds: float, *, start: float = 0.0, mix: bool = False) -> str | None:
    """A sentence on the part of a video that a sound of so many seconds, from start on, leaves without new sound.

    None where it is less than a tenth of a second at both ends. Raises MediaError for unreadable videos.
    """
    from . import probe
    from .reading import name_of

    info = probe(video)
    length = info.duration or 0.0
    if start + seconds > length - 0.1 and start < 0.1:
        return None
    rest = "the rest will be silent."
    if info.has_audio:
        rest = "the rest keeps its own." if mix else "its own is dropped, so the rest will be silent (mix keeps it)."
    end = min(start + seconds, length)
    return f"{name_of(video)}: lasts {length:.2f} s and gets new sound from {start:.2f} to {end:.2f} s; {rest}"
