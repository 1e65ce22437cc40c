"""Resampling: torchaudio's numbers with and without torchaudio, once said, in memory that rates cannot blow up."""

from __future__ import annotations

import logging
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.media import read_audio, resample, resampling
from tests.core.media_clips import write_sound
from tests.forks import forked

ROOT = Path(__file__).parents[2]
PAIRS = [(48000, 44100), (44100, 48000), (22050, 44100), (96000, 44100), (8000, 44100), (44100, 16000), (100, 50)]


def band_limited(count: int, rate: int, to: int, channels: int = 2) -> Tensor:
    """Noise (channels, count) of full scale with nothing above 0.9 of the lower half rate, faded in and out."""
    spectrum = torch.fft.rfft(torch.randn(channels, count, generator=torch.Generator().manual_seed(1)))
    spectrum[:, int(0.9 * min(rate, to) / rate * spectrum.shape[1]) :] = 0
    sound = torch.fft.irfft(spectrum, count) * torch.hann_window(count)
    return sound / sound.abs().max()


@pytest.fixture(params=["absent", "broken", "incompatible"])
def without_torchaudio(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[pytest.MonkeyPatch]:
    """torchaudio as it can be met: not there, ending in an ImportError of its libraries, or in anything else."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    if request.param == "absent":
        monkeypatch.setitem(sys.modules, "torchaudio", None)
    else:
        error = "OSError('libtorchaudio.so')" if request.param == "broken" else "RuntimeError('operator exists')"
        (tmp_path / "torchaudio").mkdir()
        (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {error}")
        monkeypatch.syspath_prepend(tmp_path)
    resampling._torchaudio.cache_clear()
    yield monkeypatch
    resampling._torchaudio.cache_clear()


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_without_torchaudio_the_numbers_are_its_own(old: int, new: int, without_torchaudio: pytest.MonkeyPatch) -> None:
    sound = band_limited(old + 77 if old > 1000 else 5000, old, new)
    found = resample(sound, old, new)
    assert found.shape == (2, math.ceil(sound.shape[1] * new / old))
    assert resampling._torchaudio() is None
    without_torchaudio.undo()
    resampling._torchaudio.cache_clear()
    theirs = resample(sound, old, new)
    assert "torchaudio.transforms" in sys.modules
    assert (found - theirs).abs().max() < 3e-5  # 1e-3 was asked for


def test_it_is_said_once(without_torchaudio: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "audiox"):
        for _ in range(3):
            resample(torch.zeros(2, 480), 48000, 44100)
    assert len(caplog.records) == 1
    assert caplog.records[0].name == "audiox"
    assert "torchaudio cannot be imported" in caplog.text


def test_with_torchaudio_it_is_used_and_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    from torchaudio.transforms import Resample

    resampling._torchaudio.cache_clear()
    sound = band_limited(4800, 48000, 44100)
    with caplog.at_level(logging.DEBUG, "audiox"):
        assert torch.equal(resample(sound, 48000, 44100), Resample(48000, 44100)(sound))
    assert not caplog.records


ODD = [(44101, 44100), (44100, 44101), (47999, 44100), (96001, 44100)]


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[int, int], str]:
    """What processes of their own print: the KiB that a resampling between two rates takes, after checks of it."""
    code = """
import resource
resample(torch.zeros(2, 480), 48000, 44100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = resample(torch.ones(2, 3 * {old}), {old}, {new})
assert found.shape == (2, 3 * {new}), found.shape
assert (found[:, 100:-100] - 1).abs().max() < 2e-3
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    imports = "import torch, av\nfrom audiox_core.media import resample"
    programs = [f"{imports}\n{code.format(old=old, new=new)}" for old, new in ODD]
    ended = forked(tmp_path_factory.mktemp("odd"), imports, programs)
    return {rates: done.stdout + done.stderr for rates, done in zip(ODD, ended, strict=True)}


@pytest.mark.parametrize("rates", ODD)
def test_rates_without_a_common_divisor_take_little_memory(
    rates: tuple[int, int], taken: dict[tuple[int, int], str]
) -> None:
    assert int(taken[rates]) < 200_000  # KiB; torchaudio's table would take 15 GiB


def test_a_file_at_an_odd_rate_is_read(tmp_path: Path) -> None:
    time = np.arange(30_000) / 44101
    wave = (np.sin(2 * np.pi * 440 * time)[None] * 20_000).astype(np.int16)
    path = write_sound(str(tmp_path / "odd.wav"), wave, 44101, "pcm_s16le", "s16", "mono")
    sound = read_audio(path)
    assert sound.shape == (2, math.ceil(30_000 * 44100 / 44101))
    ideal = torch.sin(2 * torch.pi * 440 * torch.arange(sound.shape[1]) / 44100) * 20_000 / 32768
    assert (sound - ideal)[:, 50:-50].abs().max() < 2e-3


def test_types_shapes_and_arrays() -> None:
    sound = band_limited(4410, 44100, 16000, channels=6).view(3, 2, 4410)
    plain = resample(sound, 44100, 16000)
    assert plain.shape == (3, 2, 1600)
    for kind in (torch.float64, torch.float16, torch.bfloat16):
        found = resample(sound.to(kind), 44100, 16000)
        assert found.dtype == kind
        assert (found.float() - plain).abs().max() < 2e-2
    assert torch.equal(resample(sound.numpy(), 44100, 16000), plain)
    assert resample(sound[..., :0], 44100, 16000).shape == (3, 2, 0)
    assert resample(sound, 44100, 44100) is sound
    assert torch.equal(resample(sound, np.int64(44100), 16000), plain)


def test_what_is_no_sound_or_no_rate_is_refused() -> None:
    sound = torch.zeros(2, 441_000)
    for rate in (0, 1, -44100, 2**40, 44100.0, "44100", None):
        for rates in ((44100, rate), (rate, 44100)):
            with pytest.raises(InputError, match=r"sample rate .*whole number of samples a second from 10 to 1000000"):
                resample(sound, *rates)
    with pytest.raises(InputError, match=r"441000 samples at 10 Hz are 44100 s, too long at 44100 Hz"):
        resample(sound, 10, 44100)
    with pytest.raises(InputError, match=r"int16.*Give floating point"):
        resample(sound.short(), 48000, 44100)
    with pytest.raises(InputError, match="list is not an array"):
        resample([0.0], 48000, 44100)


@pytest.mark.parametrize(("old", "new", "small"), [(2888, 2887, True), (2890, 2889, False), (88200, 44100, True)])
def test_a_table_of_filters_of_64_mib_at_most(old: int, new: int, small: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of as many filters as the smaller rate's share, each as long as the other's and what is heard around it."""
    asked: list[int] = []
    monkeypatch.setattr(resampling, "_torchaudio", lambda: asked.append(1))
    assert resample(torch.zeros(1, 100), old, new).shape == (1, math.ceil(100 * new / old))
    assert bool(asked) is small
