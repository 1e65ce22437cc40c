"""The Oobleck autoencoder (arXiv:2407.14358): stereo waveform to latents and back, whole or in exact tiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .ops import operations as default_operations

DILATIONS = (1, 3, 9)
# How far an answer looks, in latents either side; a consequence of the kernel sizes above, at any width.
DECODE_HALO = 10
ENCODE_HALO = 8

OnTile = Callable[[int, int], None]


@dataclass(frozen=True)
class OobleckConfig:
    """One half (encoder or decoder) of the convolutional autoencoder."""

    io_channels: int
    channels: int
    c_mults: tuple[int, ...]
    strides: tuple[int, ...]
    latent_dim: int

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels at each level, from the waveform inwards."""
        return tuple(self.channels * m for m in (1, *self.c_mults))


@dataclass(frozen=True)
class AutoencoderConfig:
    """Waveform <-> latents; the encoder's latent_dim holds mean and scale, so it is twice the latents'."""

    encoder: OobleckConfig
    decoder: OobleckConfig
    latent_dim: int
    downsampling_ratio: int
    io_channels: int


class Snake(nn.Module):
    """x + sin^2(x e^alpha) / e^beta per channel (arXiv:2006.08195, in BigVGAN's log-parametrised form)."""

    def __init__(self, channels: int, **kw: Any):
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(channels, **kw))
        self.beta = nn.Parameter(torch.empty(channels, **kw))

    def forward(self, x: Tensor) -> Tensor:
        # The exponentials in float32: half precision would lose the guard against a division by zero.
        frequency = self.alpha.to(x.device, torch.float32).exp()[:, None].to(x.dtype)  # (C, 1)
        amplitude = (1.0 / (self.beta.to(x.device, torch.float32).exp() + 1e-9))[:, None].to(x.dtype)
        # In place on fresh memory: these waves are the largest tensors of a decode.
        return (x * frequency).sin_().square_().mul_(amplitude).add_(x)


class ResidualUnit(nn.Module):
    """Two snake-activated convolutions around a residual; the first is dilated."""

    def __init__(self, channels: int, dilation: int, compute: torch.dtype, operations: Any, **kw: Any):
        super().__init__()
        self.layers = nn.Sequential(
            Snake(channels, **{**kw, "dtype": compute}),
            operations.Conv1d(channels, channels, 7, dilation=dilation, padding=3 * dilation, **kw),
            Snake(channels, **{**kw, "dtype": compute}),
            operations.Conv1d(channels, channels, 1, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


class EncoderBlock(nn.Module):
    """Three residual units, then a strided convolution to the next width."""

    def __init__(self, width: int, out: int, stride: int, compute: torch.dtype, operations: Any, **kw: Any):
        super().__init__()
        self.layers = nn.Sequential(
            *(ResidualUnit(width, dilation, compute, operations, **kw) for dilation in DILATIONS),
            Snake(width, **{**kw, "dtype": compute}),
            operations.Conv1d(width, out, 2 * stride, stride=stride, padding=(stride + 1) // 2, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DecoderBlock(nn.Module):
    """A transposed convolution to the next width, then three residual units."""

    def __init__(self, width: int, out: int, stride: int, compute: torch.dtype, operations: Any, **kw: Any):
        super().__init__()
        self.layers = nn.Sequential(
            Snake(width, **{**kw, "dtype": compute}),
            operations.ConvTranspose1d(width, out, 2 * stride, stride=stride, padding=(stride + 1) // 2, **kw),
            *(ResidualUnit(out, dilation, compute, operations, **kw) for dilation in DILATIONS),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Encoder(nn.Module):
    """Waveform (B, 2, N) -> statistics of the latents (B, 2 C, L), L = floor(N / 2048)."""

    def __init__(
        self,
        config: OobleckConfig,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        operations: Any = default_operations,
        **kw: Any,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype or dtype or torch.get_default_dtype()
        kw |= {"dtype": dtype}
        compute = self.compute_dtype
        widths = config.widths
        self.layers = nn.Sequential(
            operations.Conv1d(config.io_channels, widths[0], 7, padding=3, **kw),
            *(
                EncoderBlock(widths[i], widths[i + 1], stride, compute, operations, **kw)
                for i, stride in enumerate(config.strides)
            ),
            Snake(widths[-1], **{**kw, "dtype": compute}),
            operations.Conv1d(widths[-1], config.latent_dim, 3, padding=1, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class Decoder(nn.Module):
    """Latents (B, C, L) -> waveform (B, 2, 2048 L)."""

    def __init__(
        self,
        config: OobleckConfig,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        operations: Any = default_operations,
        **kw: Any,
    ):
        super().__init__()
        self.compute_dtype = compute_dtype or dtype or torch.get_default_dtype()
        kw |= {"dtype": dtype}
        compute = self.compute_dtype
        widths = config.widths[::-1]
        self.layers = nn.Sequential(
            operations.Conv1d(config.latent_dim, widths[0], 7, padding=3, **kw),
            *(
                DecoderBlock(widths[i], widths[i + 1], stride, compute, operations, **kw)
                for i, stride in enumerate(config.strides[::-1])
            ),
            Snake(widths[-1], **{**kw, "dtype": compute}),
            operations.Conv1d(widths[-1], config.io_channels, 7, padding=3, bias=False, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def split_statistics(statistics: Tensor) -> tuple[Tensor, Tensor]:
    """Encoder answer (B, 2 C, L) -> mean and standard deviation of the latents, each (B, C, L)."""
    mean, scale = statistics.chunk(2, dim=1)
    return mean, F.softplus(scale) + 1e-4


def tiles(length: int, size: int, halo: int) -> Iterator[tuple[int, int, int, int]]:
    """Cuts 0..length into tiles of a size: (first needed, end needed, first kept, end kept), in latents.

         needed   |--halo--|=== kept ===|--halo--|
         next                           |=== kept ===|...

    A kept value depends on nothing outside its halo, so tiles put side by side are the whole answer.
    """
    if size < 1:
        raise InputError(f"tile: {size} latents is too small; choose at least 1")
    for start in range(0, length, size):
        end = min(start + size, length)
        yield max(start - halo, 0), min(end + halo, length), start, end


class Autoencoder(nn.Module):
    """The released model's autoencoder; latents need no scaling.

    dtype is what weights are kept in, compute_dtype what they multiply in: the same, unless operations cast.
    """

    def __init__(
        self,
        config: AutoencoderConfig,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
    ):
        super().__init__()
        kw: dict[str, Any] = {"dtype": dtype, "device": device, "operations": operations}
        self.config = config
        self.encoder = Encoder(config.encoder, compute_dtype=compute_dtype, **kw)
        self.decoder = Decoder(config.decoder, compute_dtype=compute_dtype, **kw)

    def encode(self, audio: Tensor, *, tile: int | None = None, on_tile: OnTile | None = None) -> tuple[Tensor, Tensor]:
        """Waveform (B, 2, N >= 2048) -> mean and deviation of the latents, each (B, C, N // 2048)."""
        statistics = encode_statistics(self.encoder, audio, self.config.downsampling_ratio, tile=tile, on_tile=on_tile)
        return split_statistics(statistics)

    def decode(
        self,
        latents: Tensor,
        *,
        tile: int | None = None,
        on_tile: OnTile | None = None,
        device: torch.device | None = None,
    ) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, 2048 L), unbounded (no tanh, no clipping), in latents' dtype.

        With a tile (in latents) the waveform is put together on the latents' own device, while the pieces are made
        on `device` (the latents' unless given): peak memory there no longer grows with the duration.
        """
        ratio, dtype = self.config.downsampling_ratio, self.decoder.compute_dtype
        if tile is None or latents.shape[-1] <= tile:
            return self.decoder(latents.to(device or latents.device, dtype)).to(latents.dtype)
        out = latents.new_empty(latents.shape[0], self.config.io_channels, latents.shape[-1] * ratio)
        cuts = list(tiles(latents.shape[-1], tile, DECODE_HALO))
        for i, (first, end, start, stop) in enumerate(cuts):
            piece = self.decoder(latents[..., first:end].to(device or latents.device, dtype))
            out[..., start * ratio : stop * ratio] = piece[..., (start - first) * ratio : (stop - first) * ratio]
            if on_tile is not None:
                on_tile(i + 1, len(cuts))
        return out


def encode_statistics(
    encoder: Encoder,
    audio: Tensor,
    ratio: int,
    *,
    tile: int | None = None,
    on_tile: OnTile | None = None,
) -> Tensor:
    """Encoder answer for a waveform (B, 2, N), whole or in tiles of so many latents."""
    length = audio.shape[-1] // ratio
    if length < 1:
        raise InputError(f"audio: {audio.shape[-1]} samples is too short to encode; at least {ratio} are needed")
    dtype = encoder.compute_dtype
    if tile is None or length <= tile:
        return encoder(audio.to(dtype)).to(audio.dtype)
    pieces = []
    cuts = list(tiles(length, tile, ENCODE_HALO))
    for i, (first, end, start, stop) in enumerate(cuts):
        # The last tile also sees the samples past the last whole latent, as the untiled run does.
        last_sample = audio.shape[-1] if end == length else end * ratio
        piece = encoder(audio[..., first * ratio : last_sample].to(dtype))
        pieces.append(piece[..., start - first : stop - first].to(audio))
        if on_tile is not None:
            on_tile(i + 1, len(cuts))
    return torch.cat(pieces, dim=-1)
