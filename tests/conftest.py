"""Options for the whole suite, and its share of the processor when it runs in several processes."""

from __future__ import annotations

import os

import pytest

from tests.summary import pytest_terminal_summary

__all__ = ["pytest_terminal_summary"]  # a hook


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        help="a set of golden numbers in the format of those in tests/golden, all of which are the default",
    )


def pytest_configure(config: pytest.Config) -> None:
    """The processes of a parallel run share the processor's cores."""
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if count > 1:
        import torch

        torch.set_num_threads(max(1, (os.cpu_count() or 1) // count))
