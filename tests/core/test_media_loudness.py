"""Loudness as FFmpeg measures it, and sounds brought to one loudness without another change to them."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError, MediaError
from audiox_core.media import LEVELS, at_level, integrated_loudness, normalize_loudness, resample, true_peak
from audiox_core.media.loudness import AT_ONCE, CEILING, PART, TARGET, check_level
from tests.examples import examples


def clock(seconds: float, rate: int) -> Tensor:
    return torch.arange(round(seconds * rate)) / rate


def sine(hertz: float, seconds: float, rate: int, level: float = 0.1, channels: int = 2) -> Tensor:
    return (level * torch.sin(2 * math.pi * hertz * clock(seconds, rate))).repeat(channels, 1)


def noise(seconds: float, rate: int, level: float = 0.1, channels: int = 2, smooth: int = 1) -> Tensor:
    drawn = torch.randn(channels, round(seconds * rate) + smooth - 1, generator=torch.Generator().manual_seed(rate))
    return level * torch.nn.functional.avg_pool1d(drawn[None], smooth, 1)[0] * smooth**0.5


def bursts(seconds: float, rate: int) -> Tensor:
    """Noise for a second, silence for four, and again."""
    return noise(seconds, rate, 0.2) * (clock(seconds, rate) % 5 < 1)


def speech(seconds: float, rate: int, channels: int = 1) -> Tensor:
    """A voice-like buzz: harmonics of 120 Hz in syllables of changing level, with pauses, over a little noise."""
    t = clock(seconds, rate)
    buzz = sum(torch.sin(2 * math.pi * 120 * k * t) / k for k in range(1, 30))
    syllables = torch.sin(2 * math.pi * 2 * t).clamp(min=0) ** 0.5 * (0.3 + 0.7 * torch.sin(0.9 * t) ** 2)
    return (0.1 * buzz * syllables * (t % 6 < 4)).repeat(channels, 1) + noise(seconds, rate, 1e-4, channels)


def swell(seconds: float, rate: int) -> Tensor:
    """Two tones that differ between the channels, from nothing to loud."""
    left, right = sine(220, seconds, rate, 0.5, 1), sine(3520, seconds, rate, 0.2, 1)
    return torch.cat([left, right]) * (clock(seconds, rate) / seconds) ** 2


SIGNALS: dict[str, tuple[Tensor, int]] = {
    "sine 997 Hz": (sine(997, 5, 48000), 48000),
    "sine 50 Hz, mono": (sine(50, 3, 44100, 0.5, 1), 44100),
    "sine 9 kHz": (sine(9000, 4, 22050, 0.05), 22050),
    "white noise": (noise(10, 44100), 44100),
    "low noise, mono": (noise(7.77, 48000, 0.1, 1, smooth=50), 48000),
    "bursts": (bursts(30, 44100), 44100),
    "speech, mono": (speech(30, 22050), 22050),
    "speech": (speech(20, 48000, 2), 48000),
    "swell": (swell(12.34, 44100), 44100),
    "one channel silent": (noise(3, 22050) * torch.tensor([[1.0], [0.0]]), 22050),
}


def ffmpeg(sound: Tensor, rate: int) -> tuple[float, float]:
    """LUFS and dBTP by FFmpeg's filter."""
    layout = {1: "mono", 2: "stereo"}[len(sound)]
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=rate, format="fltp", layout=layout, time_base=Fraction(1, rate))
    meter, sink = graph.add("ebur128", "metadata=1:peak=true:framelog=quiet"), graph.add("abuffersink")
    source.link_to(meter)
    meter.link_to(sink)
    graph.configure()

    def told() -> Iterator[dict[str, Any]]:
        while True:
            try:
                yield dict(graph.pull().metadata)
            except (av.error.BlockingIOError, av.error.EOFError):
                return

    found: dict[str, Any] = {}  # the last frame has none, unless it is full
    for first in range(0, sound.shape[1], 4410):
        frame = av.AudioFrame.from_ndarray(
            np.ascontiguousarray(sound[:, first : first + 4410].numpy()), format="fltp", layout=layout
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, first, Fraction(1, rate)
        graph.push(frame)
        for more in told():
            found |= more
    graph.push(None)
    for more in told():
        found |= more
    return float(found["lavfi.r128.I"]), 20 * math.log10(float(found["lavfi.r128.true_peak"]))


@pytest.mark.parametrize("name", SIGNALS)
def test_loudness_is_ffmpeg_s(name: str) -> None:
    sound, rate = SIGNALS[name]
    lufs, peak = ffmpeg(sound, rate)
    assert lufs > -60
    assert integrated_loudness(sound, rate) == pytest.approx(lufs, abs=0.1)
    soft = sound * hann(sound.shape[1])  # what rings at a cut is heard differently by FFmpeg's filter
    apart = 0.1 if rate > 40000 else 0.5  # FFmpeg looks at 192000 samples a second, whatever the rate
    assert true_peak(soft) == pytest.approx(ffmpeg(soft, rate)[1], abs=apart)
    normal = normalize_loudness(sound, rate)
    lufs, peak = ffmpeg(normal, rate)
    assert peak <= CEILING + apart
    assert lufs == pytest.approx(TARGET, abs=0.1) or (lufs < TARGET and peak == pytest.approx(CEILING, abs=0.3))


def test_the_standard_s_own_numbers() -> None:
    """A sine of 997 Hz at full scale in one channel has -3.01 LUFS, whatever the rate; halves of it 6.02 less."""
    for rate in (8000, 22050, 44100, 48000, 96000, 192000):
        full = integrated_loudness(sine(997, 3, rate, 1.0, 1), rate)
        assert full == pytest.approx(-3.01, abs=0.05)
        assert integrated_loudness(sine(997, 3, rate, 0.5, 2), rate) == pytest.approx(full - 6.02 + 3.01, abs=0.01)
        assert true_peak(sine(997, 3, rate, 0.5)) == pytest.approx(-6.02, abs=0.05)


def test_the_weighting_is_the_same_at_every_rate() -> None:
    """Of a sound that every rate can hold: within what the transform of the filter bends."""
    narrow = noise(5, 6000, 0.1, 1)
    heard = {rate: integrated_loudness(resample(narrow, 6000, rate), rate) for rate in (22050, 44100, 96000, 192000)}
    assert max(heard.values()) - min(heard.values()) < 0.1, heard
    low = sine(20, 40, 100, 0.5, 1)  # a rate that cannot hold the filter
    assert integrated_loudness(low, 100) == pytest.approx(
        integrated_loudness(sine(20, 40, 48000, 0.5, 1), 48000), abs=0.1
    )


def test_gates() -> None:
    tone = sine(997, 10, 48000, 0.1)  # -20 LUFS
    alone = integrated_loudness(tone, 48000)
    assert alone == pytest.approx(-20, abs=0.05)
    silent = torch.nn.functional.pad(tone, (0, 50 * 48000))
    assert integrated_loudness(silent, 48000) == pytest.approx(alone, abs=0.1)
    faint = torch.cat([tone, sine(997, 10, 48000, 0.1 * 10 ** (-20 / 20))], dim=1)  # 20 LU less: below the second gate
    assert integrated_loudness(faint, 48000) == pytest.approx(alone, abs=0.15)
    lower = torch.cat([tone, sine(997, 10, 48000, 0.1 * 10 ** (-6 / 20))], dim=1)  # 6 LU less: counts
    assert integrated_loudness(lower, 48000) == pytest.approx(10 * math.log10((1 + 10**-0.6) / 2) - 20, abs=0.1)
    assert integrated_loudness(sine(997, 5, 48000, 10 ** (-71 / 20)), 48000) == -math.inf
    assert integrated_loudness(sine(997, 5, 48000, 10 ** (-69 / 20)), 48000) == pytest.approx(-69, abs=0.05)


@pytest.mark.parametrize("tenths", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 4])
def test_pieces_join_without_a_trace(tenths: int) -> None:
    """Filtered at once, and by the recursion that the standard's table describes, sample by sample."""
    rate = 2 * 4410
    sound = noise(tenths / 10, rate, 0.1, 1) + 0.3  # the constant would click at every join
    signal = sound[0].double().numpy()
    for b, a in table(rate):
        signal = recursion(signal, b, a)
    blocks = [np.mean(signal[i * rate // 10 : i * rate // 10 + rate * 4 // 10] ** 2) for i in range(tenths - 3)]
    loud = np.array(blocks)
    loud = loud[loud > 10 ** ((-70 + 0.691) / 10)]
    loud = loud[loud > loud.mean() / 10]
    assert integrated_loudness(sound, rate) == pytest.approx(10 * math.log10(loud.mean()) - 0.691, abs=1e-6)


def table(rate: int) -> list[tuple[list[float], list[float]]]:
    """Both biquads at a rate, in the usual closed form; at 48 kHz the standard's printed table."""
    k, q, gain = math.tan(math.pi * 1681.974450955533 / rate), 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle, whole = gain**0.4996667741545416, 1 + k / q + k * k
    shelf = (
        [(gain + middle * k / q + k * k) / whole, 2 * (k * k - gain) / whole, (gain - middle * k / q + k * k) / whole],
        [2 * (k * k - 1) / whole, (1 - k / q + k * k) / whole],
    )
    k, q = math.tan(math.pi * 38.13547087602444 / rate), 0.5003270373238773
    whole = 1 + k / q + k * k
    return [shelf, ([1.0, -2.0, 1.0], [2 * (k * k - 1) / whole, (1 - k / q + k * k) / whole])]


def recursion(x: np.ndarray, b: list[float], a: list[float]) -> np.ndarray:
    out, first, second = np.empty_like(x), 0.0, 0.0
    for i, value in enumerate(x):
        out[i] = b[0] * value + first
        first = b[1] * value - a[0] * out[i] + second
        second = b[2] * value - a[1] * out[i]
    return out


def test_the_printed_table_is_met() -> None:
    (shelf, high_pass) = table(48000)
    assert shelf[0] == pytest.approx([1.53512485958697, -2.69169618940638, 1.19839281085285], abs=1e-10)
    assert shelf[1] == pytest.approx([-1.69065929318241, 0.73248077421585], abs=1e-10)
    assert high_pass[1] == pytest.approx([-1.99004745483398, 0.99007225036621], abs=1e-10)


def test_peaks_between_samples_are_found() -> None:
    """A quarter of the rate, samples halfway up: the wave goes 3 dB higher. Also where the parts meet."""
    wave = torch.tensor([0.5, 0.5, -0.5, -0.5]).mul(2**0.5).repeat(2, PART // 2)
    wave *= torch.linspace(0, 1, 2 * PART).clamp(max=1 - torch.linspace(0, 1, 2 * PART)) * 2
    assert 20 * math.log10(float(wave.abs().max())) == pytest.approx(-3.01, abs=0.01)
    assert true_peak(wave) == pytest.approx(0, abs=0.15)
    assert true_peak(torch.zeros(1, 10)) == -math.inf


def test_a_long_even_sound_has_no_peak_where_its_parts_meet() -> None:
    assert true_peak(torch.full((1, 3 * PART), 0.5) * hann(3 * PART)) == pytest.approx(-6.02, abs=0.01)


@pytest.mark.parametrize("samples", [1000, 1001])
def test_peaks_are_those_of_the_only_wave_through_the_samples(samples: int) -> None:
    """Added up sample by sample; the second sound is the highest that there is, which a spectrum has only once."""
    between = torch.arange(-200, 4 * (samples + 50), dtype=torch.float64)[:, None] / 4  # (times, 1)
    waves = torch.sinc(between - torch.arange(samples))  # (times, samples)
    highest = torch.tensor([0.5, -0.5]).repeat(501)[None, :samples] * hann(samples)
    for sound in (noise(samples / 8000, 8000, 0.1, 1), highest):
        peak = float((waves[200 : 4 * samples + 200] @ sound[0].double()).abs().max())
        assert true_peak(sound) == pytest.approx(20 * math.log10(peak), abs=0.25)


def hann(samples: int) -> Tensor:
    return torch.sin(torch.linspace(0, math.pi, samples)).mul(10).clamp(max=1)


def test_what_is_silent_or_short_stays_as_it_is() -> None:
    for sound in (torch.zeros(2, 44100), torch.full((2, 44100), 1e-6), noise(0.39, 44100)):
        assert normalize_loudness(sound, 44100) is sound


def test_peaks_hold_a_sound_back_and_it_is_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "audiox")
    clicks = torch.zeros(2, 5 * 44100)
    clicks[:, 2000::11025] = 0.1
    made = normalize_loudness(clicks, 44100)
    assert true_peak(made) == pytest.approx(-1, abs=1e-3)
    lufs = integrated_loudness(made, 44100)
    assert lufs < -17
    assert f"loudness: {lufs:.1f} LUFS instead of -16" in caplog.text
    caplog.clear()
    normalize_loudness(noise(3, 44100), 44100)
    assert not caplog.text


LOUD = st.floats(-50, 40)
KINDS = st.sampled_from(["noise", "bursts", "sine", "clicks"])


@examples(40)
@given(kind=KINDS, gain=LOUD, target=st.floats(-40, 0), ceiling=st.floats(-9, 0), rate=st.integers(8000, 30000))
def test_loudness_is_the_target_or_the_peak_is_at_the_ceiling(
    kind: str, gain: float, target: float, ceiling: float, rate: int
) -> None:
    clicks = torch.zeros(2, rate)
    clicks[:, 100 :: rate // 3] = 0.5
    sound = {"noise": noise(1, rate), "bursts": bursts(1.5, rate), "sine": sine(440, 1, rate), "clicks": clicks}[kind]
    sound = sound * 10 ** (gain / 20)
    found = integrated_loudness(sound, rate)
    made = normalize_loudness(sound, rate, target, ceiling)
    if found == -math.inf:
        assert made is sound
        return
    lufs, peak = integrated_loudness(made, rate), true_peak(made)
    assert lufs < target + 1e-3
    assert peak < ceiling + 1e-3
    assert lufs > target - 1e-3 or peak > ceiling - 1e-3
    loudest = sound.abs().argmax()
    factor = made.flatten()[loudest] / sound.flatten()[loudest]
    assert factor > 0
    assert torch.allclose(made, sound * factor, rtol=1e-5, atol=0)


@examples(20)
@given(gain=st.floats(-30, 30), seconds=st.floats(0.4, 3))
def test_a_louder_sound_is_louder_by_as_much(gain: float, seconds: float) -> None:
    sound = speech(seconds, 16000) + noise(seconds, 16000, 0.05, 1)
    change = integrated_loudness(sound * 10 ** (gain / 20), 16000) - integrated_loudness(sound, 16000)
    assert change == pytest.approx(gain, abs=1e-3)


def test_levels_by_name() -> None:
    sound = noise(1, 44100)
    assert [check_level(value) for value in (True, False, np.True_, *LEVELS)] == ["peak", "off", "peak", *LEVELS]
    assert at_level(sound, 44100, True).abs().max() == 1
    assert at_level(sound, 44100, "peak").equal(at_level(sound, 44100, True))
    assert at_level(sound, 44100, "off") is sound
    assert integrated_loudness(at_level(sound, 44100, "loudness"), 44100) == pytest.approx(-16, abs=1e-3)
    for wrong in ("loud", 1, None, "Peak"):
        with pytest.raises(InputError, match="normalize: expected peak, loudness or off"):
            check_level(wrong)


def test_bad_sounds_and_levels_are_refused() -> None:
    for wrong, error, said in (
        (torch.zeros(2, 0), InputError, "the sound is empty"),
        (torch.zeros(44100), InputError, "Give one sound as"),
        (torch.full((2, 44100), float("nan")), MediaError, "NaN or infinite"),
    ):
        for measure in (lambda x: integrated_loudness(x, 44100), lambda x: normalize_loudness(x, 44100), true_peak):
            with pytest.raises(error, match=said):
                measure(wrong)
    with pytest.raises(InputError, match="sample rate 0"):
        integrated_loudness(torch.zeros(2, 10), 0)
    for target, ceiling, said in ((1, -1, "target=1"), (-71, -1, "target=-71"), (-16, 0.1, "ceiling=0.1")):
        with pytest.raises(InputError, match=f"{said}. Give -70 to 0"):
            normalize_loudness(noise(1, 44100), 44100, target, ceiling)
