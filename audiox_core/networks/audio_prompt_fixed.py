"""Audio conditioning of AudioX-MAF-MMDiT and AudioX-Turbo: latents of a prompt, mixed along time to 128 tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import AutoencoderConfig, Decoder, Encoder, OnTile, encode_statistics, split_statistics
from .hidden_span import hide
from .ops import operations as default_operations


@dataclass(frozen=True)
class FixedAudioConfig:
    """Conditioner type "audio_autoencoder_v2", or "audio_autoencoder" with latent_seq_len."""

    autoencoder: AutoencoderConfig
    cond_dim: int
    latents: int = 215  # latent_seq_len
    tokens: int = 128
    hidden_share: tuple[float, float] = (0.0, 0.0)  # mask_ratio_start, _end; of the samples, also when generating


class _Model(nn.Module):
    """Only there so that the encoder's keys are the released ones (pretransform.model.encoder)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = encoder


class FixedAudioPromptEncoder(nn.Module):
    """Ten seconds of sound to 128 tokens; no learned empty feature: silence is encoded like sound.

    Its state dict has the released keys below the conditioner's id, with convolutions in place of the released
    weight_g and weight_v; the released `pretransform.model.decoder` is dead. dtype, compute_dtype and operations: as
    in Autoencoder.
    """

    def __init__(
        self,
        config: FixedAudioConfig,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
    ):
        super().__init__()
        kw: dict[str, Any] = {"dtype": dtype, "device": device}
        self.config = config
        encoder = Encoder(config.autoencoder.encoder, compute_dtype=compute_dtype, operations=operations, **kw)
        self.compute_dtype = encoder.compute_dtype
        self.pretransform = _Model(encoder)
        self.proj_out = operations.Linear(config.autoencoder.latent_dim, config.cond_dim, **kw)
        self.proj_features_128 = operations.Linear(config.latents, config.tokens, **kw)
        self._silence: dict[int, tuple[Tensor, Tensor]] = {}  # its mean and deviation, by samples

    def latents(
        self,
        audio: Tensor,
        *,
        tile: int | None = None,
        on_tile: OnTile | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Waveform (B, 2, N) -> mean and deviation of its latents, each (B, 64, L)."""
        ratio = self.config.autoencoder.downsampling_ratio
        encoder: Any = self.pretransform.model.encoder
        return split_statistics(encode_statistics(encoder, audio, ratio, tile=tile, on_tile=on_tile))

    def _known(self, stereo: Tensor, tile: int | None, on_tile: OnTile | None) -> tuple[Tensor, Tensor]:
        """latents(), but those of silence are kept: whoever gives no sound hears it in every generation."""
        samples = stereo.shape[-1]
        if stereo.any():
            return self.latents(stereo, tile=tile, on_tile=on_tile)
        if samples not in self._silence:
            mean, deviation = self.latents(stereo[:1], tile=tile, on_tile=on_tile)
            self._silence[samples] = mean.cpu(), deviation.cpu()
        mean, deviation = (kept.to(stereo).expand(stereo.shape[0], -1, -1) for kept in self._silence[samples])
        return mean, deviation

    def project(self, latents: Tensor) -> Tensor:
        """Latents (B, 64, 215) -> tokens (B, 128, D) in float32: mixed along time, then widened."""
        mixed = self.proj_features_128(latents.to(self.compute_dtype))  # (B, 64, 128)
        return self.proj_out(mixed.transpose(1, 2)).float()

    def forward(
        self,
        audio: Tensor,
        spans: Tensor | None = None,
        noise: Tensor | None = None,
        *,
        tile: int | None = None,
        on_tile: OnTile | None = None,
    ) -> Tensor:
        """Waveform (B, 1 or 2, 440320 to 442367) -> tokens (B, 128, D) in float32, made where the waveform is.

        spans (B, 2): first sample and end of what is hidden, from hidden_span.draw_spans(B, N, hidden_share).
        noise (B, 64, 215) samples the latents as the released pipeline does (drawn after the spans); None takes their
        mean. Raises InputError for other lengths or channels.
        """
        ratio, count = self.config.autoencoder.downsampling_ratio, self.config.latents
        if audio.ndim != 3 or audio.shape[1] not in (1, 2) or audio.shape[-1] // ratio != count:
            raise InputError(
                f"audio: waveform of shape {tuple(audio.shape)}; ten seconds of mono or stereo are needed, "
                f"(B, 1 or 2, {count * ratio}..{(count + 1) * ratio - 1}) samples"
            )
        stereo = hide(audio.float(), spans).expand(-1, 2, -1)
        mean, deviation = self._known(stereo, tile, on_tile)
        return self.project(mean if noise is None else mean + deviation * noise.to(mean))


def dead_decoder(config: FixedAudioConfig) -> nn.Module:
    """The decoder that the released conditioner has below `pretransform.model.decoder.`, for its keys and shapes."""
    return Decoder(config.autoencoder.decoder, device="meta")
