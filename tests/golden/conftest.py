"""Parametrises the golden tests over a set's cases, and prints the table: case, output, relative error, bound."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

from tests.golden.reader import GoldenSet


@dataclass(frozen=True)
class Row:
    case: str
    output: str
    error: float
    bound: float


ROWS = pytest.StashKey[list[Row]]()


@lru_cache(maxsize=4)
def golden_set(folder: Path) -> GoldenSet:
    return GoldenSet(folder)


@pytest.fixture
def report_row(request: pytest.FixtureRequest) -> Callable[[str, str, float, float], None]:
    """Adds a line to the table that is printed at the end."""
    rows = request.config.stash.setdefault(ROWS, [])
    return lambda case, output, error, bound: rows.append(Row(case, output, error, bound))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" not in metafunc.fixturenames:
        return
    golden = golden_set(Path(metafunc.config.getoption("golden_dir")))
    if "output" in metafunc.fixturenames:
        given = [
            (golden, case, name)
            for case, entry in golden.cases.items()
            for name, output in entry["outputs"].items()
            if output["file"]
        ]
        ids = [f"{case}-{name}" for _, case, name in given]
        metafunc.parametrize("golden,case,output", given, ids=ids)
    else:
        metafunc.parametrize("golden", [golden], ids=[golden.folder.name])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = terminalreporter.config.stash.get(ROWS, [])
    if not rows:
        return
    terminalreporter.section("golden answers: relative error and bound")
    for row in rows:
        mark = "" if row.error <= row.bound else "  <-- over"
        terminalreporter.write_line(f"{row.case:28s} {row.output:22s} {row.error:9.1e} {row.bound:9.0e}{mark}")
