"""Hostile and damaged files: nothing but the file itself is read, and every refusal is a clear MediaError."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import AudioXError, MediaError
from audiox_core.media import probe, read_audio, read_frames, read_image, reading, set_soundtrack
from tests.core.media_clips import WIDTH, numbers, packets, picture, write_clip, write_sound
from tests.examples import examples

SOUND = torch.rand(2, 22050, generator=torch.Generator().manual_seed(0)) / 5
READERS: dict[str, Callable[[Any], object]] = {
    "frames": lambda source: read_frames(source, count=4, size=32),
    "image": read_image,
    "audio": read_audio,
    "probe": probe,
    "soundtrack": lambda source: set_soundtrack(source, SOUND, 44100, io.BytesIO(), mode="mix"),
}
LISTS = {
    "concat": "ffconcat version 1.0\nfile secret.mp4\n",
    "hls": "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nsecret.mp4\n#EXT-X-ENDLIST\n",
    "hls-absolute": "\ufeff#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{folder}/secret.mp4\n#EXT-X-ENDLIST\n",
    "dash": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><BaseURL>secret.mp4</BaseURL></MPD>',
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
    "asx": "[Reference]\nRef1=http://127.0.0.1/secret.mp4\n",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("safety")
    write_clip(folder / "secret.mp4", 25, 25, sound=torch.zeros(2, 44100))
    return folder


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", LISTS)
def test_lists_of_other_files_are_refused_under_any_name(kind: str, reader: str, folder: Path) -> None:
    text = LISTS[kind].format(folder=folder)
    for name in ("list.mp4", "list.m3u8", "list.ffconcat", "list.png", "list.mp3", "list"):
        path = folder / name
        path.write_text(text, encoding="utf-8")
        with pytest.raises(MediaError, match=r"is a list of other files.*Give the video, image or sound itself"):
            READERS[reader](path)
        with path.open("rb") as file, pytest.raises(MediaError, match="is a list of other files"):
            READERS[reader](file)
    with pytest.raises(MediaError, match="is a list of other files"):
        READERS[reader](io.BytesIO(text.encode()))


@pytest.mark.parametrize(
    "text",
    [
        '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><image href="secret.png"/></svg>',
        "1\n00:00:00,000 --> 00:00:01,000\nsubtitle\n\n",
        "plain words\n" * 200,
    ],
)
def test_drawings_subtitles_and_text_are_refused(text: str, tmp_path: Path) -> None:
    for suffix in (".svg", ".srt", ".txt", ".mp4"):
        (tmp_path / f"a{suffix}").write_text(text)
        for reader in READERS.values():
            with pytest.raises(MediaError, match=r"cannot be read|is a list"):
                reader(tmp_path / f"a{suffix}")


def test_no_format_that_names_other_files_is_allowed() -> None:
    naming = {
        "concat",
        "hls",
        "dash",
        "sdp",
        "rtsp",
        "image2",
        "image2pipe",
        "lavfi",
        "tee",
        "imf",
        "webm_dash_manifest",
    }
    assert not naming & set(reading.FORMATS)
    assert not any(
        name in reading.FORMATS for name in ("svg_pipe", "tty", "srt", "ass", "v4l2", "alsa", "x11grab", "fbdev")
    )


def test_numbered_images_are_read_by_themselves(tmp_path: Path) -> None:
    from PIL import Image

    for number in range(3):
        Image.fromarray(picture(number, 160, 120)).save(tmp_path / f"shot{number}.jpg")
        Image.fromarray(picture(number, 160, 120)).save(tmp_path / f"shot{number}.tga")
    for suffix in (".jpg", ".tga"):
        (tmp_path / f"shot1{suffix}").rename(tmp_path / f"shot%d{suffix}")
        assert numbers(read_frames(tmp_path / f"shot%d{suffix}", count=3, size=56)) == [1, 1, 1]
        with pytest.raises(MediaError, match="does not exist"):
            read_frames(tmp_path / f"other%d{suffix}")
        assert probe(tmp_path / f"shot%d{suffix}").is_image


@pytest.mark.parametrize("kind", ["fifo", "folder", "/dev/zero", "/dev/null"])
def test_pipes_devices_and_folders_are_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = Path(kind) if kind.startswith("/") else tmp_path / "a.mp4"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif not path.exists():
        pytest.skip(f"this system has no {path}")
    said = "it is a folder" if kind == "folder" else "it is a pipe or a device"
    for reader in READERS.values():
        with pytest.raises(MediaError, match=said):
            reader(path)


def test_what_is_no_file_is_named(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 5, 25)
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as pipe, os.fdopen(writing, "wb"), clip.open() as text:
        for source, said in [
            (pipe, "is not a path or a seekable binary file"),
            (text, r'is open as text. Open it in binary mode: open\(path, "rb"\)'),
            (b"clip.mp4", "is not a path"),
            (None, "is not a path"),
            (7, "is not a path"),
            ("a\0b.mp4", r"a\\x00b.mp4 cannot be opened"),
            ("\udcff.mp4", r"\\udcff.mp4 does not exist"),
            ("x" * 5000 + ".mp4", r"x\.\.\.x.*cannot be opened"),
        ]:
            for reader in READERS.values():
                with pytest.raises(MediaError, match=said) as caught:
                    reader(source)
                str(caught.value).encode()  # can be printed
                assert len(str(caught.value)) < 900


REAL = {
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".webm", ".ts", ".flv", ".avi", ".mpg")),
    **{".nut": "nut", ".asf": "asf", ".h264": "h264", ".ivf": "ivf", ".mxf": "mxf"},
}
ENCODERS = {".ivf": "libvpx-vp9", ".asf": "mpeg4", ".mxf": "mpeg2video"}


@pytest.mark.parametrize("suffix", REAL)
def test_real_containers_are_read_by_name_as_bytes_and_without_an_ending(suffix: str, tmp_path: Path) -> None:
    path, bare = tmp_path / f"a{suffix}", tmp_path / "bare"
    write_clip(str(path), 20, 25, codec=ENCODERS.get(suffix), form=REAL[suffix], options=None)
    bare.write_bytes(path.read_bytes())
    for source in (path, bare, io.BytesIO(path.read_bytes())):
        assert numbers(read_frames(source, count=4, size=56)) == [0, 5, 10, 15]


def test_animated_gifs_are_videos(tmp_path: Path) -> None:
    from PIL import Image

    shots = [Image.fromarray(picture(k)) for k in range(1, 5)]
    shots[0].save(tmp_path / "a.gif", save_all=True, append_images=shots[1:], duration=200)
    assert numbers(read_frames(tmp_path / "a.gif", count=4, size=56)) == [1, 2, 3, 4]


class Stumbling:
    """A container whose packets end as PyAV's do when streams appeared on the way, as in a damaged MPEG-TS."""

    def __init__(self, container: Any) -> None:
        self.container = container

    def __getattr__(self, name: str) -> Any:
        return getattr(self.container, name)

    def __enter__(self) -> Stumbling:
        return self

    def __exit__(self, *error: object) -> None:
        self.container.close()

    def demux(self, stream: Any) -> Iterator[Any]:
        yield from self.container.demux(stream)
        raise IndexError("list index out of range")


def test_streams_that_appear_on_the_way_do_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_clip(tmp_path / "a.ts", 50, 25, sound=torch.zeros(2, 88200))
    expected = {name: reader(path) for name, reader in READERS.items()}
    opening = reading._open
    monkeypatch.setattr(reading, "_open", lambda *given, **options: Stumbling(opening(*given, **options)))
    for name, reader in READERS.items():
        found = reader(path)
        if isinstance(found, io.BytesIO):
            found, expected[name] = packets(found), packets(expected[name])
        assert torch.equal(found, expected[name]) if isinstance(found, torch.Tensor) else found == expected[name]


@examples(60)
@given(
    suffix=st.sampled_from([".mp4", ".mkv", ".ts", ".wav", ".png"]),
    cuts=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 400), st.binary(max_size=200)), min_size=1, max_size=12),
    reader=st.sampled_from(sorted(READERS)),
)
def test_any_damaged_file_gives_an_answer_or_a_clear_error(
    suffix: str, cuts: list[tuple[float, int, bytes]], reader: str, folder: Path
) -> None:
    path = folder / f"whole{suffix}"
    if not path.exists():
        if suffix == ".wav":
            write_sound(path, np.zeros((2, 4000), np.int16), 44100, "pcm_s16le", "s16", "stereo")
        elif suffix == ".png":
            from PIL import Image

            Image.fromarray(picture(77)).save(path)
        else:
            write_clip(path, 20, 25, sound=torch.zeros(2, 35280))
    data = bytearray(path.read_bytes())
    for share, length, new in cuts:
        at = int(share * len(data))
        data[at : at + length] = new
    try:
        READERS[reader](io.BytesIO(bytes(data)))
    except AudioXError as error:
        assert len(str(error)) > 20


def test_a_video_without_one_decodable_picture_is_not_copied(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "clip.mp4", 25, 25, flags={"movflags": "faststart"})
    data = bytearray(path.read_bytes())
    begin = data.index(b"mdat") + 4
    data[begin:] = bytes(len(data) - begin)
    path.write_bytes(data)
    assert len(packets(str(path))) == 25
    with pytest.raises(MediaError, match=r"not one picture could be decoded.*re-export it"):
        set_soundtrack(path, SOUND, 44100, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_pictures_that_a_container_cannot_give_back_are_refused(tmp_path: Path) -> None:
    for codec, form, options in (("rawvideo", "matroska", {}), ("wmv2", "asf", {})):
        path = write_clip(tmp_path / f"{codec}.bin", 10, 25, codec=codec, form=form, options=options)
        with pytest.raises(MediaError, match=rf"\.mov cannot hold {codec} pictures without re-encoding them"):
            set_soundtrack(path, SOUND, 44100, tmp_path / "out.mov")


def test_hidden_pictures_stay_hidden_or_are_refused(tmp_path: Path) -> None:
    options = {"g": "40", "bf": "2", "preset": "ultrafast"}
    whole = write_clip(tmp_path / "whole.mp4", 75, 25, options=options)
    cut = tmp_path / "cut.mp4"
    set_soundtrack(whole, SOUND, 44100, cut, start=0.6)
    for suffix in (".mp4", ".mov"):
        set_soundtrack(cut, SOUND, 44100, tmp_path / f"again{suffix}")
        assert numbers(read_frames(tmp_path / f"again{suffix}", fps=25, count=60, size=56)) == list(range(15, 75))
    with pytest.raises(MediaError, match=r"cut between keyframes, and matroska cannot hide.*Write to \.mp4 or \.mov"):
        set_soundtrack(cut, SOUND, 44100, tmp_path / "again.mkv")


def test_paths_with_the_look_of_protocols_are_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("concat:a|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "data:video.mp4", "file:clip.mp4"):
        data = write_clip(io.BytesIO(), 5, 25, form="mp4").getvalue()
        Path(name).write_bytes(data)
        assert probe(name).width == WIDTH
        with pytest.raises(MediaError, match="does not exist"):
            probe(f"{name}x.mp4")


def test_more_channels_than_eight_are_read_without_a_crash(tmp_path: Path) -> None:
    """PyAV looks for planes behind the last one there, so it can neither give nor take such frames as arrays."""
    from av.audio.plane import AudioPlane

    sound = np.random.RandomState(0).uniform(-0.5, 0.5, (16, 4000)).astype(np.float32)
    with av.open(str(tmp_path / "a.wv"), "w") as out:
        stream = out.add_stream("wavpack", rate=44100)
        stream.layout, stream.format = "hexadecagonal", "fltp"
        frame = av.AudioFrame(format="fltp", layout="hexadecagonal", samples=4000)
        frame.sample_rate, frame.time_base, frame.pts = 44100, Fraction(1, 44100), 0
        for channel, samples in enumerate(sound):
            AudioPlane(frame, channel).update(samples.tobytes() + bytes(AudioPlane(frame, channel).buffer_size - 16000))
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    for _ in range(20):
        assert torch.equal(read_audio(tmp_path / "a.wv"), torch.from_numpy(sound[:2]))
