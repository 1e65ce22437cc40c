"""A sound as people look at it: one line, a numpy array, a player in a notebook."""

from __future__ import annotations

import re
import sys
from base64 import b64decode
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from audiox_core import Sound
from audiox_core.errors import MediaError
from audiox_core.media import read_image, spectrogram_image
from audiox_core.media.drawn import png_bytes
from audiox_core.media.player import HEARD_SECONDS, HEIGHT, WIDTH, wav_bytes
from audiox_core.media.playing import PLAYERS

RATE = 8000


def tone(seconds: float, channels: int = 2) -> torch.Tensor:
    return (0.5 * torch.sin(torch.arange(round(seconds * RATE)) / 3)).expand(channels, -1).contiguous()


def embedded(html: str, kind: str) -> bytes:
    (data,) = re.findall(rf'src="data:{kind};base64,([^"]+)"', html)
    return b64decode(data, validate=True)


def decoded(wav: bytes) -> torch.Tensor:
    with av.open(BytesIO(wav)) as file:
        frames = [frame.to_ndarray() for frame in file.decode(audio=0)]
        channels, rate = file.streams.audio[0].channels, file.streams.audio[0].rate
    assert rate == RATE
    return torch.from_numpy(np.concatenate(frames, axis=1).reshape(-1, channels).T.copy()).float() / 32767


@pytest.mark.parametrize(
    ("channels", "shown"),
    [
        (1, "Sound(2.50 s, 8000 Hz, mono)"),
        (2, "Sound(2.50 s, 8000 Hz, stereo)"),
        (6, "Sound(2.50 s, 8000 Hz, 6 channels)"),
    ],
)
def test_a_sound_prints_as_one_line(channels: int, shown: str) -> None:
    assert repr(Sound(tone(2.5, channels), RATE, ("a file",))) == shown


def test_numpy_gives_the_samples_without_a_copy() -> None:
    sound = Sound(tone(0.1), RATE)
    samples = sound.numpy()
    assert samples.dtype == np.float32 and samples.shape == (2, 800)
    assert samples.ctypes.data == sound.waveform.data_ptr()


def test_a_notebook_plays_the_sound_and_shows_its_spectrogram() -> None:
    wave = tone(1.5)
    html = Sound(wave, RATE)._repr_html_()
    assert html.startswith("<div>Sound(1.50 s, 8000 Hz, stereo)</div>") and "<audio controls" in html
    assert (decoded(embedded(html, "audio/wav")) - wave).abs().max() < 1e-4
    with av.open(BytesIO(embedded(html, "image/png"))) as file:
        picture = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert np.array_equal(picture, spectrogram_image(wave, RATE, WIDTH, HEIGHT).numpy())
    assert "are shown" not in html


def test_a_long_sound_is_cut_in_a_notebook_and_that_is_said() -> None:
    whole = Sound(tone(HEARD_SECONDS), RATE)._repr_html_()
    longer = Sound(torch.cat([tone(HEARD_SECONDS), torch.ones(2, RATE)], dim=1), RATE)._repr_html_()
    assert "are shown" not in whole and f"The first {HEARD_SECONDS} seconds are shown" in longer
    assert embedded(longer, "audio/wav") == embedded(whole, "audio/wav")
    assert embedded(longer, "image/png") == embedded(whole, "image/png")


def test_a_notebook_marks_what_was_made_anew_and_the_windows() -> None:
    wave = tone(HEARD_SECONDS + 4)
    marks = {"regions": ((1.0, 2.0), (61.0, 62.0)), "windows": ((0.0, 32.0), (30.0, 62.0), (61.0, 64.0))}
    shown = embedded(Sound(wave, RATE, **marks)._repr_html_(), "image/png")
    heard = wave[:, : HEARD_SECONDS * RATE]
    given = {"regions": [(1, 2)], "windows": [(0, 32), (30, 62)]}
    assert shown == png_bytes(spectrogram_image(heard, RATE, WIDTH, HEIGHT, **given))
    assert shown != embedded(Sound(wave, RATE)._repr_html_(), "image/png")


def test_a_bundle_has_the_kinds_that_are_asked_for() -> None:
    sound = Sound(tone(0.5), RATE)
    assert sound._repr_mimebundle_() == {"text/plain": repr(sound), "text/html": sound._repr_html_()}
    assert sound._repr_mimebundle_(include=["text/plain", "image/png"]) == {"text/plain": repr(sound)}
    assert set(sound._repr_mimebundle_(None, ["text/plain"])) == {"text/html"}


def test_a_sound_is_drawn_with_its_marks(tmp_path: Path) -> None:
    wave = tone(3)
    sound = Sound(wave, RATE, regions=((1.0, 2.0),), windows=((0.0, 2.0), (1.5, 3.0)))
    options = {"width": 400, "height": 200, "scale": "mel"}
    drawn = spectrogram_image(wave, RATE, regions=sound.regions, windows=sound.windows, **options)
    assert torch.equal(sound.spectrogram(**options), drawn)
    assert torch.equal(sound.spectrogram(regions=(), windows=(), **options), spectrogram_image(wave, RATE, **options))
    path = sound.save_spectrogram(tmp_path / "a.png", **options)
    assert torch.equal(read_image(path), drawn.permute(2, 0, 1))


def player_named(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, *, code: int = 0, words: str = "") -> Path:
    """A player that keeps what it is to play and how it was called; nothing else is on the path."""
    kept = folder / "kept"
    script = f"#!{sys.executable}\nimport shutil, sys\n"
    script += f"shutil.copy(sys.argv[-1], {str(kept)!r} + '.wav')\n"
    script += f"open({str(kept)!r} + '.txt', 'w').write('\\n'.join(sys.argv[1:]))\n"
    script += f"sys.stderr.write({words!r})\nsys.exit({code})\n"
    (folder / name).write_text(script)
    (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return kept


@pytest.mark.skipif(sys.platform == "win32", reason="Windows plays sounds itself")
@pytest.mark.parametrize("name", list(PLAYERS))
def test_a_sound_is_played_by_what_is_there(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = player_named(name, tmp_path, monkeypatch)
    wave = tone(0.5)
    Sound(wave, RATE).play()
    assert (decoded(kept.with_suffix(".wav").read_bytes()) - wave).abs().max() < 1e-4
    *options, file = kept.with_suffix(".txt").read_text().splitlines()
    assert tuple(options) == PLAYERS[name]
    assert not Path(file).exists(), "its temporary file is gone"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows plays sounds itself")
def test_without_a_player_or_a_sound_card_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    player_named("aplay", tmp_path, monkeypatch, code=1, words="ALSA lib\ncannot find card '0'\n")
    with pytest.raises(
        MediaError, match=r"aplay cannot play the sound \(cannot find card '0'\)\. Is there a sound card"
    ):
        Sound(tone(0.1), RATE).play()
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    with pytest.raises(MediaError, match=r"no program to play sounds \(afplay, .*\)\. .*or save the sound"):
        Sound(tone(0.1), RATE).play()


def test_windows_plays_it_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[bytes, int]] = []
    module = SimpleNamespace(SND_MEMORY=4, PlaySound=lambda content, flags: heard.append((content, flags)))
    monkeypatch.setitem(sys.modules, "winsound", module)
    monkeypatch.setattr(sys, "platform", "win32")
    Sound(tone(0.2), RATE).play()
    assert heard == [(wav_bytes(tone(0.2), RATE), 4)]


def test_what_is_louder_than_full_scale_is_clipped_in_the_player() -> None:
    heard = decoded(embedded(Sound(4 * tone(0.5), RATE)._repr_html_(), "audio/wav"))
    assert heard.abs().max() == 1


def test_a_broken_sound_is_not_shown() -> None:
    with pytest.raises(MediaError, match="NaN"):
        Sound(torch.full((2, 800), torch.nan), RATE)._repr_html_()
