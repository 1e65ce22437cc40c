"""The pack as users get it: one list of requirements, floors only, and an import that costs nothing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
FLOOR = re.compile(r"[A-Za-z0-9_.-]+>=[0-9.]+")
# Which build of torchaudio fits the torch that is there, only the installer can tell.
WITHOUT_A_FLOOR = "torchaudio"


@pytest.fixture(scope="module")
def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def imported_packages(folder: str) -> set[str]:
    """Top-level names of all absolute imports below a folder, wherever in the code they stand."""
    names: set[str] = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names.update(alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(str(node.module).partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_requirements_are_floors_only() -> None:
    assert [line for line in requirements() if not FLOOR.fullmatch(line)] == [WITHOUT_A_FLOOR]


def test_pyproject_lists_the_same_requirements(pyproject: dict[str, Any]) -> None:
    assert pyproject["project"]["dependencies"] == requirements()


def test_the_core_imports_what_is_required_and_nothing_else() -> None:
    required = {line.partition(">=")[0] for line in requirements()}
    imported = imported_packages("audiox_core")
    assert imported <= required
    assert required - {"numpy"} <= imported  # what PyAV's frames become


def test_what_runs_in_every_step_reshapes_by_torch_itself() -> None:
    """einops names shape changes that run once; in a step its look-ups would cost time, and break compiled graphs."""
    steps = [*(f"networks/{name}.py" for name in ("dit", "mmdit", "layers", "rows", "ops"))]
    steps += [f"sampling/{path.name}" for path in (ROOT / "audiox_core" / "sampling").glob("*.py")]
    assert [name for name in steps if "einops" in (ROOT / "audiox_core" / name).read_text(encoding="utf-8")] == []


def test_the_registry_takes_the_name(pyproject: dict[str, Any]) -> None:
    """It wants no "ComfyUI" in it; `audiox` is another pack's there, and another package's for pip."""
    name = pyproject["project"]["name"]
    assert re.fullmatch(r"[a-z][a-z0-9._-]*", name)
    assert "comfyui" not in name
    assert name != "audiox"


def test_registry_metadata(pyproject: dict[str, Any]) -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", pyproject["project"]["version"])
    assert (ROOT / pyproject["project"]["license"]["file"]).is_file()
    comfy = pyproject["tool"]["comfy"]
    assert comfy["PublisherId"]
    assert comfy["DisplayName"] == "AudioX"


def test_importing_the_pack_is_silent_and_light() -> None:
    # Loaded by path under a name with a hyphen, as ComfyUI does it.
    code = """if True:
        import importlib.util, sys
        spec = importlib.util.spec_from_file_location("custom-nodes.audiox", "__init__.py",
                                                      submodule_search_locations=["."])
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        assert callable(module.comfy_entrypoint) and module.WEB_DIRECTORY == "./web"
        assert not hasattr(module, "NODE_CLASS_MAPPINGS")
        heavy = {"torch", "torchaudio", "transformers", "av", "accelerate"} & set(sys.modules)
        assert not heavy, heavy
    """
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
