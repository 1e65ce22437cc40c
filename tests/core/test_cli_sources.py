"""The command line's inputs: what is given as what it isn't is told before a model is loaded, and how it is meant."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.errors import InputError, ModelNotFound
from audiox_core.media import set_soundtrack, write_audio, write_picture
from audiox_core.media.given import check_sources
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline
from tests.core.media_clips import write_clip
from tests.core.small import small_model

SAMPLE = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    from audiox_core import pipeline

    def load(*_: Any, **__: Any) -> Any:
        pytest.fail("a model was loaded before the files were looked at")

    monkeypatch.setattr(pipeline, "load_pipeline", load)
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 25, 5)  # 5 s
    write_audio(tmp_path / "sound.wav", torch.zeros(2, 4410), 44100)
    with_sound(tmp_path / "talk.mp4")
    write_picture(tmp_path / "still.png", torch.zeros(3, 64, 64, dtype=torch.uint8).permute(1, 2, 0))
    (tmp_path / "text.mp4").write_text("no video")
    return tmp_path


def with_sound(path: Path) -> None:
    """Pictures for five seconds, and a sound for one."""
    set_soundtrack(write_clip(path.with_suffix(".mov"), 25, 5), torch.zeros(2, 44100), 44100, path)
    path.with_suffix(".mov").unlink()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("--image clip.mp4 -o a.wav", r"image: clip\.mp4 is a video of 5\.0\d s\. Give it as video"),
        ("--image sound.wav -o a.wav", r"image: sound\.wav has no picture"),
        ("--video sound.wav -o a.wav", r"video: sound\.wav has no pictures\. Give it as audio"),
        ("--audio clip.mp4 -o a.wav", r"audio: clip\.mp4 has no sound"),
        ("--audio still.png -o a.wav", r"audio: still\.png has no sound"),
        ("--video text.mp4 -o a.wav", r"text\.mp4 cannot be read"),
        ("--video clip.mp4 --start 5.5 -o a.wav", r"start is 5\.5 s, the video lasts 5\.0\d s\. Choose an earlier"),
        (
            "--audio sound.wav --audio-start 0.1 -o a.wav",
            r"sound\.wav: start=0\.1 s is past the end of the sound \(0\.100 s\)",
        ),
        (
            "--audio talk.mp4 --audio-start 1.5 -o a.wav",
            r"talk\.mp4: start=1\.5 s is past the end of the sound \(1\.0\d\d s\)",
        ),
        ("--video still.png -o a.mp4", r"still\.png is a still picture, not a video\. Write the sound on its own"),
    ],
)
def test_files_of_the_wrong_kind(
    options: str, words: str, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HOME", str(folder / "no hub"))
    before = sorted(path.name for path in folder.iterdir())
    assert cli.main(["generate", "--model", "demo", *options.split()]) == 1
    said = capsys.readouterr().err
    assert re.search(f"^error: .*{words}", said), said
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.parametrize("model", ["AudioX", "demo"])
def test_a_missing_text_encoder_is_told_before_a_download(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "open_model", lambda *_, **__: pytest.fail("the model was looked for first"))
    with pytest.raises(ModelNotFound, match=r"text encoder: '/none/t5\.safetensors': no such file"):
        pipeline.load_pipeline(model, text_encoder="/none/t5.safetensors")


def test_pictures_that_a_container_cannot_hold(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Found only when the soundtrack was added, after the whole run, before."""
    assert cli.main(["generate", "--model", "demo", "--video", "clip.mp4", "-o", "a.webm"]) == 1
    assert re.search(r"^error: a\.webm: \.webm cannot hold h264 pictures", capsys.readouterr().err)


def test_files_of_the_right_kind(folder: Path) -> None:
    for given in ({"image": "still.png"}, {"video": "still.png"}, {"video": "clip.mp4", "start": 4.5}):
        check_sources(Settings(**given))
    check_sources(Settings(audio="sound.wav"))
    check_sources(Settings(audio="sound.wav", audio_start=0.0999))  # four samples
    check_sources(Settings(audio="talk.mp4", audio_start=0.9))
    check_sources(Settings(audio=torch.zeros(2, 9)))


def test_a_pipeline_says_the_same(folder: Path, pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*_: Any) -> Any:
        pytest.fail("a network worked before the files were looked at")

    monkeypatch.setattr(pipe.residence, "run", work)
    with pytest.raises(InputError, match="is a video of 5"):
        pipe(image="clip.mp4")
    with pytest.raises(InputError, match="has no sound"):
        pipe(audio="still.png")


@pytest.mark.parametrize(
    ("option", "hint"), [("--txt", "--text"), ("--sede", "--seed"), ("--offlne", "--offline"), ("--overwrit=", None)]
)
def test_an_unknown_option_gets_a_suggestion(option: str, hint: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["generate", "--text", "x", "-o", "a.wav", option, "sea"])
    assert ended.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    if hint is not None:
        assert said.endswith(f"unrecognized arguments: {option} sea. Did you mean {hint!r}?")
    assert "Traceback" not in said


@pytest.mark.parametrize("name", ["/typo.ckpt", "typo.safetensors", "./nowhere"])
def test_info_of_a_file_that_is_not_there(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", "--model", name]) == 1
    said = capsys.readouterr()
    assert "no such file" in said.err and said.out == ""


def test_info_knows_the_whole_family(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for name in ("AudioX-MAF", "AudioX-MAF-MMDiT", "AudioX-Turbo", "audiox-turbo", "demo-maf"):
        assert cli.main(["info", "--model", name, "--device", "cpu", "--models-dir", str(tmp_path)]) == 0
        assert "expected at most" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("other", "ours"),
    [("cfg", "guidance"), ("guidance_scale", "guidance"), ("prompt", "text"), ("num_inference_steps", "steps")],
)
def test_other_programs_names_are_translated(other: str, ours: str) -> None:
    with pytest.raises(InputError, match=f"^{other}: unknown setting. Here it is called '{ours}'"):
        Settings.named(**{other: 5})


def test_numbers_of_numpy_count_as_numbers() -> None:
    given = {"seconds": np.float32(2.5), "steps": np.int64(3), "seed": np.uint32(7), "guidance": np.float16(4)}
    found = Settings(text="x", **given).resolved(small_model())
    assert (found.seconds, found.steps, found.seed, found.guidance) == (2.5, 3, 7, 4)
    assert {type(found.steps), type(found.seed)} == {int} and type(found.guidance) is float
    with pytest.raises(InputError, match="steps must be a whole number"):
        Settings(text="x", steps=np.float32(3)).resolved(small_model())


def test_a_waveform_of_numpy_is_heard_like_one_of_torch(pipe: Pipeline) -> None:
    wave = torch.sin(torch.arange(44100) / 9).expand(2, -1) / 2
    one, two = (pipe(audio=sound, steps=1, seconds=1).waveform for sound in (wave, wave.numpy()))
    assert torch.equal(one, two)


def test_a_device_of_torch_is_taken() -> None:
    from audiox_core.commands.about import plan_for

    machine, _ = plan_for("demo", device=torch.device("cpu"))  # type: ignore[arg-type]
    assert machine.device == "cpu"
