"""Conditions: text, video and sound to CONDITIONING, and how they are put together."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import Timing
from . import host
from .encoders import Encoders
from .names import AUDIO, NULL, VIDEO
from .schema import Encoders as EncodersType
from .schema import schema
from .video import FRAMES, pick_frames

ENCODERS_TIP = "The encoders of AudioX Load."
PROMPT_SECONDS = float(Timing().prompt_seconds)


def null_condition() -> list[list[Any]]:
    """The model's null condition: all tokens zero."""
    return [[torch.zeros(1, 128, 768), {NULL: True}]]


def condition(encoders: Encoders, text: str = "", **tokens: torch.Tensor) -> list[list[Any]]:
    """A complete CONDITIONING: the text's tokens, and those of other modalities under their keys."""
    return [[encoders.encode_text(text), tokens]]


class AudioXEncodeText(io.ComfyNode):
    """A prompt to a condition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEncodeText",
            "AudioX Encode Text",
            "What the sound shall be, in words: an effect, a scene or music. 128 tokens are read. Complete on its own, "
            "or combined with a video and a sound in AudioX Combine.",
            ["text to audio", "text to music", "sound effects", "foley", "prompt", "clip text encode"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip='What is heard, for example "Ocean waves crashing" or "A calm piano piece".',
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, encoders: Encoders, text: str) -> io.NodeOutput:
        return io.NodeOutput(condition(encoders, text))


class AudioXEncodeVideo(io.ComfyNode):
    """A video or pictures to a condition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEncodeVideo",
            "AudioX Encode Video",
            "What the sound shall fit to: a video, a batch of images with their frame rate, or a single image. "
            "Five pictures a second are looked at, by time, so every frame rate is right.",
            ["video to audio", "video to music", "image to audio", "foley", "soundtrack", "sound for video"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="A video. Only the pictures that are needed are decoded, straight from its file.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Pictures instead of a video: a batch at the frame rate below, or a single still.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    tooltip="How many of the images are shown a second. A video knows its own rate.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="Where in the video the sound begins, in seconds.",
                ),
                io.Float.Input(
                    "seconds",
                    default=PROMPT_SECONDS,
                    min=0.1,
                    max=PROMPT_SECONDS,
                    step=0.01,
                    tooltip="How much of the video from there on is looked at. The model sees up to 10 seconds.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(),
                io.Float.Output(
                    display_name="seconds",
                    tooltip="How many of these seconds the video has: connect it to AudioX Empty Latent.",
                ),
            ],
        )

    @classmethod
    def execute(
        cls,
        encoders: Encoders,
        fps: float,
        start: float,
        seconds: float,
        video: Any = None,
        images: Any = None,
    ) -> io.NodeOutput:
        tell = host.progress()
        picked = pick_frames(video, images, fps, start, seconds, on_frame=lambda done, _: tell(done, 2 * FRAMES))
        tokens = encoders.encode_video(picked.frames, lambda done, _: tell(FRAMES + done, 2 * FRAMES))
        return io.NodeOutput(condition(encoders, **{VIDEO: tokens}), picked.seconds)


class AudioXEncodeAudio(io.ComfyNode):
    """A sound to a condition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEncodeAudio",
            "AudioX Encode Audio",
            "A sound as an example: what is made continues or resembles it. (To vary a sound itself, encode it with "
            "VAE Encode Audio and sample with denoise below 1.)",
            ["audio prompt", "audio to audio", "reference audio", "music continuation"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.Audio.Input("audio", tooltip="The example, at any sample rate, mono or stereo."),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="Where in the sound the example begins, in seconds.",
                ),
                io.Float.Input(
                    "seconds",
                    default=PROMPT_SECONDS,
                    min=0.1,
                    max=PROMPT_SECONDS,
                    step=0.01,
                    tooltip="How long the example is. The model hears 10 seconds; a shorter one has silence before it.",
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, encoders: Encoders, audio: Any, start: float, seconds: float) -> io.NodeOutput:
        prompt = audio_prompt(audio, encoders.timing, start, seconds)
        tokens = encoders.encode_audio(prompt, host.progress())
        return io.NodeOutput(condition(encoders, **{AUDIO: tokens}))


class AudioXCombine(io.ComfyNode):
    """Conditions of several modalities as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXCombine",
            "AudioX Combine",
            "Puts the text of one condition, the video of another and the sound of a third into one that the model "
            "follows all at once. What is not connected stays empty.",
            ["combine conditioning", "text and video", "multimodal"],
            inputs=[
                io.Conditioning.Input(
                    "text", optional=True, tooltip="The condition whose text is taken, of CLIP Text Encode too."
                ),
                io.Conditioning.Input("video", optional=True, tooltip="The condition whose video is taken."),
                io.Conditioning.Input("audio", optional=True, tooltip="The condition whose sound is taken."),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls, text: Any = None, video: Any = None, audio: Any = None) -> io.NodeOutput:
        base = next((c for c in (text, video, audio) if c is not None), None)
        if base is None:
            raise InputError("AudioX Combine: nothing is connected. Connect at least one condition.")
        added = {}
        for name, key, given in (("video", VIDEO, video), ("audio", AUDIO, audio)):
            if given is None:
                continue
            if key not in given[0][1]:
                raise InputError(
                    f"AudioX Combine: the condition connected to {name} holds no {name}. Connect AudioX Encode "
                    f"{name.capitalize()} there."
                )
            added[key] = given[0][1][key]
        return io.NodeOutput([[tokens, {**values, **added}] for tokens, values in base])


class AudioXNull(io.ComfyNode):
    """The condition that stands for none."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXNull",
            "AudioX Null",
            "The model's null condition: all tokens zero, as in training. The negative for KSampler and for guiders; "
            "AudioX Sampler takes it by itself.",
            ["negative", "empty conditioning", "unconditional"],
            inputs=[],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(null_condition())


def audio_prompt(audio: Any, timing: Timing, start: float, seconds: float) -> torch.Tensor:
    """The audio prompt (B, 2, N) of an AUDIO, at the model's rate and length."""
    from ..audiox_core.media import prompt_audio, resample

    if audio is None:
        raise InputError("AudioX Encode Audio: the video has no sound. Connect a sound.")
    rate, waveform = int(audio["sample_rate"]), audio["waveform"]
    length = waveform.shape[-1] / rate
    if start >= length:
        raise InputError(
            f"AudioX Encode Audio: start is {start:g} s, the sound lasts {length:.2f} s. Choose an earlier start."
        )
    heard = waveform[..., : round((start + seconds) * rate)].float().cpu()
    samples = {"samples": timing.prompt_samples, "sample_rate": timing.sample_rate}
    heard = resample(heard, rate, timing.sample_rate)
    return torch.stack([prompt_audio(item, start=start, **samples) for item in heard])
