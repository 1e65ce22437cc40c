"""Options for the whole suite, and which of its tests belong in one process when it runs in several."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent


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


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """One process for each file, so that what it computes once is; for each golden set; and for all of ComfyUI."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = item.path.relative_to(HERE).as_posix()
        golden = getattr(item, "callspec", None) and item.callspec.params.get("golden")
        if golden is not None:
            group += f"-{golden.folder.name}"
        elif group.startswith("comfyui/") or group == "nodes/test_inside.py":
            group = "comfyui"
        item.add_marker(pytest.mark.xdist_group(group))
