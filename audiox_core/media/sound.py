"""A generated sound: its samples, and how it is saved alone or with a video."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Sound:
    """Stereo samples (2, N), float32 on the CPU, within -1..1 when normalised."""

    waveform: Tensor
    sample_rate: int

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate

    def save(self, path: str | Path, **options: Any) -> Path:
        """Writes .wav or .flac; options: subtype, as in media.write_audio.

        Raises MediaError for other endings and unwritable paths.
        """
        from . import write_audio

        write_audio(path, self.waveform, self.sample_rate, **options)
        return Path(path)

    def save_with_video(
        self, video: str | Path, path: str | Path, *, mode: str = "replace", offset: float = 0.0, gain: float = 1.0
    ) -> Path:
        """Writes the video with this sound: its picture packets are copied, the sound is added from offset seconds on.

        mode "mix" keeps the video's own sound underneath.
        """
        from . import set_soundtrack

        set_soundtrack(video, self.waveform, self.sample_rate, path, mode=mode, offset=offset, gain=gain)
        return Path(path)
