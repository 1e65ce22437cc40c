"""A sound that is there already, made anew in places or carried on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..audiox_core.errors import InputError
from ..audiox_core.models.timing import LONGEST, Timing
from ..audiox_core.sampling.edits import Edit
from .names import LATENTS, SECONDS, SOURCE
from .schema import named, schema

TIMING = Timing()


@dataclass(frozen=True)
class Kept:
    """What a LATENT of AudioX Edit carries: the source (2, N) at the model's rate, and where it is made anew."""

    edit: Edit
    source: Tensor
    feather: int  # samples

    def sound(self, latents: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
        """The edited sound (2, N) of latents (1, C, L): the source's own samples but in what was made anew."""
        from ..audiox_core.networks.autoencoder import DECODE_HALO  # networks load torch's slow parts

        return self.edit.sound(self.source, latents, decode, halo=DECODE_HALO, feather=self.feather)


class AudioXEdit(io.ComfyNode):
    """A sound's latents, masked where it is to be made anew."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEdit",
            "AudioX Edit",
            "Prepares a sound to be repaired or continued: regions are regenerated, or seconds are added before or "
            "after it. Connect the latent to AudioX Sampler (or KSampler) and then to AudioX Decode, which keeps the "
            "original samples everywhere else.",
            ["inpaint audio", "repair sound", "extend audio", "continue this sound", "outpaint audio", "fix seconds"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE from AudioX Load."),
                io.Audio.Input("audio", tooltip="The sound to edit. Only the first of a batch is used."),
                io.String.Input(
                    "regions",
                    default="",
                    tooltip="Seconds to regenerate, as start-end, separated by commas: 3-5, 8.2-9. Leave empty for "
                    "none.",
                ),
                io.Float.Input(
                    "extend_before",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.1,
                    tooltip="Seconds to add before the sound.",
                ),
                io.Float.Input(
                    "extend_after",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.1,
                    tooltip="Seconds to add after the sound, carrying it on.",
                ),
                io.Float.Input(
                    "feather",
                    default=0.05,
                    min=0.0,
                    max=10.0,
                    step=0.01,
                    tooltip="Length of the crossfade just inside a region, in seconds.",
                ),
            ],
            outputs=[
                io.Latent.Output(),
                io.Float.Output(display_name="seconds", tooltip="Length of the edited sound."),
            ],
        )

    @classmethod
    @named("AudioX Edit")
    def execute(
        cls, vae: Any, audio: Any, regions: str, extend_before: float, extend_after: float, feather: float
    ) -> io.NodeOutput:
        from ..audiox_core.media import check_waveform, resample, to_stereo
        from ..audiox_core.media.spans import parse_spans

        if audio is None:
            raise InputError(
                "there is no sound: the video or file connected to it has none. Connect something with sound."
            )
        spans = parse_spans(regions) if regions.strip() else []
        sound = check_waveform(audio["waveform"][0])
        source = resample(to_stereo(sound), int(audio["sample_rate"]), TIMING.sample_rate)
        edit = Edit.of(TIMING, source.shape[-1], spans, extend_before, extend_after)
        latents = vae.encode(edit.padded(source)[None].movedim(1, -1))  # (1, C, L)
        kept = Kept(edit, source, TIMING.to_samples(feather))
        made = {"samples": latents, "type": "audio", "noise_mask": edit.mask()[None, None]}
        said = {SECONDS: edit.seconds, LATENTS: edit.latents, SOURCE: kept}
        return io.NodeOutput(made | said, edit.seconds)


def edited(kept: Kept, samples: Tensor, decode: Callable[[Tensor], Tensor]) -> Tensor:
    """The edited sounds (B, 2, N) of sampled latents (B, C, L)."""
    return torch.stack([kept.sound(item[None], decode) for item in samples])
