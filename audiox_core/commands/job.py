"""A sound that a command makes, or several takes of it: checks before anything is loaded, and the files written."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from .ending import numbered

if TYPE_CHECKING:
    from ..media.sound import Sound
    from ..models.parts import Model
    from ..models.settings import Settings
    from ..pipeline import Pipeline

log = logging.getLogger("audiox")


def is_video(target: Path) -> bool:
    """Whether a video is written under this name."""
    from ..media.containers import VIDEO_SUFFIXES

    return target.suffix.lower() in VIDEO_SUFFIXES


def called(pipe: Pipeline, **settings: Any) -> Sound:
    """What a call makes."""
    return pipe(**settings)


@dataclass(frozen=True)
class Job:
    """Settings by their names, and what is to be written: sounds, or a video with each, and what goes with them.

    video is the file whose pictures are copied, from `offset` seconds of it on with the new sound, as `soundtrack`
    says (what set_soundtrack takes); covers: what of it gets no new sound is told. way(pipe, **settings) makes the
    sound. look is how the picture is drawn, as spectrogram_image takes it. names are what messages call the files.
    """

    settings: dict[str, Any]
    target: Path
    video: Any = None
    offset: float = 0.0
    soundtrack: dict[str, Any] = field(default_factory=dict)
    covers: bool = True
    picture: Path | None = None
    look: dict[str, Any] = field(default_factory=dict)
    preview: Path | None = None
    takes: int = 1
    keep_finished: bool = False
    overwrite: bool = False
    inputs: tuple[Any, ...] = ()
    way: Callable[..., Sound] = called
    names: tuple[str, str] = ("-o", "--spectrogram")

    @property
    def to_video(self) -> bool:
        return is_video(self.target)

    def changed(self, **fields: Any) -> Job:
        """The same with some of it changed."""
        return replace(self, **fields)

    def files(self) -> list[tuple[Path, Path | None]]:
        """The sound of each take, and its picture."""
        sounds = numbered(self.target, self.takes)
        pictures = [None] * len(sounds) if self.picture is None else numbered(self.picture, self.takes)
        return list(zip(sounds, pictures, strict=True))

    def check_files(self) -> None:
        """Raises InputError or MediaError for files that cannot be written, or must not be."""
        from ..media.given import check_output, check_picture
        from ..media.reading import name_of
        from ..models.settings import check_takes

        check_takes(self.takes)
        sound, drawn = self.names
        free: dict[str, Any] = {"inputs": self.inputs, "overwrite": self.overwrite}
        seen: dict[str, str] = {}

        def alone(path: Path, name: str) -> None:
            other = seen.setdefault(os.path.realpath(path), name)
            if other is not name:
                raise InputError(f"{name} {name_of(path)} is the same file as {other}. Choose another name.")

        for target, picture in self.files():
            check_output(target, video=self.video, name=sound, **free)
            alone(target, sound)
            if picture is not None:
                check_picture(picture, name=drawn, **free)
                alone(picture, drawn)
        if self.preview is not None:
            if is_video(self.preview):
                raise InputError(f"--preview {name_of(self.preview)}: it is a sound alone. Use .wav or .flac.")
            check_output(self.preview, name="--preview", **free)
            alone(self.preview, "--preview")

    def check(self, model: Model) -> Settings:
        """The resolved settings, after all checks of them and their files. Raises InputError and MediaError."""
        from ..media.given import check_sources
        from ..models.settings import BEGUN, Settings

        given = Settings.named(**self.settings).resolved(model)
        for name, begun in BEGUN.items():
            if getattr(given, name) and getattr(given, begun) is None:
                raise InputError(f"{name}: there is no {begun} to begin in. Give one, or leave {name} out.")
        check_sources(given)
        if self.preview is not None and (given.loop or given.long == "together"):
            raise InputError(
                "--preview: such a sound is only finished as a whole. Leave out --preview, or --loop and together."
            )
        if self.keep_finished and (given.loop or given.long == "together"):
            whole = "a loop, or a sound made together, is only finished as a whole"
            raise InputError(f"--keep-finished: {whole}. Leave out --keep-finished, or --loop and together.")
        return given

    def check_video(self, given: Settings, hint: str = "") -> float:
        """How many seconds of the sound can be heard, after all checks of the video that it is put under.

        What of it gets no new sound is told, and then the hint. Raises InputError and MediaError.
        """
        from ..media import check_soundtrack
        from ..media.sound import uncovered
        from ..media.spans import check_spans

        if not self.to_video:
            return math.inf
        if self.covers:
            how: dict[str, Any] = {"mix": self.soundtrack.get("mode") == "mix"}
            how["keep_rest"] = self.soundtrack.get("keep_rest", False)
            rest = uncovered(self.video, given.seconds or 0.0, start=self.offset, **how)
            if rest is not None:
                log.warning("%s%s", rest, hint)
        reach = float(check_soundtrack(self.video, self.target, **self.soundtrack)) - self.offset
        end = self.offset + min(given.seconds or 0.0, reach)
        if any(a <= self.offset and b >= end for a, b in check_spans(self.soundtrack.get("keep") or (), "keep")):
            raise InputError(
                "keep covers all of the new sound, so nothing of it would be heard. Name a shorter part of the video."
            )
        return reach

    def make(self, pipe: Pipeline, given: Settings, reach: float, *, progress: bool) -> Iterator[str]:
        """Makes and writes each take; a sentence on each. given, reach: what the checks answered.

        A KeyboardInterrupt that leaves what was finished, where that is wanted, is raised again once it is written.
        """
        from ..media.reading import name_of

        told: dict[str, Any] = {"progress": progress}
        if self.preview is not None:
            told["on_sound"] = self._save_preview
        if self.keep_finished:
            told["keep_finished"] = True
        for number, (target, picture) in enumerate(self.files()):
            seed = {"seed": given.take(number).seed} if number else {}
            sound = self.way(pipe, **self.settings | seed, **told)
            self._write(sound, target, picture)
            yield f"{name_of(target)}: {min(sound.seconds, reach):.2f} s of sound at {sound.sample_rate} Hz"
            if not sound.finished:
                raise KeyboardInterrupt

    def _write(self, sound: Sound, target: Path, picture: Path | None) -> None:
        from ..media import set_soundtrack

        if self.to_video:
            waveform, rate = sound.waveform, sound.sample_rate
            set_soundtrack(self.video, waveform, rate, target, offset=self.offset, **self.soundtrack)
        else:
            sound.save(target)
        if picture is not None:
            sound.save_spectrogram(picture, **self.look)

    def _save_preview(self, sound: Sound) -> None:
        assert self.preview is not None
        sound.save(self.preview)


def real_paths(files: Iterable[Any]) -> set[str]:
    """Where files really lie, so that one under two names is one."""
    return {os.path.normcase(os.path.realpath(file)) for file in files}
