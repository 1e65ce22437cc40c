"""Video and sound to CONDITIONING."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError
from ..audiox_core.models.parts import Hearing, Sight
from ..audiox_core.models.timing import LONGEST, Timing
from . import host
from .condition import ENCODERS_TIP, condition
from .names import WINDOWS
from .schema import Encoders as EncodersType
from .schema import named, schema
from .video import see

if TYPE_CHECKING:
    from .runner import Encoders

PROMPT_SECONDS = float(Timing().prompt_seconds)


class AudioXEncodeVideo(io.ComfyNode):
    """A video or pictures to a condition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEncodeVideo",
            "AudioX Encode Video",
            "What the sound should match: a video, a batch of images with their frame rate, or a single image. Frames "
            "are selected by timestamp, so any frame rate works. In a long video, each window of the sound sees its "
            "own part.",
            ["video to audio", "video to music", "image to audio", "foley", "soundtrack", "sound for video"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.Video.Input(
                    "video",
                    optional=True,
                    tooltip="A video. Only the frames that are needed are decoded, straight from the file.",
                ),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="Images instead of a video: a batch at the frame rate below, or a single still.",
                ),
                io.Float.Input(
                    "fps",
                    default=25.0,
                    min=0.01,
                    max=1000.0,
                    step=0.01,
                    tooltip="Frame rate of the images, in frames per second. A video brings its own.",
                ),
                io.Float.Input(
                    "start",
                    default=0.0,
                    min=0.0,
                    max=100000.0,
                    step=0.01,
                    tooltip="Where in the video to begin, in seconds.",
                ),
                io.Float.Input(
                    "seconds",
                    default=PROMPT_SECONDS,
                    min=0.0,
                    max=LONGEST,
                    step=0.01,
                    tooltip="How many seconds of the video get sound, counted from start. 0: the rest of the video. "
                    "The model sees ten seconds at a time; each window of a longer sound sees its own part.",
                ),
                io.Float.Input(
                    "kept",
                    default=0.0,
                    min=0.0,
                    max=10.9,
                    step=0.1,
                    optional=True,
                    tooltip="For sounds longer than the model's window (10.96 s): how many seconds each window keeps "
                    "from the one before it. 0: half a window.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(),
                io.Float.Output(
                    display_name="seconds",
                    tooltip="How many of these seconds the video really has. Connect it to AudioX Empty Latent.",
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
        kept: float = 0.0,
    ) -> io.NodeOutput:
        model = encoders.model
        modality = model.reader(Sight)
        views = see(model.condition(modality).reads, model.timing, video, images, fps, start, seconds, kept)
        count, tell = len(views.starts), host.progress()
        found: list[torch.Tensor] = []  # (1, M, D) of each window

        # Of each window the pictures are found, then looked at.
        def told(half: int, done: int, total: int) -> None:
            tell((2 * len(found) + half) * total + done, 2 * count * total)

        for seen in views.look(lambda done, total: told(0, done, total)):
            found.append(
                encoders.conditioner.encode(modality, seen.frames, tell=lambda done, total: told(1, done, total))
            )
        made = condition(encoders, **{modality: found[0] if count == 1 else torch.stack(found, dim=1)})
        if count > 1:
            made[0][1][WINDOWS] = (views.latents, views.kept)
        return io.NodeOutput(made, views.seconds)


class AudioXEncodeAudio(io.ComfyNode):
    """A sound to a condition."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEncodeAudio",
            "AudioX Encode Audio",
            "Uses a sound as an example: the result continues or resembles it. (To vary the sound itself, encode it "
            "with VAE Encode Audio and sample with denoise below 1.)",
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
                    tooltip="Length of the example. The model hears 10 seconds; a shorter example is preceded by "
                    "silence.",
                ),
                io.Float.Input(
                    "prompt_hidden",
                    default=-1.0,
                    min=-1.0,
                    max=1.0,
                    step=0.01,
                    optional=True,
                    tooltip="AudioX-MAF and AudioX-Turbo hide a random part of the example, as in their training. -1: "
                    "the model's own share. 0: use the whole example. Other models hide nothing.",
                ),
                io.Int.Input(
                    "hidden_seed",
                    default=0,
                    min=0,
                    max=0xFFFFFFFFFFFFFFFF,
                    optional=True,
                    tooltip="Chooses which part of the example is hidden, if any.",
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
