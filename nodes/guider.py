"""Guidance with a scale of its own for text, video and sound."""

from __future__ import annotations

from typing import Any

import comfy.samplers
import torch
from comfy_api.latest import io

from ..audiox_core.errors import InputError
from ..audiox_core.sampling.guidance import guide_in_steps
from .condition import null_condition
from .names import WINDOWS, origin_key, tokens_key
from .sample import model_of
from .schema import named, schema

SENSES = ("video", "audio")  # what a condition holds beside its text


class SteppedGuider(comfy.samplers.CFGGuider):  # type: ignore[misc]
    """ComfyUI's guider for ever smaller parts of a condition, each with a scale for what it adds to the next one."""

    def set_parts(self, parts: list[Any], negative: Any, scales: list[float]) -> None:
        """parts: CONDITIONINGs, the whole one first; scales in the same order."""
        self.scales = scales
        named_parts = {f"part_{i}": part for i, part in enumerate(parts)}
        self.inner_set_conds({"positive": parts[0], "negative": negative, **named_parts})

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: dict[str, Any] | None = None, seed: Any = None
    ) -> torch.Tensor:
        conds = [*(self.conds[f"part_{i}"] for i in range(len(self.scales))), self.conds["negative"]]
        answers = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options or {})
        return guide_in_steps(answers, self.scales)


class AudioXGuider(io.ComfyNode):
    """A guider with three scales."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXGuider",
            "AudioX Guider",
            "Sets how strongly a sound follows its text, its video and its example, each separately. Connect it to "
            "SamplerCustomAdvanced. Equal scales give ordinary guidance; each scale adds one model call per step.",
            ["dual cfg", "guidance per modality", "cfg guider", "multi guidance"],
            inputs=[
                io.Model.Input("model", tooltip="The model from AudioX Load, with or without patches."),
                io.Conditioning.Input("positive", tooltip="A condition with several inputs, from AudioX Combine."),
                io.Float.Input(
                    "text_guidance",
                    default=7.0,
                    min=-20.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly to follow the text.",
                ),
                io.Float.Input(
                    "video_guidance",
                    default=7.0,
                    min=-20.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly to follow the video, in what it adds to the text.",
                ),
                io.Float.Input(
                    "audio_guidance",
                    default=7.0,
                    min=-20.0,
                    max=100.0,
                    step=0.1,
                    tooltip="How strongly to follow the example, in what it adds to text and video.",
                ),
                io.Conditioning.Input(
                    "negative",
                    optional=True,
                    tooltip="What the sound should avoid. If nothing is connected: the model's null condition.",
                ),
            ],
            outputs=[io.Guider.Output()],
        )

    @classmethod
    @named("AudioX Guider")
    def execute(
        cls,
        model: Any,
        positive: Any,
        text_guidance: float,
        video_guidance: float,
        audio_guidance: float,
        negative: Any = None,
    ) -> io.NodeOutput:
        model_of(model)  # another kind of model has no such conditions
        if len(positive) != 1 and any(tokens_key(sense) in values for _, values in positive for sense in SENSES):
            raise InputError("several conditions are connected as positive. Connect one, from AudioX Combine.")
        given = [sense for sense in SENSES if tokens_key(sense) in positive[0][1]]
        own = {"video": video_guidance, "audio": audio_guidance}
        # What a condition holds is taken away from the last to the first; the empty prompt is no text to follow.
        parts, scales = [positive], [own[sense] for sense in reversed(given)]
        for sense in reversed(given):
            parts.append(without(parts[-1], sense))
        scales.append(text_guidance)
        guider = SteppedGuider(model)
        guider.set_parts(parts, null_condition() if negative is None else negative, scales)
        return io.NodeOutput(guider)


def without(conditions: Any, sense: str) -> Any:
    """CONDITIONING without one modality, which then takes what stands for nothing."""
    gone = (tokens_key(sense), origin_key(sense))
    found = []
    for tokens, values in conditions:
        left = {key: value for key, value in values.items() if key not in gone}
        if not any(isinstance(value, torch.Tensor) and value.ndim == 4 for value in left.values()):
            left.pop(WINDOWS, None)
        found.append([tokens, left])
    return found
