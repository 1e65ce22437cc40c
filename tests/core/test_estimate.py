"""The estimates of activations and weights against what the networks really make, counted on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from audiox_core.memory.estimate import WORKSPACE, half_work, pinned_extra, streamed_parameters, weights_of
from audiox_core.memory.formats import Format
from audiox_core.models.conditioners import T5_ENCODERS
from audiox_core.models.config import parse_config
from audiox_core.networks.t5 import TextEncoder
from audiox_core.sampling.guidance import GuidedVelocity
from tests.core.fake_allocator import Allocator
from tests.core.machines import FULL
from tests.core.small import small_data

FORMATS = (Format("fp32", "fp32"), Format("fp16", "fp16"))
CASTS = (Format("fp8", "fp16"), Format("bf16", "fp32"))


def peak(work: Callable[[], object]) -> int:
    with torch.no_grad(), Allocator() as allocator:
        work()
    return allocator.peak


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def build(name: str, format: Format | None = None) -> Any:
    return FULL.parts[name].build(device="meta", **(format or Format()).options())


def guessed(name: str, format: Format, latents: int = 0, batch: int = 1, tile: int | None = None) -> int:
    return FULL.parts[name].work(format, latents, batch, tile)


@pytest.mark.parametrize("format", [*FORMATS, Format("bf16", "fp32"), Format("fp16", "fp32")], ids=str)
@pytest.mark.parametrize(("tile", "latents"), [(None, 236), (32, 120), (8, 60)])
def test_autoencoder(format: Format, tile: int | None, latents: int) -> None:
    net = build("autoencoder", format)
    decoded = peak(lambda: net.decode(empty(1, 64, latents), tile=tile))
    encoded = peak(lambda: net.encode(empty(1, 2, latents * 2048), tile=tile))
    guess = guessed("autoencoder", format, latents=latents, tile=tile)
    # The largest weight, while it is cast, is counted beside the widest activations, which it never meets.
    assert max(decoded, encoded) <= guess <= (2 if format.casts else 1.5) * max(decoded, encoded)


@pytest.mark.parametrize(("tile", "encode"), [(None, True), (32, True), (8, False)])
def test_the_larger_half_of_the_autoencoder_counts(tile: int | None, encode: bool) -> None:
    """The encoder's, but in the smallest tiles: the decoder looks further to either side."""
    sizes = (128, 2048, Format(), 236, 1, tile)
    larger, smaller = (half_work(*sizes, encode=half) for half in (encode, not encode))
    assert guessed("autoencoder", Format(), latents=236, tile=tile) == larger > smaller


@pytest.mark.parametrize("batch", [2, 3])
def test_autoencoder_with_a_batch(batch: int) -> None:
    net = build("autoencoder")
    encoded = peak(lambda: net.encode(empty(batch, 2, 100 * 2048)))
    assert encoded <= guessed("autoencoder", Format(), latents=100, batch=batch) <= 1.5 * encoded


def test_the_waveform_of_a_long_sound_is_counted() -> None:
    """In a network of an eighth of the width, in which an eighth of the length weighs as much."""
    data: Any = small_data()
    for half in ("encoder", "decoder"):
        data["model"]["pretransform"]["config"][half]["config"]["channels"] = 16
    part = parse_config(data).parts["autoencoder"]
    net = part.build(device="meta")
    found, guess = peak(lambda: net.decode(empty(1, 64, 320), tile=8)), part.work(Format(), 320, 1, 8)
    assert found <= guess <= 1.5 * found
    assert guess - 320 * 2048 * 2 * 4 < found, "without the waveform it would be too low"


def test_tiles_make_the_peak_independent_of_the_duration() -> None:
    net = build("autoencoder")
    short, long = (peak(lambda n=n: net.decode(empty(1, 64, n), tile=32)) - n * 2048 * 8 for n in (120, 320))
    assert long <= 1.01 * short


@pytest.mark.parametrize("format", [*FORMATS, *CASTS], ids=str)
@pytest.mark.parametrize(("batch", "latents"), [(1, 236), (1, 700), (4, 236)])
def test_dit(format: Format, batch: int, latents: int) -> None:
    net = build("dit", format)
    tokens = {"video": empty(1, 1, 128, 768), "text": empty(1, 1, 128, 768), "audio": empty(1, 1, 215, 768)}

    def step() -> None:
        GuidedVelocity(net, tokens, tokens)(empty(batch, 64, latents), empty(batch))

    found, guess = peak(step), guessed("dit", format, latents=latents, batch=batch)
    assert 0.9 * found <= guess <= 1.5 * found


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_encoders(format: Format) -> None:
    dtype = format.compute_dtype
    video = build("video", format)
    chunk = peak(lambda: video.clip(empty(10, 3, 224, 224, dtype=torch.uint8)))
    mixed = peak(lambda: video.temporal(empty(2, 50, 50, 768, dtype=dtype)))
    guess = guessed("video", format, batch=2)
    assert max(chunk, mixed) <= guess <= 2 * max(chunk, mixed)
    audio = build("audio", format)
    found = peak(lambda: audio(empty(1, 2, 441000)))
    assert found <= guessed("audio", format) <= 1.1 * WORKSPACE * found


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("batch", [1, 8])
def test_text_encoder(format: Format, batch: int) -> None:
    """Counted on the CPU, with one layer of twelve (they work one after the other) and few words."""
    text = TextEncoder({**T5_ENCODERS["t5-base"], "num_layers": 1, "vocab_size": 64}, 128, dtype=format.compute_dtype)
    found = peak(lambda: text([[5] * 128] * batch))
    assert found <= guessed("text", format, batch=batch) <= 3 * found


@pytest.mark.parametrize("name", list(FULL.parts))
@pytest.mark.parametrize("format", [*FORMATS, *CASTS], ids=str)
def test_weights_are_counted_exactly(name: str, format: Format) -> None:
    net, guess = build(name, format), weights_of(FULL.parts[name], format)
    parameters = list(net.parameters())
    assert guess.total == sum(p.nbytes for p in parameters)
    assert guess.numbers == sum(p.numel() for p in parameters)


@pytest.mark.parametrize("format", [*FORMATS, *CASTS], ids=str)
def test_streamed_blocks_are_counted_exactly(format: Format) -> None:
    """All of a block but what only prepares a condition."""
    net, guess = build("dit", format), weights_of(FULL.parts["dit"], format)
    assert guess.depth == len(net.blocks) == 24
    for size, block in zip(guess.blocks, net.blocks, strict=True):
        whole, once = (sum(p.nbytes for p in m.parameters()) for m in (block, block.cross_attn.to_kv))
        assert size == whole - once
    assert guess.block == max(guess.blocks)
    names = {name for name, _ in streamed_parameters(net.blocks[0], net.once)}
    assert "cross_attn.to_q.weight" in names and "cross_attn.to_kv.weight" not in names
    assert weights_of(FULL.parts["text"], Format()).block == 0


def test_work_follows_the_config() -> None:
    """Each size of a config that costs memory moves the estimate of the part that has it."""
    plain = parse_config(small_data())

    def work(name: str, path: str, value: int, **more: int) -> float:
        data: Any = small_data()
        place = data["model"]
        *parents, last = path.split(".")
        for key in parents:
            place = place[int(key)] if key.isdigit() else place[key]
        place.update({last: value, **more})
        changed, given = parse_config(data), (Format(), 100, 1, None)
        return changed.parts[name].work(*given) / plain.parts[name].work(*given)

    configs = "conditioning.configs"
    assert 1.5 < work("dit", "diffusion.config.embed_dim", 128, num_heads=4) < 3
    assert 1.0 < work("dit", "diffusion.config.depth", 4) < 2
    assert work("video", f"{configs}.0.config.clip_vision_config.image_size", 128) > 2
    assert work("text", f"{configs}.1.config.max_length", 256) == 2
    assert work("dit", f"{configs}.1.config.max_length", 256) > 1
    assert 1.5 < work("autoencoder", "pretransform.config.decoder.config.channels", 4) < 2.1
    assert 1.5 < work("audio", f"{configs}.2.config.pretransform_config.config.decoder.config.channels", 4) < 2.1


@pytest.mark.parametrize("format", CASTS, ids=str)
@pytest.mark.parametrize("name", ["dit", "autoencoder"])
def test_the_largest_weight_is_counted_while_it_is_cast(name: str, format: Format) -> None:
    """In what it is computed in, beside the work of a network that is kept in that."""
    largest = max(p.numel() for p in build(name).parameters())
    plain = Format(format.compute, format.compute)
    cast, uncast = (guessed(name, each, latents=236, tile=32) for each in (format, plain))
    assert cast - uncast == largest * format.compute_dtype.itemsize


def test_seconds_become_latents() -> None:
    assert FULL.timing.to_latents(10.0) == 216 and FULL.timing.to_latents(10.95) == 236


@pytest.mark.parametrize(("size", "extra"), [(1, 0), (2, 0), (3, 1), (1025, 1023), (1 << 30, 0)])
def test_page_locked_memory_comes_in_powers_of_two(size: int, extra: int) -> None:
    assert pinned_extra(size) == extra
