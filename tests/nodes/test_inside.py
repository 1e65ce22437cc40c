"""The checks in inside/, each a test, in a process of ComfyUI's own interpreter; skipped without a ComfyUI."""

from __future__ import annotations

import ast
import json
import subprocess
from pathlib import Path

import pytest

from tests.comfyui.server import REPO, comfyui_environment, comfyui_python, find_comfyui

SCRIPT = Path(__file__).with_name("inside") / "run.py"
CHECKS = [
    part.name
    for path in sorted(SCRIPT.parent.glob("check_*.py"))
    for part in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(part, ast.FunctionDef) and part.name.startswith("check_")
]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Traceback of each check, empty where it passed."""
    comfyui = find_comfyui()
    if comfyui is None:
        pytest.skip("NOT TRIED IN COMFYUI: set COMFYUI_PATH to a ComfyUI checkout")
    done = subprocess.run(
        [comfyui_python(), str(SCRIPT), str(REPO), str(tmp_path_factory.mktemp("base"))],
        cwd=comfyui,
        env=comfyui_environment(),
        capture_output=True,
        text=True,
        timeout=1800,  # a hundred checks, each seconds of a processor
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.comfyui
@pytest.mark.parametrize("name", CHECKS)
def test_inside(results: dict[str, str], name: str) -> None:
    lacking = results[name].removeprefix("LACKING: ")
    if lacking != results[name]:
        pytest.skip(f"this ComfyUI has no {lacking}")
    assert not results[name], results[name]
