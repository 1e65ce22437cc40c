"""Parametrises the golden tests over a set's cases, and prints the table: case, output, relative error, bound."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import pytest

from tests.golden.reader import GoldenSet
from tests.summary import ROW


@lru_cache(maxsize=4)
def golden_set(folder: Path) -> GoldenSet:
    return GoldenSet(folder)


@pytest.fixture
def report_row(request: pytest.FixtureRequest) -> Callable[[str, str, float, float], None]:
    """Adds a line to the table that is printed at the end."""
    told = request.node.user_properties
    return lambda case, output, error, bound: told.append((ROW, (case, output, error, bound)))


def golden_sets(config: pytest.Config) -> list[GoldenSet]:
    """The set that --golden-dir names, or all that lie here."""
    named = config.getoption("golden_dir")
    folders = [Path(named)] if named else sorted(path.parent for path in Path(__file__).parent.glob("*/manifest.json"))
    return [golden_set(folder) for folder in folders]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "golden" not in metafunc.fixturenames:
        return
    sets = golden_sets(metafunc.config)
    if "output" in metafunc.fixturenames:
        given = [
            (golden, case, name)
            for golden in sets
            for case, entry in golden.cases.items()
            for name, output in entry["outputs"].items()
            if output["file"]
        ]
        ids = [f"{golden.folder.name}-{case}-{name}" for golden, case, name in given]
        metafunc.parametrize("golden,case,output", given, ids=ids)
    else:
        metafunc.parametrize("golden", sets, ids=[golden.folder.name for golden in sets])
