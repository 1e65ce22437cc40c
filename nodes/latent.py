"""Latents: an empty window to fill, and a finished one as sound."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io

from ..audiox_core.errors import AudioXError, InputError
from ..audiox_core.models.timing import CHANNELS, LONGEST, Timing
from ..audiox_core.sampling.windows import with_ends
from .edit import Kept, edited
from .names import LATENTS, LOOP, SECONDS, SOURCE
from .schema import named, schema

TIMING = Timing()


class AudioXEmptyLatent(io.ComfyNode):
    """An empty latent to sample a sound into."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXEmptyLatent",
            "AudioX Empty Latent",
            f"An empty latent to generate a sound in. It spans the model's whole window of {TIMING.max_seconds:.2f} s, "
            "or as much as a longer sound needs; AudioX Decode keeps the seconds set here.",
            ["empty audio latent", "audio length", "sound duration", "seamless loop"],
            inputs=[
                io.Float.Input(
                    "seconds",
                    default=10.0,
                    min=0.1,
                    max=LONGEST,
                    step=0.01,
                    tooltip="Length of the sound. Up to 10.96 s are made in one go, anything longer in windows.",
                ),
                io.Int.Input(
                    "batch_size",
                    default=1,
                    min=1,
                    max=64,
                    tooltip="How many takes to make at once, with seed, seed + 1 and so on. Each one needs memory. "
                    "AudioX Take picks one.",
                ),
                io.Boolean.Input(
                    "loop",
                    default=False,
                    optional=True,
                    tooltip="The end of the sound leads back into its beginning. The length is rounded to the nearest "
                    "one that divides evenly into windows. With samplers other than AudioX Sampler, turn on loop in "
                    "AudioX Windows too.",
                ),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    @named("AudioX Empty Latent")
    def execute(cls, seconds: float, batch_size: int, loop: bool = False) -> io.NodeOutput:
        seconds = TIMING.check_length(seconds)
        latents = TIMING.loop_latents(seconds) if loop else max(TIMING.latents, TIMING.to_latents(seconds))
        kept = TIMING.to_seconds(latents) if loop else seconds
        said: dict[str, Any] = {SECONDS: kept, LATENTS: latents, **({LOOP: True} if loop else {})}
        return io.NodeOutput({"samples": torch.zeros(batch_size, CHANNELS, latents), "type": "audio", **said})


class AudioXDecode(io.ComfyNode):
    """Latents to sound, at the level that the model gave them."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXDecode",
            "AudioX Decode",
            "Turns sampled latents into sound. Unlike VAE Decode Audio, it keeps the exact length. It brings the "
            "loudest sample to full scale (peak), brings each sound to the same loudness (loudness), or leaves the "
            "level as it is (off).",
            ["latent to audio", "vae decode audio", "audio decode"],
            inputs=[
                io.Vae.Input("vae", tooltip="The VAE from AudioX Load."),
                io.Latent.Input("latent", tooltip="Latents from AudioX Sampler or any other sampler."),
                io.Float.Input(
                    "seconds",
                    default=0.0,
                    min=0.0,
                    max=LONGEST,
                    step=0.01,
                    tooltip="How many seconds to keep. 0: the length set in AudioX Empty Latent, or everything if none "
                    "was set. An edited sound keeps its own length and level.",
                ),
                io.Combo.Input(
                    "normalize",
                    options=["peak", "off", "loudness"],
                    default="peak",
                    tooltip="peak: the loudest sample of each sound is brought to full scale, as the model's authors "
                    "do. off: the model's own level, clipped at full scale. loudness: each sound is brought to -16 "
                    "LUFS, or less if its peaks leave no room.",
                ),
            ],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    @named("AudioX Decode")
    def execute(cls, vae: Any, latent: dict[str, Any], seconds: float, normalize: str) -> io.NodeOutput:
        from ..audiox_core.media import at_level, fit
        from ..audiox_core.networks.autoencoder import DECODE_HALO  # networks load torch's slow parts

        samples = latent["samples"]
        if samples.ndim != 3:
            raise InputError(
                f"latent has shape {tuple(samples.shape)}, sound has (batch, channels, length). Connect latents "
                "from an AudioX sampler."
            )
        rate = int(getattr(vae, "audio_sample_rate", None) or TIMING.sample_rate)

        def decode(latents: torch.Tensor) -> torch.Tensor:
            """Latents (B, C, L) -> (B, 2, N)."""
            return checked(vae.decode(latents).movedim(-1, 1).float().cpu())

        whole = latent.get(LATENTS, samples.shape[-1]) == samples.shape[-1]
        kept: Kept | None = latent.get(SOURCE) if whole else None
        if kept is not None:  # its level is the source's
            return io.NodeOutput({"waveform": edited(kept, samples, decode), "sample_rate": rate})
        held = samples.shape[-1] * TIMING.downsampling_ratio
        # What was said of other latents (before they were cut or joined) doesn't hold for these.
        said = latent.get(SECONDS, 0.0) if whole else 0.0
        wanted = round((seconds or said) * rate) or held
        if wanted >= held + TIMING.downsampling_ratio:
            raise InputError(
                f"{wanted / rate:.2f} s are asked for, but the latents hold only {held / rate:.2f} s. Lower seconds, "
                "or set it to 0 to keep everything."
            )
        halo = DECODE_HALO if latent.get(LOOP) and whole else 0
        waveform = decode(with_ends(samples, halo) if halo else samples)[..., halo * TIMING.downsampling_ratio :]
        waveform = fit(waveform, wanted)  # a length between two latents ends in a moment of silence
        waveform = torch.stack([at_level(item, rate, normalize) for item in waveform])
        waveform = waveform.clamp(-1.0, 1.0).contiguous()
        return io.NodeOutput({"waveform": waveform, "sample_rate": rate})


def checked(waveform: torch.Tensor) -> torch.Tensor:
    """The waveform itself. Raises AudioXError for NaN and infinity in it."""
    if not torch.isfinite(waveform).all():
        raise AudioXError(
            "the sound holds NaN or infinite values. Choose precision fp32 (or bf16) in AudioX Load, and check "
            "the model and the latents."
        )
    return waveform
