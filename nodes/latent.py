"""Latents: an empty window to fill, and a finished one as sound."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import AudioXError, InputError
from ..audiox_core.models.timing import CHANNELS, Timing
from .names import LATENTS, SECONDS
from .schema import named, schema

TIMING = Timing()


class AudioXEmptyLatent(io.ComfyNode):
    """An empty latent of the window that the model was trained on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEmptyLatent",
            "AudioX Empty Latent",
            "An empty latent to sample a sound into. It always spans the model's whole window of "
            f"{TIMING.max_seconds:.2f} s, which it was trained on; AudioX Decode keeps the seconds asked for here.",
            ["empty audio latent", "audio length", "sound duration"],
            inputs=[
                io.Float.Input(
                    "seconds",
                    default=10.0,
                    min=0.1,
                    max=10.95,
                    step=0.01,
                    tooltip="How long the sound shall be. The model's conditions span 10 seconds.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many different sounds to make at once. Each needs memory.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    @named("AudioX Empty Latent")
    def execute(cls, seconds: float, batch_size: int) -> io.NodeOutput:
        seconds = TIMING.check_seconds(seconds)
        samples = torch.zeros(batch_size, CHANNELS, TIMING.latents)
        return io.NodeOutput({"samples": samples, "type": "audio", SECONDS: seconds, LATENTS: TIMING.latents})


class AudioXDecode(io.ComfyNode):
    """Latents to sound, at the level that the model gave them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXDecode",
            "AudioX Decode",
            "Turns sampled latents into sound. Unlike VAE Decode Audio it keeps the exact length, and the level "
            "that the model gave (off) or brings the loudest sample to full scale (peak).",
            ["latent to audio", "vae decode audio", "audio decode"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE of AudioX Load."),
                io.Latent.Input("latent", tooltip="Sampled latents, of AudioX Sampler or any other sampler."),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=600.0,
                    step=0.01,
                    tooltip="How many seconds to keep. 0 keeps what AudioX Empty Latent asked for, or else everything.",
                ),
                io.Combo.Input(
                    "normalize",
                    options=["peak", "off"],
                    default="peak",
                    tooltip="peak: each sound's loudest sample is brought to full scale, as the model's authors do. "
                    "off: the model's own level, clipped at full scale.",
                ),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    @named("AudioX Decode")
    def execute(cls, vae: Any, latent: dict[str, Any], seconds: float, normalize: str) -> io.NodeOutput:
        from ..audiox_core.media import fit, normalize_peak

        samples = latent["samples"]
        if samples.ndim != 3:
            raise InputError(
                f"latent has shape {tuple(samples.shape)}, sound has (batch, channels, length). Connect the latents "
                "of an AudioX sampler."
            )
        rate = int(getattr(vae, "audio_sample_rate", None) or TIMING.sample_rate)
        held = samples.shape[-1] * TIMING.downsampling_ratio
        # What was said of other latents (before they were cut or joined) doesn't hold for these.
        said = latent.get(SECONDS, 0.0) if latent.get(LATENTS, samples.shape[-1]) == samples.shape[-1] else 0.0
        wanted = round((seconds or said) * rate) or held
        if wanted >= held + TIMING.downsampling_ratio:
            raise InputError(
                f"{wanted / rate:.2f} s are wanted, the latents hold {held / rate:.2f} s. Lower seconds, or set it to "
                "0 to keep everything."
            )
        waveform = vae.decode(samples).movedim(-1, 1).float().cpu()  # (B, 2, N)
        if not torch.isfinite(waveform).all():
            raise AudioXError(
                "the sound holds NaN or infinite values. Choose precision fp32 (or bf16) in AudioX Load, and check "
                "the model and the latents."
            )
        waveform = fit(waveform, wanted)  # a length between two latents ends in a moment of silence
        if normalize == "peak":
            waveform = torch.stack([normalize_peak(item) for item in waveform])
        waveform = waveform.clamp(-1.0, 1.0).contiguous()
        return io.NodeOutput({"waveform": waveform, "sample_rate": rate})
