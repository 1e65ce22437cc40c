"""The settings of a generation, checked in one place before anything is read, downloaded or loaded."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from ..errors import InputError, nearest
from ..sampling.schedules import shown
from ..sampling.windows import LONG
from .timing import LONGEST

if TYPE_CHECKING:
    from .parts import Model
    from .timing import Timing

LARGEST_SEED = 2**63 - 1
MOST_TAKES = 64
MEDIA_FILES = ("video", "image", "audio")
GUIDED = {"text": "text_guidance", "video": "video_guidance", "image": "video_guidance", "audio": "audio_guidance"}
FOLLOWED = ("text", *MEDIA_FILES, "at")  # any of them is enough to make a sound
# What other programs call a setting.
ELSEWHERE = {
    "cfg": "guidance",
    "cfg_scale": "guidance",
    "guidance_scale": "guidance",
    "prompt": "text",
    "negative_prompt": "negative_text",
    "num_inference_steps": "steps",
    "duration": "seconds",
    "scheduler": "sampler",
}
BEGUN = {"start": "video", "audio_start": "audio"}  # what begins there
# What a conditioner must read (a class of models.parts) for a setting to be of use.
READ_AS = {"text": "Words", "negative_text": "Words", "video": "Sight", "image": "Sight", "audio": "Hearing"}


@dataclass(frozen=True)
class Settings:
    """What the sound follows and how it is made. None means the model's own, or that nothing is given.

    text and negative_text are prompts; video, image and audio are what media.inputs says: files, frames, sounds.
    seconds is the sound's length, up to an hour, 0 for the rest of the video; start and audio_start are where video and
    audio begin. A sound longer than the model's window is made window by window: each sees its own stretch of the
    video, and keeps and carries on the last `kept` seconds of the one before, half a window unless given. seed, 0 to
    2**63 - 1, chooses among 2**32 noises; those below 2**32 all differ. guidance 1 switches it off, rescale is in 0..1.
    guidance_interval are the noise levels between which there is guidance: faster, and another sound.
    normalize is "peak" (True) for a peak of 1, "loudness" for -16 LUFS, or "off" (False). prompt_hidden is the share of
    the audio prompt that is hidden at random, 0 for none: models that were trained so also do it when they generate.
    """

    text: str | None = None
    video: Any = None
    audio: Any = None
    image: Any = None
    seconds: float | None = None
    steps: int | None = None
    guidance: float | None = None
    seed: int = 0
    negative_text: str | None = None
    sampler: str | None = None
    sigma_min: float | None = None
    sigma_max: float | None = None
    rho: float | None = None
    rescale: float = 0.0
    start: float = 0.0
    audio_start: float = 0.0
    normalize: bool | str = True
    prompt_hidden: float | None = None
    kept: float | None = None
    long: str = "continue"
    loop: bool = False
    at: Sequence[tuple[float, str]] = ()
    text_guidance: float | None = None
    video_guidance: float | None = None
    audio_guidance: float | None = None
    guidance_interval: Sequence[float] | None = None

    @classmethod
    def named(cls, **given: Any) -> Settings:
        """Settings by their names. Raises InputError, which offers the nearest ones, for a name that is none."""
        known = [f.name for f in fields(cls)]
        for name in given:
            if name not in known and name in ELSEWHERE:
                raise InputError(f"{name}: unknown setting. Here it is called {ELSEWHERE[name]!r}.")
            if name not in known:
                raise InputError(f"{name}: unknown setting.{nearest(name, known)}")
        return cls(**given)

    def resolved(self, model: Model) -> Settings:
        """The same with the model's recipe in the place of None, after all checks.

        Raises InputError naming the setting and the mend, MediaError for a file that isn't there.
        """
        recipe = model.recipe
        own = {f.name: getattr(recipe, f.name) for f in fields(recipe) if f.name != "objective"}
        filled = replace(self, **{name: value for name, value in own.items() if getattr(self, name) is None})
        if filled.seconds is None:
            filled = replace(filled, seconds=min(float(model.timing.prompt_seconds), model.timing.max_seconds))
        filled = replace(filled, **filled._plain(), **filled._sources(model.timing.sample_rate))
        if filled.kept is None:  # with half a window a steady beat drifts little for what it costs
            filled = replace(filled, kept=model.timing.to_seconds(model.timing.latents // 2))
        if filled.seconds == 0:
            filled = replace(filled, seconds=filled._rest_of_the_video())
        if filled.loop is True and isinstance(filled.seconds, float | int) and 0 < filled.seconds <= LONGEST:
            filled = replace(filled, seconds=filled._looped(model.timing))
        filled.check(model)
        return filled

    def check(self, model: Model) -> None:
        """Raises InputError or MediaError for what would fail later, without reading more than file names."""
        from ..media.loudness import check_level
        from ..sampling import find_objective

        for name in ("text", "negative_text"):
            prompt = getattr(self, name)
            if prompt is not None:
                check_text(name, prompt)
        self._check_inputs(model)
        self._check_long()
        number("seconds", self.seconds)
        model.timing.check_length(self.seconds)  # type: ignore[arg-type]
        if model.timing.to_samples(self.seconds) < 1:  # type: ignore[arg-type]
            raise InputError(f"seconds: {self.seconds} is less than one sample. Choose more.")
        for name in ("start", "audio_start"):
            value = number(name, getattr(self, name))
            if not 0 <= value <= 1e7:
                raise InputError(f"{name}: {value:g} s is out of range. Give seconds from the beginning, 0 or more.")
        shared = model.timing.nearest_latents(number("kept", self.kept))
        if not 1 <= shared < model.timing.latents:
            longest = model.timing.max_seconds
            raise InputError(f"kept: {self.kept:g} s is out of range. Choose more than 0 and less than {longest:.2f}.")
        whole("seed", self.seed)
        if not 0 <= self.seed <= LARGEST_SEED:
            raise InputError(f"seed: {shown(self.seed)} is out of range; choose 0 to 2**63 - 1")
        for name in ("guidance", *sorted(set(GUIDED.values()))):
            own = getattr(self, name)
            if (name == "guidance" or own is not None) and not abs(number(name, own)) < 1000:
                raise InputError(f"{name}: {own} is out of range; 7 is usual, 1 switches it off")
        for name, own in GUIDED.items():
            given = any(getattr(self, other) is not None for other, same in GUIDED.items() if same == own)
            if getattr(self, own) is not None and not given and not (name == "text" and self.at):
                raise InputError(f"{own}: there is no {name} to follow. Give one, or leave {own} out.")
        if not 0 <= number("rescale", self.rescale) <= 1:
            raise InputError(f"rescale: {self.rescale} is out of range; choose 0 to 1")
        self._check_interval()
        check_level(self.normalize)
        if self.prompt_hidden is not None and not 0 <= number("prompt_hidden", self.prompt_hidden) <= 1:
            raise InputError(f"prompt_hidden: {self.prompt_hidden} is out of range; choose 0 (nothing hidden) to 1")
        schedule: dict[str, Any] = {name: getattr(self, name) for name in ("steps", "sigma_min", "sigma_max", "rho")}
        find_objective(model.recipe.objective).check(sampler=self.sampler, **schedule)

    def _check_interval(self) -> None:
        given = self.guidance_interval
        if given is None:
            return
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise InputError(f"guidance_interval: expected two noise levels such as (0.5, 20), got {shown(given)}")
        low, high = (number("guidance_interval", level) for level in given)
        if not 0 <= low < high:
            raise InputError(f"guidance_interval: {low:g} to {high:g} is empty. Give the lower noise level first.")

    def guided_between(self, model: Model) -> tuple[float, float] | None:
        """The network's times between which there is guidance; None: always."""
        from ..sampling import find_objective

        if self.guidance_interval is None:
            return None
        low, high = (find_objective(model.recipe.objective).time(float(level)) for level in self.guidance_interval)
        return low - 1e-7, high + 1e-7  # the levels themselves belong to it, however they are rounded

    def _looped(self, timing: Timing) -> float:
        """The nearest duration that a loop's windows fit into evenly."""
        kept = timing.nearest_latents(number("kept", self.kept))
        if not 1 <= kept < timing.latents:
            return self.seconds or 0.0  # refused by check, with words
        return timing.to_seconds(timing.loop_latents(self.seconds or 0.0, kept))

    def _check_long(self) -> None:
        if not isinstance(self.long, str) or self.long not in LONG:
            raise InputError(f"long: {shown(self.long)} is not a way to make windows. Valid: {', '.join(LONG)}.")
        if not isinstance(self.loop, bool):
            raise InputError(f"loop: expected True or False, got {shown(self.loop)}")
        self.check_prompts()

    def check_prompts(self, name: str = "at") -> None:
        """Raises InputError, which begins with name, for timed prompts that are none, or outside the sound."""
        if not isinstance(self.at, tuple | list) or not all(
            isinstance(p, tuple | list) and len(p) == 2 for p in self.at
        ):
            raise InputError(f'{name}: give pairs of seconds and a prompt, such as [(0, "rain"), (12, "thunder")].')
        for when, prompt in self.at:
            check_text(name, prompt)
            if not 0 <= number(name, when) < number("seconds", self.seconds):
                raise InputError(f"{name}: {when:g} s is outside the sound, which lasts {self.seconds:g} s.")

    def prompt_at(self, seconds: float) -> str | None:
        """The prompt that holds at a moment of the sound: the latest of `at` that has begun, else text."""
        begun = [(when, prompt) for when, prompt in self.at if when <= seconds]
        return max(begun, key=lambda pair: pair[0])[1] if begun else self.text

    def _rest_of_the_video(self) -> float:
        """Its seconds from start on. Raises InputError without a video, or one that doesn't say how long it lasts."""
        from ..media import probe
        from ..media.reading import name_of

        if self.video is None:
            raise InputError("seconds: 0 means as long as the video, and there is none. Give seconds, or a video.")
        self._check_files()
        info, start = probe(self.video), number("start", self.start)
        if info.duration is None or info.is_image:
            raise InputError(f"seconds: {name_of(self.video)} doesn't say how long it is. Give the seconds.")
        if start >= info.duration:
            raise InputError(f"start is {start:g} s, the video lasts {info.duration:.2f} s. Choose an earlier start.")
        return float(info.duration) - start

    def _plain(self) -> dict[str, Any]:
        """The settings that are numbers of another library (numpy's), as Python's own."""
        found: dict[str, Any] = {}
        for name, value in ((f.name, getattr(self, f.name)) for f in fields(self)):
            if isinstance(value, Real) and type(value) not in (bool, int, float):
                with suppress(OverflowError):  # a fraction beyond every float stays what it is, to be refused
                    found[name] = int(value) if isinstance(value, Integral) else float(value)
        return found

    def _sources(self, rate: int) -> dict[str, Any]:
        """The video, image and audio that are given as they are read. Raises InputError for what is none."""
        from ..media.inputs import image_of, sound_of, video_of

        readers = {"video": video_of, "image": image_of, "audio": lambda value: sound_of("audio", value, rate)}
        return {name: read(getattr(self, name)) for name, read in readers.items() if getattr(self, name) is not None}

    def scales(self, model: Model) -> dict[str, float]:
        """Guidance's scale for each modality that is given, in the order in which one adds to another."""
        from . import parts

        found: dict[str, float] = {}
        whole_scale = model.recipe.guidance if self.guidance is None else self.guidance
        for name, own in GUIDED.items():
            if getattr(self, name) is not None or (name == "text" and self.at):
                modality = model.reader(getattr(parts, READ_AS[name]))
                scale = getattr(self, own)
                found[modality] = whole_scale if scale is None else scale
        return found

    def take(self, number: int) -> Settings:
        """The same for a take, counted from 0: each has the seed after the one before it."""
        return self.changed(seed=(self.seed + number) % (LARGEST_SEED + 1))

    def changed(self, **settings: Any) -> Settings:
        """The same with some settings changed. They are not checked again."""
        return replace(self, **settings)

    def files(self, *others: Any) -> tuple[Any, ...]:
        """The files among the inputs, and among others that the sound was made from."""
        sources = (*(getattr(self, name) for name in MEDIA_FILES), *others)
        return tuple(source for source in sources if isinstance(source, str | os.PathLike))

    def doubts(self, model: Model) -> tuple[str, ...]:
        """What is allowed but can hardly be meant with this model, in sentences for the log."""
        said = []
        if model.recipe.guidance == 1 and self.guidance not in (None, 1):
            said.append(
                f"guidance: this model is made to run without guidance, at 1; {self.guidance:g} doubles its work"
            )
        for name, begun in BEGUN.items():
            if getattr(self, name) and getattr(self, begun) is None:
                said.append(f"{name}: there is no {begun}, so it has no effect")
        hiding = [part for part in model.conditioners if part.condition is not None and part.condition.hides]
        if self.prompt_hidden and not hiding:
            said.append("prompt_hidden: this model was not trained with a part of its prompt hidden")
        return tuple(said)

    def _check_inputs(self, model: Model) -> None:
        if not self.at and all(getattr(self, name) is None for name in FOLLOWED[:-1]):
            raise InputError("nothing to follow: give text, a video, an image or audio (or several)")
        if self.video is not None and self.image is not None:
            raise InputError(
                "video and image are both given; an image is treated as a motionless video, so give only one of them"
            )
        reads = [type(part.condition.reads).__name__ for part in model.conditioners if part.condition is not None]
        for name, kind in READ_AS.items():
            if getattr(self, name) is not None and kind not in reads:
                raise InputError(f"{name}: this model cannot follow it. Leave {name} out.")
        self._check_files()

    def _check_files(self) -> None:
        from ..media.given import check_file

        given = {name: getattr(self, name) for name in MEDIA_FILES}
        for name in MEDIA_FILES:
            if isinstance(given[name], str | os.PathLike):
                check_file(name, given[name])


def number(name: str, value: Any) -> float:
    """The value as a float. Raises InputError unless it is a finite number."""
    found = math.nan
    if isinstance(value, Real) and not isinstance(value, bool):
        with suppress(OverflowError):  # a whole number beyond every float
            found = float(value)
    if not math.isfinite(found):
        raise InputError(f"{name}: expected a number, got {shown(value)}")
    return found


def whole(name: str, value: Any) -> int:
    """The value itself. Raises InputError unless it is a whole number."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InputError(f"{name}: expected a whole number, got {shown(value)}")
    return int(value)


def check_takes(takes: Any) -> int:
    """How many takes to make. Raises InputError unless so many can be made."""
    if not 1 <= whole("takes", takes) <= MOST_TAKES:
        raise InputError(f"takes: {takes} is out of range; choose 1 to {MOST_TAKES}")
    return int(takes)


def check_text(name: str, prompt: Any) -> None:
    """Raises InputError unless a prompt is text that can be written down."""
    if not isinstance(prompt, str):
        raise InputError(f"{name}: expected a text, got {type(prompt).__name__}. Give one prompt.")
    try:
        prompt.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputError(f"{name}: contains bytes that are not UTF-8 text ({error}). Fix the encoding.") from error
