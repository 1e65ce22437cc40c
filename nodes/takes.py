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
            "Picks one take of a batch. Take 1 has the sampler's seed, take 2 the next one, and so on: a take can be "
            "made again alone with its own seed.",
            ["pick take", "audio from batch", "select audio", "choose take"],
            inputs=[
                io.Audio.Input("audio", tooltip="A batch of sounds, of AudioX Decode."),
                io.Int.Input("take", default=1, min=1, max=64, tooltip="Which one, counted from 1."),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    @named("AudioX Take")
    def execute(cls, audio: Any, take: int) -> io.NodeOutput:
        if audio is None:
            raise InputError("there is no sound. Connect a sound that exists.")
        count = len(audio["waveform"])
        if take > count:
            raise InputError(f"take {take} is wanted, there are {count}. Choose 1 to {count}, or a larger batch_size.")
        return io.NodeOutput({**audio, "waveform": audio["waveform"][take - 1 : take]})
