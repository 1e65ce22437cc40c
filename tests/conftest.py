"""Options for the whole suite, and its share of the processor when it runs in several processes."""

from __future__ import annotations

import os

import pytest

from tests.summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]  # a hook
# The files that take longest begin first, longest first, so that no process is left alone with one of them at the end.
LONGEST = (
    "test_golden.py",
    "test_precision.py",
    "test_cli_outputs.py",
    "test_kernels.py",
    "test_borrowed.py",
    "test_claims.py",
    "test_commands_processes.py",
    "test_process.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        help="a set of golden numbers in the format of those in tests/golden, all of which are the default",
    )
    parser.addoption(
        "--gpu-device",
        choices=["cuda", "cpu"],
        default="cuda",
        help="what tests/gpu runs on; cpu plays a card with small models, to try these tests themselves",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files in the order of LONGEST, the others after them as they were."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_configure(config: pytest.Config) -> None:
    """The processes of a parallel run share the processor's cores."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if count > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
