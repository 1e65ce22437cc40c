"""What the networks need of memory: bytes of weights and of activations, from their sizes and the requested length."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..models.config import ModelConfig, TextConfig, VideoConfig
from ..networks.audio_prompt import TOKENS as PROMPT_LATENTS
from ..networks.autoencoder import DECODE_HALO, ENCODE_HALO
from ..networks.clip_time import CHUNK
from .formats import Format

# Tensors that live at once where a convolutional half is widest (tests/core/test_estimate.py counts them), and what
# convolution libraries take beside them.
DECODE_UNITS, ENCODE_UNITS = 3.5, 4.0
WORKSPACE = 1.25


@dataclass(frozen=True)
class Dimensions:
    """The sizes that memory depends on; the defaults are the released model's."""

    width: int = 1536
    heads: int = 24
    context: int = 768
    depth: int = 24
    tokens: int = 471  # condition tokens
    wave_channels: int = 128  # of the autoencoders' widest layers
    ratio: int = 2048  # samples a latent
    sample_rate: int = 44100
    clip_width: int = 768
    clip_tokens: int = 50  # a frame
    frames: int = 50
    text_width: int = 768
    text_tokens: int = 128

    @classmethod
    def from_config(cls, config: ModelConfig) -> Dimensions:
        vision, text = config.conditioner(VideoConfig).vision, config.conditioner(TextConfig)
        return cls(
            width=config.dit.embed_dim,
            heads=config.dit.num_heads,
            context=config.dit.context_dim,
            depth=config.dit.depth,
            tokens=128 + text.max_length + PROMPT_LATENTS,
            wave_channels=config.autoencoder.decoder.channels,
            ratio=config.autoencoder.downsampling_ratio,
            sample_rate=config.sample_rate,
            clip_width=vision["hidden_size"],
            clip_tokens=(vision["image_size"] // vision["patch_size"]) ** 2 + 1,
            frames=config.timing.frames,
            text_width=text.t5["d_model"],
            text_tokens=text.max_length,
        )

    def latents(self, seconds: float) -> int:
        return math.ceil(round(seconds * self.sample_rate) / self.ratio)


@dataclass(frozen=True)
class DiTBytes:
    """Bytes of the transformer: around the blocks, of a block, and of the part of a block that is never streamed."""

    base: int
    block: int
    depth: int
    to_kv: int  # needed once per condition, outside the block's own forward pass

    @property
    def total(self) -> int:
        return self.base + self.depth * self.block

    @property
    def streamed(self) -> int:
        """What a streamed block takes on the device while it is there."""
        return self.block - self.to_kv


def dit_bytes(dims: Dimensions, parameters: int, format: Format) -> DiTBytes:
    """The transformer's weights. Norms and what lies around the blocks are float32; two matrices never have 8 bits."""
    w, c = dims.width, dims.context
    to_kv, to_out, norms = 2 * c * c, w * w, 6 * w
    matrices = 17 * w * w + 9 * w  # self-attention 4, to_q 1, feed-forward 12 with its biases
    kept = Format(format.compute, format.compute).bytes if format.bytes == 1 else format.bytes
    block = matrices * format.bytes + (to_kv + to_out) * kept + norms * 4
    around = parameters - dims.depth * (matrices + to_kv + to_out + norms)
    return DiTBytes(max(around, 0) * 4, block, dims.depth, to_kv * kept)


def dit_activations(dims: Dimensions, format: Format, latents: int, batch: int) -> int:
    """Peak of one guided step: two rows a batch item, a positive and a negative condition with their joined copy."""
    h, m = format.compute_dtype.itemsize, dims.tokens
    length, rows = latents + 1, 2 * batch
    numbers = rows * length * dims.width
    feed_forward = numbers * (8 + 17 * h)  # two float32 streams; in, both halves, gate, product
    scores = rows * dims.heads * length * max(length, m) * 8  # only where no fused kernel applies
    attention = numbers * (20 + 8 * h) + scores
    context = (2 + rows) * dims.depth * m * 2 * dims.context * h
    cast = 8 * dims.width**2 * h if format.casts else 0  # the largest matrix, while it is used
    return max(feed_forward, attention) + context + cast


def wave_activations(
    dims: Dimensions, format: Format, latents: int, batch: int, tile: int | None, *, encode: bool
) -> int:
    """Peak of an autoencoder half, whole or in tiles with their halo."""
    units, halo = (ENCODE_UNITS, ENCODE_HALO) if encode else (DECODE_UNITS, DECODE_HALO)
    at_once = latents if tile is None or tile >= latents else min(tile + 2 * halo, latents)
    level = batch * at_once * dims.ratio * dims.wave_channels * format.compute_dtype.itemsize
    whole = batch * latents * dims.ratio * 2 * 4  # the waveform
    cast = 2048 * dims.wave_channels**2 * format.compute_dtype.itemsize if format.casts else 0  # the largest weight
    return round(level * units * WORKSPACE) + whole + cast


def pinned_extra(size: int) -> int:
    """What page-locked memory of that size wastes: torch makes it in powers of two."""
    return (1 << (size - 1).bit_length()) - size


def activations(
    component: str, dims: Dimensions, format: Format, *, latents: int, batch: int, tile: int | None = None
) -> int:
    """Peak bytes beside the weights while a component works; the encoders always see one whole prompt."""
    if component == "dit":
        return dit_activations(dims, format, latents, batch)
    if component == "autoencoder":
        both = (wave_activations(dims, format, latents, batch, tile, encode=e) for e in (True, False))
        return max(both)
    if component == "audio":
        return wave_activations(dims, format, PROMPT_LATENTS, batch, tile, encode=True)
    if component == "video":
        frame = dims.clip_tokens * dims.clip_width * 4
        return CHUNK * frame * 21 + batch * dims.frames * frame * 16
    return batch * dims.text_tokens * dims.text_width * 4 * 16
