"""A sound that is there already: regions of it made anew, seconds added, all of it varied. Methods of Pipeline."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import InputError
from .media.sound import Sound
from .models.settings import FOLLOWED, number
from .models.timing import LONGEST, Timing
from .networks.autoencoder import DECODE_HALO, ENCODE_HALO
from .sampling import find_objective
from .sampling.edits import Edit

if TYPE_CHECKING:
    from .pipeline import Pipeline

FEATHER = 0.05  # seconds over which a region comes in and goes out
LEAST = 0.001  # of strength, above 0: less leaves no room between the noise levels


def edit(
    pipe: Pipeline,
    source: Any,
    regions: str | Sequence[tuple[float, float]],
    *,
    feather: float = FEATHER,
    **given: Any,
) -> Sound:
    """The source with regions of it made anew, to fit the rest and what is given; all else stays bit for bit.

    source is a sound as media.inputs takes it: a file, a Sound, a (waveform, rate), or a waveform (2, N) at the model's
    rate; regions are pairs of seconds, or text such as "3-5, 8.2-9". feather is how many seconds just inside a region
    it comes in and goes out. given: text and all else that a call takes; without anything to follow, only the source
    is followed. Raises what a call does, InputError for regions past the source's end, and for on_sound and
    keep_finished: an edited sound is finished only as a whole.
    """
    from .media.spans import check_spans

    return _edited(pipe, source, {"regions": check_spans(regions)}, feather, given)


def extend(
    pipe: Pipeline,
    source: Any,
    *,
    before: float = 0.0,
    after: float = 0.0,
    feather: float = FEATHER,
    **given: Any,
) -> Sound:
    """The source continued: so many seconds made before it and after it, while it stays bit for bit. See edit."""
    check_added(pipe.timing, before, after)
    return _edited(pipe, source, {"regions": (), "before": before, "after": after}, feather, given)


def vary(pipe: Pipeline, source: Any, strength: float = 0.5, **given: Any) -> Sound:
    """The source (see edit) made again: strength 0 gives it back, 1 leaves nothing of it but its length.

    Between, the run starts from a noise level that rises with strength as the model's own levels do: for v in equal
    ratios from sigma_min to sigma_max, for a rectified flow in equal steps from 0 to 1. given: as in a call.
    """
    check_strength(strength)
    waveform = original(pipe, source)
    check_lasting(waveform.shape[-1] / pipe.timing.sample_rate)
    settings, watch = pipe.settled(**as_long(waveform.shape[-1] / pipe.timing.sample_rate, given))
    if settings.loop:
        raise InputError("loop: a variation keeps the length of its source, which a loop may not have. Leave loop out.")
    if strength == 0:
        return Sound(waveform, pipe.timing.sample_rate, settings.files(source), exact=True)
    if strength == 1:
        return pipe.made(settings, watch)
    objective = find_objective(pipe.model.recipe.objective)
    level = objective.variation(strength, settings.sigma_min or 0.0, settings.sigma_max or 1.0)
    latents = pipe.windows(settings).latents
    missing = latents * pipe.timing.downsampling_ratio - waveform.shape[-1]
    init = encoded(pipe, torch.nn.functional.pad(waveform, (0, missing)), [(0, latents)])
    return pipe.made(settings.changed(sigma_max=level), watch, init=init)


def original(pipe: Pipeline, source: Any) -> Tensor:
    """A source as stereo samples (2, N) at the model's rate, full scale 1; see edit for what it may be."""
    from .media import check_waveform, read_audio, to_stereo
    from .media.given import check_file
    from .media.inputs import is_file, sound_of

    rate = pipe.timing.sample_rate
    if isinstance(source, str | os.PathLike):
        check_file("source", source)
    found = sound_of("source", source, rate)
    return read_audio(found, sample_rate=rate) if is_file(found) else to_stereo(check_waveform(found))


@torch.inference_mode()
def encoded(pipe: Pipeline, waveform: Tensor, stretches: Sequence[tuple[int, int]]) -> Tensor:
    """Latents (1, C, L) of a waveform (2, 2048 L), encoded only in stretches (first, end) of them, else zero."""
    ratio = pipe.timing.downsampling_ratio
    out = torch.zeros(1, pipe.model.channels, waveform.shape[-1] // ratio)
    for first, end in stretches:
        low, high = max(first - ENCODE_HALO, 0), min(end + ENCODE_HALO, out.shape[-1])
        piece = waveform[None, :, low * ratio : high * ratio]

        def work(network: Any, step: Any, piece: Tensor = piece) -> Tensor:
            tile = step.tile or pipe.timing.latents
            mean: Tensor = network.encode(piece.to(step.device), tile=tile)[0]
            return mean

        mean = pipe.residence.run(pipe.model.autoencoder.name, work).float().cpu()
        out[..., first:end] = mean[..., first - low : end - low]
    return out


def followed(given: dict[str, Any]) -> dict[str, Any]:
    """Settings that follow an empty prompt where they follow nothing: the source is enough to go by."""
    something = given.get("at") or any(given.get(name) is not None for name in FOLLOWED if name != "at")
    return given if something else {**given, "text": ""}


def as_long(seconds: float, given: dict[str, Any]) -> dict[str, Any]:
    """What is given, of a sound that lasts so long because of its source. Raises InputError for another length."""
    if given.get("seconds") not in (None, seconds):
        raise InputError(
            f"seconds: the source determines how long the sound is, {seconds:g} s here. Leave seconds out."
        )
    return {**followed(given), "seconds": seconds}


def _edited(pipe: Pipeline, source: Any, places: dict[str, Any], feather: float, given: dict[str, Any]) -> Sound:
    timing, waveform = pipe.timing, original(pipe, source)
    edit = Edit.of(timing, waveform.shape[-1], **places)
    check_lasting(edit.seconds, places.get("before", 0.0), places.get("after", 0.0))
    settings, watch = pipe.settled(**as_long(edit.seconds, given))
    if settings.loop:
        raise InputError("loop: an edited sound keeps its ends. Leave loop out.")
    for name in ("on_sound", "keep_finished"):
        if getattr(watch, name):
            raise InputError(f"{name}: an edited sound is only finished as a whole. Leave {name} out.")
    faded = timing.to_samples(check_feather(feather))
    windows = edit.windows(timing.nearest_latents(settings.kept or 0), together=settings.long == "together")
    kept = encoded(pipe, edit.padded(waveform), edit.reached(windows))
    latents = pipe.sampled(settings, windows, watch, source=kept, mask=edit.mask())
    decode = partial(pipe.decode, progress=watch.progress)
    sound = edit.sound(waveform, latents, decode, halo=DECODE_HALO, feather=faded)
    rate = timing.sample_rate
    marks: dict[str, Any] = {"regions": tuple((first / rate, end / rate) for first, end in edit.spans)}
    marks["windows"] = windows.spans(timing.to_seconds(1), edit.seconds)
    return Sound(sound, rate, settings.files(source), exact=True, **marks)


def check_added(timing: Timing, before: float, after: float) -> None:
    """Raises InputError unless so many seconds can be added to a sound."""
    for name, value in (("before", before), ("after", after)):
        timing.check_length(number(name, value) or 1.0, name)
    if not before and not after:
        raise InputError("extend: before and after are both 0. Give the seconds to add.")


def check_lasting(seconds: float, before: float = 0.0, after: float = 0.0) -> None:
    """Raises InputError, which begins with before or after, for a sound that is too long with what is added to it."""
    source, name = seconds - before - after, "after" if after else "before"
    if source < LONGEST < seconds:
        raise InputError(
            f"{name}: with what is added the sound would last {seconds:.2f} s, and {LONGEST:g} are the most. "
            f"Add at most {LONGEST - source:.2f} s in all."
        )
    if seconds > LONGEST:
        raise InputError(f"source: lasts {source:.2f} s, and {LONGEST:g} are the most. Cut it into shorter ones.")


def check_strength(strength: float) -> None:
    """Raises InputError unless it is in 0..1, and 0 or enough to be heard."""
    if not 0 <= number("strength", strength) <= 1:
        raise InputError(f"strength: {strength} is out of range; choose 0 (the source itself) to 1 (nothing of it)")
    if 0 < strength < LEAST:
        raise InputError(
            f"strength: {strength:g} is too little to change anything; choose 0, or at least {LEAST:g} and more"
        )


def check_feather(feather: float) -> float:
    """Seconds of a crossfade. Raises InputError out of range."""
    if not 0 <= number("feather", feather) <= 10:
        raise InputError(f"feather: {feather:g} s is out of range. Choose 0 to 10 seconds.")
    return float(feather)
