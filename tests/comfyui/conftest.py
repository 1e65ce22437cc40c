"""Fixtures of the tests in a real ComfyUI, which are skipped, and counted as such, where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.comfyui.browser import ComfyPage, why_no_browser
from tests.comfyui.server import ComfyServer, find_comfyui

HERE = Path(__file__).parent
# Lines of ComfyUI's log that tell of models which outlive their graph, or of modules used behind its back.
LEAKS = ("memory leak", "you accessed")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark this folder's server tests; skip them without ComfyUI, and browser tests without Chromium."""
    try:
        comfyui, no_browser = find_comfyui(), why_no_browser()
    except FileNotFoundError as error:
        raise pytest.UsageError(str(error)) from None
    for item in items:
        fixtures = getattr(item, "fixturenames", ())
        if HERE not in item.path.parents or not {"comfyui", "comfy"} & set(fixtures):
            continue
        item.add_marker(pytest.mark.comfyui)
        reason = None
        if comfyui is None:
            reason = "no ComfyUI"
        elif "page" in fixtures and no_browser:
            reason = f"no browser: {no_browser}"
        if reason is not None:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def comfyui() -> Path:
    """ComfyUI's folder."""
    path = find_comfyui()
    assert path is not None, "tests without a ComfyUI are skipped at collection"
    return path


@pytest.fixture(scope="session")
def comfy(comfyui: Path) -> Iterator[ComfyServer]:
    """The one server that all tests share; none may leave its queue busy."""
    with ComfyServer(comfyui) as server:
        yield server
        leaks = [line for line in server.log.splitlines() if any(leak in line.lower() for leak in LEAKS)]
        assert not leaks, leaks


@pytest.fixture
def info(comfy: ComfyServer) -> dict[str, Any]:
    """Fresh /object_info: combos list the files that exist now."""
    return comfy.object_info()


@pytest.fixture(scope="module")
def page(comfy: ComfyServer) -> Iterator[ComfyPage]:
    """ComfyUI's page in headless Chromium."""
    with ComfyPage(comfy) as browser_page:
        yield browser_page
