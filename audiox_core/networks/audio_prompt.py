"""Audio conditioning: latents of a prompt by an autoencoder of its own, projected to tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .autoencoder import AutoencoderConfig, Encoder, OnTile, encode_statistics, split_statistics
from .ops import operations as default_operations

TOKENS = 215


class _Model(nn.Module):
    """Only there so that the encoder's keys are the released ones (pretransform.model.encoder)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.model = nn.Module()
        self.model.encoder = encoder


class AudioPromptEncoder(nn.Module):
    """Ten seconds of stereo sound to condition tokens. Digital silence gives the learned empty feature.

    cond_dim is the width D of a token. dtype, compute_dtype and operations: as in Autoencoder.
    """

    def __init__(
        self,
        config: AutoencoderConfig,
        cond_dim: int,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
    ):
        super().__init__()
        kw: dict[str, Any] = {"dtype": dtype, "device": device}
        self.config = config
        encoder = Encoder(config.encoder, compute_dtype=compute_dtype, operations=operations, **kw)
        self.compute_dtype = encoder.compute_dtype
        self.pretransform = _Model(encoder)
        self.proj_out = operations.Linear(config.latent_dim, cond_dim, **kw)
        learned = {**kw, "dtype": self.compute_dtype}
        self.empty_audio_feat = nn.Parameter(torch.empty(1, TOKENS, cond_dim, **learned))

    def latents(
        self,
        audio: Tensor,
        *,
        tile: int | None = None,
        on_tile: OnTile | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Waveform (B, 2, N) -> mean and deviation of its latents, each (B, 64, L)."""
        ratio = self.config.downsampling_ratio
        encoder: Any = self.pretransform.model.encoder
        return split_statistics(encode_statistics(encoder, audio, ratio, tile=tile, on_tile=on_tile))

    def forward(
        self,
        audio: Tensor,
        noise: Tensor | None = None,
        *,
        tile: int | None = None,
        on_tile: OnTile | None = None,
    ) -> Tensor:
        """Waveform (B, 2, 441000) -> tokens (B, 215, D) in float32.

        noise (B, 64, 215) samples the latents as the released pipeline does; None takes their mean.
        """
        ratio = self.config.downsampling_ratio
        if audio.ndim != 3 or audio.shape[1] != 2 or audio.shape[-1] // ratio != TOKENS:
            raise InputError(
                f"audio: waveform of shape {tuple(audio.shape)}; (B, 2, {TOKENS * ratio}..{(TOKENS + 1) * ratio - 1}) "
                "samples are needed, which is ten seconds of stereo at the model's rate"
            )
        mean, deviation = self.latents(audio.float(), tile=tile, on_tile=on_tile)
        z = mean if noise is None else mean + deviation * noise.to(mean)
        tokens = self.proj_out(z.transpose(1, 2).to(self.compute_dtype)).float()  # (B, 215, D)
        silent = (audio == 0).flatten(1).all(dim=1)[:, None, None]
        return torch.where(silent, self.empty_audio_feat.to(tokens), tokens)
