"""Conditions: text, video and sound to CONDITIONING, and how they are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError
from ..audiox_core.models.parts import Hearing, Sight
from ..audiox_core.models.timing import NULL_SHAPE, Timing
from . import host
from .names import origin_key, tokens_key
from .schema import Encoders as EncodersType
from .schema import named, schema
from .video import see

if TYPE_CHECKING:
    from .runner import Encoders

ENCODERS_TIP = "The encoders of AudioX Load."
PROMPT_SECONDS = float(Timing().prompt_seconds)


def null_condition() -> list[list[Any]]:
    """The model's null condition: text tokens that are all zero."""
    return [[torch.zeros(NULL_SHAPE), {}]]


def condition(encoders: Encoders, text: str = "", **tokens: torch.Tensor) -> list[list[Any]]:
    """A complete CONDITIONING: the text's tokens, and those of other modalities by name, with the model they are from.

    All members have the same text encoder, so that a text needs no such mark, whichever node encodes it.
    """
    origin = (encoders.opened.name, encoders.model.kind)
    given = {tokens_key(name): value for name, value in tokens.items()}
    return [[encoders.conditioner.text(text), {**given, **{origin_key(name): origin for name in tokens}}]]


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
    @named("AudioX Encode Text")
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
    @named("AudioX Encode Video")
    def execute(
        cls,
        encoders: Encoders,
        fps: float,
        start: float,
        seconds: float,
        video: Any = None,
        images: Any = None,
    ) -> io.NodeOutput:
        model = encoders.model
        modality = model.reader(Sight)
        tell, halves = host.progress(), 2  # pictures are found, then looked at
        seen = see(
            model.condition(modality).reads,
            video,
            images,
            *(fps, start, seconds),
            on_frame=lambda done, total: tell(done, halves * total),
        )
        tokens = encoders.conditioner.encode(
            modality, seen.frames, tell=lambda done, total: tell(total + done, halves * total)
        )
        return io.NodeOutput(condition(encoders, **{modality: tokens}), seen.seconds)


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
                io.Float.Input(
                    "prompt_hidden",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="AudioX-MAF and AudioX-Turbo hide a share of the example at random, as they were trained. "
                    "-1: the model's own share. 0: the whole example counts. Other models hide nothing.",
                ),
                io.Int.Input(
                    "hidden_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    optional=True,
                    tooltip="Which part of the example is hidden, where one is.",
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    @named("AudioX Encode Audio")
    def execute(
        cls,
        encoders: Encoders,
        audio: Any,
        start: float,
        seconds: float,
        prompt_hidden: float = -1.0,
        hidden_seed: int = 0,
    ) -> io.NodeOutput:
        from ..audiox_core.media.prompts import hear

        if audio is None:
            raise InputError("the video has no sound. Connect a sound.")
        modality = encoders.model.reader(Hearing)
        reads: Any = encoders.model.condition(modality).reads
        rate = int(audio["sample_rate"])
        heard = hear(reads, audio["waveform"], sample_rate=rate, start=start, seconds=seconds)  # (B, 2, N)
        tell, count = host.progress(), len(heard)
        drawn = encoders.chance(modality, hidden_seed, None if prompt_hidden < 0 else prompt_hidden)
        tokens = [
            encoders.conditioner.encode(
                modality, item[None], drawn, tell=lambda done, total, i=i: tell(i * total + done, count * total)
            )
            for i, item in enumerate(heard)
        ]
        return io.NodeOutput(condition(encoders, **{modality: torch.cat(tokens)}))


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
    @named("AudioX Combine")
    def execute(cls, text: Any = None, video: Any = None, audio: Any = None) -> io.NodeOutput:
        given = {"video": video, "audio": audio}
        added: dict[str, Any] = {}
        for name, wanted in given.items():
            if wanted is None:
                continue
            key = tokens_key(name)
            if key not in wanted[0][1]:
                encoder = f"AudioX Encode {name.capitalize()}"
                raise InputError(f"the condition connected to {name} holds no {name}. Connect {encoder} there.")
            added |= {k: wanted[0][1][k] for k in (key, origin_key(name)) if k in wanted[0][1]}
        # The null condition has no words: what is combined with it keeps its own empty prompt.
        worded = [c for c in (text, video, audio) if c is not None and (not added or any(t.any() for t, _ in c))]
        if not worded:
            raise InputError("nothing is connected. Connect at least one condition.")
        mine = tuple(key(name) for name in given for key in (tokens_key, origin_key))
        # Of the text only its words are taken, as the inputs say; everything else comes from where it is connected.
        base = [
            [tokens, {key: value for key, value in values.items() if key not in mine}] for tokens, values in worded[0]
        ]
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
