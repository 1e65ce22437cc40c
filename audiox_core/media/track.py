"""The sound stream of a file that is being written: encoded as far as wanted, beginning at a given moment."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from .reading import pyav

LAYOUTS = {1: "mono", 2: "stereo"}
# FFmpeg's AAC encoder replaces noise by noise of its own and clicks at onsets unless told not to and given enough bits.
ENCODER_OPTIONS = {"aac": {"aac_pns": "0"}}
BLOCK = 1 << 14  # samples given to the encoder at once


class SoundTrack:
    """Adds a sound stream to an open output container.

    `samples` (C, N), C 1 or 2, hold what PyAV's sample format `kind` needs: "fltp" and "flt" float32, "s16"
    int16, "s32" int32. The first of them is heard at `start` seconds in the container's clock; an encoder's
    run-in lies before it.
    """

    def __init__(
        self,
        container: Any,
        codec: str,
        kind: str,
        rate: int,
        samples: Tensor,
        start: Fraction = Fraction(0),
        bit_rate: int | None = None,
    ) -> None:
        self.container, self.kind, self.rate = container, kind, rate
        self.samples = samples
        self.layout = LAYOUTS[len(samples)]
        self.start = round(start * rate)
        self.done = 0
        self.stream = container.add_stream(codec, rate=rate, options=ENCODER_OPTIONS.get(codec, {}))
        self.stream.layout = self.layout
        self.stream.format = kind
        self.stream.time_base = Fraction(1, rate)
        if bit_rate is not None:
            self.stream.bit_rate = bit_rate

    def write(self, until: Fraction | None, last: Fraction | None = None) -> None:
        """Writes the sound that is heard before `until` seconds; None writes the rest, up to `last` if given,
        and ends the stream.
        """
        stop = self.samples.shape[1]
        for limit in (until, last):
            if limit is not None:
                stop = min(stop, round(limit * self.rate) - self.start)
        while self.done < stop:
            upto = min(self.done + BLOCK, stop)
            self.container.mux(self.stream.encode(self._frame(self.samples[:, self.done : upto])))
            self.done = upto
        if until is None:
            self.container.mux(self.stream.encode(None))

    def _frame(self, block: Tensor) -> Any:
        """(C, n) as an AudioFrame with its place in time."""
        array = block.numpy()
        if not self.kind.endswith("p"):
            array = array.T.reshape(1, -1)  # (1, n C), interleaved
        frame = pyav().AudioFrame.from_ndarray(np.ascontiguousarray(array), format=self.kind, layout=self.layout)
        frame.sample_rate = self.rate
        frame.time_base = Fraction(1, self.rate)
        frame.pts = self.start + self.done
        return frame
