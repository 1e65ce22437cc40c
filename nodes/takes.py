"""One take of several."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

from ..audiox_core.errors import InputError
from .schema import named, schema


class AudioXTake(io.ComfyNode):
    """An AUDIO batch to one of its sounds."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXTake",
            "AudioX Take",
            "Picks one take of a batch. Take 1 has the sampler's seed, take 2 the next one, and so on: any take can be "
            "made again on its own with its seed.",
            ["pick take", "audio from batch", "select audio", "choose take"],
            inputs=[
                io.Audio.Input("audio", tooltip="A batch of sounds from AudioX Decode."),
                io.Int.Input("take", default=1, min=1, max=64, tooltip="Which take, counting from 1."),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    @named("AudioX Take")
    def execute(cls, audio: Any, take: int) -> io.NodeOutput:
        if audio is None:
            raise InputError(
                "there is no sound: the video or file connected to it has none. Connect something with sound."
            )
        count = len(audio["waveform"])
        if take > count:
            raise InputError(
                f"take {take} is asked for, but there are only {count}. Choose 1 to {count}, or a larger batch_size."
            )
        return io.NodeOutput({**audio, "waveform": audio["waveform"][take - 1 : take]})
