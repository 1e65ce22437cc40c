"""The only place that converts between seconds, samples, latents and video frames."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..errors import InputError

LONGEST = 3600.0  # seconds of a sound that is made of windows
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

    def to_seconds(self, latents: int) -> float:
        """The duration of so many latents."""
        return latents * self.downsampling_ratio / self.sample_rate

    def to_latents(self, seconds: float) -> int:
        """The fewest latents that cover a duration."""
        return math.ceil(self.to_samples(seconds) / self.downsampling_ratio)

    def nearest_latents(self, seconds: float) -> int:
        """The number of latents nearest to a duration."""
        return round(seconds * self.sample_rate / self.downsampling_ratio)

    def kept_latents(self, seconds: float) -> int:
        """The latents that neighbouring windows share; 0 seconds: half a window."""
        return self.nearest_latents(seconds) if seconds else self.latents // 2

    def windows(self, latents: int, kept: int | None = None, *, loop: bool = False) -> tuple[int, ...]:
        """Where the windows of a sound of so many latents start: all of the model's length, evenly spaced.

        Neighbours share at least `kept` latents (None: half of a window), the last one ends with the sound, or, of a
        loop, shares as many with the first; a sound of a window or less is one, unless it is a loop. Raises InputError
        unless kept leaves something new in each window.
        """
        kept = self.latents // 2 if kept is None else kept
        if not 1 <= kept < self.latents:
            raise InputError(
                f"kept: {kept} latents of {self.latents} in a window. Keep at least 1 and not all of them."
            )
        if loop:
            count = math.ceil(latents / (self.latents - kept))
            return tuple(i * latents // count for i in range(count))
        rest = latents - self.latents
        if rest <= 0:
            return (0,)
        count = math.ceil(rest / (self.latents - kept))  # after the first
        return tuple(i * rest // count for i in range(count + 1))

    def loop_latents(self, seconds: float, kept: int | None = None) -> int:
        """The latents of a loop nearest to a duration, a whole number for each of its windows."""
        near = max(self.nearest_latents(seconds), 1)
        count = len(self.windows(near, kept, loop=True))
        latents = max(round(near / count), 1) * count
        # Rounded down so far that a window less would do: these wouldn't lie evenly.
        return latents if len(self.windows(latents, kept, loop=True)) == count else latents + count

    def check_length(self, seconds: float, name: str = "seconds") -> float:
        """The duration itself, if a sound of windows can have it. Raises InputError otherwise."""
        if not (isinstance(seconds, int | float) and math.isfinite(seconds) and 0 < seconds <= LONGEST):
            raise InputError(
                f"{name}: {seconds!r} is out of range. Choose more than 0 and at most {LONGEST:g} seconds."
            )
        return float(seconds)

    def check_seconds(self, seconds: float, name: str = "seconds") -> float:
        """The duration itself, if the model can make it. Raises InputError otherwise."""
        if not (isinstance(seconds, int | float) and math.isfinite(seconds) and 0 < seconds <= self.max_seconds):
            raise InputError(
                f"{name}: {seconds!r} is outside the model's window. "
                f"Choose more than 0 and at most {self.max_seconds:.2f} seconds."
            )
        return float(seconds)
