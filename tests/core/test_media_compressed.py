"""Compressed sound files: what is heard, how long it is, how large the file becomes, and what cannot be written."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch

from audiox_core import Sound
from audiox_core.errors import InputError, MediaError
from audiox_core.media import compressed, read_audio, write_audio
from audiox_core.media.compressed import COMPRESSED

CODECS = {".mp3": ("mp3", "mp3"), ".m4a": ("mov,mp4,m4a,3gp,3g2,mj2", "aac"), ".ogg": ("ogg", "opus")}
CODECS[".opus"] = CODECS[".ogg"]


def tones(rate: int, channels: int = 2, seconds: float = 1.5) -> torch.Tensor:
    t = torch.arange(round(seconds * rate)) / rate
    return torch.stack([0.5 * torch.sin(2 * torch.pi * 440 * (c + 1) * t) for c in range(channels)])


@pytest.mark.parametrize("suffix", sorted(COMPRESSED))
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 10000, 44100, 48000, 100_000])
def test_what_is_written_is_heard(suffix: str, channels: int, rate: int, tmp_path: Path) -> None:
    """As long as it was, in its place, both channels apart; at a rate that the encoder has, never a lower one."""
    sound = tones(rate, channels)
    path = write_audio(tmp_path / f"a{suffix.upper()}", sound, rate)
    with av.open(str(path)) as file:
        stream = file.streams.audio[0]
        assert (file.format.name, stream.codec_context.name.removesuffix("float")) == CODECS[suffix]
        assert stream.codec_context.sample_rate >= min(rate, max(COMPRESSED[suffix].rates))
        assert stream.codec_context.channels == channels
    back = read_audio(path, sample_rate=rate)
    assert abs(back.shape[1] - sound.shape[1]) <= 2 * rate / 8000
    middle = slice(rate // 4, rate)
    expected = sound.expand(2, -1)[:, middle]
    assert (back[:, middle] - expected).square().mean() < 0.01 * expected.square().mean()


@pytest.mark.parametrize("suffix", sorted(COMPRESSED))
def test_the_bit_rate_decides_the_size(suffix: str, tmp_path: Path) -> None:
    noise = 0.2 * torch.randn(2, 44100 * 3, generator=torch.Generator().manual_seed(0))
    small = write_audio(tmp_path / f"a{suffix}", noise, 44100, bit_rate=64_000).stat().st_size
    large = Sound(noise, 44100).save(tmp_path / f"b{suffix}", bit_rate=192_000).stat().st_size
    usual = write_audio(tmp_path / f"c{suffix}", noise, 44100).stat().st_size
    for size, bits in ((small, 64_000), (large, 192_000), (usual, COMPRESSED[suffix].bit_rate)):
        assert size * 8 / 3 == pytest.approx(bits, rel=0.15)
    again = write_audio(tmp_path / f"d{suffix}", noise, 44100, bit_rate=64_000)
    assert again.read_bytes() == (tmp_path / f"a{suffix}").read_bytes()


def test_a_mono_file_takes_what_its_encoder_can(tmp_path: Path) -> None:
    for suffix in COMPRESSED:
        assert write_audio(tmp_path / f"a{suffix}", tones(48000, 1), 48000, bit_rate=compressed.MOST).exists()


def test_what_is_louder_than_full_scale_is_clipped(tmp_path: Path) -> None:
    loud, clipped = tones(48000) * 4, (tones(48000) * 4).clamp(-1, 1)
    for suffix in COMPRESSED:
        a, b = (write_audio(tmp_path / f"{n}{suffix}", wave, 48000) for n, wave in (("a", loud), ("b", clipped)))
        assert a.read_bytes() == b.read_bytes()


def test_wrong_options_and_absent_encoders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tones(44100)
    for name, options, said in (
        ("a.mp3", {"bit_rate": 1000}, "bit_rate=1000. Give a whole number from 16000 to 320000"),
        ("a.mp3", {"bit_rate": "high"}, "bit_rate='high' is not a whole number"),
        ("a.mp3", {"subtype": "int16"}, r"subtype 'int16' does not exist for \.mp3. Leave it out"),
        ("a.wav", {"bit_rate": 64000}, r"bit_rate: \.wav is not compressed to one. Leave it out"),
    ):
        with pytest.raises(InputError, match=said):
            write_audio(tmp_path / name, sound, 44100, **options)
    with pytest.raises(MediaError, match="NaN"):
        write_audio(tmp_path / "a.ogg", sound * torch.nan, 44100)
    monkeypatch.setitem(COMPRESSED, ".mp3", COMPRESSED[".mp3"]._replace(codec="libnone"))
    with pytest.raises(MediaError, match=r"This build of PyAV has no libnone, which \.mp3 needs. Write \.wav"):
        write_audio(tmp_path / "a.mp3", sound, 44100)
    assert not list(tmp_path.iterdir())
