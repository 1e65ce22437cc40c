"""Numbers and arrays from callers: refused at once and in words where they make no sense, numpy taken like torch."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import AudioXError, InputError, MediaError
from audiox_core.media import (
    check_waveform,
    encode_video,
    fit,
    frames_from_images,
    normalize_peak,
    prepare,
    prompt_audio,
    read_audio,
    read_frames,
    read_image,
    resize,
    set_soundtrack,
    spectrogram_image,
    to_stereo,
    write_audio,
    write_picture,
)
from tests.core.media_clips import numbers, picture, write_clip, write_sound
from tests.examples import examples

SOUND = torch.rand(2, 4410, generator=torch.Generator().manual_seed(0)) / 5
IMAGES = torch.stack([torch.from_numpy(picture(k)) for k in range(10)])
NO_TIME = [math.nan, math.inf, -math.inf, 1e20, 10**400, -(10**5000)]
NO_NUMBER = ["1", None, [1], b"1", 1j]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A video and a sound, a second each."""
    folder = tmp_path_factory.mktemp("arguments")
    video = write_clip(folder / "a.mp4", 25, 25, sound=torch.zeros(2, 44100))
    return video, write_audio(folder / "a.wav", torch.zeros(2, 44100), 44100)


def calls(video: Path, sound: Path) -> dict[str, Callable[[Any], object]]:
    """Each number of each function."""
    few: dict[str, Any] = {"count": 2, "size": 8}
    return {
        "frames start": lambda v: read_frames(video, start=v, **few),
        "frames end": lambda v: read_frames(video, end=v, **few),
        "frames fps": lambda v: read_frames(video, fps=v, **few),
        "images start": lambda v: frames_from_images(IMAGES, fps=25, start=v, **few),
        "images fps": lambda v: frames_from_images(IMAGES, fps=v, **few),
        "images rate": lambda v: frames_from_images(IMAGES, fps=25, rate=v, **few),
        "audio start": lambda v: read_audio(sound, start=v),
        "audio seconds": lambda v: read_audio(sound, seconds=v),
        "prompt start": lambda v: prompt_audio(sound, start=v, samples=9),
        "tensor start": lambda v: prompt_audio(SOUND, start=v, samples=9),
        "soundtrack start": lambda v: set_soundtrack(video, SOUND, 44100, io.BytesIO(), start=v),
        "soundtrack end": lambda v: set_soundtrack(video, SOUND, 44100, io.BytesIO(), end=v),
        "soundtrack offset": lambda v: set_soundtrack(video, SOUND, 44100, io.BytesIO(), offset=v),
        "soundtrack gain": lambda v: set_soundtrack(video, SOUND, 44100, io.BytesIO(), gain=v),
        "encode fps": lambda v: encode_video(IMAGES[:1], v, io.BytesIO()),
        "encode offset": lambda v: encode_video(IMAGES[:1], 25, io.BytesIO(), SOUND, offset=v),
    }


def counts(video: Path, sound: Path) -> dict[str, Callable[[Any], object]]:
    """Each whole number."""
    return {
        "count": lambda v: read_frames(video, count=v, size=8),
        "size": lambda v: read_frames(video, count=2, size=v),
        "images count": lambda v: frames_from_images(IMAGES, fps=25, count=v, size=8),
        "resize": lambda v: resize(IMAGES[0].permute(2, 0, 1), v),
        "samples": lambda v: prompt_audio(sound, samples=v),
        "n": lambda v: fit(SOUND, v),
        "prepared": lambda v: prepare(SOUND, 44100, v),
        "audio rate": lambda v: read_audio(sound, sample_rate=v),
        "written rate": lambda v: write_audio(sound.with_name("never.wav"), SOUND, v),
        "soundtrack rate": lambda v: set_soundtrack(video, SOUND, v, io.BytesIO()),
        "encode rate": lambda v: encode_video(IMAGES[:1], 25, io.BytesIO(), SOUND, v),
        "crf": lambda v: encode_video(IMAGES[:1], 25, io.BytesIO(), crf=v),
        "width": lambda v: spectrogram_image(SOUND, 44100, width=v),
        "height": lambda v: spectrogram_image(SOUND, 44100, height=v),
        "spectrogram rate": lambda v: spectrogram_image(SOUND, v),
    }


@pytest.mark.parametrize("name", calls(Path(), Path()))
def test_numbers_that_are_none_are_refused(name: str, files: tuple[Path, Path]) -> None:
    call = calls(*files)[name]
    for value in NO_TIME:
        with pytest.raises((MediaError, InputError), match=r"=.*Give") as caught:
            call(value)
        assert len(str(caught.value)) < 400
    for value in NO_NUMBER:
        if value is not None or name.split()[1] not in ("end", "seconds"):
            with pytest.raises(InputError, match=r"is not a number\. Give a number"):
                call(value)


@pytest.mark.parametrize("name", counts(Path(), Path()))
def test_counts_sizes_and_rates_beyond_reason_are_refused(name: str, files: tuple[Path, Path]) -> None:
    call = counts(*files)[name]
    for value in (-1, 2**31, 10**30, 2.5, "50", None, *([1] if "rate" in name else [])):
        with pytest.raises(InputError, match=r"[Gg]ive"):
            call(value)
    assert not files[1].with_name("never.wav").exists()


def test_numbers_of_numpy_and_fractions_are_numbers(files: tuple[Path, Path]) -> None:
    video, sound = files
    plain = numbers(read_frames(video, start=0.4, fps=5, count=3, size=56))
    for start, fps, count in [(np.float32(0.4), np.int64(5), np.int32(3)), (Fraction(2, 5), Fraction(5), np.uint8(3))]:
        assert (
            numbers(read_frames(video, start=start, fps=fps, count=count, size=np.int64(56))) == plain == [10, 15, 20]
        )
    assert read_audio(sound, start=np.float64(0.5), seconds=Fraction(1, 4), sample_rate=np.int32(8000)).shape == (
        2,
        2000,
    )


def test_a_length_of_less_than_a_sample_is_refused(files: tuple[Path, Path]) -> None:
    with pytest.raises(MediaError, match="seconds=1e-05 is less than a sample at 44100 Hz"):
        read_audio(files[1], seconds=0.00001)
    assert read_audio(files[1], seconds=0.00002).shape == (2, 1)


def test_a_file_of_one_sample_a_second_is_refused(tmp_path: Path) -> None:
    path = write_sound(str(tmp_path / "a.wav"), np.zeros((1, 99), np.int16), 1, "pcm_s16le", "s16", "mono")
    for read in (read_audio, prompt_audio):
        with pytest.raises(MediaError, match=r"its sound has 1 samples a second\. Convert it"):
            read(path)


def test_broken_and_empty_sounds_are_told_without_guessing_why(tmp_path: Path) -> None:
    broken = SOUND.clone()
    broken[0, 5:8] = math.nan
    users: list[Callable[[Any], object]] = [
        check_waveform,
        lambda sound: write_audio(tmp_path / "a.wav", sound, 44100),
        lambda sound: prepare(sound, 44100, 10),
        prompt_audio,
        lambda sound: spectrogram_image(sound, 44100),
        lambda sound: set_soundtrack(tmp_path / "absent.mp4", sound, 44100, tmp_path / "a.mp4"),
    ]
    for use in users:
        with pytest.raises(
            MediaError, match=r"waveform: 3 of 8820 samples are NaN or infinite\. Give finite samples"
        ) as caught:
            use(broken)
        assert "precision" not in str(caught.value)
        for empty in (SOUND[:, :0], SOUND[:0], SOUND[None, :, :0]):
            with pytest.raises(InputError, match="the sound is empty"):
                use(empty)
    assert list(tmp_path.iterdir()) == []
    hollow = write_sound(str(tmp_path / "a.wav"), np.zeros((1, 1), np.int16), 8000, "pcm_s16le", "s16", "mono")
    data = Path(hollow).read_bytes()
    at = data.index(b"data") + 4
    Path(hollow).write_bytes(data[:at] + bytes(4))
    with pytest.raises(MediaError, match=r"its sound is empty \(0 samples\)"):
        read_audio(hollow)


def test_numpy_arrays_are_taken_like_tensors(tmp_path: Path) -> None:
    sound, images = SOUND.numpy(), IMAGES.numpy()
    frozen = sound.copy()
    frozen.flags.writeable = False
    for array in (sound, sound.astype(">f4"), sound.astype(np.float64), np.asfortranarray(sound), frozen):
        assert torch.equal(check_waveform(array), SOUND)
    assert torch.equal(check_waveform(sound[:, ::-1]), SOUND.flip(1))
    assert torch.equal(prompt_audio(sound, samples=99), prompt_audio(SOUND, samples=99))
    assert torch.equal(to_stereo(sound[:1]), to_stereo(SOUND[:1]))
    assert torch.equal(normalize_peak(sound), normalize_peak(SOUND))
    assert torch.equal(prepare(sound, 48000, 99), prepare(SOUND, 48000, 99))
    assert torch.equal(spectrogram_image(sound, 44100), spectrogram_image(SOUND, 44100))
    assert torch.equal(read_audio(write_audio(tmp_path / "a.wav", sound, 44100)), SOUND)
    assert torch.equal(read_image(write_picture(tmp_path / "a.png", images[3])), IMAGES[3].permute(2, 0, 1))
    assert numbers(frames_from_images(images[::-1], fps=5, count=10, size=56)) == list(range(10))[::-1]
    encode_video(images, 5, tmp_path / "a.mp4", sound, 44100)
    assert numbers(read_frames(tmp_path / "a.mp4", count=10, size=56)) == list(range(10))


@pytest.mark.parametrize(
    "wrong", [[0.0], "sound", None, np.array([["a"]]), np.array([[None]])], ids=lambda w: str(type(w))
)
def test_what_is_no_array_is_named(wrong: Any, tmp_path: Path) -> None:
    for use in (
        check_waveform,
        to_stereo,
        normalize_peak,
        lambda x: fit(x, 5),
        lambda x: write_picture(tmp_path / "a.png", x),
    ):
        with pytest.raises(InputError, match=r"is not an array. Give a tensor|is not a number type of torch"):
            use(wrong)
    with pytest.raises(InputError, match=r"is not an array|is not a number"):
        encode_video([wrong], 25, tmp_path / "a.mp4")
    assert list(tmp_path.iterdir()) == []


def test_pictures_that_are_none_are_named() -> None:
    for frame, said in [
        (IMAGES[0].int(), r"frame 0 is torch\.int32"),
        (IMAGES[0] / torch.tensor(0.0), "frame 0 contains NaN"),
        (torch.zeros(1, 1 << 20, 3), "at most 16384 pixels"),
    ]:
        with pytest.raises(InputError, match=said):
            encode_video([frame], 25, io.BytesIO())
    with pytest.raises(InputError, match=r"preset 'best' does not exist\. Valid: ultrafast"):
        encode_video(IMAGES, 25, io.BytesIO(), preset="best")
    with pytest.raises(InputError, match=r"images are torch\.int64"):
        frames_from_images(IMAGES.long(), fps=25)


@examples(150)
@given(
    data=st.data(),
    value=st.one_of(
        st.floats(), st.integers(), st.fractions(), st.text(max_size=3), st.none(), st.booleans(), st.binary(max_size=3)
    ),
)
def test_any_argument_gives_an_answer_or_a_clear_error(
    data: st.DataObject, value: Any, files: tuple[Path, Path]
) -> None:
    every = {**calls(*files), **{k: v for k, v in counts(*files).items() if k != "size"}}
    name = data.draw(st.sampled_from(sorted(every)))
    if isinstance(value, int) and name in ("samples", "n", "prepared", "width", "height", "resize"):
        value %= 5000  # valid, but slow
    try:
        every[name](value)
    except AudioXError as error:
        assert "ive" in str(error) or "hoose" in str(error) or "heck" in str(error)


@pytest.mark.parametrize("fps", [Fraction(431617153, 29158921043), Fraction(3021320073, 4475909)])
def test_rates_of_large_numbers_are_written(fps: Fraction) -> None:
    """FFmpeg keeps a rate in two 32-bit numbers."""
    target = io.BytesIO()
    encode_video(IMAGES[:1], fps, target)
    assert target.getvalue()


def test_a_start_that_the_file_system_refuses_is_after_the_end(files: tuple[Path, Path]) -> None:
    """2 hours in a file of a second are a place in it that could be sought, 10^8 seconds are none."""
    for start in (7200, 49864475, 10**8):
        with pytest.raises(MediaError, match="past the end of the sound"):
            read_audio(files[1], start=start)


def test_samples_in_the_place_of_channels_are_refused() -> None:
    with pytest.raises(InputError, match=r"waveform has shape \(44100, 2\): 44100 channels"):
        check_waveform(torch.zeros(44100, 2))
