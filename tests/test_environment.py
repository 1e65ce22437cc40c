"""The development environment's builder: one environment a set of requirements, finished or built again."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """.ci/environment.py with an empty cache and without arguments."""
    spec = importlib.util.spec_from_file_location("environment", ROOT / ".ci" / "environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["environment.py"])
    return module


def pretend_to_run(commands: list[list[str]], *, install_fails: bool = False):
    """A stand-in for `run` that notes the commands and makes only an empty interpreter."""

    def run(command: list[str], keep_open: int | None = None) -> None:
        commands.append([str(part) for part in command])
        if "venv" in command:
            python = Path(command[-1]) / "bin" / "python"
            python.parent.mkdir(parents=True)
            python.touch(mode=0o755)
        if "install" in command and install_fails:
            raise subprocess.CalledProcessError(1, command)

    return run


def test_key_follows_requirements_but_not_comments(environment: ModuleType) -> None:
    key = environment.key(["torch>=2\n"])
    assert environment.key(["# why\n\ntorch>=2  # because\n"]) == key
    assert environment.key(["torch>=2.1\n"]) != key


def test_relative_cache_home_is_ignored(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "somewhere")
    assert environment.cache_folder() == Path.home() / ".cache" / "comfyui-audiox"


def test_second_run_finds_the_first_ones_environment(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "run", pretend_to_run(commands))
    environment.main()
    built = len(commands)
    environment.main()
    first, second = capsys.readouterr().out.splitlines()
    assert first == second
    assert Path(first).is_file()
    assert len(commands) == built == 3  # venv, install, import


def test_failed_install_is_told_and_done_again(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "run", pretend_to_run([], install_fails=True))
    with pytest.raises(SystemExit, match="package index"):
        environment.main()
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "run", pretend_to_run(commands))
    environment.main()
    assert len(commands) == 3
    assert "building it again" in capsys.readouterr().err


def test_remove_deletes_every_environment(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "run", pretend_to_run([]))
    environment.main()
    monkeypatch.setattr(sys, "argv", ["environment.py", "--remove"])
    environment.main()
    assert list(environment.cache_folder().iterdir()) == []


@pytest.mark.parametrize("python", ["/nonexistent/python3", "/bin/false"])
def test_unusable_python_is_named(python: str) -> None:
    result = subprocess.run(
        ["sh", ".ci/environment.sh"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert result.stdout == ""
    assert f"PYTHON={python}" in result.stderr
