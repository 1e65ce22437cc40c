"""The card of the GPU tests, which are skipped, and counted as such, where there is none; their record and its end.

--gpu-device cpu lets the CPU play the card with small models, to try the tests themselves.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import audiox_core
from audiox_core.memory import streaming
from tests.core.fake_allocator import host_memory
from tests.golden.conftest import golden_sets
from tests.gpu.cards import Card, Played, Real
from tests.gpu.models import release
from tests.gpu.record import Record, folder, now
from tests.summary import ROW

HERE = Path(__file__).parent
# What matters most comes first; what may take long, last.
ORDER = (
    "test_record",
    "test_parity",
    "test_graphs",
    "test_table",
    "test_streaming",
    "test_memory",
    "test_compiled",
    "test_host",
)
BEGAN = time.monotonic()
RECORD = pytest.StashKey[Record]()


def why_not(config: pytest.Config) -> str | None:
    """The reason to skip, if there is one."""
    if config.getoption("gpu_device") == "cpu":
        return None
    if "PYTEST_XDIST_WORKER" in os.environ and torch.cuda.is_available():
        return "no card for several processes at once; make gpu runs these tests"
    return None if torch.cuda.is_available() else "no CUDA"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skips what needs a card where there is none, and puts these tests in their order."""
    reason = why_not(config)

    def rank(item: pytest.Item) -> int:
        if HERE not in item.path.parents:
            return -1
        return ORDER.index(item.path.stem) if item.path.stem in ORDER else len(ORDER)

    items.sort(key=rank)
    for item in items:
        if reason and HERE in item.path.parents and "card" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if {"golden", "case"} <= set(metafunc.fixturenames):
        sets = golden_sets(metafunc.config)
        given = [(golden, case) for golden in sets for case in golden.cases]
        metafunc.parametrize("golden,case", given, ids=[f"{golden.folder.name}-{case}" for golden, case in given])
    elif "golden" in metafunc.fixturenames:
        sets = golden_sets(metafunc.config)
        metafunc.parametrize("golden", sets, ids=[golden.folder.name for golden in sets])


@pytest.fixture(scope="session")
def chosen(request: pytest.FixtureRequest) -> Iterator[Card]:
    """The card, computing float32 in float32."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield Played() if request.config.getoption("gpu_device") == "cpu" else Real()
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def card(chosen: Card, monkeypatch: pytest.MonkeyPatch) -> Iterator[Card]:
    """The card, on which a test leaves nothing."""
    if chosen.small:
        monkeypatch.setattr(streaming, "host_memory", host_memory)
    before = chosen.held()
    yield chosen
    release()
    assert chosen.held() <= before, "something is left on the card"


@pytest.fixture(scope="session")
def record(request: pytest.FixtureRequest, chosen: Card) -> Record:
    """The tables of this run."""
    head = {
        "card": chosen.name,
        "memory, GB": round(chosen.machine().vram_total / 1e9, 1),
        "torch": torch.__version__,
        "CUDA": torch.version.cuda or "none",
        "Python": platform.python_version(),
        "AudioX": audiox_core.__version__,
        "date": now(),
    }
    request.config.stash[RECORD] = Record(head, folder())
    return request.config.stash[RECORD]


@pytest.fixture
def report_row(request: pytest.FixtureRequest) -> Callable[[str, str, float, float], None]:
    """Adds a line to the table of golden answers that is printed at the end."""
    told = request.node.user_properties
    return lambda case, output, error, bound: told.append((ROW, (case, output, error, bound)))


@pytest.fixture
def seconds_left() -> Callable[[float], float]:
    """How many of so many seconds since the start are left."""
    return lambda limit: limit - (time.monotonic() - BEGAN)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """The tables, and where they were written."""
    record = config.stash.get(RECORD, None)
    if record is None or not record.tables:
        return
    terminalreporter.section("measured on the card")
    for line in record.files[1].read_text(encoding="utf-8").splitlines():
        terminalreporter.write_line(line)
    terminalreporter.write_line(f"Written to {record.files[0]} and {record.files[1]}.")
