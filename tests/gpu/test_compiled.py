"""Compiled steps on the card: close to eager ones, with their first call's cost, beside the others in the table."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable

import pytest
import torch

from audiox_core.errors import AudioXError
from tests.gpu.cards import Card
from tests.gpu.measures import generation, step
from tests.gpu.models import NAMES, resident
from tests.gpu.record import Record
from tests.gpu.test_streaming import latents

LIMIT = {NAMES[0]: 300, NAMES[1]: 360}  # seconds since the start of the tests after which it is not begun
# Relative to the eager answer's norm: the compiler fuses what rounds in between.
CLOSE = {"fp32": 1e-4, "fp16": 2e-2}


@pytest.mark.parametrize("name", NAMES)
def test_compiled_steps(card: Card, name: str, record: Record, seconds_left: Callable[[float], float]) -> None:
    if card.small and importlib.util.find_spec("triton") is None:
        pytest.skip("no compiler to try")
    if card.small:
        pytest.skip("compiling takes a minute; tests/core/test_kernels.py does it with one block")
    if seconds_left(LIMIT[name]) < 0:
        record.add("steps", model=name, way="compiled", note="not tried: too little time was left")
        pytest.skip(f"not begun after {LIMIT[name]} s")
    expected = latents(resident(card, name))
    pipe, began = resident(card, name, compile=True), time.monotonic()
    try:
        found = latents(pipe)
    except AudioXError as error:
        record.add("steps", model=name, way="compiled", note=str(error))
        pytest.skip(str(error))
    first = time.monotonic() - began
    assert (found - expected).norm() <= CLOSE[card.precision] * expected.norm()
    record.add("steps", model=name, way="compiled", **step(card, pipe), **{"first call, s": first})
    record.add("whole sounds", model=name, way="compiled", **generation(card, pipe))
    pipe.residence.release()
    torch._dynamo.reset()
