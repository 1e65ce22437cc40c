"""The conditioner that mixes an audio prompt's latents to 128 tokens."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.audio_prompt_fixed import FixedAudioConfig, FixedAudioPromptEncoder, dead_decoder
from audiox_core.networks.autoencoder import AutoencoderConfig, OobleckConfig
from audiox_core.networks.hidden_span import draw_spans
from tests.core.family import BOUND, MMDITS, error, fill, golden_set, seed_of, shapes_of

BEFORE = "conditioner.conditioners.audio_prompt."
SHARE = (0.25, 0.75)


def half(c: dict[str, Any], channels: str) -> OobleckConfig:
    return OobleckConfig(c[channels], c["channels"], tuple(c["c_mults"]), tuple(c["strides"]), c["latent_dim"])


def config_of(given: dict[str, Any]) -> FixedAudioConfig:
    c = given["pretransform_config"]["config"]
    encoder, decoder = half(c["encoder"]["config"], "in_channels"), half(c["decoder"]["config"], "out_channels")
    vae = AutoencoderConfig(encoder, decoder, c["latent_dim"], c["downsampling_ratio"], c["io_channels"])
    share = given.get("mask_ratio_start", 0.0), given.get("mask_ratio_end", 0.0)
    return FixedAudioConfig(vae, 768, given["latent_seq_len"], hidden_share=share)


@lru_cache(maxsize=2)
def tiny(name: str) -> FixedAudioPromptEncoder:
    golden = golden_set(name)
    net = FixedAudioPromptEncoder(config_of(golden.conditioner("audio_prompt")))
    return fill(net, BEFORE, golden.shapes(BEFORE))


def draws(golden: Any, batch: int, length: int | None) -> tuple[Tensor | None, Tensor]:
    """Span and noise in the released order; no span is drawn without a length."""
    generator = torch.Generator().manual_seed(seed_of(golden, "audio"))
    spans = None if length is None else draw_spans(batch, length, SHARE, generator)
    return spans, torch.randn(batch, 64, 21, generator=generator)


@torch.inference_mode()
@pytest.mark.parametrize("name", MMDITS)
def test_golden(name: str) -> None:
    golden, net = golden_set(name), tiny(name)
    g, expected = golden.inputs("audio"), golden.stored("audio")
    wave = g["audio"]
    shorter = wave.clone()
    shorter[0, :, -1000:] = 0
    mean, deviation = net.latents(wave[:1])
    plain = draws(golden, 1, None)
    one, both = draws(golden, 1, wave.shape[-1]), draws(golden, 2, wave.shape[-1])
    assert one[0].tolist() == g["hidden_span"] and both[0].tolist() == g["both_spans"]  # type: ignore[union-attr]
    ours = {
        "mean": mean,
        "deviation": deviation,
        "mean_tokens": net(wave[:1]),
        "whole_crop": net(wave[:1], *plain)[:, ::4, ::8],
        "hidden": net(wave[:1], *one),
        "both_crop": net(shorter, *both)[:, ::4, ::8],
        "mono_crop": net(wave[:1, :1], *plain)[:, ::4, ::8],
        "silence_crop": net(torch.zeros_like(wave[:1]), *plain)[:, ::4, ::8],
    }
    assert ours.keys() == expected.keys()
    for output in ours:
        assert error(ours[output], expected[output]) <= BOUND, output


@pytest.mark.parametrize("file", ["keys.tiny.json", "keys.full.json"])
@pytest.mark.parametrize("name", MMDITS)
def test_names_are_the_released_ones(name: str, file: str) -> None:
    """But for the convolutions, which the release keeps as direction and length."""
    golden = golden_set(name)
    given = golden.json(file.replace("keys", "config").replace(".tiny", ""))["model"]["conditioning"]["configs"]
    config = config_of(next(c["config"] for c in given if c["id"] == "audio_prompt"))
    ours = shapes_of(FixedAudioPromptEncoder(config, device="meta"))
    ours |= {f"pretransform.model.decoder.{key}": shape for key, shape in shapes_of(dead_decoder(config)).items()}
    released = golden.shapes(BEFORE, file)
    for key in [key for key in released if key.endswith("weight_g")]:
        released[key.removesuffix("_g")] = released.pop(key.removesuffix("g") + "v")
        del released[key]
    assert ours == released


@torch.inference_mode()
def test_lengths_and_channels_are_fixed() -> None:
    net = tiny("audiox_turbo")
    for shape in ((1, 2, 21 * 2048 - 1), (1, 2, 22 * 2048), (1, 3, 21 * 2048), (2, 21 * 2048)):
        with pytest.raises(InputError, match="ten seconds"):
            net(torch.zeros(shape))
    assert net(torch.zeros(1, 1, 22 * 2048 - 1)).shape == (1, 128, 768)
