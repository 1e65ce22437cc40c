"""edit, extend and vary: what is kept stays bit for bit, also in files; videos keep their pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiox_core import __main__ as cli
from audiox_core.media import probe, read_audio, write_audio
from audiox_core.media.reading import open_media
from tests.core.media_clips import write_clip

RATE = 44100
pytestmark = pytest.mark.usefixtures("loads")


def noise(seconds: float) -> Tensor:
    return torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(0)).clamp(-3, 3) / 6


def change(command: str, source: Path, *options: object) -> int:
    return cli.main([command, str(source), "--model", "demo", "--steps", "1", "--quiet", *map(str, options)])


def numbers(path: Path) -> Tensor:
    """A file's samples as the whole numbers that stand in it."""
    with open_media(path) as container:
        frames = [torch.from_numpy(frame.to_ndarray().copy()).flatten() for frame in container.decode(audio=0)]
    return torch.cat(frames).reshape(-1, 2).T


def pictures(path: Path) -> list[str]:
    with open_media(path) as container:
        return [hashlib.sha256(bytes(p)).hexdigest() for p in container.demux(video=0) if p.size]


@pytest.mark.parametrize(("suffix", "subtype", "targets"), [(".wav", "int16", 2), (".flac", "int24", 1)])
def test_what_is_kept_comes_back_bit_for_bit(suffix: str, subtype: str, targets: int, tmp_path: Path) -> None:
    """Of a source of 16 or 24 bits, in both kinds of file."""
    source = write_audio(tmp_path / f"source{suffix}", noise(2), RATE, subtype=subtype)
    own = numbers(source)
    kept = torch.ones(own.shape[1], dtype=torch.bool)
    kept[RATE // 2 : RATE] = False
    before = read_audio(source)
    for target in ("a.flac", "a.wav")[:targets]:
        assert change("edit", source, "--regions", "0.5-1", "--text", "x", "-o", tmp_path / target) == 0
        after = read_audio(tmp_path / target)
        assert torch.equal(after[:, kept], before[:, kept])
        assert (after != before)[:, ~kept].float().mean() > 0.9
    back = numbers(tmp_path / "a.flac")
    shift = 1 if own.dtype == back.dtype else 65536  # 24 bits stand in the upper part of 32
    assert torch.equal(back[:, kept], own[:, kept].to(back.dtype) * shift)


def test_a_sound_is_carried_on(tmp_path: Path) -> None:
    source = write_audio(tmp_path / "source.wav", noise(1.5), RATE)
    assert change("extend", source, "--before", 0.5, "--after", 1, "-o", tmp_path / "a.wav") == 0
    longer = read_audio(tmp_path / "a.wav")
    assert longer.shape[1] == 3 * RATE and torch.equal(longer[:, RATE // 2 : 2 * RATE], read_audio(source))


def test_variations(tmp_path: Path) -> None:
    source = write_audio(tmp_path / "source.wav", noise(1), RATE)
    options = ["--takes", 2, "--strength"]
    assert change("vary", source, *options, 0, "-o", tmp_path / "same.wav") == 0
    assert all(torch.equal(read_audio(tmp_path / f"same_{i}.wav"), read_audio(source)) for i in (1, 2))
    assert change("vary", source, "--strength", 0.3, "--spectrogram", tmp_path / "s.png", "-o", tmp_path / "a.wav") == 0
    varied = read_audio(tmp_path / "a.wav")
    assert varied.shape == (2, RATE) and varied.abs().max() == pytest.approx(1, abs=1e-4)
    assert probe(tmp_path / "s.png").is_image


def test_a_video_keeps_its_pictures(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 50, 25, sound=noise(1.5))
    assert change("edit", clip, "--regions", "0.5-1", "-o", tmp_path / "a.mp4") == 0
    assert pictures(tmp_path / "a.mp4") == pictures(clip)
    old, new = read_audio(clip), read_audio(tmp_path / "a.mp4")
    apart = (new - old[:, : new.shape[1]]).square().mean(dim=0)[: 3 * RATE // 2]
    assert apart[RATE // 2 + 3000 : RATE - 3000].mean() > 20 * apart[: RATE // 2 - 3000].mean()  # AAC in between
    assert change("extend", clip, "--after", 0.5, "-o", tmp_path / "b.mp4") == 0
    assert read_audio(tmp_path / "b.mp4").shape[1] == pytest.approx(2 * RATE, abs=2048)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("edit s.wav --regions 1-2 -o s.wav", "is the file being read"),
        ("edit s.wav --regions 1-2 -o old.wav", "-o old.wav: already exists. Use --overwrite"),
        ("edit s.wav --regions 0.2-0.5 -o a.mp4", "-o a.mp4: a video file needs a video as SOURCE"),
        ("edit s.wav --regions 3-5 -o a.wav", "regions: 3-5 s reaches past the end of the sound, which lasts 1.00 s"),
        ("edit s.wav --regions soon -o a.wav", "--regions: 'soon' is not a start and an end"),
        ("edit s.wav --regions 0-1 --feather -1 -o a.wav", "feather: -1 s is out of range"),
        ("edit none.wav --regions 0-1 -o a.wav", "SOURCE: none.wav: no such file"),
        ("edit mute.mp4 --regions 0-1 -o a.wav", "SOURCE: mute.mp4 has no sound"),
        ("edit s.wav --regions 0-1 --at 2 x -o a.wav", "at: 2 s is outside the sound"),
        ("extend s.wav -o a.wav", "before and after are both 0"),
        ("extend s.wav --after 9999 -o a.wav", "after: 9999.0 is out of range"),
        ("extend s.wav --after 3600 -o a.wav", "after: with what is added the sound would last 3601.00 s"),
        ("extend s.wav --before 59:59.5 -o a.wav", "before: with what is added the sound would last 3600.50 s"),
        ("extend s.wav --after 1 --start 1 -o a.wav", "start: there is no video to begin in"),
        ("extend clip.mp4 --after 1.5 -o a.mp4", "the pictures, which last 2.00 s. Give at most 1.0"),
        ("extend clip.mp4 --before 1 -o a.mp4", "--before: a video has no pictures before its first one"),
        ("extend clip.mp4 --after 0.5 -o clip.mp4 --overwrite", "is the file being read"),
        ("vary s.wav --strength 2 -o a.wav", "strength: 2.0 is out of range"),
        ("vary s.wav --steps 0 -o a.wav", "steps"),
    ],
)
def test_refused_before_anything_is_loaded(
    command: str,
    words: str,
    tmp_path: Path,
    loads: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_audio("s.wav", noise(1), RATE)
    if "mp4" in command:
        write_clip(tmp_path / "clip.mp4", 50, 25, sound=noise(1))
        write_clip(tmp_path / "mute.mp4", 25, 25)
    Path("old.wav").write_text("precious")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert cli.main([*command.split(), "--model", "demo"]) == 1
    assert words in capsys.readouterr().err
    assert not loads and {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
