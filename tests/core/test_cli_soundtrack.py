"""The command line's level and soundtrack: how loud the sound is, and what stays of the video's own."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core import __main__ as cli
from audiox_core.media import integrated_loudness, read_audio, true_peak
from audiox_core.media.sound import Sound
from tests.core.media_clips import write_clip

RATE = 44100


class Loaded(Exception):
    """Stands for what a model's loading would take."""


def tone(hertz: float, seconds: float, level: float = 0.3) -> Tensor:
    return level * torch.sin(2 * math.pi * hertz * torch.arange(round(seconds * RATE)) / RATE).repeat(2, 1)


def share(sound: Tensor, hertz: float, start: float, end: float) -> float:
    """How much of `tone` there is between two times: 1 for all of it."""
    part = sound[0, round(start * RATE) : round(end * RATE)]
    wave = torch.exp(2j * math.pi * hertz * torch.arange(len(part)) / RATE)
    return float((part * wave).sum().abs() * 2 / len(part) / 0.3)


class Ready:
    """A pipeline whose sound is there at once: 2 s of 500 Hz."""

    report, notice = "the report", None

    def __call__(self, **_: Any) -> Sound:
        return Sound(tone(500, 2), RATE)


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "load_pipeline", lambda *_, **__: Ready())


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """5 s with a tone of 3 kHz."""
    return write_clip(tmp_path / "clip.mp4", 125, 25, sound=tone(3000, 5))


def make(*arguments: object) -> int:
    return cli.main(["generate", "--model", "demo", "--steps", "2", *map(str, arguments)])


def heard(tmp_path: Path, clip: Path, *options: object) -> Tensor:
    assert make("--video", clip, "--seconds", 2, "-o", tmp_path / "out.mp4", "--overwrite", *options) == 0
    return read_audio(tmp_path / "out.mp4")


@pytest.mark.usefixtures("ready")
def test_the_rest_of_a_video_keeps_its_own_sound(clip: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    sound = heard(tmp_path, clip)
    assert sound.shape[1] == 2 * RATE
    assert "the rest will be silent (keep_rest keeps it there" in caplog.text
    caplog.clear()
    sound = heard(tmp_path, clip, "--keep-rest", "--start", 1)
    assert "the rest keeps its own" in caplog.text and "silent" not in caplog.text
    assert sound.shape[1] == 5 * RATE
    for start, end, old, new in ((0.1, 0.9, 1, 0), (1.1, 2.9, 0, 1), (3.1, 4.9, 1, 0)):
        assert share(sound, 3000, start, end) == pytest.approx(old, abs=0.05)
        assert share(sound, 500, start, end) == pytest.approx(new, abs=0.05)


@pytest.mark.usefixtures("ready")
def test_fades_kept_stretches_and_ducking(clip: Path, tmp_path: Path) -> None:
    sound = heard(tmp_path, clip, "--keep", "0.5-1", "--fade-in", 0.3, "--fade-out", 0.5)
    assert share(sound, 3000, 0.55, 0.95) == pytest.approx(1, abs=0.05)
    assert share(sound, 500, 0.55, 0.95) < 0.05
    assert share(sound, 500, 0, 0.05) < 0.2 and share(sound, 500, 1.95, 2) < 0.2
    assert share(sound, 500, 1.1, 1.45) == pytest.approx(1, abs=0.05)
    sound = heard(tmp_path, clip, "--mix", "--duck", 20)
    assert share(sound, 500, 0.5, 1.5) == pytest.approx(0.1, abs=0.02)
    assert share(sound, 3000, 0.5, 4.5) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--keep", "5"], "keep: '5' is not a start and an end"),
        (["--keep", "6-7"], "keep: 6-7 lies past the end of .*clip.mp4"),
        (["--keep", "0-99"], "keep covers all of the new sound"),
        (["--keep", "2-3.5", "--start", "2", "--seconds", "1"], "keep covers all of the new sound"),
        (
            ["--duck", "6"],
            "^error: --duck lowers the new sound .* only kept with --mix. Add --mix, or leave --duck out",
        ),
        (["--fade-in", "-1"], "fade_in=-1"),
        (["--fade-out", "nan"], "fade_out=nan"),
    ],
)
def test_wishes_that_mean_nothing_are_told_before_anything_is_loaded(
    options: list[str],
    said: str,
    clip: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from audiox_core import pipeline

    def load(*_: Any, **__: Any) -> Any:
        raise Loaded

    monkeypatch.setattr(pipeline, "load_pipeline", load)
    assert make("--video", clip, "-o", tmp_path / "out.mp4", *options) == 1
    told = capsys.readouterr().err
    assert re.search(said, told), told
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(
    "options", [["--keep-rest"], ["--keep", "1-2"], ["--duck", "3"], ["--fade-in", "1"], ["--fade-out", "1"]]
)
def test_without_a_video_to_write_there_is_nothing_to_keep(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make("--text", "sea", "-o", tmp_path / "a.wav", *options) == 1
    assert f"error: {options[0]}: there is no video with a sound. Give --video" in capsys.readouterr().err


def test_levels(pipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "load_pipeline", lambda *_, **__: pipe)
    target = tmp_path / "a.wav"
    sounds = {}
    for options in ([], ["--normalize", "peak"], ["--normalize", "off"], ["--no-normalize"], ["--normalize=loudness"]):
        assert make("--text", "sea", "--seconds", 1, "-o", target, "--quiet", "--overwrite", *options) == 0
        sounds[" ".join(options)] = read_audio(target)
    assert sounds[""].equal(sounds["--normalize peak"]) and sounds[""].abs().max() == pytest.approx(1, abs=1e-6)
    assert sounds["--no-normalize"].equal(sounds["--normalize off"])
    loud = sounds["--normalize=loudness"]
    lufs, peak = integrated_loudness(loud, RATE), true_peak(loud)
    assert lufs == pytest.approx(-16, abs=0.01) or (lufs < -16 and peak == pytest.approx(-1, abs=0.01))
    assert torch.allclose(loud / loud.abs().max(), sounds[""], atol=1e-5)
    same = pipe("sea", steps=2, seconds=1.0, normalize="loudness")
    assert torch.allclose(same.waveform, loud, atol=1e-6)


def test_two_levels_contradict_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["--no-normalize", "--normalize", "peak"], "not allowed with argument"),
        (["--normalize", "loud"], "invalid choice: 'loud'"),
    ):
        with pytest.raises(SystemExit):
            make("--text", "sea", "-o", tmp_path / "a.wav", *options)
        assert said in capsys.readouterr().err
