"""The autoencoder on small random weights: lengths, halos, tiles."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from audiox_core.errors import InputError
from audiox_core.networks.autoencoder import DECODE_HALO, ENCODE_HALO, Autoencoder, split_statistics, tiles
from tests.core.small import small_model

RATIO = 2048


@pytest.fixture(scope="module")
def net() -> Autoencoder:
    generator = torch.Generator().manual_seed(0)
    config = small_model().autoencoder.build(device="meta").config
    halves = {half: replace(getattr(config, half), channels=4) for half in ("encoder", "decoder")}
    net = Autoencoder(replace(config, **halves)).eval().requires_grad_(False)
    for parameter in net.parameters():
        scale = 0.7 * parameter[0].numel() ** -0.5 if parameter.ndim > 1 else 0.1
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    return net


def noise(*shape: int) -> torch.Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).abs().max() / b.abs().max()).item()


@pytest.mark.parametrize("samples", [2048, 2049, 4095, 6000])
def test_lengths(net: Autoencoder, samples: int) -> None:
    mean, deviation = net.encode(noise(1, 2, samples))
    assert mean.shape == deviation.shape == (1, 64, samples // RATIO)
    assert (deviation > 0).all()
    assert net.decode(mean).shape == (1, 2, samples // RATIO * RATIO)


def test_too_short(net: Autoencoder) -> None:
    with pytest.raises(InputError, match="2047 samples is too short"):
        net.encode(noise(1, 2, 2047))


@pytest.mark.parametrize("tile", [7, 16, 21, 64])
def test_decode_tiles_equal_the_whole(net: Autoencoder, tile: int) -> None:
    latents = noise(1, 64, 22)
    told: list[tuple[int, int]] = []
    out = net.decode(latents, tile=tile, on_tile=lambda done, total: told.append((done, total)))
    assert relative(out, net.decode(latents)) <= 5e-6
    count = -(-22 // tile)
    assert told == ([(done, count) for done in range(1, count + 1)] if tile < 22 else [])


@pytest.mark.parametrize("tile", [7, 16])
@pytest.mark.parametrize("samples", [20 * RATIO, 20 * RATIO + 1777])
def test_encode_tiles_equal_the_whole(net: Autoencoder, tile: int, samples: int) -> None:
    audio = noise(1, 2, samples)
    told: list[tuple[int, int]] = []
    tiled = net.encode(audio, tile=tile, on_tile=lambda done, total: told.append((done, total)))
    for ours, whole in zip(tiled, net.encode(audio), strict=True):
        assert relative(ours, whole) <= 5e-6
    count = -(-20 // tile)
    assert told == [(done, count) for done in range(1, count + 1)]


def test_halos_are_needed_in_full(net: Autoencoder) -> None:
    latents = noise(1, 64, 40)
    whole = net.decode(latents)
    latents[..., 20 + DECODE_HALO] += 5
    changed = (net.decode(latents) - whole).abs().amax(dim=(0, 1)).view(-1, RATIO).amax(dim=1)
    touched = changed.nonzero().flatten()
    assert touched.min() >= 20
    assert touched.min() <= 21


def test_encode_reach(net: Autoencoder) -> None:
    audio = noise(1, 2, 40 * RATIO)
    whole, _ = net.encode(audio)
    audio[..., (20 + ENCODE_HALO + 1) * RATIO :] += 1
    assert torch.equal(net.encode(audio)[0][..., :21], whole[..., :21])


def test_tiles_cover_everything_once() -> None:
    cuts = list(tiles(25, 10, 3))
    assert cuts == [(0, 13, 0, 10), (7, 23, 10, 20), (17, 25, 20, 25)]
    with pytest.raises(InputError, match="tile"):
        list(tiles(5, 0, 1))


def test_deviation_is_softplus() -> None:
    _, deviation = split_statistics(torch.zeros(1, 4, 3))
    assert torch.allclose(deviation, torch.tensor(2.0).log() + 1e-4)


def test_a_single_latent_of_sound_is_encoded(net: Autoencoder) -> None:
    mean, _ = net.encode(noise(1, 2, RATIO))
    assert mean.shape == (1, 64, 1)
    assert mean.isfinite().all()
