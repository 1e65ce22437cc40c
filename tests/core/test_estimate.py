"""The estimates of activations and weights against what the networks really make, counted on the meta device."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from audiox_core.memory.estimate import WORKSPACE, Dimensions, activations, dit_bytes
from audiox_core.memory.formats import Format
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import TextConfig, VideoConfig, parse_config
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.weights.layout import build
from audiox_core.weights.load import component_sizes
from tests.core.fake_allocator import Allocator
from tests.core.small import small_config

FULL = parse_config(BASE_CONFIG)
FORMATS = (Format("fp32", "fp32"), Format("fp16", "fp16"))


def peak(work: Callable[[], object]) -> int:
    with torch.no_grad(), Allocator() as allocator:
        work()
    return allocator.peak


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("tile", [None, 32])
def test_autoencoder(format: Format, tile: int | None) -> None:
    net = build("autoencoder", FULL, dtype=format.storage_dtype)
    decoded = peak(lambda: net.decode(empty(1, 64, 236), tile=tile))
    encoded = peak(lambda: net.encode(empty(1, 2, 236 * 2048), tile=tile))
    guess = activations("autoencoder", Dimensions(), format, latents=236, batch=1, tile=tile)
    assert max(decoded, encoded) <= guess <= 1.5 * max(decoded, encoded)


def test_tiles_make_the_peak_independent_of_the_duration() -> None:
    net = build("autoencoder", FULL)
    short, long = (peak(lambda n=n: net.decode(empty(1, 64, n), tile=32)) - n * 2048 * 8 for n in (120, 500))
    assert long <= 1.01 * short


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize(("batch", "latents"), [(1, 236), (1, 700), (4, 236)])
def test_dit(format: Format, batch: int, latents: int) -> None:
    net = build("dit", FULL, dtype=format.storage_dtype)
    tokens = empty(1, 471, 768)

    def step() -> None:
        GuidedVelocity(net, tokens, tokens)(empty(batch, 64, latents), empty(batch))

    found, guess = peak(step), activations("dit", Dimensions(), format, latents=latents, batch=batch)
    assert 0.9 * found <= guess <= 1.5 * found


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_encoders(format: Format) -> None:
    dims, dtype = Dimensions(), format.compute_dtype
    video = build("video", FULL, dtype=dtype)
    chunk = peak(lambda: video.clip(empty(10, 3, 224, 224, dtype=torch.uint8)))
    mixed = peak(lambda: video.temporal(empty(2, 50, 50, 768, dtype=dtype)))
    guess = activations("video", dims, format, latents=0, batch=2)
    assert max(chunk, mixed) <= guess <= 2 * max(chunk, mixed)
    audio = build("audio", FULL, dtype=dtype)
    found = peak(lambda: audio(empty(1, 2, 441000)))
    assert found <= activations("audio", dims, format, latents=0, batch=1) <= 1.1 * WORKSPACE * found


@pytest.mark.parametrize("format", [*FORMATS, Format("fp8", "fp16"), Format("bf16", "fp32")], ids=str)
def test_dit_weights_are_counted_exactly(format: Format) -> None:
    net = build("dit", FULL, **format.options("dit"))
    guess = dit_bytes(Dimensions(), component_sizes(FULL)["dit"], format)
    found = sum(p.nbytes for p in net.parameters())
    block = sum(p.nbytes for p in net.transformer.layers[0].parameters())
    assert abs(guess.total - found) <= 0.002 * found and abs(guess.block - block) <= 0.002 * block


def test_dimensions_come_from_the_config() -> None:
    assert Dimensions.from_config(FULL) == Dimensions()
    small = small_config()
    dims = Dimensions.from_config(small)
    assert (dims.width, dims.depth, dims.wave_channels) == (64, 2, 2)
    assert dims.clip_width == small.conditioner(VideoConfig).vision["hidden_size"]
    assert dims.text_tokens == small.conditioner(TextConfig).max_length
    assert Dimensions().latents(10.0) == 216 and Dimensions().latents(10.95) == 236
