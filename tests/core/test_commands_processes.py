"""batch in two real processes, as accelerate's launcher starts them: the rows are shared, and nothing is made twice."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from audiox_core import __main__ as cli
from audiox_core.commands.spread import Spread
from audiox_core.errors import AudioXError
from audiox_core.media import read_audio

ROOT = Path(__file__).parents[2]
LAUNCH = "-m accelerate.commands.launch --multi_gpu --num_processes 2 --num_machines 1 --mixed_precision no"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def test_two_processes_share_the_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"text": text, "seconds": 1, "steps": 1} for text in ("a", "b", "c")]
    rows.insert(1, {"text": "bad", "seconds": "x"})
    source, out = tmp_path / "list.jsonl", tmp_path / "out"
    source.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    launch = [*LAUNCH.split(), "--dynamo_backend", "no", "--main_process_port", str(free_port())]
    options = ["batch", str(source), "--out", str(out), "--model", "demo", "--device", "cpu"]
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launch, "-m", "audiox_core", *options]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode != 0  # a row has failed
    assert done.stdout.count("4 rows: 3 made, 0 finished before, 1 failed") == 1, done.stdout + done.stderr
    assert done.stdout.count("precision ") == 1  # one of them prints the plan
    assert done.stderr.count("row 2: seconds: expected a number, got 'x'") == 1
    assert sorted(re.findall(r"row (\d): .* of sound", done.stdout)) == ["1", "3", "4"]
    assert sorted(path.name for path in out.glob("*.wav")) == ["0001_a.wav", "0003_b.wav", "0004_c.wav"]
    assert all(read_audio(path).shape == (2, 44100) for path in out.glob("*.wav"))
    assert cli.main(options) == 1  # alone, and without loading anything: the rest is finished
    assert capsys.readouterr().out == "4 rows: 0 made, 3 finished before, 1 failed\n"


def test_a_device_for_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert cli.main(["batch", str(tmp_path), "--out", str(tmp_path / "out"), "--device", "cuda:1"]) == 1
    assert "--device cuda:1: each process has its own" in capsys.readouterr().err


def test_processes_that_see_different_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    import accelerate.utils

    spread = Spread("cpu")
    assert spread.main and spread.share("abc", [1, 2, 3]) == ["a", "b", "c"] and spread.sums(1, 2) == [1, 2]
    spread.state = SimpleNamespace(process_index=1, num_processes=2)
    found: list[Any] = [[1, 2, 3], [1, 2, 3]]
    monkeypatch.setattr(accelerate.utils, "gather_object", lambda _: found)
    assert spread.share("abc", [1, 2, 3]) == ["b"]
    found[1] = [1, 3]
    with pytest.raises(AudioXError, match="don't see the same files: 3 and 2 rows"):
        spread.share("abc", [1, 2, 3])
