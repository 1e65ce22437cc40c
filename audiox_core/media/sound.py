"""A generated sound: its samples, how it is heard, saved alone or with a video, drawn, and shown in a notebook."""

from __future__ import annotations

import logging
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..errors import InputError

if TYPE_CHECKING:
    import numpy

log = logging.getLogger("audiox")


CHANNELS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True, repr=False)
class Sound:
    """Stereo samples (2, N), float32 on the CPU, within -1..1 when normalised; inputs: the files it was made from.

    exact: some of it is a file's own samples, which are to come back bit for bit (as write_audio's exact). regions and
    windows are pairs of seconds: what of an edited sound was made anew, and the windows that a longer sound was made
    in. finished is False where Ctrl-C has left only the windows that were finished.
    """

    waveform: Tensor
    sample_rate: int
    inputs: tuple[Any, ...] = ()
    exact: bool = False
    regions: tuple[tuple[float, float], ...] = ()
    windows: tuple[tuple[float, float], ...] = ()
    finished: bool = True

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate

    def __repr__(self) -> str:
        count = self.waveform.shape[0]
        channels = CHANNELS.get(count, f"{count} channels")
        return f"Sound({self.seconds:.2f} s, {self.sample_rate} Hz, {channels})"

    def _repr_html_(self) -> str:
        """What Jupyter shows: a player and the spectrogram, of the first minute at most."""
        from .player import player

        return player(self.waveform, self.sample_rate, repr(self), regions=self.regions, windows=self.windows)

    def _repr_mimebundle_(
        self, include: Container[str] | None = None, exclude: Container[str] | None = None
    ) -> dict[str, Any]:
        """The same by kinds of content, for whatever asks: one line of text, and HTML."""
        kinds = {"text/plain": self.__repr__, "text/html": self._repr_html_}
        wanted = [kind for kind in kinds if (include is None or kind in include) and kind not in (exclude or ())]
        return {kind: kinds[kind]() for kind in wanted}

    def play(self) -> None:
        """Plays it on this machine, and returns when it has ended.

        Raises MediaError where no player is installed (afplay, pw-play, paplay, aplay, ffplay or play; Windows has its
        own), or where it fails.
        """
        from .playing import play

        play(self.waveform, self.sample_rate)

    def spectrogram(self, **options: Any) -> Tensor:
        """Its picture (height, width, 3) uint8, with its regions and windows marked; options: as spectrogram_image."""
        from . import spectrogram_image

        marks: dict[str, Any] = {"regions": self.regions, "windows": self.windows}
        return spectrogram_image(self.waveform, self.sample_rate, **marks | options)

    def save_spectrogram(self, path: str | Path, **options: Any) -> Path:
        """Writes its picture as .png or .jpg; see spectrogram. MediaError for other endings and unwritable paths."""
        from . import write_picture

        return write_picture(path, self.spectrogram(**options))

    def numpy(self) -> numpy.ndarray[Any, numpy.dtype[numpy.float32]]:
        """The samples (2, N) as a float32 numpy array, which shares the waveform's memory."""
        return self.waveform.numpy()

    def save(self, path: str | Path, **options: Any) -> Path:
        """Writes .wav, .flac, .mp3, .m4a, .ogg or .opus; an existing file is replaced.

        Options: subtype of the first two, bit_rate of the others, as in media.write_audio.
        Raises MediaError for other endings, unwritable paths, and a file that the sound was made from.
        """
        from . import write_audio

        write_audio(path, self.waveform, self.sample_rate, **{"inputs": self.inputs, "exact": self.exact, **options})
        return Path(path)

    def save_with_video(
        self,
        video: Any,
        path: str | Path,
        *,
        mode: str = "replace",
        offset: float = 0.0,
        keep_rest: bool = False,
        **options: Any,
    ) -> Path:
        """Writes the video with this sound: its picture packets are copied, the sound is added from offset seconds on.
        Of (frames, fps) in the place of a file the pictures are encoded, and only offset and gain can be given.

        mode "mix" keeps the video's own sound underneath, keep_rest only where the new one doesn't reach; other
        options: gain, fade_in, fade_out, keep and duck, as in media.set_soundtrack. What of the video gets no new sound
        is told in the log. Raises MediaError and InputError as set_soundtrack does, and MediaError for a path that is a
        file that the sound was made from.
        """
        from . import encode_video, refuse_inputs, set_soundtrack
        from .inputs import video_of
        from .shown import Shown

        refuse_inputs(path, self.inputs)
        seen = video_of(video)
        if isinstance(seen, Shown):
            if mode != "replace" or keep_rest or options.keys() - {"gain"}:
                raise InputError("video: frames have no sound of their own; only offset and gain can be given.")
            encode_video(seen.images, seen.fps, path, self.waveform, self.sample_rate, offset=offset, **options)
            return Path(path)
        options |= {"mode": mode, "offset": offset, "keep_rest": keep_rest}
        set_soundtrack(video, self.waveform, self.sample_rate, path, **options)
        rest = uncovered(video, self.seconds, start=max(offset, 0.0), mix=mode == "mix", keep_rest=keep_rest)
        if rest is not None:
            log.warning("%s", rest)
        return Path(path)


def uncovered(
    video: Any, seconds: float, *, start: float = 0.0, mix: bool = False, keep_rest: bool = False
) -> str | None:
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
        rest = (
            "its own sound is dropped, so the rest will be silent (keep_rest keeps it there, mix keeps it throughout)."
        )
        if mix or keep_rest:
            rest = "the rest keeps its own."
    end = min(start + seconds, length)
    return f"{name_of(video)}: lasts {length:.2f} s and gets new sound from {start:.2f} to {end:.2f} s; {rest}"
