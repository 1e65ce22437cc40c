"""Results and the files they come from: no input is ever replaced, samples and links are kept, work can be stopped."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core.errors import AudioXError, InputError, MediaError
from audiox_core.media import check_writable, encode_video, probe, read_audio, set_soundtrack, write_audio
from tests.core.media_clips import packets, write_clip

SOUND = torch.rand(2, 44100, generator=torch.Generator().manual_seed(0)) / 5
WRITERS: dict[str, Callable[[Any, Any], object]] = {
    "soundtrack": lambda source, target: set_soundtrack(source, SOUND, 44100, target),
    "pictures": lambda source, target: encode_video([torch.zeros(16, 16, 3)], 25, target, inputs=[source]),
    "check": lambda source, target: check_writable(target, [source]),
}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def aliases(path: Path) -> list[Path]:
    """Other names of the same file."""
    folder = path.parent
    (folder / "links").mkdir()
    soft, hard, chain = folder / f"soft{path.suffix}", folder / f"hard{path.suffix}", folder / f"chain{path.suffix}"
    soft.symlink_to(path)
    os.link(path, hard)
    chain.symlink_to(soft)
    return [path, soft, hard, chain, folder / "links" / ".." / path.name]


@pytest.mark.parametrize("writer", WRITERS)
def test_an_input_is_never_the_output(writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    video = write_clip(tmp_path / "видео 影片 🎬.mp4", 10, 25)
    others = aliases(video)
    before, there = video.read_bytes(), names(tmp_path)
    monkeypatch.chdir(tmp_path)
    with video.open("rb") as file:
        for source in (video, str(others[1]), video.name, file):
            for target in [*others, video.name]:
                with pytest.raises(MediaError, match=r"is the file being read.*Write to another name"):
                    WRITERS[writer](source, target)
    assert video.read_bytes() == before
    assert names(tmp_path) == there


def test_a_sound_is_not_written_over_what_it_was_made_from(tmp_path: Path) -> None:
    source = write_audio(tmp_path / "a.wav", SOUND, 44100)
    before = source.read_bytes()
    for target in aliases(source):
        with pytest.raises(MediaError, match="is the file being read"):
            write_audio(target, SOUND / 2, 44100, inputs=[tmp_path / "absent.mp4", source])
    assert source.read_bytes() == before
    write_audio(tmp_path / "b.wav", SOUND, 44100, inputs=[source, io.BytesIO()])
    memory = io.BytesIO(b"something")
    with pytest.raises(InputError, match="same object"):
        set_soundtrack(memory, SOUND, 44100, memory)


@pytest.mark.parametrize("kind", ["file", "dangling", "chain"])
def test_links_are_written_through_and_stay(kind: str, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    real, link = tmp_path / "far" / "real.wav", tmp_path / "link.wav"
    if kind != "dangling":
        real.write_text("old")
    if kind == "chain":
        (tmp_path / "middle.wav").symlink_to(Path("far") / "real.wav")
        link.symlink_to("middle.wav")
    else:
        link.symlink_to(real)
    check_writable(link)
    write_audio(link, SOUND, 44100)
    assert link.is_symlink()
    assert not real.is_symlink()
    assert torch.equal(read_audio(real), SOUND)
    assert names(tmp_path / "far") == ["real.wav"]


def test_a_link_to_itself_and_a_pipe_are_no_places(tmp_path: Path) -> None:
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("loop.wav", "pipe.wav", "a\0.wav", "x" * 5000 + ".wav"):
        for write in (lambda path: write_audio(path, SOUND, 44100), check_writable):
            with pytest.raises(MediaError, match="cannot be written"):
                write(tmp_path / name)
    for target in (None, 7, b"a.wav", {}):
        with pytest.raises(InputError, match="is not something to write to"):
            write_audio(target, SOUND, 44100)
        with pytest.raises(InputError, match="is not something to write to"):
            set_soundtrack(tmp_path / "a.mp4", SOUND, 44100, target)
    assert names(tmp_path) == ["loop.wav", "pipe.wav"]


def test_names_that_are_no_text_are_written(tmp_path: Path) -> None:
    write_audio(os.path.join(tmp_path, "\udcff.wav"), SOUND, 44100)
    assert os.listdir(os.fsencode(tmp_path)) == [b"\xff.wav"]


@pytest.mark.parametrize("mode", ["replace", "mix"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_a_soundtrack_tells_how_far_it_is(suffix: str, mode: str, tmp_path: Path) -> None:
    video = write_clip(tmp_path / f"in{suffix}", 250, 25, sound=torch.zeros(2, 441_000))
    told: list[tuple[int, int]] = []
    out = tmp_path / "out.mp4"
    set_soundtrack(video, SOUND, 44100, out, mode=mode, on_progress=lambda *step: told.append(step))
    done = [step[0] for step in told]
    assert {step[1] for step in told} == {1000}
    assert done == sorted(done)
    assert done[-1] == 1000
    for stage in [(1, 299), (501, 999), *([(301, 499)] if mode == "mix" else [])]:
        assert sum(stage[0] <= step <= stage[1] for step in done) >= 5
    assert len(packets(str(out))) == 250


@pytest.mark.parametrize("at", [0, 150, 400, 700, 1000])
@pytest.mark.parametrize("old", [None, b"kept"])
def test_a_soundtrack_can_be_stopped_anywhere_and_leaves_nothing(at: int, old: bytes | None, tmp_path: Path) -> None:
    video, out = write_clip(tmp_path / "in.mp4", 250, 25, sound=torch.zeros(2, 441_000)), tmp_path / "out.mp4"
    if old is not None:
        out.write_bytes(old)
    there = names(tmp_path)

    def stop(done: int, total: int) -> None:
        if done >= at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        set_soundtrack(video, SOUND, 44100, out, mode="mix", on_progress=stop)
    assert names(tmp_path) == there
    assert old is None or out.read_bytes() == old
    memory = io.BytesIO(b"kept")
    memory.seek(4)
    with pytest.raises(KeyboardInterrupt):
        set_soundtrack(video, SOUND, 44100, memory, mode="mix", on_progress=stop)
    assert memory.getvalue() == b"kept"


def test_the_index_lies_at_the_front_of_files(tmp_path: Path) -> None:
    set_soundtrack(write_clip(tmp_path / "in.mp4", 50, 25), SOUND, 44100, tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert probe(tmp_path / "out.mp4").has_audio


def test_errors_of_the_caller_are_not_taken_for_errors_of_the_place(tmp_path: Path) -> None:
    class Mine(Exception):
        pass

    def broken() -> Any:
        yield torch.zeros(16, 16, 3)
        raise Mine

    with pytest.raises(Mine):
        encode_video(broken(), 25, tmp_path / "a.mp4")
    with pytest.raises(AudioXError):
        encode_video([torch.zeros(16, 16, 3), torch.zeros(16, 18, 3)], 25, tmp_path / "a.mp4")
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("suffix", "subtype", "bits"), [(".wav", "int16", 16), (".flac", "int16", 16), (".flac", "int24", 24)]
)
def test_exact_integers_come_back_as_they_were(suffix: str, subtype: str, bits: int, tmp_path: Path) -> None:
    """Every step of so many bits that matters: the least ones, both ends of the scale, and any between."""
    full = 2 ** (bits - 1)
    steps = torch.randint(-full, full, (2, 5000), generator=torch.Generator().manual_seed(0))
    steps[:, :6] = torch.tensor([-full, 1 - full, -1, 0, 1, full - 1])
    sound = steps.double().div(full).float()
    path = write_audio(tmp_path / f"a{suffix}", sound, 44100, subtype=subtype, exact=True)
    assert torch.equal(read_audio(path), sound)
    write_audio(path, sound * 3, 44100, subtype=subtype, exact=True)
    assert read_audio(path).abs().max() <= 1
