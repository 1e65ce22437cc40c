"""Networks borrowed from transformers, also where a broken or vanished torchaudio would keep it from importing them."""

from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import Any

from ..errors import interruption
from .libraries import unchanged_process

log = logging.getLogger("audiox")

# transformers imports it beside its models, if it is installed; none of the classes borrowed here uses it.
BYSTANDER = "torchaudio"


@unchanged_process()
def from_transformers(*names: str) -> list[Any]:
    """transformers' classes of these names. Raises ImportError where it cannot import them, torchaudio or not."""
    import transformers

    try:
        return [getattr(transformers, name) for name in names]
    except Exception as error:  # transformers wraps some errors and not others, and a broken library may raise any
        if interruption(error) is not None:
            raise  # nothing is broken: unchanged_process says what it is
        reason = _missing()
        if reason is None:
            raise
    with _empty_bystander():
        found = [getattr(transformers, name) for name in names]
    state = "gone" if isinstance(reason, ModuleNotFoundError) else "installed but broken"
    log.warning("%s is %s (%s): transformers' models are imported without it.", BYSTANDER, state, reason)
    return found


def _missing() -> BaseException | None:
    """Why torchaudio cannot be imported; None if it can be."""
    try:
        importlib.import_module(BYSTANDER)
    except Exception as error:
        return error
    return None


@contextmanager
def _empty_bystander() -> Iterator[None]:
    """An empty module in torchaudio's place; afterwards its place is as empty as its failure had left it."""
    stand_in = importlib.util.module_from_spec(ModuleSpec(BYSTANDER, loader=None))
    sys.modules[BYSTANDER] = stand_in
    try:
        yield
    finally:
        if sys.modules.get(BYSTANDER) is stand_in:
            del sys.modules[BYSTANDER]
