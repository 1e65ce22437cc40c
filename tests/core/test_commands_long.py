"""generate: takes, loops, timed prompts, what is heard early and what Ctrl-C leaves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.media import probe, read_audio
from audiox_core.media.sound import Sound
from audiox_core.pipeline import Pipeline
from tests.core.media_clips import write_clip

pytestmark = pytest.mark.usefixtures("loads")


def make(*arguments: object) -> int:
    return cli.main(["generate", "--model", "demo", "--steps", "1", "--quiet", *map(str, arguments)])


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the model is asked for. Its sounds, a second of noise that the seed chooses, are there at once."""
    calls: list[dict[str, Any]] = []

    def call(self: Pipeline, **given: Any) -> Sound:
        calls.append(given)
        return Sound(noise(given["seed"]), 44100)

    monkeypatch.setattr(Pipeline, "__call__", call)
    return calls


def noise(seed: int) -> torch.Tensor:
    return torch.randn(2, 44100, generator=torch.Generator().manual_seed(seed)) / 4


def test_takes_are_files_of_their_own(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    names = ["--takes", 3, "-o", tmp_path / "a.wav", "--spectrogram", tmp_path / "s.png"]
    assert make("--text", "x", "--seconds", 1, "--seed", 2**63 - 2, *names) == 0
    found = sorted(p.name for p in tmp_path.iterdir())
    assert found == ["a_1.wav", "a_2.wav", "a_3.wav", "s_1.png", "s_2.png", "s_3.png"]
    seeds = [call.pop("seed") for call in asked]
    assert seeds == [2**63 - 2, 2**63 - 1, 0] and asked[0] == asked[1] == asked[2]  # after the last comes the first
    assert torch.equal(read_audio(tmp_path / "a_3.wav"), noise(0))
    assert make("--text", "x", "--seed", 5, "--takes", 1, "-o", tmp_path / "b.wav") == 0
    assert torch.equal(read_audio(tmp_path / "b.wav"), noise(5))


@pytest.mark.usefixtures("asked")
def test_takes_of_a_video(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 25, 25)
    assert make("--video", clip, "--seconds", "all", "--takes", 2, "-o", tmp_path / "out.mp4") == 0
    sounds = [read_audio(tmp_path / f"out_{i}.mp4") for i in (1, 2)]
    assert sounds[0].shape == sounds[1].shape and not torch.equal(*sounds)
    assert probe(tmp_path / "out_2.mp4").has_video and sounds[0].shape[1] == pytest.approx(44100, abs=2048)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--takes", "0"], "takes: 0 is out of range; choose 1 to 64"),
        (["--takes", "1000000000"], "takes: 1000000000 is out of range"),
        (["--takes", "2", "--spectrogram", "taken.png"], "taken_2.png: already exists"),
        (["--takes", "2", "-o", "taken.wav"], "taken_1.wav: already exists"),
        (["--preview", "p.mp4"], "--preview p.mp4: it is a sound alone"),
        (["--preview", "taken_1.wav"], "--preview taken_1.wav: already exists"),
        (["--preview", "out.wav"], "--preview out.wav is the same file as -o"),
        (["--preview", "p.wav", "--loop"], "such a sound is only finished as a whole"),
        (["--keep-finished", "--loop"], "Leave out --keep-finished, or --loop and together"),
        (["--keep-finished", "--long", "together"], "is only finished as a whole"),
        (["--long", "sideways"], "Valid: continue, together"),
        (["--at", "nine", "x"], "--at: 'nine' is not a time"),
        (["--at", "3", "x"], "at: 3 s is outside the sound"),
        (["--text", "@none.txt"], "none.txt: no such file"),
        (["--audio-guidance", "3"], "audio_guidance: there is no audio to follow"),
    ],
)
def test_refused_before_anything_is_loaded(
    options: list[str],
    words: str,
    tmp_path: Path,
    loads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("taken_1.wav", "taken_2.png"):
        Path(name).write_text("precious")
    assert make("--text", "x", "--seconds", 1, "-o", "out.wav", *options) == 1
    assert words in capsys.readouterr().err
    assert not loads and Path("taken_1.wav").read_text() == Path("taken_2.png").read_text() == "precious"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_text_for_each_moment(asked: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("0:00 rain\n0:09 thunder", encoding="utf-8")
    options = ["--seconds", 14, "-o", tmp_path / "a.wav", "--overwrite"]
    assert make("--text", f"@{tmp_path / 'words.txt'}", *options) == 0
    assert make("--text", "rain", "--at", "0:09", "thunder", *options) == 0
    assert asked[0] == asked[1] and asked[0]["at"] == [(9, "thunder")]
    assert asked[0].get("text") == "rain"


def test_what_is_finished_is_heard_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C after the first window of two: what it made is written, of a second take nothing."""
    previews: list[int] = []
    call = Pipeline.__call__

    def stopped(self: Pipeline, **given: Any) -> Any:
        hear = given.pop("on_sound")

        def heard(sound: Any) -> None:
            hear(sound)
            previews.append(read_audio(tmp_path / "p.wav").shape[1])
            raise KeyboardInterrupt

        return call(self, on_sound=heard, **given)

    monkeypatch.setattr(Pipeline, "__call__", stopped)
    options = ["--text", "x", "--seconds", 14, "--preview", tmp_path / "p.wav", "--keep-finished"]
    assert make(*options, "--takes", 2, "-o", tmp_path / "a.wav") == 130
    assert f"interrupted; {tmp_path / 'a_1.wav'} was written" in capsys.readouterr().err
    assert len(previews) == 1 and 10 * 44100 < previews[0] < 14 * 44100
    assert read_audio(tmp_path / "a_1.wav").shape[1] == previews[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a_1.wav", "p.wav"]
    assert make(*options[:-1], "-o", tmp_path / "b.wav", "--overwrite") == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err and not (tmp_path / "b.wav").exists()
