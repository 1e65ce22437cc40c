"""Conditions: text to CONDITIONING, none, and how those of several modalities are put together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import NULL_SHAPE
from .names import WINDOWS, origin_key, tokens_key
from .schema import Encoders as EncodersType
from .schema import named, schema
from .windows import plan_in

if TYPE_CHECKING:
    from .runner import Encoders

ENCODERS_TIP = "The encoders from AudioX Load."


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
            "Describes the sound in words: an effect, a scene or music. The first 128 tokens are used. Works on its "
            "own, or together with a video and a sound through AudioX Combine.",
            ["text to audio", "text to music", "sound effects", "foley", "prompt", "clip text encode"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.String.Input(
                    "text",
                    multiline=True,
                    dynamic_prompts=True,
                    tooltip='What you want to hear, for example "Ocean waves crashing" or "A calm piano piece".',
                ),
            ],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    @named("AudioX Encode Text")
    def execute(cls, encoders: Encoders, text: str) -> io.NodeOutput:
        return io.NodeOutput(condition(encoders, text))


class AudioXCombine(io.ComfyNode):
    """Conditions of several modalities as one."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXCombine",
            "AudioX Combine",
            "Combines the text of one condition, the video of another and the sound of a third into one that the model "
            "follows all at once. Inputs left unconnected stay empty.",
            ["combine conditioning", "text and video", "multimodal"],
            inputs=[
                io.Conditioning.Input(
                    "text", optional=True, tooltip="The condition to take the text from; CLIP Text Encode works too."
                ),
                io.Conditioning.Input("video", optional=True, tooltip="The condition to take the video from."),
                io.Conditioning.Input("audio", optional=True, tooltip="The condition to take the sound from."),
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
                raise InputError(f"the condition connected to {name} contains no {name}. Connect {encoder} there.")
            added |= {k: wanted[0][1][k] for k in (key, origin_key(name), WINDOWS) if k in wanted[0][1]}
        plan_in([one for given in (text, video, audio) for one in given or ()])
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
            "The model's null condition: all tokens zero, as in training. Use it as the negative of KSampler and of "
            "guiders; AudioX Sampler does so by itself.",
            ["negative", "empty conditioning", "unconditional"],
            inputs=[],
            outputs=[io.Conditioning.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        return io.NodeOutput(null_condition())
