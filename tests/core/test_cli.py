"""The command line with a small model: files made, errors told, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.media import probe, read_audio

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "audiox_core" / "assets" / "sample.mp4"


@pytest.fixture(autouse=True)
def loaded_once(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that name the demo model get a smaller one, which is loaded already."""
    from audiox_core.weights import open as loading

    real = loading.load_pipeline
    monkeypatch.setattr(loading, "load_pipeline", lambda name, **kw: pipe if str(name) == "demo" else real(name, **kw))


def make(*arguments: object) -> int:
    return cli.main(["generate", "--model", "demo", "--steps", "2", *map(str, arguments)])


def test_sound_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "sea.wav"
    assert make("--text", "sea", "--seconds", 2, "-o", target, "--spectrogram", tmp_path / "sea.png") == 0
    assert read_audio(target).shape == (2, 88200)
    assert probe(tmp_path / "sea.png").width
    said = capsys.readouterr().out
    assert "noise" in said
    assert "2.00 s of sound" in said
    assert "RAM" in said


def test_video_file(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    assert make("--video", SAMPLE, "--seconds", 3, "-o", target, "--quiet") == 0
    info = probe(target)
    assert info.has_video
    assert info.has_audio
    assert read_audio(target).abs().max() > 0.01


def test_flac_without_normalisation(tmp_path: Path) -> None:
    assert make("--text", "sea", "--seconds", 1, "-o", tmp_path / "a.flac", "--no-normalize", "--quiet") == 0
    assert read_audio(tmp_path / "a.flac").isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--text", "x", "-o", "out.xyz"], "unknown ending '.xyz'"),
        (["--text", "x", "-o", "out.mp4"], "needs --video"),
        (["--text", "x", "-o", f"{__file__}/out.wav"], "out.wav"),
        (["--text", "x", "--seconds", "0", "-o", "out.wav"], "at most 10.96"),
        (["--text", "x", "--sampler", "k-hun", "-o", "out.wav"], "k-heun"),
        (["-o", "out.wav"], "nothing to follow"),
        (["--video", "none.mp4", "-o", "out.wav"], "none.mp4"),
        (["--text", "x", "--no-half", "--dtype", "fp16", "-o", "out.wav"], "contradict"),
    ],
)
def test_errors_are_told_in_a_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert make(*arguments) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_leaves_nothing(
    tmp_path: Path, pipe: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> torch.Tensor:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(pipe), "decode", interrupted)
    assert make("--text", "x", "-o", tmp_path / "out.wav") == 130
    assert "interrupted" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unknown_model(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--model", "AudioY"]) == 1
    assert "AudioX" in capsys.readouterr().err


def test_info_without_the_model_on_disk(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["info", "--device", "cpu", "--models-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "dit" in said
    assert "4.23 GB" in said or "GB fp" in said


def test_convert_refuses_a_missing_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert cli.main(["convert", str(tmp_path / "no.ckpt"), str(tmp_path / "no.safetensors")]) == 1
    assert "no.ckpt" in capsys.readouterr().err


def test_importing_costs_nothing_and_reaches_no_network() -> None:
    code = (
        "import socket, sys\n"
        "socket.socket.connect = None\n"
        "import audiox_core\n"
        "heavy = {'torch', 'transformers', 'av', 'accelerate', 'huggingface_hub', 'torchaudio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert audiox_core.load_pipeline\n"
        "heavy = {'transformers', 'av', 'accelerate', 'huggingface_hub', 'torchaudio'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""


def test_unknown_attribute() -> None:
    import audiox_core

    with pytest.raises(AttributeError, match="no attribute 'surprise'"):
        _ = audiox_core.surprise
