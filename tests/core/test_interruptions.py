"""Ctrl-C at any moment: while the command line itself is imported, and hidden in a library's ImportError."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from audiox_core import __main__ as cli
from audiox_core.commands import about, making, running
from audiox_core.errors import InputError, interruption
from audiox_core.networks.libraries import unchanged_process

ROOT = Path(__file__).parents[2]
# Runs the command line as `python -m` does; the signal comes when a module is looked for.
EARLY = """
import os, runpy, signal, sys

class Hit:
    place = sys.argv.pop(1)

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name == cls.place:
            os.kill(os.getpid(), signal.SIGINT)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Hit)
runpy.run_module("audiox_core", run_name="__main__", alter_sys=True)
"""
# transformers as one that makes an error of its own of whatever stops an import.
TRANSFORMERS = """
def __getattr__(name):
    try:
        raise KeyboardInterrupt
    except BaseException as error:
        raise ModuleNotFoundError(f"Could not import module '{name}'.") from error
"""
BORROW = """
import sys
sys.path[:0] = [sys.argv[1], "."]
sys.modules["torchaudio"] = None  # gone, so that transformers would be asked once more without it
from audiox_core.networks.borrowed import from_transformers
try:
    from_transformers("T5EncoderModel")
except BaseException as error:
    print(type(error).__name__)
"""


def hidden() -> InputError:
    """An error that was made of Ctrl-C, two errors deep."""
    try:
        try:
            raise KeyboardInterrupt
        except BaseException as error:
            raise ImportError("initialization failed") from error
    except ImportError:
        try:
            raise InputError("Could not import module 'T5'")
        except InputError as error:
            return error


def test_what_is_behind_an_error() -> None:
    assert isinstance(interruption(hidden()), KeyboardInterrupt)
    stopped = running.Stopped(15)
    assert interruption(stopped) is stopped
    plain, other = InputError("x"), ValueError("y")
    plain.__cause__, other.__context__ = other, SystemExit(1)
    assert interruption(plain) is None
    other.__context__ = plain  # a ring
    assert interruption(plain) is None
    plain.__context__, plain.__cause__, plain.__suppress_context__ = KeyboardInterrupt(), None, True  # "from None"
    assert interruption(plain) is None


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize("module", ["argparse", "audiox_core.commands.options", "torch"])
def test_while_something_is_imported(module: str) -> None:
    command = [sys.executable, "-c", EARLY, module, "info", "--model", "demo", "--device", "cpu"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130, done.stderr
    assert done.stderr.splitlines()[-1].startswith("interrupted") and "Traceback" not in done.stderr


def test_a_second_one_while_the_first_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(about, "info", stop)
    monkeypatch.setattr(running.Outputs, "written", stop)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_a_library_that_calls_it_an_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(_: Any) -> None:
        raise hidden()

    monkeypatch.setattr(about, "info", fail)
    assert cli.main(["info"]) == 130
    assert capsys.readouterr().err == "interrupted; nothing was written\n"
    with pytest.raises(KeyboardInterrupt), unchanged_process():
        raise hidden()


@pytest.mark.usefixtures("loads")
def test_a_row_of_a_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It ends the batch; the row is no failed one."""
    source = tmp_path / "list.jsonl"
    source.write_text("\n".join(json.dumps({"text": text, "seconds": 1}) for text in "ab"), encoding="utf-8")

    def fail(*_: Any, **__: Any) -> Any:
        raise hidden()

    monkeypatch.setattr(making.Job, "make", fail)
    assert cli.main(["batch", str(source), "--out", str(tmp_path / "out"), "--model", "demo", "--quiet"]) == 130
    assert "interrupted; 2 rows: 0 made, 0 finished before, 0 failed" in capsys.readouterr().err


def test_transformers_that_calls_it_a_missing_module(tmp_path: Path) -> None:
    (tmp_path / "transformers.py").write_text(TRANSFORMERS)
    command = [sys.executable, "-c", BORROW, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "KeyboardInterrupt\n", done.stdout + done.stderr
