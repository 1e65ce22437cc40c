"""The environments' builder: one a set of requirements, finished or built again; the demo's holds no tools of tests."""

from __future__ import annotations

import importlib.util
import re
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


def interpreter(environment: ModuleType, capsys: pytest.CaptureFixture[str], *arguments: str) -> Path:
    """What the program prints when it is given these arguments."""
    sys.argv[1:] = arguments
    environment.main()
    return Path(capsys.readouterr().out.strip())


def test_the_demo_has_an_environment_of_its_own(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ruff, mypy, a browser and what ComfyUI imports came along with a demo."""
    commands: list[list[str]] = []
    monkeypatch.setattr(environment, "run", pretend_to_run(commands))
    demo = interpreter(environment, capsys, "--demo")
    (installed,) = (command for command in commands if "install" in command)
    assert installed[-1] == str(ROOT / ".ci" / "demo.txt")
    tests = interpreter(environment, capsys)
    assert demo.parents[1].name.startswith("demo-") and tests.parents[1].name.startswith("env-")
    assert interpreter(environment, capsys, "--demo") == demo


def test_the_demo_takes_the_environment_of_the_tests_if_it_is_there(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(environment, "run", pretend_to_run([]))
    tests = interpreter(environment, capsys)
    assert interpreter(environment, capsys, "--demo") == tests


def packages(path: Path) -> dict[str, str]:
    """Each package that a requirement file names itself, and what follows the name."""
    lines = (line.partition("#")[0].strip() for line in path.read_text(encoding="utf-8").splitlines())
    found = (re.match(r"([\w.-]+)(.*)", line) for line in lines if line and not line.startswith("-r "))
    return {match[1]: match[2] for match in found if match}


def test_the_demo_installs_what_runs_and_nothing_else() -> None:
    """No more than requirements.txt, in versions that the tests run with."""
    demo, tests = packages(ROOT / ".ci" / "demo.txt"), packages(ROOT / "tests" / "requirements.txt")
    assert "-r ../requirements.txt" in (ROOT / ".ci" / "demo.txt").read_text(encoding="utf-8").splitlines()
    assert set(demo) <= set(packages(ROOT / "requirements.txt"))
    assert demo == {name: tests[name] for name in demo} and {"torch", "torchaudio"} <= set(demo)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    recipe = makefile.split("\ndemo:")[1].split("\n\n")[0]
    assert "$(demo_environment) audiox_core" in recipe and "$(environment)" not in recipe


def test_unknown_arguments_are_named(environment: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["environment.py", "--tests"])
    with pytest.raises(SystemExit, match="--tests"):
        environment.main()


@pytest.mark.parametrize("kind", [[], ["--demo"]])
def test_remove_deletes_every_environment(
    environment: ModuleType, monkeypatch: pytest.MonkeyPatch, kind: list[str]
) -> None:
    monkeypatch.setattr(environment, "run", pretend_to_run([]))
    monkeypatch.setattr(sys, "argv", ["environment.py", *kind])
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
