"""The report of a machine and its plan."""

from __future__ import annotations

from audiox_core.memory.plan import make_plan
from audiox_core.memory.report import report
from tests.core.machines import FULL, cpu, gpu


def test_report_tells_it_all() -> None:
    machine = gpu(2)
    text = report(make_plan(machine, FULL), machine)
    for part in ("a 2 GB card", "2.00 GB", "RAM", "precision   fp16", "offload     on", "blocks streamed", *FULL.parts):
        assert part in text
    assert "problem:" in report(make_plan(gpu(0.3), FULL), gpu(0.3))
    assert "VRAM" not in report(make_plan(cpu(16), FULL), cpu(16))
