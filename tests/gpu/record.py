"""What the GPU tests measured: timings, and the JSON file and the Markdown tables that they are written to."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
VARIABLE = "GPU_OUT"  # names the folder
Clock = Callable[[], float]


def folder() -> Path:
    """Where results are written: the folder that GPU_OUT names, or build/gpu."""
    named = os.environ.get(VARIABLE)
    return Path(named).expanduser() if named else ROOT / "build" / "gpu"


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, over several rounds."""

    median: float
    least: float
    most: float


def timed(
    work: Callable[[], Any],
    sync: Callable[[], None],
    *,
    calls: int = 1,
    rounds: int = 5,
    warm_up: int = 1,
    clock: Clock = time.perf_counter,
) -> Timing:
    """The time of work, in rounds of so many calls. A round ends when the device has done them all (sync)."""
    for _ in range(warm_up):
        work()
    found = []
    for _ in range(rounds):
        sync()
        start = clock()
        for _ in range(calls):
            work()
        sync()
        found.append((clock() - start) / calls)
    return Timing(statistics.median(found), min(found), max(found))


@dataclass
class Record:
    """Tables of rows, under a head of facts; each addition is written at once, so that a run cut short leaves it."""

    head: Mapping[str, Any]
    out: Path
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, Path]:
        return self.out / "gpu.json", self.out / "gpu.md"

    def add(self, table: str, **row: Any) -> None:
        self.tables.setdefault(table, []).append(row)
        self.write()

    def write(self) -> None:
        self.out.mkdir(parents=True, exist_ok=True)
        data = {**self.head, "tables": self.tables}
        for path, text in zip(self.files, (json.dumps(data, indent=1), markdown(data)), strict=True):
            path.write_text(text + "\n", encoding="utf-8")


def now() -> str:
    """The time in words that sort."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def markdown(data: Mapping[str, Any]) -> str:
    """The tables of a record, below a line of its head."""
    told = ", ".join(f"{name} {value}" for name, value in data.items() if name != "tables")
    lines = [f"# GPU: {data.get('card', 'unknown')}", "", told]
    for name, rows in data["tables"].items():
        columns = list(dict.fromkeys(column for row in rows for column in row))
        number = {c: all(isinstance(row.get(c), int | float | None) for row in rows) for c in columns}
        lines += ["", f"## {name}", "", _line(columns), "|" + "|".join("---:" if number[c] else "---" for c in columns)]
        lines[-1] += "|"
        lines += [_line([cell(row.get(column)) for column in columns]) for row in rows]
    return "\n".join(lines)


def cell(value: Any) -> str:
    """A value as it stands in a table: three digits are enough of a measured number."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value).replace("|", "/").replace("\n", " ")
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
