"""Pictures are chosen by presentation time, whatever the frame rate, container, start and rotation."""

from __future__ import annotations

import io
import json
import logging
import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import InputError, MediaError
from audiox_core.media import MediaInfo, frames_from_images, probe, read_frames, read_image, resize
from tests.core.media_clips import HEIGHT, WIDTH, nearest, numbers, picture, turned, write_clip, write_sound
from tests.examples import examples

GOLDEN = Path(__file__).parents[1] / "golden" / "audiox"
EXACT = [e for e in json.loads((GOLDEN / "frames.json").read_text()) if e["fps"] in (5, 25, 30, 50, 60)]
RATES = [5, 12, Fraction(24000, 1001), 24, 25, Fraction(30000, 1001), 30, 50, 60, 120]


def exactly(
    fps: Fraction | float, count: int, start: float, rate: int = 5, wanted: int = 50, suffix: str = ".mp4"
) -> list[int]:
    times = [Fraction(i) / Fraction(fps) for i in range(count)]
    if suffix in (".mkv", ".webm", ".flv"):  # their clocks count milliseconds
        times = [Fraction(round(t * 1000), 1000) for t in times]
    return nearest(times, count / Fraction(fps), Fraction(str(start)), rate, wanted)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize(
    "entry", EXACT, ids=lambda e: f"{e['fps']:g}fps-{e['frames']}-from{e['seek']}-at{e['target_fps']}"
)
def test_frames_equal_the_reference_where_its_rule_is_exact(entry: dict, suffix: str, folder: Path) -> None:
    path = folder / f"{entry['fps']:g}-{entry['frames']}{suffix}"
    if not path.exists():
        write_clip(path, entry["frames"], Fraction(entry["fps"]))
    taken = entry["taken"]
    frames = read_frames(path, start=entry["seek"], fps=entry["target_fps"], count=len(taken), size=56)
    assert numbers(frames) == taken


@pytest.mark.parametrize("rate", RATES, ids=lambda r: f"{float(r):.5g}fps")
@pytest.mark.parametrize(("suffix", "seconds", "start"), [(".mp4", 5, 0.0), (".mkv", 3, 1.7)])
def test_every_rate_longer_and_shorter_than_the_window(
    rate: Fraction, suffix: str, seconds: int, start: float, tmp_path: Path
) -> None:
    count = int(seconds * rate)
    path = write_clip(tmp_path / f"clip{suffix}", count, rate)
    frames = read_frames(path, start=start, count=20, size=56)
    assert numbers(frames) == exactly(rate, count, start, wanted=20, suffix=suffix)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts", ".flv", ".avi", ".webm", ".mpg", ".mov"])
@pytest.mark.parametrize("start", [0.0, 2.36])
def test_every_container_with_and_without_seeking(suffix: str, start: float, tmp_path: Path) -> None:
    path = write_clip(tmp_path / f"clip{suffix}", 120, 25)
    assert numbers(read_frames(path, start=start, size=56)) == exactly(25, 120, start)


def test_b_frames_in_avi_are_taken_in_order_although_it_stores_no_presentation_times(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.avi", 100, 25, codec="libx264")
    assert numbers(read_frames(path, size=56)) == exactly(25, 100, 0)
    assert numbers(read_frames(path, start=2, size=56)) == exactly(25, 100, 2)


def test_a_stream_without_any_timestamps_counts_at_its_nominal_rate(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.h264", 100, 25, form="h264")
    assert numbers(read_frames(path, start=1.5, size=56)) == exactly(25, 100, 1.5)


@pytest.mark.parametrize(
    "options",
    [{"g": "250", "preset": "veryfast"}, {"g": "10", "x264-params": "open-gop=1:bframes=3", "preset": "veryfast"}],
)
def test_seeking_into_long_and_open_groups_of_pictures(options: dict[str, str], tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 250, 25, options=options)
    for start in (1.04, 3.96, 4.0, 4.04, 9.9):
        assert numbers(read_frames(path, start=start, count=8, size=56)) == exactly(25, 250, start, wanted=8)


def test_times_count_from_the_first_picture_not_from_zero(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        path = write_clip(tmp_path / f"clip{suffix}", 100, 25, first=Fraction(3, 2))
        assert probe(path).start == pytest.approx(1.5)
        assert numbers(read_frames(path, size=56)) == exactly(25, 100, 0)
        assert numbers(read_frames(path, start=2, size=56)) == exactly(25, 100, 2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_variable_rate(suffix: str, tmp_path: Path) -> None:
    generator = np.random.RandomState(3)
    gaps = generator.choice([10, 16, 17, 33, 40, 41, 100, 700], 80)
    times = [Fraction(int(t), 1000) for t in np.cumsum(gaps) - gaps[0]]
    path = write_clip(tmp_path / f"clip{suffix}", 80, 25, times=times)
    for start in (0, 2):
        frames = read_frames(path, start=start, fps=10, count=60, size=56)
        # the last picture's duration is not said: stay before it
        expected = nearest(times, times[-1], Fraction(start), 10, 60)
        inside = sum(Fraction(start) + Fraction(k, 10) < times[-1] for k in range(60))
        assert numbers(frames)[:inside] == expected[:inside]


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_metadata_is_applied(degrees: int, tmp_path: Path) -> None:
    path = turned(write_clip(tmp_path / "phone.mp4", 30, 25), degrees)
    info = probe(path)
    assert (info.width, info.height) == ((WIDTH, HEIGHT) if degrees == 180 else (HEIGHT, WIDTH))
    assert info.rotation == 360 - degrees  # counter-clockwise
    shown = read_frames(path, size=56, count=5)
    upright = torch.rot90(shown, degrees // 90, dims=(-2, -1))  # undo the clockwise turn
    assert numbers(upright) == [0, 5, 10, 15, 20]
    assert read_image(path).shape == (3, info.height, info.width)


def test_a_trim_window_hides_what_lies_behind_it(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 250, 25)
    frames = numbers(read_frames(path, start=2, end=4, size=56))
    assert frames[:10] == list(range(50, 100, 5))
    assert set(frames[10:]) == {95}
    with pytest.raises(MediaError, match="window from start=2"):
        read_frames(path, start=2, end=2)


def test_one_picture_fills_all_places(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 1, 25)
    assert numbers(read_frames(path, size=56)) == [0] * 50


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp"])
@pytest.mark.parametrize("name", ["picture", "100%d [a] ?", "图片 é"])
def test_image_files(suffix: str, name: str, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / f"{name}{suffix}"
    whole = picture(0b1011000111010, 160, 120)
    Image.fromarray(whole).save(path, **({"lossless": True} if suffix == ".webp" else {}))
    assert read_image(path).shape == (3, 120, 160)
    assert probe(path).is_image
    frames = read_frames(path, start=3, count=4, size=56)
    assert frames.shape == (4, 3, 56, 56)
    assert set(numbers(frames)) == {0b1011000111010}
    if suffix != ".jpg":
        assert torch.equal(read_image(path), torch.from_numpy(whole).permute(2, 0, 1))
        expected = resize(torch.from_numpy(whole).permute(2, 0, 1), 56)
        assert torch.equal(frames[0], expected)
        assert frames.max() == 255  # not divided by 255


def test_an_image_with_alpha(tmp_path: Path) -> None:
    from PIL import Image

    pixels = np.random.RandomState(0).randint(0, 256, (20, 30, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert torch.equal(read_image(tmp_path / "a.png"), torch.from_numpy(pixels[..., :3]).permute(2, 0, 1))


def test_file_objects_are_read_from_their_beginning_and_stay_open(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 100, 25)
    memory = io.BytesIO(path.read_bytes())
    memory.seek(77)
    with path.open("rb") as file:
        for source in (memory, file):
            for start in (0, 2):
                assert numbers(read_frames(source, start=start, size=56)) == exactly(25, 100, start)
            assert not source.closed


@pytest.mark.parametrize("kind", ["yuv444p10le", "gray", "yuva420p", "bgr0"])
def test_odd_pixel_formats(kind: str, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as out:
        stream = out.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, kind
        for number in range(4):
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture(number), format="rgb24").reformat(format=kind)))
        out.mux(stream.encode(None))
    assert numbers(read_frames(tmp_path / "clip.mkv", count=4, size=56)) == [0, 1, 2, 3]


def test_resize_equals_the_whole_picture_at_once_and_is_skipped_at_the_size() -> None:
    pictures = torch.randint(0, 256, (2, 3, 90, 161), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    at_once = torch.nn.functional.interpolate(pictures.float(), (64, 64), mode="bilinear", antialias=True)
    assert torch.equal(resize(pictures, 64), at_once.round().to(torch.uint8))
    floats = resize(pictures.float() / 255, 64)
    assert floats.dtype == torch.float32
    assert torch.allclose(floats, at_once / 255, atol=1e-6)
    same = pictures[..., :90, :90]
    assert torch.equal(resize(same, 90), same)


def test_progress_is_told_and_may_stop(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 50, 25)
    told: list[tuple[int, int]] = []
    read_frames(path, count=20, size=56, on_frame=lambda done, count: told.append((done, count)))
    assert told[0] == (1, 20)
    assert told[-1] == (20, 20)

    def stop(done: int, count: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_frames(path, size=56, on_frame=stop)


def test_images_follow_the_same_rule_and_only_the_chosen_are_touched() -> None:
    images = torch.stack([torch.from_numpy(picture(i)) for i in range(100)]).float() / 255
    untouched = [i for i in range(100) if i not in exactly(24, 100, 1)]
    images[untouched] = float("nan")
    assert numbers(frames_from_images(images, fps=24, start=1, size=56)) == exactly(24, 100, 1)


def test_images_single_alpha_range_and_bad_ones() -> None:
    image = torch.rand(1, 30, 40, 4, generator=torch.Generator().manual_seed(0)) * 3 - 1
    frames = frames_from_images(image, fps=25, start=7, size=30)
    assert frames.shape == (50, 3, 30, 30)
    whole = (image[0, ..., :3].clamp(0, 1) * 255).round().to(torch.uint8).permute(2, 0, 1)
    assert torch.equal(frames[49], resize(whole, 30))
    with pytest.raises(InputError, match="past the end"):
        frames_from_images(image.repeat(5, 1, 1, 1), fps=25, start=0.2)
    with pytest.raises(InputError, match="shape"):
        frames_from_images(image[0], fps=25)
    with pytest.raises(InputError, match="fps=0"):
        frames_from_images(image, fps=0)
    with pytest.raises(InputError, match="NaN"):
        frames_from_images(image * float("nan"), fps=25)


def test_probe(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 50, Fraction(30000, 1001), sound=torch.zeros(2, 44100))
    info = probe(path)
    assert isinstance(info, MediaInfo)
    assert (info.width, info.height, info.video_codec, info.audio_codec) == (WIDTH, HEIGHT, "h264", "aac")
    assert (info.sample_rate, info.channels, info.has_video, info.has_audio) == (44100, 2, True, True)
    assert info.fps == pytest.approx(29.97, abs=0.01)
    assert info.duration == pytest.approx(50 * 1001 / 30000, abs=1e-3)
    sound = write_sound(str(tmp_path / "a.wav"), np.zeros((1, 800), np.int16), 8000, "pcm_s16le", "s16", "mono")
    info = probe(sound)
    assert (info.has_video, info.has_audio, info.duration, info.fps) == (False, True, pytest.approx(0.1), None)


def test_bad_sources_are_named_with_the_mend(tmp_path: Path) -> None:
    empty, garbage = tmp_path / "empty.mp4", tmp_path / "garbage.mp4"
    empty.touch()
    garbage.write_bytes(os.urandom(5000))
    sound = write_sound(str(tmp_path / "a.wav"), np.zeros((1, 800), np.int16), 8000, "pcm_s16le", "s16", "mono")
    clip = write_clip(tmp_path / "clip.mp4", 25, 25)
    for source, said in [
        (tmp_path / "absent.mp4", "does not exist"),
        (empty, "is empty"),
        (io.BytesIO(), "is empty"),
        (garbage, "cannot be read"),
        (tmp_path, "folder"),
        (sound, "no video stream, only audio"),
        (clip / "below", "cannot be opened"),
    ]:
        with pytest.raises(MediaError, match=said) as caught:
            read_frames(source)
        assert str(source) in str(caught.value) or "BytesIO" in str(caught.value)
    with pytest.raises(MediaError, match=r"start=-1.*0 or more"):
        read_frames(clip, start=-1)
    for start in (1.0, 1.5, 700.0):
        with pytest.raises(MediaError, match=r"past the end .*1\.000 s.*earlier"):
            read_frames(clip, start=start)
    with pytest.raises(InputError, match="fps=0"):
        read_frames(clip, fps=0)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as out:
        track = out.add_stream("aac", rate=44100)
        track.layout = "stereo"
        cover = out.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic.value
        out.mux(cover.encode(av.VideoFrame.from_ndarray(picture(5), format="rgb24").reformat(format="yuvj420p")))
        out.mux(cover.encode(None))
        block = av.AudioFrame.from_ndarray(np.zeros((2, 4410), np.float32), format="fltp", layout="stereo")
        block.sample_rate = 44100
        out.mux(track.encode(block))
        out.mux(track.encode(None))
    with pytest.raises(MediaError, match="only audio"):
        read_frames(path)
    assert not probe(path).has_video


def test_a_clip_cut_off_in_the_middle_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_clip(tmp_path / "clip.mp4", 250, 25, flags={"movflags": "faststart"})
    data = path.read_bytes()
    with caplog.at_level(logging.DEBUG, "audiox"):
        read_frames(path, size=56)
    assert not caplog.records  # a healthy file warns of nothing
    path.write_bytes(data[: data.index(b"mdat") + (len(data) - data.index(b"mdat")) // 2])
    with caplog.at_level(logging.WARNING, "audiox"):
        frames = numbers(read_frames(path, size=56))
    assert frames[:15] == list(range(0, 75, 5))
    assert 75 < frames[-1] < 200
    assert "the pictures end at" in caplog.text
    path.write_bytes(data[: data.index(b"mdat") + 8])  # all the index, not one picture
    with pytest.raises(MediaError, match=r"not one picture|cannot be read"):
        read_frames(path)


def test_damage_in_the_middle_is_passed_over(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 250, 25)
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat"), data.index(b"moov")
    middle = (begin + end) // 2
    data[middle : middle + 600] = os.urandom(600)
    path.write_bytes(data)
    frames = numbers(read_frames(path, size=56))
    assert len(frames) == 50
    assert frames[:20] == list(range(0, 100, 5)), "before the damage"
    assert frames[-15:] == list(range(175, 250, 5)), "after the next keyframe"


@examples(12)
@given(
    fps=st.sampled_from([*RATES, 7, Fraction(100, 3), 90]),
    count=st.integers(1, 90),
    size=st.tuples(st.integers(8, 40), st.integers(8, 40)).map(lambda s: (2 * s[0], 2 * s[1])),
    start=st.integers(0, 40),
    rate=st.sampled_from([1, 3, 5, 25]),
    suffix=st.sampled_from([".mp4", ".mkv", ".mov"]),
)
def test_any_clip(
    fps: Fraction, count: int, size: tuple[int, int], start: int, rate: int, suffix: str, tmp_path: Path
) -> None:
    path = write_clip(tmp_path / f"any{suffix}", count, fps, size=size)
    begin = min(start / 10, round(count / float(fps) / 2, 3))
    frames = read_frames(path, start=begin, fps=rate, count=20, size=56)
    assert frames.shape == (20, 3, 56, 56)
    assert numbers(frames) == exactly(fps, count, begin, rate, 20, suffix)
