"""Long sounds: prompts that change with time, and how a MODEL makes windows by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from comfy_api.latest import io

from ..audiox_core.models.parts import Words
from ..audiox_core.models.timing import LONGEST
from ..audiox_core.sampling.windows import Windows
from .condition import ENCODERS_TIP, condition
from .names import WINDOWS, tokens_key
from .schema import Encoders as EncodersType
from .schema import named, schema
from .windows import Wish

if TYPE_CHECKING:
    from .runner import Encoders


class AudioXTimedText(io.ComfyNode):
    """Prompts with times to a condition of several windows."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXTimedText",
            "AudioX Timed Text",
            "Prompts that change over the course of a long sound, each starting at a given time. Each window uses the "
            "prompt at the middle of what it adds. Set AudioX Empty Latent to the same seconds.",
            ["prompt schedule", "prompt travel", "timed prompts", "storyboard"],
            inputs=[
                EncodersType.Input("encoders", tooltip=ENCODERS_TIP),
                io.String.Input(
                    "lines",
                    multiline=True,
                    default="0:00 rain\n0:12 thunder",
                    tooltip="One time and prompt per line, for example 0:12 thunder.",
                ),
                io.Float.Input(
                    "seconds",
                    default=30.0,
                    min=0.1,
                    max=LONGEST,
                    step=0.01,
                    tooltip="Length of the sound.",
                ),
                io.Float.Input(
                    "kept",
                    default=0.0,
                    min=0.0,
                    max=10.9,
                    step=0.1,
                    optional=True,
                    tooltip="Seconds that each window keeps from the one before it. 0: half a window. Keeping more "
                    "makes prompts change closer to their times.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(),
                io.Float.Output(display_name="seconds", tooltip="The same seconds, for AudioX Empty Latent."),
            ],
        )

    @classmethod
    @named("AudioX Timed Text")
    def execute(cls, encoders: Encoders, lines: str, seconds: float, kept: float = 0.0) -> io.NodeOutput:
        from ..audiox_core.models.settings import Settings
        from ..audiox_core.models.timed import parse_prompts

        timing = encoders.timing
        settings = Settings(at=tuple(parse_prompts(lines, "lines")), seconds=timing.check_length(seconds))
        settings.check_prompts("lines")
        latents = max(timing.latents, timing.to_latents(seconds))
        shared = timing.kept_latents(kept)
        windows = Windows(latents, timing.latents, timing.windows(latents, shared))
        prompts = [settings.prompt_at(timing.to_seconds(1) * moment) or "" for moment in windows.middles()]
        made = condition(encoders, prompts[0])
        if len(windows.starts) > 1:
            texts = {prompt: encoders.conditioner.text(prompt) for prompt in prompts}
            made[0][1][tokens_key(encoders.model.reader(Words))] = torch.stack([texts[p] for p in prompts], dim=1)
            made[0][1][WINDOWS] = (latents, shared)
        return io.NodeOutput(made, seconds)


class AudioXWindows(io.ComfyNode):
    """A MODEL that knows how to make long latents."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXWindows",
            "AudioX Windows",
            "Sets how KSampler and all other samplers make a latent longer than the model's window: in windows that "
            "are blended in every step. The AudioX model does this without this node too, with the values shown here.",
            ["context windows", "long audio", "sliding window", "loop"],
            inputs=[
                io.Model.Input("model", tooltip="The model from AudioX Load, with or without patches."),
                io.Float.Input(
                    "kept",
                    default=0.0,
                    min=0.0,
                    max=10.9,
                    step=0.1,
                    tooltip="Seconds that neighbouring windows share. 0: half a window. A video's condition brings its "
                    "own value.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    tooltip="The end of the sound leads back into its beginning. Turn on loop in AudioX Empty Latent "
                    "too.",
                ),
                io.Int.Input(
                    "at_once",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many windows go through the model in one call. More are faster on a large GPU, but "
                    "need more memory.",
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    @named("AudioX Windows")
    def execute(cls, model: Any, kept: float, loop: bool, at_once: int) -> io.NodeOutput:
        from .sample import model_of

        timing = model_of(model).timing
        patched = model.clone()
        patched.model_options[WINDOWS] = Wish(timing.nearest_latents(kept) if kept else None, loop, at_once)
        return io.NodeOutput(patched)
