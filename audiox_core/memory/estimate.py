"""What networks need of memory: bytes of weights, counted on the meta device, and of activations, by formula."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ..networks.autoencoder import DECODE_HALO, ENCODE_HALO
from ..networks.clip_time import CHUNK
from ..networks.synchformer import SEGMENTS_AT_ONCE
from .formats import Format

if TYPE_CHECKING:
    from torch import nn

    from ..models.parts import Part

# Tensors that live at once where a convolutional half is widest (tests/core/test_estimate.py counts them), and what
# convolution libraries take beside them.
DECODE_UNITS, ENCODE_UNITS = 3.5, 4.0
WORKSPACE = 1.25


@dataclass(frozen=True)
class Weights:
    """Bytes of a part's weights, and which of them can be streamed."""

    total: int
    blocks: tuple[int, ...] = ()  # what each block takes on the device while it is streamed there
    numbers: int = 0  # how many there are, whatever their format

    @property
    def depth(self) -> int:
        return len(self.blocks)

    @property
    def block(self) -> int:
        """The largest streamed block."""
        return max(self.blocks, default=0)


@lru_cache(maxsize=64)
def weights_of(part: Part, format: Format) -> Weights:
    """The weights of a part in a format, counted on a network that takes no memory."""
    module: Any = part.build(device="meta", **format.options())
    blocks = tuple(
        sum(p.nbytes for _, p in streamed_parameters(block, module.once)) for block in getattr(module, "blocks", ())
    )
    parameters = list(module.parameters())
    return Weights(sum(p.nbytes for p in parameters), blocks, sum(p.numel() for p in parameters))


def streamed_parameters(block: nn.Module, once: tuple[str, ...]) -> list[tuple[str, Any]]:
    """A block's parameters that come with it when it is streamed, by name: all but those under the paths in once.

    These are used once per condition, outside the block's own forward pass, and go with the rest of the network.
    """
    return [
        (name, p) for name, p in block.named_parameters() if not name.startswith(tuple(f"{path}." for path in once))
    ]


def network_work(
    width: int,
    heads: int,
    context: int,
    depth: int,
    tokens: int,
    format: Format,
    latents: int,
    batch: int,
    tile: int | None = None,
) -> int:
    """Peak of one guided step of a cross-attention transformer: two rows a batch item, a positive and a negative
    condition with their joined copy, its keys held for every head. The first five are its sizes.
    """
    h, length, rows = format.compute_dtype.itemsize, latents + 1, 2 * batch
    numbers = rows * length * width
    feed_forward = numbers * (8 + 17 * h)  # two float32 streams; in, both halves, gate, product
    scores = rows * heads * length * max(length, tokens) * 8  # only where no fused kernel applies
    attention = numbers * (20 + 8 * h) + scores
    keys_values = (2 + rows) * depth * tokens * 2 * context * h + keys_held(
        width, context, depth, tokens, format, batch
    )
    cast = 8 * width**2 * h if format.casts else 0  # the largest matrix, while it is used
    return max(feed_forward, attention) + keys_values + cast


def keys_held(width: int, context: int, depth: int, tokens: int, format: Format, batch: int) -> int:
    """What a cross-attention transformer holds from step to step beyond its keys and values of each group of heads."""
    return (2 + 2 * batch) * depth * tokens * 2 * (width - context) * format.compute_dtype.itemsize


def modulation_held(width: int, depth: int, positions: int, format: Format, batch: int) -> int:
    """What a modulated transformer holds from step to step of a guided generation: two conditions a batch item."""
    return 2 * batch * depth * positions * 6 * width * format.compute_dtype.itemsize


def modulated_work(
    width: int,
    heads: int,
    inner: int,
    depth: int,
    format: Format,
    latents: int,
    batch: int,
    tile: int | None = None,
) -> int:
    """Peak of one guided step of a modulated transformer, with the modulation of all its layers held."""
    h, positions, rows = format.compute_dtype.itemsize, latents + 1, 2 * batch
    numbers = rows * positions
    modulation = numbers * 6 * width * h  # of the layer at work, joined
    attention = numbers * width * (20 + 8 * h) + rows * heads * positions**2 * 8  # scores where no fused kernel applies
    feed_forward = numbers * (width * 12 + inner * 3 * h)
    cast = 3 * width * inner * h if format.casts else 0  # the largest matrix, while it is used
    return modulation_held(width, depth, positions, format, batch) + modulation + max(attention, feed_forward) + cast


def fused_work(
    backbone: Any,
    width: int,
    heads: int,
    inner: int,
    experts: int,
    tokens: int,
    format: Format,
    latents: int,
    batch: int,
    tile: int | None = None,
) -> int:
    """Peak of a backbone behind a fusion block, whichever of the two is at work; the block before the first step."""
    h = format.compute_dtype.itemsize
    read = batch * tokens * width * (12 + 3 * h)
    experts_at_work = batch * experts * (width * (12 + 5 * h) + 2 * inner * h + heads * max(experts, tokens) * 8)
    return max(read + experts_at_work, backbone(format, latents, batch, tile))


def motion_work(
    pictures: Any,
    tokens: int,
    width: int,
    read: int,
    format: Format,
    latents: int,
    batch: int,
    tile: int | None = None,
) -> int:
    """Peak of an encoder of pictures at two rates, whichever of its two networks is at work.

    pictures is the work of the first; tokens are those of a segment of the second, read the bytes of its pictures.
    """
    h = format.compute_dtype.itemsize
    segments = SEGMENTS_AT_ONCE * tokens * width * (68 + 2 * h)
    return batch * read + max(pictures(format, latents, batch, tile), segments)


def spectrogram_work(
    samples: int,
    window: int,
    hop: int,
    bands: int,
    width: int,
    format: Format,
    latents: int,
    batch: int,
    tile: int | None = None,
) -> int:
    """Peak of an encoder of a spectrogram in float32, over so many samples of stereo sound."""
    frames = samples // hop + 1
    return batch * 4 * (3 * samples + frames * (2 * window + 2 * bands + width))


def half_work(
    channels: int, ratio: int, format: Format, latents: int, batch: int, tile: int | None, *, encode: bool
) -> int:
    """Peak of an autoencoder half, whole or in tiles with their halo. channels is its width at the waveform."""
    units, halo = (ENCODE_UNITS, ENCODE_HALO) if encode else (DECODE_UNITS, DECODE_HALO)
    at_once = latents if tile is None or tile >= latents else min(tile + 2 * halo, latents)
    level = batch * at_once * ratio * channels * format.compute_dtype.itemsize
    whole = batch * latents * ratio * 2 * 4  # the waveform
    cast = 2048 * channels**2 * format.compute_dtype.itemsize if format.casts else 0  # the largest weight
    return round(level * units * WORKSPACE) + whole + cast


def wave_work(channels: int, ratio: int, format: Format, latents: int, batch: int, tile: int | None) -> int:
    """Peak of an autoencoder, whichever half is at work."""
    return max(half_work(channels, ratio, format, latents, batch, tile, encode=e) for e in (True, False))


def prompt_work(
    channels: int, ratio: int, prompt: int, format: Format, latents: int, batch: int, tile: int | None
) -> int:
    """Peak of an encoder of sound, which always hears one whole prompt of so many latents."""
    return half_work(channels, ratio, format, prompt, batch, tile, encode=True)


def sight_work(
    tokens: int, width: int, frames: int, format: Format, latents: int, batch: int, tile: int | None = None
) -> int:
    """Peak of a vision tower with so many tokens a frame, and of what mixes its frames."""
    frame = tokens * width * 4
    return CHUNK * frame * 21 + batch * frames * frame * 16


def words_work(tokens: int, width: int, format: Format, latents: int, batch: int, tile: int | None = None) -> int:
    """Peak of a text encoder for prompts of so many tokens."""
    return batch * tokens * width * 4 * 16


def pinned_extra(size: int) -> int:
    """What page-locked memory of that size wastes: torch makes it in powers of two."""
    return (1 << (size - 1).bit_length()) - size
