"""The command line's errors: in one line, in the words of the settings, before anything is loaded or downloaded."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from audiox_core import __main__ as cli

# On the command line the same, where it can be typed: its option, what is typed, and words of the answer.
TYPED: list[tuple[str, str, str]] = [
    ("--text", "\udcff", "text: contains bytes that are not UTF-8 text"),
    ("--negative-text", "\udcff", "negative_text: contains bytes"),
    *[("--seconds", value, "seconds: expected a number, got") for value in ("nan", "inf")],
    *[("--seconds", value, "at most 3600 s") for value in ("-1", "3601")],
    ("--seconds", "0", "0 means as long as the video, and there is none"),
    ("--kept", "11", r"kept: 11 s is out of range\. Choose more than 0 and less than 10\.96"),
    ("--seconds", "0.00001", "less than one sample"),
    *[("--steps", value, "steps must be a whole number from 1 to 10000, got") for value in ("0", "-3", "10001")],
    *[("--cfg", value, "guidance: expected a number, got") for value in ("nan", "inf")],
    ("--cfg", "1e9", "guidance: .* is out of range; 7 is usual"),
    *[("--seed", value, r"seed: .* is out of range; choose 0 to 2\*\*63 - 1") for value in ("-1", str(2**63))],
    ("--sampler", "k-hun", "Unknown sampler 'k-hun'.*k-heun"),
    ("--sampler", "rectified-flow", "cannot run this model"),
    *[("--sigma-min", value, "sigma_min must be a number from") for value in ("0", "nan")],
    *[("--sigma-max", value, "sigma_max must be a number from") for value in ("inf", "1e9")],
    ("--sigma-min", "600", "sigma_max must be above sigma_min"),
    ("--rho", "0", "rho must be a number from"),
    ("--rescale", "1.5", "rescale: 1.5 is out of range; choose 0 to 1"),
    ("--start", "1e20", r"start: 1e\+20 s is out of range"),
    ("--start", "nan", "start: expected a number, got nan"),
    ("--audio-start", "-1", "audio_start: -1 s is out of range"),
    ("--prompt-hidden", "2", "prompt_hidden: 2.0 is out of range"),
    ("--video", "nowhere.mp4", r"video: nowhere\.mp4: no such file"),
    ("--image", "nowhere.png", r"image: nowhere\.png: no such file"),
    ("--audio", "nowhere.wav", r"audio: nowhere\.wav: no such file"),
    ("--audio", "n" * 5000, "audio: "),
    ("--image", ".", "is a folder"),
]


@pytest.fixture
def nothing_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would load, download or read a model's weights fails the test."""
    from audiox_core import pipeline
    from audiox_core.weights import hub, open, tensors

    def loaded(*_: Any, **__: Any) -> Any:
        pytest.fail("a model was loaded, or a file downloaded, before the settings were checked")

    for module, names in (
        (open, ("open_model", "read_tensors", "find_companion")),
        (pipeline, ("open_model", "load_pipeline", "assemble", "load_part")),
        (hub, ("download_file",)),
        (tensors, ("read_tensors",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, loaded)


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize("model", ["AudioX", "demo"])
@pytest.mark.parametrize(("option", "value", "words"), TYPED, ids=[f"{o}={v[:12]!a}" for o, v, _ in TYPED])
def test_wrong_options_are_told_before_anything_is_loaded(
    option: str,
    value: str,
    words: str,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no hub"))
    monkeypatch.delenv("AUDIOX_MODELS", raising=False)
    arguments = ["generate", "--model", model, "-o", "out.wav", f"{option}={value}"]
    if option not in ("--text", "--video", "--image", "--audio"):
        arguments.append("--text=rain")
    assert cli.main(arguments) == 1
    said = capsys.readouterr()
    assert re.search(f"^error: .*{words}", said.err) and said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("nothing_is_loaded")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "nothing to follow"),
        (["--text=x", "-o", "out.xyz"], "-o out.xyz: unknown ending '.xyz'. Use one of .*.flac.*.wav"),
        (["--text=x", "-o", "out"], "unknown ending ''"),
        (["--text=x", "-o", "out.mp4"], "-o out.mp4: a video file needs --video"),
        (["--text=x", "-o", "folder.wav"], "folder.wav cannot be written"),
        (["--text=x", "-o", "file/out.wav"], "out.wav cannot be written"),
        (["--text=x", "-o", f"{'n' * 5000}.wav"], "cannot be written"),
        (["--text=x", "--mix"], "--mix: there is no video to mix with"),
        (["--text=x", "--spectrogram", "s.gif"], "--spectrogram s.gif: unknown ending '.gif'. Use .png, .jpg, .jpeg"),
        (["--text=x", "--spectrogram", "file/s.png"], "s.png cannot be written"),
        (["--image=in.png", "--spectrogram", "in.png"], "in.png is the file being read"),
        (["--image=in.png", "--spectrogram", "link.png"], "link.png is the file being read"),
        (["--audio=in.wav", "-o", "in.wav"], "in.wav is the file being read"),
        (["--video=in.mp4", "-o", "./in.mp4"], "in.mp4 is the file being read"),
        (["--text=x", "--start", "3"], "start: there is no video to begin in. Give one, or leave start out"),
        (["--text=x", "--audio-start", "0:03"], "audio_start: there is no audio to begin in"),
        (["--image=in.png", "--start", "3"], "start: there is no video to begin in"),
        (["--text=x", "--dtype", "fp17"], "precision: unknown value 'fp17'"),
        (["--text=x", "--no-half", "--dtype", "fp16"], "--no-half and --dtype fp16 contradict"),
        (["--text=x", "--max-vram", "nan"], "max_vram_gb: nan is out of range"),
        (["--text=x", "--device", "tpu"], "device: 'tpu' is not available here"),
        (["--text=x", "--model", "AudioY"], "unknown name 'AudioY'"),
        (["--text=x", "--model", "none.ckpt"], "none.ckpt: no such file"),
        (["--text=x", "--config", "none.json"], "none.json: no such file"),
        (["--video=in.mp4", "--image=in.png"], "give only one of them"),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, list) else "",
)
def test_wrong_calls_are_told_before_anything_is_loaded(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "no hub"))
    monkeypatch.delenv("AUDIOX_MODELS", raising=False)
    for name in ("in.png", "in.wav", "in.mp4", "file"):
        (tmp_path / name).write_bytes(b"kept")
    (tmp_path / "link.png").symlink_to("in.png")
    (tmp_path / "folder.wav").mkdir()
    before = sorted(path.name for path in tmp_path.iterdir())
    output = [] if "-o" in arguments else ["-o", "out.wav"]
    assert cli.main(["generate", *output, *arguments]) == 1
    said = capsys.readouterr()
    assert re.search(f"^error: .*{words}", said.err), said.err
    assert said.out == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert all((tmp_path / name).read_bytes() == b"kept" for name in ("in.png", "in.wav", "in.mp4"))


@pytest.mark.parametrize("option", ["--seconds", "--start", "--audio-start"])
@pytest.mark.parametrize("value", ["soon", "0:99", "1:", ":30"])
def test_a_time_that_is_none(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["generate", "--text", "x", "-o", "a.wav", option, value])
    said = f"argument {option}: {value!r} is not a time. Give seconds, or minutes and seconds such as 0:30."
    assert said in capsys.readouterr().err


def test_an_option_of_another_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["edit", "s.wav", "--regions", "0-1", "--seconds", "3", "-o", "out.wav"])
    assert "--seconds 3. --seconds belongs to generate, batch" in capsys.readouterr().err
