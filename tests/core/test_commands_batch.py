"""batch: one loading for all rows, what is finished passed over, what is wrong told and passed over."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import __main__ as cli
from audiox_core.media import probe, read_audio, write_audio
from audiox_core.media.sound import Sound
from audiox_core.pipeline import Pipeline
from tests.core.media_clips import write_clip

SAMPLE = Path(__file__).parents[2] / "audiox_core/media/assets/sample.mp4"


@pytest.fixture
def calls(loads: list[str], monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the model was asked for. Its sounds are there at once; the text "broken" is an error of no known kind."""
    asked: list[dict[str, Any]] = []

    def call(self: Pipeline, **given: Any) -> Sound:
        asked.append(given)
        if given.get("text") == "broken":
            raise RuntimeError("the card fell off")
        return Sound(torch.full((2, 4410), 0.001 * (given["seed"] + 1)), 44100)

    monkeypatch.setattr(Pipeline, "__call__", call)
    return asked


def batch(source: Path, out: Path, *options: object) -> int:
    return cli.main(["batch", str(source), "--out", str(out), "--model", "demo", "--quiet", *map(str, options)])


def write(path: Path, *rows: object) -> Path:
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows), encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and ".batch" not in p.parts
    )


def test_rows_are_what_generate_makes(pipe: Pipeline, loads: list[str], tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 25, 25, sound=torch.zeros(2, 44100))
    rows = [{"text": "rain", "seconds": 1, "seed": 3}, {"video": clip.name, "seconds": "all", "mix": True}]
    source = write(tmp_path / "list.jsonl", *rows)
    assert batch(source, tmp_path / "out", "--steps", 1, "--normalize", "off") == 0
    assert loads == ["demo"] and names(tmp_path / "out") == ["0001_rain.wav", "0002_clip.mp4"]
    alone = pipe("rain", seconds=1.0, seed=3, steps=1, normalize=False)
    assert torch.equal(read_audio(tmp_path / "out" / "0001_rain.wav"), alone.waveform)
    assert probe(tmp_path / "out" / "0002_clip.mp4").has_video


def test_what_is_finished_is_passed_over(
    calls: list[dict[str, Any]], loads: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    heard = write_audio(tmp_path / "heard.wav", torch.zeros(2, 999), 44100)
    rows: list[dict[str, Any]] = [{"text": "a"}, {"text": "b", "seed": 1}, {"audio": "heard.wav", "output": "x/c.wav"}]
    source, out = write(tmp_path / "list.jsonl", *rows), tmp_path / "out"
    assert batch(source, out, "--takes", 2) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 rows: 3 made, 0 finished before, 0 failed"
    assert len(calls) == 6 and len(names(out)) == 6
    assert batch(source, out, "--takes", 2) == 0 and len(calls) == 6 and loads == ["demo"]
    assert capsys.readouterr().out.splitlines()[-1] == "3 rows: 0 made, 3 finished before, 0 failed"
    # A row before the others, and one that says the same in other words: those of old keep their names.
    write(source, {"text": "new"}, rows[1] | {"steps": 250}, rows[0], rows[2])
    assert batch(source, out, "--takes", 2) == 0 and len(calls) == 8
    assert "0001_new_1.wav" in names(out) and not any(name.startswith("0003") for name in names(out))
    # A file that was written again, one that is gone, and another setting: made anew, where nothing is in the way.
    os.utime(heard, ns=(1, 1))
    (out / "0002_b_2.wav").unlink()
    assert batch(source, out, "--takes", 2) == 1 and len(calls) == 8
    told = capsys.readouterr().err
    assert "row 4: output " in told and "c_1.wav: already exists. Use --overwrite" in told
    assert "row 2: output " in told and "0002_b_1.wav: already exists" in told
    assert batch(source, out, "--takes", 2, "--overwrite") == 0 and len(calls) == 12
    assert batch(source, out, "--takes", 2, "--dtype", "bf16", "--out", tmp_path / "other") == 0 and len(calls) == 20


def test_what_was_stopped_goes_on(
    calls: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "list.jsonl", {"text": "a"}, {"text": "b", "takes": 2}, {"text": "c"})
    real, out = Sound.save, tmp_path / "out"

    def save(self: Sound, path: Path, **options: Any) -> Path:
        if path.name == "0002_b_2.wav":
            raise KeyboardInterrupt
        return real(self, path, **options)

    monkeypatch.setattr(Sound, "save", save)
    assert batch(source, out) == 130
    stopped = "interrupted; 3 rows: 1 made, 0 finished before, 0 failed; run the same command again to continue"
    assert stopped in capsys.readouterr().err
    assert names(out) == ["0001_a.wav", "0002_b_1.wav"]
    monkeypatch.setattr(Sound, "save", real)
    assert batch(source, out) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "3 rows: 2 made, 1 finished before, 0 failed"
    assert names(out) == ["0001_a.wav", "0002_b_1.wav", "0002_b_2.wav", "0003_c.wav"]


BAD: list[tuple[object, str]] = [
    ("{", "row 1: is not JSON"),
    ("[1]", "row 2: is not a JSON object"),
    ("[" * 100_000, "row 3: is not JSON (too deep)"),
    ({}, "row 4: nothing to follow"),
    ({"txt": "a"}, "row 5: txt: unknown setting. Did you mean 'text'"),
    ({"text": "a", "cfg": 3}, "row 6: cfg: unknown setting. Here it is called 'guidance'"),
    ({"text": 3}, "row 7: text: expected a text, got int"),
    ({"text": "a", "seconds": "long"}, "row 8: seconds: expected a number, got 'long'"),
    ({"text": "a", "seed": 1.5}, "row 9: seed: expected a whole number"),
    ({"text": "a", "steps": True}, "row 10: steps"),
    ({"text": "a", "takes": 10**12}, "row 11: takes: 1000000000000 is out of range"),
    ({"text": "a", "mix": 1}, "row 12: mix: expected true or false, got '1'"),
    ({"text": "a", "mix": True}, "row 13: mix: there is no video to be written"),
    ({"text": "a", "output": "../a.wav"}, "row 14: output: '../a.wav' is not a file name inside --out"),
    ({"text": "a", "output": "/tmp/a.wav"}, "row 15: output: '/tmp/a.wav' is not a file name"),
    ({"text": "a", "output": "link/a.wav"}, "row 16: output: 'link/a.wav' is not a file name"),
    ({"text": "a", "output": ".batch/a.wav"}, "row 17: output: '.batch/a.wav' is not a file name"),
    ({"text": "a", "output": "a.aac"}, "row 18: output out/a.aac: unknown ending '.aac'"),
    ({"text": "a", "output": 7}, "row 19: output: expected a file's name"),
    ({"text": "a", "output": "same.wav"}, ""),
    ({"text": "b", "output": "./same.wav"}, "row 21: output: same.wav is also that of row 20"),
    ({"video": "none.mp4"}, "row 22: video: none.mp4: no such file"),
    ({"video": ["a"]}, "row 23: video: expected a file or (frames, fps), got list"),
    ({"text": "@none.txt"}, "row 24: text: none.txt: no such file"),
    ({"text": "a", "at": 7}, "row 25: at: give pairs of a time and a prompt"),
    ({"text": "a", "at": [[{}, "b"], [{}, "c"]]}, "row 26: at: two prompts start at {}"),
    ({"text": "broken"}, "row 27: RuntimeError: the card fell off"),
    ({"text": "a", "seconds": float("nan")}, "row 28: seconds: expected a number, got nan"),
    ({"text": "a", "keep": {"a": 1}}, "row 29: keep"),
    ({"text": "a", "output": "a\0.wav"}, "row 30: "),
    ({"text": "a", "output": "list.jsonl/a.wav"}, ""),
    ({"text": "a", "normalize": "loud"}, "row 32: normalize"),
    ({"text": "c", "output": "taken.wav"}, "row 33: output out/taken.wav: already exists"),
    ({"text": "\ud800"}, "row 34: text: contains bytes that are not UTF-8 text"),
    ({"text": "a", "start": 1}, "row 35: start: there is no video to begin in"),
    ({"text": "a", "seconds": "0:99"}, "row 36: seconds: 0:99 is not a time"),
    ({"video": "sample.mp4", "output": "a.mp4", "duck": 6}, "row 37: duck lowers the new sound"),
]


@pytest.mark.usefixtures("calls")
def test_rows_that_cannot_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write(Path("list.jsonl"), *(row for row, _ in BAD))
    (tmp_path / "sample.mp4").symlink_to(SAMPLE)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "link").symlink_to(tmp_path)
    (tmp_path / "out" / "taken.wav").write_text("precious")
    assert batch(Path("list.jsonl"), Path("out")) == 1
    said = capsys.readouterr()
    for _, words in BAD:
        assert words in said.err, said.err
    good = sum(not words for _, words in BAD)
    assert said.out.splitlines()[-1] == f"{len(BAD)} rows: {good} made, 0 finished before, {len(BAD) - good} failed"
    made = ["out/list.jsonl/a.wav", "out/same.wav", "out/taken.wav"]
    assert names(tmp_path) == ["list.jsonl", *made, "sample.mp4"]
    assert (tmp_path / "out" / "taken.wav").read_text() == "precious"


def test_a_start_for_the_rows_that_have_a_video(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    source = write(tmp_path / "list.jsonl", {"text": "a", "seconds": "0:02"}, {"video": str(SAMPLE), "seconds": 1})
    assert batch(source, tmp_path / "out", "--start", "0:01", "--audio-start", 3) == 0
    assert [call["start"] for call in calls] == [0, 1] and calls[0]["seconds"] == 2
    assert [call["audio_start"] for call in calls] == [0, 0]


@pytest.mark.parametrize("place", ["file", "file/inner", "dead"])
def test_outputs_that_go_into_a_file(
    place: str, calls: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Told once, not once a row."""
    source = write(tmp_path / "list.jsonl", {"text": "a"}, {"text": "b"})
    (tmp_path / "file").write_text("precious")
    (tmp_path / "dead").symlink_to(tmp_path / "nowhere")
    assert batch(source, tmp_path / place) == 1
    said = capsys.readouterr().err
    assert said.count("--out ") == said.count("\n") == 1 and "is a file. Give a folder" in said
    assert not calls and (tmp_path / "file").read_text() == "precious"


def test_a_table(calls: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = tmp_path / "list.csv"
    rows = ["text,seconds,seed,loop,normalize,output,at", '"rain, hail",2,7,no,off,a.flac,', "b,,,yes,,,"]
    rows += ["c,x,,,,,", "d,1,1.5,,,,", "e,,,maybe,,,", "f,,,,,,,,,", "", '"g",,,,,,"0:01 h\n0:02 i"']
    source.write_text("\n".join(rows), encoding="utf-8-sig")
    assert batch(source, tmp_path / "out", "--seed", 5, "--text", "never") == 1
    told = capsys.readouterr().err
    for words in (
        "row 3: seconds: expected a number, got 'x'",
        "row 4: seed: expected a whole number, got '1.5'",
        "row 5: loop: expected true or false, got 'maybe'",
        "row 6: has 10 cells, the header 7",
    ):
        assert words in told
    keys = ("text", "seconds", "seed", "loop", "normalize", "at")
    assert [tuple(call[key] for key in keys) for call in calls] == [
        ("rain, hail", 2.0, 7, False, "off", []),
        ("b", None, 5, True, True, []),
        ("g", None, 5, False, True, [(1, "h"), (2, "i")]),
    ]
    assert names(tmp_path / "out") == ["0002_b.wav", "0007_g.wav", "a.flac"]


def test_a_folder_of_videos(calls: list[dict[str, Any]], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    for name in ("b.mp4", "a.mkv"):
        write_clip(videos / name, 25, 25)
    (videos / "notes.txt").write_text("no video")
    out = videos / "out"
    options = ["--text", "steps", "--seconds", "all", "--fade-in", 0.01, "--spectrogram"]
    assert batch(videos, out, *options) == 0
    assert names(out) == ["a.mkv", "a.png", "b.mp4", "b.png"]
    assert [(Path(call["video"]).name, call["text"]) for call in calls] == [("a.mkv", "steps"), ("b.mp4", "steps")]
    assert probe(out / "a.mkv").has_audio
    assert batch(videos, videos, *options, "--overwrite") == 1
    assert "--out is the folder of the videos themselves" in capsys.readouterr().err
    rows = [{"video": "b.mp4", "output": "b.mp4"}, {"video": "a.mkv"}, {"video": "b.mp4", "output": "a.mkv"}]
    assert batch(write(videos / "list.jsonl", *rows), videos, "--overwrite") == 1
    told = capsys.readouterr().err
    assert "row 1: output: b.mp4 is a file that the batch reads" in told and "row 2" not in told
    assert "row 3: output: a.mkv is a file that the batch reads" in told


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.txt", b"x", "unknown ending '.txt'. Give a .jsonl, a .csv, or a folder of videos"),
        ("a.jsonl", b"\n \n", "has no rows"),
        ("a.csv", b"text\n", "has no rows"),
        ("a.csv", b"text,colour\nx,y", "header: colour: unknown setting"),
        ("a.csv", b"text,text\nx,y", "a name appears twice"),
        ("a.csv", b'text\n"x', "is not a valid table"),
        ("a.csv", b"text\n\xff", "is not UTF-8 text"),
        ("none.csv", None, "none.csv: no such file"),
        ("folder", None, "has no videos"),
    ],
)
def test_lists_that_are_none(
    name: str, content: bytes | None, words: str, tmp_path: Path, loads: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "folder").mkdir()
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert batch(tmp_path / name, tmp_path / "out") == 1
    assert words in capsys.readouterr().err and not loads and not (tmp_path / "out").exists()


def test_a_line_that_is_no_text_is_one_failed_row(calls: list[dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "\xff"}\n{"text": "b"}')
    assert batch(tmp_path / "a.jsonl", tmp_path / "out") == 1 and len(calls) == 1


def test_a_broken_note_is_told(calls: list[dict[str, Any]], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source, out = write(tmp_path / "a.jsonl", {"text": "a"}), tmp_path / "out"
    assert batch(source, out) == 0
    (note,) = (out / ".batch").glob("*.json")
    note.write_text('{"output": 3}')
    assert batch(source, out) == 1 and len(calls) == 1
    assert "is not a batch note" in caplog.text
