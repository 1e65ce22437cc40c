"""The table of speed: a step and a whole sound in each way, the encoders and the decoder, with their peaks."""

from __future__ import annotations

import pytest

from tests.gpu.cards import Card
from tests.gpu.measures import answered_step, decoder, encoders, generation, straightforward_step
from tests.gpu.models import BASE, NAMES, resident
from tests.gpu.record import Record

# Relative to the straightforward step: half precision rounds the two in different places.
CLOSE = {"fp32": 1e-4, "fp16": 3e-2}
STEPS = 3  # of the played card


@pytest.mark.parametrize("name", NAMES)
def test_steps(card: Card, name: str, record: Record) -> None:
    pipe, graphed = resident(card, name), resident(card, name, graph="on")
    plain, reference = straightforward_step(card, pipe) if name == BASE else (None, None)
    if plain is not None:
        record.add("steps", model=name, way="straightforward", **plain)
    eager, expected = answered_step(card, pipe)
    pipe.residence.release()
    replayed, again = answered_step(card, graphed)
    graphed.residence.release()
    for way, row in (("eager", eager), ("graphed", replayed)):
        ratio = {} if plain is None else {"times faster": plain["step, ms"] / row["step, ms"]}
        record.add("steps", model=name, way=way, **row, **ratio)
    assert (expected == again).all()
    if reference is not None:
        assert (expected - reference).norm() <= CLOSE[card.precision] * reference.norm()


@pytest.mark.parametrize("name", NAMES)
def test_encoders_and_decoder(card: Card, name: str, record: Record) -> None:
    pipe = resident(card, name)
    for row in [*encoders(card, pipe), decoder(card, pipe)]:
        record.add("encoders and decoder", model=name, way="eager", **row)
        assert row["ms"] > 0
    pipe.residence.release()


@pytest.mark.parametrize("way", ["eager", "graphed"])
@pytest.mark.parametrize("name", NAMES)
def test_whole_sounds(card: Card, name: str, way: str, record: Record) -> None:
    pipe = resident(card, name, graph="on" if way == "graphed" else "off")
    row = generation(card, pipe, STEPS if card.small else None)
    record.add("whole sounds", model=name, way=way, **row)
    assert row["seconds"] > 0 and row["peak, GB"] > 0
    pipe.residence.release()
