"""The finished sound: put under a video without touching its pictures, or looked at as a spectrogram."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import InputImpl, io

from ..audiox_core.errors import HiddenPicturesError, InputError
from . import host
from .schema import named, schema
from .temporary import KeptFile, temporary_file
from .video import FileVideo, file_video

# What .mp4 can hold, by FFmpeg's names; everything else goes into .mkv.
MP4_CODECS = frozenset(("h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg"))


class AudioXSetSoundtrack(io.ComfyNode):
    """A video with a new soundtrack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXSetSoundtrack",
            "AudioX Set Soundtrack",
            "Adds a sound to a video. The picture is copied, not re-encoded; Save Video (format and codec auto) then "
            "copies it too. A video made in the graph is encoded once.",
            ["soundtrack", "add audio to video", "mux audio", "foley", "video combine"],
            inputs=[
                io.Video.Input("video", tooltip="The video. It stays unchanged; the output is a new one."),
                io.Audio.Input("audio", tooltip="The sound. Only the first of a batch is used."),
                io.Combo.Input(
                    "mode",
                    options=["replace", "mix"],
                    default="replace",
                    tooltip="replace: the video's own sound is dropped. mix: the new sound is added to it.",
                ),
                io.Float.Input(
                    "offset",
                    default=0.0,
                    min=-100000.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="When the sound starts, in seconds of the video. Below 0, the beginning of the sound is "
                    "cut off.",
                ),
                io.Float.Input(
                    "gain",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Volume of the sound: 1 unchanged, 0.5 half, 2 double (clipped at full scale).",
                ),
                io.Float.Input(
                    "fade_in",
                    default=0.0,
                    min=0.0,
                    max=600.0,
                    step=0.01,
                    optional=True,
                    tooltip="Length of the new sound's fade-in, in seconds.",
                ),
                io.Float.Input(
                    "fade_out",
                    default=0.0,
                    min=0.0,
                    max=600.0,
                    step=0.01,
                    optional=True,
                    tooltip="Length of the new sound's fade-out, in seconds, before it or the video ends.",
                ),
                io.String.Input(
                    "keep",
                    default="",
                    optional=True,
                    tooltip="Where to keep the video's own sound and leave out the new one, for example for dialogue: "
                    "start-end in seconds of the video, separated by commas: 3-5, 8.2-9.",
                ),
                io.Float.Input(
                    "duck",
                    default=0.0,
                    min=0.0,
                    max=60.0,
                    step=0.5,
                    optional=True,
                    tooltip="With mix: how many dB to lower the new sound while the video's own sound is heard. 12 "
                    "puts it in the background, 0 leaves it as it is.",
                ),
                io.Boolean.Input(
                    "keep_rest",
                    default=False,
                    optional=True,
                    tooltip="Keeps the video's own sound before the new one starts and after it ends.",
                ),
            ],
            outputs=[io.Video.Output()],
        )

    @classmethod
    @named("AudioX Set Soundtrack")
    def execute(
        cls,
        video: Any,
        audio: Any,
        mode: str,
        offset: float,
        gain: float,
        fade_in: float = 0.0,
        fade_out: float = 0.0,
        keep: str = "",
        duck: float = 0.0,
        keep_rest: bool = False,
    ) -> io.NodeOutput:
        if audio is None:
            raise InputError(
                "there is no sound: the video or file connected to it has none. Connect something with sound."
            )
        options = {"mode": mode, "offset": offset, "gain": gain, "fade_in": fade_in, "fade_out": fade_out}
        options |= {"keep": keep, "duck": duck, "keep_rest": keep_rest}
        found = file_video(video)
        if found is not None:
            try:
                return io.NodeOutput(put_under(found, audio, options))
            except HiddenPicturesError:
                pass  # a cut of such a file can't be copied: its pictures are encoded, like those made in the graph
        made = encode_pictures(video, with_sound=mode == "mix" or keep_rest or bool(keep.strip()))
        try:
            return io.NodeOutput(put_under(FileVideo(str(made)), audio, options))
        finally:
            made.unlink(missing_ok=True)


def put_under(found: FileVideo, audio: Any, options: dict[str, Any]) -> Any:
    """The VIDEO of a file's pictures with a sound, placed by `set_soundtrack`'s options: a temporary file, which goes
    with the VIDEO.
    """
    from ..audiox_core.media import probe, set_soundtrack

    suffix = ".mp4" if probe(found.source).video_codec in MP4_CODECS else ".mkv"
    target = temporary_file(suffix)
    set_soundtrack(
        found.source,
        audio["waveform"][0],
        int(audio["sample_rate"]),
        target,
        **options,
        start=found.start,
        end=found.end,
        on_progress=host.progress(),
    )
    return InputImpl.VideoFromFile(KeptFile(target))


def encode_pictures(video: Any, *, with_sound: bool) -> Path:
    """A temporary file of a VIDEO that exists only in memory, with its own sound or without."""
    from ..audiox_core.media import encode_video

    parts = video.get_components()
    sound = parts.audio if with_sound else None
    tell = host.progress()

    def pictures() -> Iterator[torch.Tensor]:
        for i, picture in enumerate(parts.images):
            yield picture
            tell(i + 1, len(parts.images))

    target = temporary_file(".mp4")
    encode_video(
        pictures(),
        parts.frame_rate,
        target,
        None if sound is None else sound["waveform"][0],
        44100 if sound is None else int(sound["sample_rate"]),
    )
    return target


class AudioXSpectrogram(io.ComfyNode):
    """A sound as a picture."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXSpectrogram",
            "AudioX Spectrogram",
            "Draws a sound as a picture with numbered axes: time to the right, frequency upwards, loudness as "
            "brightness. Connect it to Preview Image.",
            ["audio to image", "spectrum", "waveform", "visualize audio"],
            inputs=[
                io.Audio.Input("audio", tooltip="The sound. In a batch, each sound gets its own picture."),
                io.Int.Input("width", default=1024, min=64, max=8192, tooltip="Width of the picture in pixels."),
                io.Int.Input("height", default=384, min=64, max=4096, tooltip="Height of the picture in pixels."),
                io.Boolean.Input(
                    "axes",
                    default=True,
                    optional=True,
                    tooltip="Draw numbers at the sides: seconds, Hz and dB. Very small pictures have none.",
                ),
                io.Combo.Input(
                    "scale",
                    options=["log", "mel"],
                    default="log",
                    optional=True,
                    tooltip="Frequency scale. log: every octave has the same height. mel: spaced as we hear them, with "
                    "more room for high frequencies.",
                ),
                io.Boolean.Input(
                    "show_waveform", default=False, optional=True, tooltip="Draw the waveform above the picture."
                ),
                io.String.Input(
                    "regions",
                    default="",
                    optional=True,
                    tooltip="Seconds to mark in green, such as those regenerated with AudioX Edit: 3-5, 8.2-9.",
                ),
                io.String.Input(
                    "windows",
                    default="",
                    optional=True,
                    tooltip="Windows to mark in blue, as start-end in seconds, separated by commas. They may overlap: "
                    "0-10.96, 5.5-16.4.",
                ),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    @named("AudioX Spectrogram")
    def execute(
        cls,
        audio: Any,
        width: int,
        height: int,
        axes: bool = True,
        scale: str = "log",
        show_waveform: bool = False,
        regions: str = "",
        windows: str = "",
    ) -> io.NodeOutput:
        from ..audiox_core.media import spectrogram_image
        from ..audiox_core.media.spans import read_spans

        if audio is None:
            raise InputError(
                "there is no sound: the video or file connected to it has none. Connect something with sound."
            )
        rate = int(audio["sample_rate"])
        look = {"width": width, "height": height, "axes": axes, "scale": scale, "show_waveform": show_waveform}
        look |= {"regions": read_spans(regions, "regions"), "windows": read_spans(windows, "windows")}
        pictures = [spectrogram_image(item, rate, **look) for item in audio["waveform"]]
        return io.NodeOutput(torch.stack(pictures).float() / 255)  # (B, H, W, 3)
