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
            "Puts a sound under a video. The pictures are copied as they are, not encoded again; Save Video (format "
            "and codec auto) then copies them too. A video made in the graph is encoded once.",
            ["soundtrack", "add audio to video", "mux audio", "foley", "video combine"],
            inputs=[
                io.Video.Input("video", tooltip="The video. It is left as it is; a new one comes out."),
                io.Audio.Input("audio", tooltip="The sound. The first of a batch is taken."),
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
                    tooltip="Seconds into the video at which the sound begins. Below 0 its beginning is cut off.",
                ),
                io.Float.Input(
                    "gain",
                    default=1.0,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="The sound's level: 1 as it is, 0.5 half, 2 double (clipped at full scale).",
                ),
                io.Float.Input(
                    "fade_in",
                    default=0.0,
                    min=0.0,
                    max=600.0,
                    step=0.01,
                    optional=True,
                    tooltip="Seconds in which the new sound fades in.",
                ),
                io.Float.Input(
                    "fade_out",
                    default=0.0,
                    min=0.0,
                    max=600.0,
                    step=0.01,
                    optional=True,
                    tooltip="Seconds in which the new sound fades out, before its end or the video's.",
                ),
                io.String.Input(
                    "keep",
                    default="",
                    optional=True,
                    tooltip="Where the video's own sound is kept and the new one left out, such as dialogue: seconds "
                    "of the video as start-end, with commas between: 3-5, 8.2-9.",
                ),
                io.Float.Input(
                    "duck",
                    default=0.0,
                    min=0.0,
                    max=60.0,
                    step=0.5,
                    optional=True,
                    tooltip="With mix: by how many dB the new sound goes down while the video's own one sounds. 12 "
                    "makes it a background, 0 leaves it as it is.",
                ),
                io.Boolean.Input(
                    "keep_rest",
                    default=False,
                    optional=True,
                    tooltip="Whether the video keeps its own sound before the new one begins and after it ends.",
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
            raise InputError("there is no sound. Connect a sound that exists.")
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
            "A picture of a sound: time to the right, frequency upwards, loudness as brightness. Connect it to Preview "
            "Image.",
            ["audio to image", "spectrum", "waveform", "visualize audio"],
            inputs=[
                io.Audio.Input("audio", tooltip="The sound. A batch gives one picture each."),
                io.Int.Input("width", default=1024, min=64, max=8192, tooltip="The picture's width in pixels."),
                io.Int.Input("height", default=384, min=64, max=4096, tooltip="The picture's height in pixels."),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    @named("AudioX Spectrogram")
    def execute(cls, audio: Any, width: int, height: int) -> io.NodeOutput:
        from ..audiox_core.media import spectrogram_image

        if audio is None:
            raise InputError("there is no sound. Connect a sound that exists.")
        rate = int(audio["sample_rate"])
        pictures = [spectrogram_image(item, rate, width=width, height=height) for item in audio["waveform"]]
        return io.NodeOutput(torch.stack(pictures).float() / 255)  # (B, H, W, 3)
