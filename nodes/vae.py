"""A model's autoencoder as an ordinary ComfyUI VAE, in exact tiles that fit the memory there is."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..audiox_core.errors import InputError
from ..audiox_core.memory.formats import Format
from ..audiox_core.models.parts import Model
from . import host


class HostAutoencoder(nn.Module):
    """The core's autoencoder as ComfyUI's VAE calls it. Encoding gives the mean: the same sound, the same latents."""

    def __init__(self, network: Any, model: Model, format: Format):
        super().__init__()
        self.network, self.model, self.format = network, model, format

    def encode(self, audio: Tensor) -> Tensor:
        """Waveform (B, 2, N) -> latents (B, C, L)."""
        tile = self._tile(audio, audio.shape[-1] // self.model.timing.downsampling_ratio)
        return self.network.encode(audio, tile=tile, on_tile=host.progress())[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, N)."""
        tile = self._tile(latents, latents.shape[-1])
        return self.network.decode(latents, tile=tile, on_tile=host.progress())

    def memory(self, latents: int, batch: int, tile: int | None) -> int:
        """Bytes that the work takes beside the weights."""
        return self.model.autoencoder.work(self.format, latents, batch, tile)

    def _tile(self, x: Tensor, latents: int) -> int | None:
        return host.tile(x.device, latents, lambda t: self.memory(latents, x.shape[0], t))


def cannot_be_saved() -> dict[str, Tensor]:
    """In place of the VAE's weights, which nothing reads in the form that ComfyUI writes. Raises InputError."""
    raise InputError(
        "AudioX's VAE is not saved on its own: it is part of the model's file. Connect the MODEL to Save Model "
        "(ModelSave), which writes a whole checkpoint for AudioX Load, including the VAE."
    )


def make_vae(network: Any, model: Model, format: Format) -> Any:
    """A VAE of ComfyUI around the core's autoencoder, at any width of it."""
    import comfy.sd
    from comfy.ldm.audio.autoencoder import AudioOobleckVAE

    # The host's constructor fills in all that its version knows of this kind of VAE, told from the names of weights;
    # on the meta device they cost nothing. Then the network is put in.
    with torch.device("meta"):
        vae = comfy.sd.VAE(sd=AudioOobleckVAE().state_dict(), dtype=format.compute_dtype)
    inner, timing = HostAutoencoder(network, model, format), model.timing
    vae.first_stage_model = inner
    vae.patcher = host.vae_patcher(inner, vae)
    vae.disable_offload = False  # its layers cast, so it can be loaded in part
    vae.crop_input = False  # the encoder takes any length; a centred crop would shift the sound
    vae.audio_sample_rate = timing.sample_rate
    if getattr(vae, "size", None) is not None:
        vae.size = vae.patcher.model_size()
    vae.get_sd = cannot_be_saved
    vae.memory_used_decode = lambda shape, dtype: inner.memory(shape[2], shape[0], None)
    vae.memory_used_encode = lambda shape, dtype: inner.memory(shape[2] // timing.downsampling_ratio, shape[0], None)
    return vae
