"""AudioXSetSoundtrack between LoadVideo and SaveVideo: pictures copied packet by packet, sound exact in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.comfyui.graphs import Graph
from tests.comfyui.media_files import (
    Sound,
    make_sound,
    make_video,
    picture_packets,
    picture_seconds,
    read_sound,
    stream_kinds,
)
from tests.comfyui.server import ComfyServer

VIDEO_SECONDS, SHORT, LONG = 4.0, 2.0, 6.0


@pytest.fixture(scope="module", autouse=True)
def input_files(comfy: ComfyServer) -> None:
    """A video with sound, one without, a shorter and a longer sound."""
    make_video(comfy.base / "input" / "with_sound.mp4", VIDEO_SECONDS)
    make_video(comfy.base / "input" / "without_sound.mp4", VIDEO_SECONDS, fps=30, sound=False)
    make_sound(comfy.base / "input" / "short_tone.wav", SHORT, rate=48000)
    make_sound(comfy.base / "input" / "long_tone.wav", LONG)


def saved(comfy: ComfyServer, graph: Graph, video: str, tone: str = "short_tone.wav", **settings: Any) -> Path:
    """The file that SaveVideo writes for `video` with the tone as its soundtrack."""
    audio = graph.add("LoadAudio", audio=tone)
    track = graph.add("AudioXSetSoundtrack", video=(video, 0), audio=(audio, 0), **settings)
    save = graph.add("SaveVideo", video=(track, 0), filename_prefix="soundtrack", format="auto", codec="auto")
    (path,) = comfy.run(graph.prompt).check().files_of(save)
    assert stream_kinds(path) == ["audio", "video"]
    return path


def level(sound: Sound, begin: float, end: float) -> float:
    """Root mean square between two times in seconds."""
    part = sound.samples[:, int(begin * sound.rate) : int(end * sound.rate)]
    return float(np.sqrt(np.mean(np.square(part))))


@pytest.mark.parametrize("file", ["with_sound.mp4", "without_sound.mp4"])
def test_replace_copies_the_pictures(comfy: ComfyServer, file: str) -> None:
    graph = Graph(comfy.object_info())
    path = saved(comfy, graph, graph.add("LoadVideo", file=file))
    assert picture_packets(path) == picture_packets(comfy.base / "input" / file)
    sound = read_sound(path)
    assert sound.seconds == pytest.approx(SHORT, abs=0.05)
    assert level(sound, 0.1, 1.9) == pytest.approx(0.212, rel=0.1)


def test_a_longer_sound_ends_with_the_pictures(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    path = saved(comfy, graph, graph.add("LoadVideo", file="with_sound.mp4"), "long_tone.wav")
    assert picture_packets(path) == picture_packets(comfy.base / "input" / "with_sound.mp4")
    assert read_sound(path).seconds == pytest.approx(picture_seconds(path), abs=0.05)


def test_offset_and_gain(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    path = saved(comfy, graph, graph.add("LoadVideo", file="with_sound.mp4"), offset=1.0, gain=0.5)
    sound = read_sound(path)
    assert level(sound, 0.1, 0.9) < 1e-3
    assert level(sound, 1.1, 2.9) == pytest.approx(0.106, rel=0.1)
    assert sound.seconds == pytest.approx(1.0 + SHORT, abs=0.05)


def test_mix_keeps_the_old_sound(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    path = saved(comfy, graph, graph.add("LoadVideo", file="with_sound.mp4"), mode="mix")
    assert picture_packets(path) == picture_packets(comfy.base / "input" / "with_sound.mp4")
    assert level(read_sound(path), 2.1, 3.9) == pytest.approx(0.212, rel=0.1)


def test_the_old_sound_stays_where_it_is_told_to(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    video = graph.add("LoadVideo", file="with_sound.mp4")
    path = saved(comfy, graph, video, gain=0.5, keep="0.5-1", keep_rest=True, fade_in=0.4)
    assert picture_packets(path) == picture_packets(comfy.base / "input" / "with_sound.mp4")
    sound = read_sound(path)
    assert sound.seconds == pytest.approx(VIDEO_SECONDS, abs=0.05)
    assert level(sound, 0, 0.05) < 0.03
    for begin, end in ((0.55, 0.95), (2.1, 3.9)):
        assert level(sound, begin, end) == pytest.approx(0.212, rel=0.1)
    assert level(sound, 1.1, 1.9) == pytest.approx(0.106, rel=0.1)


def test_ducking(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    path = saved(comfy, graph, graph.add("LoadVideo", file="with_sound.mp4"), mode="mix", duck=20)
    sound = read_sound(path)  # two equal tones, of which the new one is a tenth
    assert level(sound, 0.5, 1.5) == pytest.approx(level(sound, 2.5, 3.5), rel=0.12)


def test_a_video_made_in_the_graph(comfy: ComfyServer) -> None:
    graph = Graph(comfy.object_info())
    images = graph.add("EmptyImage", width=64, height=64, batch_size=36, color=0x3366CC)
    path = saved(comfy, graph, graph.add("CreateVideo", images=(images, 0), fps=12.0), "long_tone.wav")
    assert picture_seconds(path) == pytest.approx(3.0, abs=0.05)
    assert read_sound(path).seconds == pytest.approx(3.0, abs=0.05)


def test_a_trimmed_video(comfy: ComfyServer, info: dict[str, Any]) -> None:
    if "Video Slice" not in info:
        pytest.skip("this ComfyUI has no node that trims a video")
    graph = Graph(info)
    whole = graph.add("LoadVideo", file="with_sound.mp4")
    part = graph.add("Video Slice", video=(whole, 0), start_time=1.0, duration=2.5)
    path = saved(comfy, graph, part, "long_tone.wav")
    assert picture_seconds(path) == pytest.approx(2.5, abs=0.05)
    assert read_sound(path).seconds == pytest.approx(2.5, abs=0.05)
