"""The command line's outputs: none replaced without a word, none half-written, and what was written is told truly."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.errors import MediaError
from audiox_core.media import probe, read_audio, set_soundtrack, write_audio
from audiox_core.media.sound import Sound, uncovered
from tests.core.media_clips import write_clip

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "audiox_core" / "media" / "assets" / "sample.mp4"
WAVE = torch.sin(torch.arange(88200) / 10).expand(2, -1) / 2


class Loaded(Exception):
    """Stands for what a model's loading would take."""


class Ready:
    """A pipeline whose sound is there at once."""

    report, notice = "the report", None

    def __init__(self, seconds: float = 10.0) -> None:
        self.seconds = seconds

    def __call__(self, **_: Any) -> Sound:
        return Sound(WAVE.repeat(1, 6)[:, : round(self.seconds * 44100)], 44100)


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "load_pipeline", lambda *_, **__: Ready())


@pytest.fixture
def never(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    def load(*_: Any, **__: Any) -> Any:
        raise Loaded

    monkeypatch.setattr(pipeline, "load_pipeline", load)


def make(*arguments: object) -> int:
    return cli.main(["generate", "--model", "demo", *map(str, arguments)])


@pytest.mark.usefixtures("never")
@pytest.mark.parametrize("which", ["sound", "picture", "video", "link"])
def test_what_exists_needs_a_word(which: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Told before anything is loaded, with the option that mends it; with it, the work begins."""
    old = {"sound": "a.wav", "picture": "b.png", "video": "c.mp4", "link": "d.wav"}[which]
    (tmp_path / ("real.wav" if which == "link" else old)).write_text("precious")
    if which == "link":
        (tmp_path / old).symlink_to("real.wav")
    options: list[object] = ["--text", "x", "-o", tmp_path / old]
    if which == "picture":
        options = ["--text", "x", "-o", tmp_path / "a.wav", "--spectrogram", tmp_path / old]
    elif which == "video":
        options = ["--video", SAMPLE, "-o", tmp_path / old]
    assert make(*options) == 1
    said = capsys.readouterr().err
    option = "--spectrogram" if which == "picture" else "-o"
    assert re.search(rf"^error: {option} .*{old}: already exists\. Use --overwrite to replace it", said), said
    with pytest.raises(Loaded):
        make(*options, "--overwrite")
    assert (tmp_path / old).read_text() == "precious"


@pytest.mark.usefixtures("ready")
def test_what_may_be_replaced_is_and_a_link_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real.wav").write_text("old")
    (tmp_path / "link.wav").symlink_to("real.wav")
    (tmp_path / "old.png").write_text("old")
    options = ["--text", "x", "-o", tmp_path / "link.wav", "--spectrogram", tmp_path / "old.png", "--quiet"]
    assert make(*options, "--overwrite") == 0
    assert (tmp_path / "link.wav").is_symlink()
    assert read_audio(tmp_path / "real.wav").shape == (2, 441000)
    assert probe(tmp_path / "old.png").is_image


@pytest.mark.usefixtures("never")
def test_one_file_cannot_be_both_outputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.png").symlink_to("a.wav")
    assert make("--text", "x", "-o", tmp_path / "a.wav", "--spectrogram", tmp_path / "a.png") == 1
    assert "is the same file as -o" in capsys.readouterr().err


def test_converting_replaces_only_when_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = tmp_path / "a.ckpt", tmp_path / "b.safetensors"
    source.write_bytes(b"no checkpoint")
    target.write_text("precious")
    (tmp_path / "link.safetensors").symlink_to("a.ckpt")
    assert cli.main(["convert", str(source), str(target)]) == 1
    assert "already exists. Choose another name, or give --overwrite" in capsys.readouterr().err
    assert cli.main(["convert", str(source), str(target), "--overwrite"]) == 1
    assert "a.ckpt: is neither" in capsys.readouterr().err
    assert cli.main(["convert", str(source), str(tmp_path / "link.safetensors"), "--overwrite"]) == 1
    assert "is the file being read" in capsys.readouterr().err
    assert target.read_text() == "precious" and source.read_bytes() == b"no checkpoint"
    for name in ("n" * 5000, "a\0b"):
        assert cli.main(["convert", str(source), f"{name}.safetensors"]) == 1
        assert "is not a path to write to" in capsys.readouterr().err


def test_a_sound_knows_what_it_was_made_from(tmp_path: Path) -> None:
    heard = write_audio(tmp_path / "heard.wav", WAVE, 44100)
    seen = write_clip(tmp_path / "seen.mp4", 10, 25)
    (tmp_path / "link.wav").symlink_to("heard.wav")
    before = heard.read_bytes(), seen.read_bytes()
    sound = Sound(WAVE, 44100, (str(heard), seen))
    for name in ("heard.wav", "link.wav"):
        with pytest.raises(MediaError, match="is the file being read"):
            sound.save(tmp_path / name)
    with pytest.raises(MediaError, match="is the file being read"):
        sound.save_with_video(SAMPLE, seen)
    assert (heard.read_bytes(), seen.read_bytes()) == before
    assert sound.save(tmp_path / "new.flac").exists()


# A process that has imported all it needs, and for each case a copy of it (name, when, folder).
SIGNALS = """
import json, os, signal, sys, traceback
from audiox_core import __main__ as cli, pipeline
from audiox_core.media import audio, drawn
from tests.core.test_cli_outputs import Ready

pipeline.load_pipeline = lambda *_, **__: Ready(1.0)

def case(number, when):
    # As in a terminal, whatever the tests run under: nohup and shells' background jobs ignore some.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if when == "ignored":
        signal.signal(number, signal.SIG_IGN)
    home, name = (drawn, "write_picture") if when == "after it" else (audio.SoundTrack, "write")
    real = getattr(home, name)

    def hit(*given, **options):
        os.kill(os.getpid(), number)
        return real(*given, **options)

    setattr(home, name, hit)
    before = [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)]
    code = cli.main(["generate", "--model", "demo", "--text", "x", "-o", "a.wav", "--spectrogram", "b.png", "--quiet"])
    assert [signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGHUP)] == before
    return code

for name, when, folder in json.loads(sys.argv[1]):
    child = os.fork()
    if child == 0:
        code = 99
        try:
            os.chdir(folder)
            os.dup2(os.open(folder + ".told", os.O_WRONLY | os.O_CREAT), 2)
            code = case(getattr(signal, name), when)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    print(name, when, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), sep="|", flush=True)
"""
NAMES, MOMENTS = ("SIGINT", "SIGTERM", "SIGHUP"), ("while the sound is written", "after it", "ignored")


@pytest.fixture(scope="module")
def signalled(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[int, list[str], str]]:
    """By signal and moment: the exit code, the files left, and what was told."""
    base = tmp_path_factory.mktemp("signals")
    cases = [(name, when, str(base / f"{name} {when}")) for name in NAMES for when in MOMENTS]
    for *_, folder in cases:
        Path(folder).mkdir()
    # One thread: a copy of a process has none of the threads that its libraries count on.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", SIGNALS, json.dumps(cases)], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    codes = [int(line.split("|")[2]) for line in done.stdout.splitlines()]
    return {
        (name, when): (code, sorted(path.name for path in Path(folder).iterdir()), Path(f"{folder}.told").read_text())
        for (name, when, folder), code in zip(cases, codes, strict=True)
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("when", MOMENTS)
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_signals(name: str, when: str, signalled: dict[tuple[str, str], tuple[int, list[str], str]]) -> None:
    """In a process of its own: no part file stays, what is told is true, and nohup keeps its meaning."""
    code, left, told = signalled[name, when]
    if when == "ignored":
        assert (code, left) == (0, ["a.wav", "b.png"]), told
        return
    assert code == 128 + getattr(signal, name), told
    written = "a.wav was written" if when == "after it" else "nothing was written"
    assert told.splitlines()[-1] == f"interrupted; {written}"
    assert left == (["a.wav"] if when == "after it" else [])


@pytest.mark.usefixtures("ready")
def test_an_error_after_saving_tells_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from audiox_core import media

    def full(*_: Any) -> None:
        raise MediaError("s.png cannot be written (No space left on device).")

    monkeypatch.setitem(media.__dict__, "write_picture", full)
    assert make("--text", "x", "-o", tmp_path / "a.wav", "--spectrogram", tmp_path / "s.png") == 1
    assert "a.wav was written)" in capsys.readouterr().err


def test_nobody_reads_what_is_printed() -> None:
    """`info | head -1`: no traceback."""
    code = (
        "import sys; from audiox_core.__main__ import main; sys.exit(main(['info', '--model', 'demo', '--device=cpu']))"
    )
    with subprocess.Popen(
        [sys.executable, "-u", "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        said = running.stderr.read()
    assert running.returncode == 1 and said == b""


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("mix", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_longer_video_is_told_of_before_the_run(
    mix: bool, own: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "long.mp4", 60, 5)  # 12 s
    if own:
        set_soundtrack(clip, WAVE.repeat(1, 6), 44100, tmp_path / "own.mp4")
        clip = tmp_path / "own.mp4"
    assert make("--video", clip, "--start", 1, "-o", tmp_path / "out.mp4", *(["--mix"] if mix else [])) == 0
    said = caplog.text
    assert re.search(rf"{clip.name}: lasts 12\.0\d s and gets new sound from 1\.00 to 11\.00 s; ", said), said
    if own:
        assert ("the rest keeps its own" in said) == mix and ("its own sound is dropped" in said) != mix
    else:
        assert "the rest will be silent" in said and "its own" not in said
    assert "10.00 s of sound" in capsys.readouterr().out
    caplog.clear()
    Sound(WAVE, 44100).save_with_video(clip, tmp_path / "other.mp4", mode="mix" if mix else "replace")
    assert f"{clip.name}: lasts 12.0" in caplog.text and "from 0.00 to 2.00 s" in caplog.text


@pytest.mark.usefixtures("ready")
def test_a_shorter_video_has_as_much_sound_as_it_lasts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "short.mp4", 25, 5)  # 5 s
    assert make("--video", clip, "-o", tmp_path / "out.mp4") == 0
    assert "out.mp4: 5.00 s of sound" in capsys.readouterr().out
    assert read_audio(tmp_path / "out.mp4").shape[1] == pytest.approx(5 * 44100, abs=2048)
    assert "lasts" not in caplog.text
    assert uncovered(clip, 10.0) is None and uncovered(clip, 4.95) is None
    assert "from 0.00 to 4.80 s" in str(uncovered(clip, 4.8))
