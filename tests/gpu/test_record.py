"""The record of measurements: timing rounds, tables in JSON and Markdown. Needs no GPU."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.gpu.record import ROOT, Record, cell, folder, markdown, timed


class Device:
    """A device that does in sync what it was asked for, and the clock of it."""

    def __init__(self, *seconds: float):
        self.seconds, self.asked, self.time = list(seconds), 0, 0.0

    def work(self) -> None:
        self.asked += 1

    def sync(self) -> None:
        for _ in range(self.asked):
            self.time += self.seconds.pop(0)
        self.asked = 0

    def clock(self) -> float:
        return self.time


def test_a_round_ends_when_the_device_is_done() -> None:
    device = Device(100.0, 1.0, 2.0, 5.0, 6.0, 2.0, 2.0)
    found = timed(device.work, device.sync, calls=2, rounds=3, clock=device.clock)
    assert (found.median, found.least, found.most) == (2.0, 1.5, 5.5), "the warm-up does not count"
    assert not device.seconds


def test_what_was_measured_is_written_at_once(tmp_path: Path) -> None:
    record = Record({"card": "a card", "torch": "2.11", "date": "today"}, tmp_path / "new" / "folder")
    record.add("times", model="AudioX", **{"step, ms": 3.14159})
    record.add("times", model="AudioX-Turbo", **{"step, ms": 12345.6, "note": "a|b\nc"})
    record.add("memory", size=8, fits=True)
    found, shown = (path.read_text(encoding="utf-8") for path in record.files)
    data = json.loads(found)
    assert data["card"] == "a card" and data["tables"]["times"][1]["step, ms"] == 12345.6
    assert shown == markdown(data) + "\n"
    assert shown.splitlines() == [
        "# GPU: a card",
        "",
        "card a card, torch 2.11, date today",
        "",
        "## times",
        "",
        "| model | step, ms | note |",
        "|---|---:|---|",
        "| AudioX | 3.14 |  |",
        "| AudioX-Turbo | 12346 | a/b c |",
        "",
        "## memory",
        "",
        "| size | fits |",
        "|---:|---:|",
        "| 8 | True |",
    ]


@pytest.mark.parametrize(
    ("value", "shown"), [(None, ""), (0.0, "0"), (1.23e-6, "1.23e-06"), (99.96, "100"), (7, "7"), (1000.4, "1000")]
)
def test_numbers_of_three_digits(value: float | None, shown: str) -> None:
    assert cell(value) == shown


def test_the_folder_may_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GPU_OUT", str(tmp_path))
    assert folder() == tmp_path
    monkeypatch.delenv("GPU_OUT")
    assert folder() == ROOT / "build" / "gpu"
