"""Several sounds of one call: takes of the same inputs, and a sound for each of several texts. Methods of Pipeline."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InputError
from ..models.settings import MOST_TAKES, check_takes

if TYPE_CHECKING:
    from ..media.sound import Sound
    from ..models.settings import Settings
    from ..pipeline import Pipeline
    from .bars import Watch

log = logging.getLogger("audiox")


def takes(pipe: Pipeline, count: int, text: str | None = None, **given: Any) -> list[Sound]:
    """Several sounds of the same inputs, each what a call with its own seed makes: seed, seed + 1, ...

    With keep_finished, Ctrl-C ends all of it: the takes that are finished are returned, and of the one that was being
    made the windows that are (its `finished` is False).
    """
    check_takes(count)
    if isinstance(text, list | tuple):
        raise InputError("text: takes are made of one text. Give one, or call the pipeline with the list.")
    settings, watch = pipe.settled(text=text, **given)
    return _made(pipe, [settings.take(number) for number in range(count)], watch)


def of_each(pipe: Pipeline, texts: Sequence[str], **given: Any) -> list[Sound]:
    """A sound for each text, in their order: what a call with it alone makes, all with the same seed.

    All texts are checked before the first sound is made. Ctrl-C as in takes.
    """
    if not 1 <= len(texts) <= MOST_TAKES:
        raise InputError(f"text: a list of {len(texts)}. Give 1 to {MOST_TAKES} texts at a time.")
    settled = [pipe.settled(text=text, **given) for text in texts]
    return _made(pipe, [settings for settings, _ in settled], settled[0][1])


def _made(pipe: Pipeline, wanted: Sequence[Settings], watch: Watch) -> list[Sound]:
    """The sounds of settled settings, as far as the run isn't stopped where that is to leave what is finished."""
    found: list[Sound] = []
    for settings in wanted:
        try:
            found.append(pipe.made(settings, watch))
        except KeyboardInterrupt:
            if not (watch.keep_finished and found):
                raise
            log.warning("stopped: the sounds that were finished by then are kept")
            break
        if not found[-1].finished:
            break
    return found
