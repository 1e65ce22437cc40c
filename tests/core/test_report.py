"""The report of a machine and its plan."""

from __future__ import annotations

import re

import pytest

from audiox_core.memory.plan import make_plan
from audiox_core.memory.report import gb, report
from audiox_core.models import members
from audiox_core.models.config import parse_config
from tests.core.machines import FULL, cpu, gpu


def test_report_tells_it_all() -> None:
    machine = gpu(2)
    text = report(make_plan(machine, FULL), machine)
    for part in (
        "a 2 GB card",
        "2.00 GB",
        "RAM",
        "precision      fp16",
        "offload        on",
        "read from RAM in each step",
    ):
        assert part in text
    assert re.search(
        r"^transformer    2\.11 GB in fp16, on the GPU while it works \(\d+ of its 24 blocks .*\), plus 0\.\d\d GB for",
        text,
        re.MULTILINE,
    )
    assert "problem:" in report(make_plan(gpu(0.3), FULL), gpu(0.3))
    assert "GPU" not in report(make_plan(cpu(16), FULL), cpu(16))
    assert "always on the GPU" in report(make_plan(gpu(24), FULL), gpu(24))


@pytest.mark.parametrize("name", members())
def test_parts_are_named_in_words(name: str) -> None:
    """Not by their names in the code, and none of them is said to take 0.00 GB."""
    model = parse_config(members()[name].config(), name)
    text = report(make_plan(gpu(24), model), gpu(24))
    words = [line[:15].strip() for line in text.splitlines()[5:]]
    assert words == ["video encoder", "text encoder", "audio encoder", "transformer", "autoencoder"]
    assert " 0.00 GB" not in text and "to work in" not in text


def test_what_is_too_small_for_two_decimals() -> None:
    assert [gb(n) for n in (0, 1, 4_999_999, 5_000_000, 2_104_000_000)] == [
        "0.00 GB",
        "under 0.01 GB",
        "under 0.01 GB",
        "0.01 GB",
        "2.10 GB",
    ]
