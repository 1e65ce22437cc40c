"""The only place that converts between seconds, samples, latents and video frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError

# Of every released member: its latents' channels, and a prompt's tokens, of which hosts make null conditions.
CHANNELS, NULL_SHAPE = 64, (1, 128, 768)


@dataclass(frozen=True)
class Timing:
    """Clock of a model. Conditioning always spans prompt_seconds; the generated window is a little longer.

    For the released model: 236 latents = 483328 samples = 10.96 s of sound, conditioned by 50 video frames
    and 441000 samples (215 latents) of an audio prompt.
    """

    sample_rate: int = 44100
    sample_size: int = 485100
    downsampling_ratio: int = 2048
    video_fps: int = 5
    prompt_seconds: int = 10

    @property
    def latents(self) -> int:
        """Latents of the window that the model was trained on."""
        return self.sample_size // self.downsampling_ratio

    @property
    def samples(self) -> int:
        """Samples that these latents decode to."""
        return self.latents * self.downsampling_ratio

    @property
    def max_seconds(self) -> float:
        return self.samples / self.sample_rate

    @property
    def frames(self) -> int:
        """Video frames that the video encoder takes."""
        return self.video_fps * self.prompt_seconds

    @property
    def prompt_samples(self) -> int:
        """Samples that the audio prompt takes."""
        return self.sample_rate * self.prompt_seconds

    @property
    def prompt_latents(self) -> int:
        return self.prompt_samples // self.downsampling_ratio

    def to_samples(self, seconds: float) -> int:
        """The number of samples nearest to a duration."""
        return round(seconds * self.sample_rate)

    def to_latents(self, seconds: float) -> int:
        """The fewest latents that cover a duration."""
        return math.ceil(self.to_samples(seconds) / self.downsampling_ratio)

    def check_seconds(self, seconds: float, name: str = "seconds") -> float:
        """The duration itself, if the model can make it. Raises InputError otherwise."""
        if not (isinstance(seconds, int | float) and math.isfinite(seconds) and 0 < seconds <= self.max_seconds):
            raise InputError(
                f"{name}: {seconds!r} is outside the model's window. "
                f"Choose more than 0 and at most {self.max_seconds:.2f} seconds."
            )
        return float(seconds)
