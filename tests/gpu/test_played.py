"""The GPU tests themselves, tried without one: a few of their bodies with small models, the CPU playing the card."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.memory import streaming
from tests.core.fake_allocator import host_memory
from tests.gpu import test_graphs, test_streaming, test_table
from tests.gpu.cards import Played
from tests.gpu.conftest import why_not
from tests.gpu.models import TURBO
from tests.gpu.placed import Placed, home_of
from tests.gpu.record import Record
from tests.summary import NO_CARD, reasons


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    monkeypatch.setattr(streaming, "host_memory", host_memory)
    return Played()


def test_bodies_run(played: Played, tmp_path: Path) -> None:
    record = Record({"card": played.name}, tmp_path)
    test_graphs.test_a_replayed_generation_is_the_eager_one(played, TURBO, "usual")
    test_streaming.test_streaming_and_offload_change_no_bit(played, TURBO, 0)
    test_table.test_steps(played, TURBO, record)
    ways = [row["way"] for row in record.tables["steps"]]
    assert ways == ["eager", "graphed"] and all(path.is_file() for path in record.files)


def test_a_leak_is_seen(played: Played) -> None:
    kept = []
    with played.counted() as count:
        kept.append(torch.ones(1 << 18))
    assert count.held == count.peak == 1 << 20
    with pytest.raises(torch.cuda.OutOfMemoryError), played.counted(1 << 10):
        torch.ones(1 << 18)


def test_numbers_go_to_the_card_and_come_back() -> None:
    """The meta device is the card: what computes there has seen its inputs there."""

    class Spy(torch.nn.Module):
        def forward(self, x: Tensor, more: dict[str, Tensor], device: torch.device) -> tuple[Tensor, object]:
            self.seen = x.device, more["tokens"].device, device
            return torch.ones(1), self

    spy, card = Spy(), torch.device("meta")
    answer, itself = Placed(spy, card)(torch.zeros(2), {"tokens": torch.zeros(2)}, device=torch.device("cpu"))
    assert spy.seen == (card, card, card)
    assert answer.device.type == "cpu" and itself is spy
    assert home_of([{"a": torch.zeros(1, device="meta")}]) == card and home_of([1, []]) == torch.device("cpu")


def test_a_suite_without_a_card_skips_and_says_so(pytestconfig: pytest.Config) -> None:
    skipped = SimpleNamespace(longrepr=("", 0, "Skipped: no CUDA"), nodeid="tests/gpu/test_table.py::test_steps")
    other = SimpleNamespace(longrepr=("", 0, "Skipped: no CUDA"), nodeid="tests/core/test_ops.py::test_x")
    reporter: Any = SimpleNamespace(stats={"skipped": [skipped, skipped, other]})
    assert reasons(reporter, "tests/gpu/") == {"no CUDA": 2}
    if not torch.cuda.is_available() and pytestconfig.getoption("gpu_device") == "cuda":
        assert why_not(pytestconfig) == "no CUDA"
    assert "no CUDA".startswith(NO_CARD)
