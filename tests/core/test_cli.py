"""The command line with a small model: files made, errors told, nothing half-written."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.media import probe, read_audio, set_soundtrack, write_audio
from audiox_core.models.settings import Settings

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "audiox_core" / "media" / "assets" / "sample.mp4"


@pytest.fixture(autouse=True)
def loaded_once(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands that name the demo model get a smaller one, which is loaded already."""
    from audiox_core import pipeline

    real = pipeline.load_pipeline
    monkeypatch.setattr(pipeline, "load_pipeline", lambda name, **kw: pipe if str(name) == "demo" else real(name, **kw))


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


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".ogg", ".opus"])
def test_compressed_sound_files_and_ways_to_draw_them(suffix: str, tmp_path: Path) -> None:
    target, picture = tmp_path / f"sea{suffix}", tmp_path / "sea.jpg"
    options = ("--text", "sea", "--seconds", 2, "--quiet", "--overwrite", "--spectrogram", picture)
    assert make(*options, "-o", target) == 0
    assert abs(read_audio(target).shape[1] - 88200) < 20 and probe(target).channels == 2
    plain = picture.read_bytes()
    assert plain.startswith(b"\xff\xd8") and probe(picture).width == 1200
    for way in (("--spectrogram-scale", "mel"), ("--spectrogram-waveform",)):
        assert make(*options, *way, "-o", target) == 0
        assert picture.read_bytes() != plain and probe(picture).is_image


def test_video_file(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    assert make("--video", SAMPLE, "--seconds", 3, "-o", target, "--quiet") == 0
    info = probe(target)
    assert info.has_video
    assert info.has_audio
    assert read_audio(target).abs().max() > 0.01


@pytest.mark.parametrize("mix", [True, False])
def test_a_videos_own_sound_may_stay(mix: bool, tmp_path: Path) -> None:
    """Mixed, it is heard as well; replaced, it is gone."""
    tone = 0.1 * torch.sin(torch.arange(3 * 44100) / 10).expand(2, -1)  # 700 Hz
    set_soundtrack(SAMPLE, tone, 44100, tmp_path / "clip.mkv")
    target = tmp_path / "out.mkv"
    arguments = ["--video", tmp_path / "clip.mkv", "--seconds", 3, "-o", target, "--quiet"]
    assert make(*arguments, *(["--mix"] if mix else [])) == 0
    alone, heard = tmp_path / "alone.wav", read_audio(target, seconds=3)
    assert make("--video", tmp_path / "clip.mkv", "--seconds", 3, "-o", alone, "--quiet") == 0
    length = 2 * 44100  # codecs may add or lose a little at the end
    rest, own = heard[:, :length] - read_audio(alone)[:, :length], tone[:, :length]
    share = ((rest * own).sum() / (own * own).sum()).item()  # how much of the tone is left beside the new sound
    assert share > 0.5 if mix else abs(share) < 0.1


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_without_normalisation_the_level_is_the_decoders(ending: str, pipe: Any, tmp_path: Path) -> None:
    target = tmp_path / f"a.{ending}"
    options = ["--text", "sea", "--seconds", 1, "-o", target, "--quiet"]
    assert make(*options) == 0
    assert read_audio(target).abs().max() == pytest.approx(1.0, abs=1e-4)
    assert make(*options, "--no-normalize", "--overwrite") == 0
    level = pipe("sea", steps=2, seconds=1, normalize=False).waveform.abs().max().clamp(max=1)
    assert read_audio(target).abs().max() == pytest.approx(level.item(), abs=1e-4)


def test_every_option_reaches_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pipe: Any) -> None:
    given: dict[str, Any] = {}

    class Stopped(KeyboardInterrupt):
        pass

    def call(self: Any, **settings: Any) -> None:
        given.update(settings)
        raise Stopped

    monkeypatch.setattr(type(pipe), "__call__", call)
    words = "--text a --negative-text b --start 1 --audio-start 2 --seconds 3 --cfg 5 --rescale 0.5 --seed 7"
    words += " --sampler k-heun --sigma-min 0.2 --sigma-max 90 --rho 6 --prompt-hidden 0.25 --kept 4"
    words += " --no-normalize --quiet --long together --loop --text-guidance 2 --video-guidance 3 --audio-guidance 4"
    words += " --guidance-interval 0.5 20"
    write_audio(tmp_path / "heard.wav", torch.zeros(2, 99999), 44100)
    more = ["--video", SAMPLE, "--audio", tmp_path / "heard.wav", "-o", tmp_path / "a.wav"]
    assert make(*words.split(), "--at", "0:01.5", "c d", "--at", "2", "e", *more) == 130
    assert given.pop("progress") is False
    assert given == {
        "text": "a",
        "negative_text": "b",
        "video": str(SAMPLE),
        "audio": str(tmp_path / "heard.wav"),
        "image": None,
        "seconds": 3,
        "steps": 2,
        "guidance": 5,
        "seed": 7,
        "sampler": "k-heun",
        "sigma_min": 0.2,
        "sigma_max": 90,
        "rho": 6,
        "rescale": 0.5,
        "start": 1,
        "audio_start": 2,
        "normalize": False,
        "prompt_hidden": 0.25,
        "kept": 4,
        "long": "together",
        "loop": True,
        "at": [(1.5, "c d"), (2, "e")],
        "text_guidance": 2,
        "video_guidance": 3,
        "audio_guidance": 4,
        "guidance_interval": [0.5, 20],
    }
    names = {f.name for f in fields(Settings)}
    assert set(given) == names, "a setting that the command line lacks"


def test_places_reach_the_loading(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from audiox_core import pipeline

    given: dict[str, Any] = {}

    def load(name: str, **options: Any) -> Any:
        given.update(options, name=name)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "load_pipeline", load)
    words = "--device cpu --dtype bf16 --no-cpu-offload --max-vram 6 --offline --models-dir a --models-dir b"
    words += " --text-encoder t5.safetensors --text x --quiet"
    assert make(*words.split(), "-o", tmp_path / "a.wav") == 130
    assert given == {
        "name": "demo",
        "device": "cpu",
        "dtype": "bf16",
        "offload": "off",
        "max_vram_gb": 6,
        "download": False,
        "models_dirs": ["a", "b"],
        "text_encoder": "t5.safetensors",
        "config": None,
        "progress": False,
        "compile": False,
        "graph": "off",
    }
    assert make("--text", "x", "--compile", "--graph", "auto", "-o", tmp_path / "a.wav") == 130
    assert (given["compile"], given["graph"]) == (True, "auto")
    assert make("--text", "x", "--no-half", "-o", tmp_path / "a.wav") == 130
    assert (given["dtype"], given["offload"], given["download"]) == ("fp32", "auto", True)


def test_a_name_that_is_no_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Bytes of another encoding stand in the file's name as they were given, and as escapes in what is said."""
    target = tmp_path / "\udcff.wav"
    assert make("--text", "sea", "--seconds", 1, "-o", target) == 0
    assert target.is_file()
    said = capsys.readouterr().out
    said.encode("utf-8")
    assert "1.00 s of sound" in said


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
    arguments = ["info", "--device", "cpu", "--models-dir", str(tmp_path)]
    assert cli.main([*arguments, "--dtype", "fp32"]) == 0
    said = capsys.readouterr().out
    # In the units of the README's tables and of the published files: 1e9 bytes.
    assert "\ntransformer    4.21 GB in fp32, in RAM" in said
    assert "\ntext encoder   0.44 GB in fp32, in RAM" in said
    assert f"to go into {tmp_path / 'AudioX'}" in said
    assert cli.main([*arguments, "--dtype", "fp8"]) == 0
    assert "fp8, computing in fp32, in RAM" in capsys.readouterr().out


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
