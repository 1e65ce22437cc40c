"""Sound in: any format, exact to the sample. Sound out: whole files, clipped, or a clear error."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError, MediaError
from audiox_core.media import (
    check_waveform,
    check_writable,
    fit,
    normalize_peak,
    prepare,
    prompt_audio,
    read_audio,
    read_frames,
    resample,
    to_stereo,
    write_audio,
)
from tests.core.media_clips import write_clip, write_sound
from tests.examples import examples

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "audiox"


def noise(channels: int, count: int, seed: int = 0) -> Tensor:
    return torch.rand(channels, count, generator=torch.Generator().manual_seed(seed)) * 1.6 - 0.8


def tones(count: int, rate: int) -> np.ndarray:
    """(2, count) float32: a different tone in each channel."""
    time = np.arange(count) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * 440 * time), 0.3 * np.sin(2 * np.pi * 660 * time)]).astype(np.float32)


@pytest.mark.parametrize(
    ("suffix", "subtype", "step"),
    [(".wav", "float32", 0), (".wav", "int16", 2**-15), (".flac", "int24", 2**-22), (".flac", "int16", 2**-15)],
)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 44100])
def test_what_is_written_is_read_back(
    suffix: str, subtype: str, step: float, channels: int, rate: int, tmp_path: Path
) -> None:
    sound, path = noise(channels, 3 * rate + 77), tmp_path / f"sound{suffix}"
    assert write_audio(path, sound, rate, subtype=subtype) == path
    back = read_audio(path, sample_rate=rate)
    assert back.shape == (2, 3 * rate + 77)
    assert back.dtype == torch.float32
    assert (back - to_stereo(sound)).abs().max() <= 2 * step
    part = read_audio(path, start=2.25, seconds=0.5, sample_rate=rate)  # by seeking
    assert torch.equal(part, back[:, round(2.25 * rate) :][:, : rate // 2])


def test_integers_are_clipped_and_cut_towards_zero(tmp_path: Path) -> None:
    sound = torch.tensor([[0.5, -0.5, 1.0, -1.0, 1.7, -9.0, 0.99999, -0.00002]])
    write_audio(tmp_path / "a.wav", sound, 44100, subtype="int16")
    back = (read_audio(tmp_path / "a.wav")[0] * 32768).round().int().tolist()
    assert back == [16383, -16383, 32767, -32767, 32767, -32767, 32766, 0]
    write_audio(tmp_path / "b.wav", sound, 44100)
    assert torch.equal(read_audio(tmp_path / "b.wav")[:1], sound)  # float keeps what is beyond full scale


def test_the_same_samples_give_the_same_file(tmp_path: Path) -> None:
    for suffix in (".wav", ".flac"):
        for name in "ab":
            write_audio(tmp_path / f"{name}{suffix}", noise(2, 5000), 44100)
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


CODED = {
    "mp3": ("libmp3lame", "fltp", None),
    "m4a": ("aac", "fltp", "mp4"),
    "ogg": ("libopus", "flt", "ogg"),
    "mka": ("aac", "fltp", "matroska"),
    "ts": ("aac", "fltp", "mpegts"),
    "aiff": ("pcm_s16be", "s16", "aiff"),
    "wav": ("pcm_u8", "u8", "wav"),
    "caf": ("pcm_f32le", "flt", "caf"),
}


@pytest.mark.parametrize("suffix", CODED)
def test_common_formats_are_read_and_sought_exactly(suffix: str, tmp_path: Path) -> None:
    codec, kind, form = CODED[suffix]
    rate = 48000
    wave = tones(4 * rate, rate)
    scaled = {"s16": (wave * 32767).astype(np.int16), "u8": (wave * 127 + 128).astype(np.uint8)}.get(kind, wave)
    path = write_sound(str(tmp_path / f"a.{suffix}"), scaled, rate, codec, kind, "stereo", form)
    whole = read_audio(path)
    assert abs(whole.shape[1] - 4 * 44100) <= 2500
    if suffix not in ("ts", "mka"):  # which do not say how long the encoder's run-in is, or only lately
        ideal = torch.from_numpy(tones(4 * 44100, 44100))
        error = (whole[:, 44100 : 3 * 44100] - ideal[:, 44100 : 3 * 44100]).abs().mean()
        assert error < (0.02 if kind == "u8" or codec in ("libopus", "libmp3lame") else 0.001)
    part = read_audio(path, start=2.5, seconds=0.5)
    assert part.shape == (2, 22050)
    first = round(2.5 * 44100)
    assert (part - whole[:, first : first + 22050]).abs().max() < 1e-3


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("5.1", 6), ("7.1", 8)])
def test_channels_become_two(layout: str, channels: int, tmp_path: Path) -> None:
    sound = (noise(channels, 4000) * 32767).to(torch.int16)
    path = write_sound(str(tmp_path / "a.wav"), sound.numpy(), 44100, "pcm_s16le", "s16", layout)
    back = read_audio(path)
    expected = to_stereo(sound.float() / 32768)
    assert torch.equal(back, expected)
    assert torch.equal(expected, torch.stack([sound[0], sound[0 if channels == 1 else 1]]) / 32768)


def test_the_sound_of_a_video(tmp_path: Path) -> None:
    wave = torch.from_numpy(tones(2 * 44100, 44100))
    path = write_clip(tmp_path / "clip.mp4", 50, 25, sound=wave)
    back = read_audio(path)
    assert back.shape == wave.shape  # the encoder's filling is cut off
    assert (back - wave)[:, 2000:-2000].abs().max() < 0.02


def test_a_resampled_window_equals_the_same_part_of_the_whole(tmp_path: Path) -> None:
    for rate in (48000, 22050):
        path = write_audio(tmp_path / f"{rate}.wav", noise(2, 3 * rate), rate)
        whole = read_audio(path)
        assert whole.shape == (2, 3 * 44100)
        part = read_audio(path, start=1.5, seconds=1)
        assert (part - whole[:, 66150:110250]).abs().max() < 1e-6
    assert read_audio(path, start=2.5, seconds=2).shape == (2, 22050)


def test_prepare_cuts_and_pads_at_the_end() -> None:
    sound = noise(1, 1000)
    longer = prepare(sound, 44100, 1500)
    assert torch.equal(longer[:, :1000], to_stereo(sound))
    assert longer.shape == (2, 1500)
    assert not longer[:, 1000:].any()
    assert torch.equal(prepare(noise(5, 1000), 44100, 400), noise(5, 1000)[:2, :400])


PROMPTS = json.loads((GOLDEN / "audio_file.json").read_text())


@pytest.mark.parametrize(
    "entry", PROMPTS, ids=lambda e: f"{e['file_samples']}at{e['file_rate']}from{e['seconds_start']}"
)
def test_prompt_audio_pads_at_the_front(entry: dict, tmp_path: Path) -> None:
    rate, count = entry["file_rate"], entry["file_samples"]
    sound = torch.arange(1, count + 1).expand(entry["file_channels"], -1) / 2048
    path = write_audio(tmp_path / "a.wav", sound, rate)
    wanted = entry["shape"][1]
    options = {"start": entry["seconds_start"], "samples": wanted, "sample_rate": entry["model_rate"]}
    if entry["first_file_sample"] is None:  # the reference gives silence here
        with pytest.raises(MediaError, match=r"start=5 s is past the end of the sound \(3\.000 s\)"):
            prompt_audio(path, **options)
        return
    prompt = prompt_audio(path, **options)
    assert prompt.shape == (2, wanted)
    if rate != entry["model_rate"]:  # the reference takes no notice of the file's rate; we resample
        assert torch.allclose(prompt, resample(sound, rate, entry["model_rate"])[:, :wanted], atol=1e-6)
        return
    lead, first = entry["leading_zeros"], entry["first_file_sample"]
    assert not prompt[:, :lead].any()
    assert torch.equal((prompt[0, lead:] * 2048 - 1).int(), torch.arange(first, entry["last_file_sample"] + 1).int())
    assert torch.equal(prompt_audio(sound, **options), prompt)


def test_prompt_audio_is_ten_seconds_unless_told_otherwise(tmp_path: Path) -> None:
    path = write_audio(tmp_path / "a.wav", noise(1, 48000), 48000)
    prompt = prompt_audio(path)
    assert prompt.shape == (2, 441000)
    assert not prompt[:, :-44100].any()
    assert prompt[:, -44100:].any()
    assert not prompt_audio(torch.zeros(2, 99)).any()  # silence is fine
    with pytest.raises(MediaError, match="past its end"):
        prompt_audio(torch.zeros(2, 99), start=1)


def test_parts() -> None:
    assert torch.equal(fit(torch.ones(2, 3), 5, pad="start")[0], torch.tensor([0.0, 0, 1, 1, 1]))
    with pytest.raises(InputError, match="pad='middle'"):
        fit(torch.ones(2, 3), 5, pad="middle")
    with pytest.raises(InputError, match="shape"):
        to_stereo(torch.ones(5))
    assert to_stereo(torch.ones(4, 1, 5)).shape == (4, 2, 5)
    assert normalize_peak(torch.tensor([[0.1, -0.2]])).tolist() == [[0.5, -1.0]]
    assert not normalize_peak(torch.zeros(2, 5)).any()
    assert normalize_peak(torch.full((1, 2), 1e-42)).max() == pytest.approx(1)
    with pytest.raises(InputError, match="sample rate 0"):
        resample(torch.ones(2, 5), 44100, 0)
    assert check_waveform(torch.zeros(1, 2, 5, dtype=torch.float64)).shape == (2, 5)
    for bad in (torch.zeros(2, 2, 5), torch.zeros(5), torch.zeros(2, 0), torch.zeros(2, 5, dtype=torch.int16)):
        with pytest.raises(InputError):
            check_waveform(bad)
    with pytest.raises(MediaError, match="1 of 4 samples are NaN"):
        check_waveform(torch.tensor([[0, 1.0], [2.0, float("inf")]]))


def test_bad_sources(tmp_path: Path) -> None:
    silent = write_clip(tmp_path / "silent.mp4", 5, 25)
    good = write_audio(tmp_path / "good.wav", noise(1, 44100), 44100)
    broken = write_audio(tmp_path / "nan.wav", noise(1, 100), 44100)
    data = bytearray(broken.read_bytes())
    data[-8:-4] = np.float32("nan").tobytes()
    broken.write_bytes(data)
    (tmp_path / "noise.mp3").write_bytes(os.urandom(3000))
    for source, options, said in [
        (tmp_path / "absent.wav", {}, "does not exist"),
        (io.BytesIO(), {}, "empty"),
        (silent, {}, "no audio stream"),
        (broken, {}, "NaN"),
        (tmp_path / "noise.mp3", {}, "cannot be read|no sound could be decoded"),
        (good, {"start": 1.0}, r"past the end of the sound \(1\.000 s\)"),
        (good, {"start": -1}, "start=-1"),
        (good, {"seconds": 0}, "seconds=0"),
    ]:
        with pytest.raises(MediaError, match=said):
            read_audio(source, **options)


def test_a_sound_file_cut_off_in_the_middle_gives_what_it_has(tmp_path: Path) -> None:
    for suffix in (".wav", ".flac"):
        path = write_audio(tmp_path / f"a{suffix}", noise(2, 88200), 44100)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        assert 20000 < read_audio(path).shape[1] < 60000


def test_bad_targets_leave_nothing_behind(tmp_path: Path) -> None:
    sound = noise(2, 100)
    file = tmp_path / "file"
    file.write_text("kept")
    for path, said in [
        (tmp_path / "a.aac", r"unknown extension '.aac'. Valid: .wav, .flac, .mp3, .m4a, .ogg, .opus"),
        (tmp_path / "a", "unknown extension"),
        (file / "a.wav", "cannot be written"),
    ]:
        with pytest.raises(MediaError, match=said):
            write_audio(path, sound, 44100)
    with pytest.raises(MediaError, match="cannot be written"):
        check_writable(file / "a.wav")
    with pytest.raises(InputError, match=r"subtype 'int24' does not exist for \.wav. Valid: float32, int16"):
        write_audio(tmp_path / "a.wav", sound, 44100, subtype="int24")
    with pytest.raises(InputError, match="3 channels"):
        write_audio(tmp_path / "a.wav", noise(3, 100), 44100)
    with pytest.raises(MediaError, match="NaN"):
        write_audio(tmp_path / "a.wav", sound * float("nan"), 44100)
    (tmp_path / "folder.wav").mkdir()
    with pytest.raises(MediaError, match="folder"):
        write_audio(tmp_path / "folder.wav", sound, 44100)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.wav"]
    assert file.read_text() == "kept"


def test_interruption_half_way_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core.media.track import SoundTrack

    path = write_audio(tmp_path / "a.wav", noise(2, 100), 44100)
    before = path.read_bytes()
    frame, made = SoundTrack._frame, []

    def interrupted(self: SoundTrack, block: Tensor) -> object:
        made.append(block)
        if len(made) == 3:
            raise KeyboardInterrupt
        return frame(self, block)

    monkeypatch.setattr(SoundTrack, "_frame", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_audio(path, noise(2, 100_000), 44100)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.wav"]


def test_folders_are_made_and_unicode_names_work(tmp_path: Path) -> None:
    path = tmp_path / "новая папка" / "звук 音 🎵.flac"
    write_audio(path, noise(2, 100), 44100)
    assert read_audio(path).shape == (2, 100)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_missing_av_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_audio(tmp_path / "a.wav", noise(1, 8000), 8000)
    monkeypatch.setitem(sys.modules, "av", None)
    for read in (read_audio, read_frames):
        with pytest.raises(MediaError, match=r"needs the package av.*Install it with"):
            read(path)


def test_importing_media_imports_neither_torch_nor_av() -> None:
    code = "import sys, audiox_core.media as m; dir(m); assert not {'torch', 'av', 'torchaudio'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@examples(15)
@given(
    rate=st.sampled_from([8000, 11025, 22050, 44100, 48000, 96000]),
    channels=st.integers(1, 8),
    count=st.integers(1, 20_000),
    share=st.floats(0, 0.9),
    samples=st.integers(1, 30_000),
)
def test_any_sound_becomes_a_prompt(
    rate: int, channels: int, count: int, share: float, samples: int, tmp_path: Path
) -> None:
    layout = ["mono", "stereo", "3.0", "4.0", "5.0", "5.1", "6.1", "7.1"][channels - 1]
    sound = (noise(channels, count) * 32767).to(torch.int16)
    path = write_sound(str(tmp_path / "a.wav"), sound.numpy(), rate, "pcm_s16le", "s16", layout)
    start = Fraction(int(count * share), rate)
    prompt = prompt_audio(path, start=float(start), samples=samples)
    assert prompt.shape == (2, samples)
    assert torch.isfinite(prompt).all()
    if rate == 44100:
        expected = to_stereo(sound.float() / 32768)[:, int(count * share) :][:, :samples]
        assert torch.equal(prompt, fit(expected, samples, pad="start"))


def test_gaps_are_silence_and_jumps_of_the_clock_are_not(tmp_path: Path) -> None:
    for gap, length in ((0.5, 2.5), (3600, 2)):
        with av.open(str(tmp_path / "a.mka"), "w", format="matroska") as out:
            stream = out.add_stream("pcm_s16le", rate=8000)
            stream.layout, stream.format = "mono", "s16"
            for start in (0, 1 + gap):
                frame = av.AudioFrame.from_ndarray(np.full((1, 8000), 1000, np.int16), format="s16", layout="mono")
                frame.sample_rate, frame.time_base, frame.pts = 8000, Fraction(1, 8000), round(start * 8000)
                out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
        sound = read_audio(tmp_path / "a.mka", sample_rate=8000)
        assert sound.shape[1] == length * 8000
        assert int((sound[0] == 0).sum()) == round((length - 2) * 8000)
