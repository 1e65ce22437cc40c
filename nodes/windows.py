"""Which windows a long latent is made of in ComfyUI, and what each of them is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.context_windows
from torch import Tensor

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import Timing
from ..audiox_core.sampling.windows import Windows
from .names import WINDOWS


@dataclass(frozen=True)
class Wish:
    """How windows are wanted: the latents that neighbours share, a loop or not, and how many are made in one call."""

    kept: int | None = None  # None: half a window
    loop: bool = False
    at_once: int = 1


NO_WISH = Wish()


def wish_of(options: Mapping[str, Any]) -> Wish:
    """What a MODEL's options wish for (AudioX Windows puts it there)."""
    found: Wish = options.get(WINDOWS, NO_WISH)
    return found


def hosts_windows(options: Mapping[str, Any]) -> Any:
    """ComfyUI's own Context Windows over time in a MODEL's options, or None."""
    found = options.get("context_handler")
    return found if isinstance(found, comfy.context_windows.IndexListContextHandler) and found.dim == 2 else None


def windows_of(timing: Timing, latents: int, plan: tuple[int, int] | None, wish: Wish) -> Windows:
    """The windows of so many latents. plan: (latents, kept) of a condition that has windows, which comes first."""
    if plan is not None and (plan[0] != latents or wish.loop):
        wanted = "a loop" if wish.loop else f"{timing.to_seconds(latents):.2f} s"
        raise InputError(
            f"a condition was encoded for windows over {timing.to_seconds(plan[0]):.2f} s, but the latent is {wanted}. "
            "Connect the seconds of AudioX Encode Video (or Timed Text) to AudioX Empty Latent."
        )
    kept = wish.kept if plan is None else plan[1]
    if not wish.loop and latents <= timing.latents:
        return Windows(latents, latents, (0,))
    return Windows(latents, timing.latents, timing.windows(latents, kept, loop=wish.loop), wish.loop)


def plan_in(conditions: Sequence[Any]) -> tuple[int, int] | None:
    """The plan of windows that the conditions were encoded for, (latents, kept); None if they have one window.

    Raises InputError where they disagree.
    """
    plans = {values[WINDOWS] for _, values in conditions if values.get(WINDOWS) is not None}
    if len(plans) > 1:
        raise InputError(
            "the conditions were encoded for different windows. Give their encoders the same seconds and kept."
        )
    return next(iter(plans), None)


def of_window(conditions: Any, number: int) -> Any:
    """CONDITIONING for one window alone: of tokens that have windows, those of this one."""
    if conditions is None:
        return None
    cut = []
    for tokens, values in conditions:
        theirs = {key: _only(value, number) for key, value in values.items() if key != WINDOWS}
        cut.append([tokens, theirs])
    return cut


def _only(value: Any, number: int) -> Any:
    if isinstance(value, Tensor) and value.ndim == 4 and value.shape[1] > 1:
        return value[:, number : number + 1]
    return value
