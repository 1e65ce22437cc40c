"""The row of the Oobleck autoencoder, which every released member has; and how an autoencoder's config is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch import nn

from ..errors import ConfigError
from ..memory.estimate import wave_work
from ..memory.formats import wave_format
from ..networks.autoencoder import Autoencoder, AutoencoderConfig, OobleckConfig
from .parts import Part, Slot, slots
from .section import Section

PREFIX = "pretransform.model."


def _read_half(outer: Section, key: str, io_key: str) -> OobleckConfig:
    with outer.section(key) as half:
        half.choice("type", ("oobleck",))
        half.ignore("requires_grad")
        with half.section("config") as s:
            for flag, wanted in (("use_snake", True), ("final_tanh", False)):
                if s.take(flag, bool, wanted) is not wanted:
                    raise ConfigError(f"{s.path}.{flag}: only {str(wanted).lower()} is supported")
            config = OobleckConfig(
                io_channels=s.number(io_key, 1, 64),
                channels=s.number("channels", 1, 4096),
                c_mults=s.numbers("c_mults", 1, 1024),
                strides=s.numbers("strides", 1, 64),
                latent_dim=s.number("latent_dim", 1, 65536),
            )
    if len(config.c_mults) != len(config.strides):
        raise ConfigError(f"{s.path}: c_mults and strides differ in length")
    return config


def read_sizes(section: Section) -> AutoencoderConfig:
    """The sizes of an autoencoder from its section. Raises ConfigError."""
    with section:
        section.choice("type", ("autoencoder",))
        section.ignore("iterate_batch")
        if section.take("scale", (int, float), 1.0) != 1:
            raise ConfigError(f"{section.path}.scale: only 1 is supported, which leaves latents as they are")
        with section.section("config") as s:
            with s.section("bottleneck") as bottleneck:
                bottleneck.choice("type", ("vae",))
            config = AutoencoderConfig(
                encoder=_read_half(s, "encoder", "in_channels"),
                decoder=_read_half(s, "decoder", "out_channels"),
                latent_dim=s.number("latent_dim", 1, 32768),
                downsampling_ratio=s.number("downsampling_ratio", 1, 1 << 20),
                io_channels=s.number("io_channels", 1, 64),
            )
    encoder, decoder = config.encoder, config.decoder
    if encoder.strides != decoder.strides or math.prod(decoder.strides) != config.downsampling_ratio:
        raise ConfigError(
            f"{s.path}: strides {encoder.strides} (encoder) and {decoder.strides} (decoder) "
            f"do not give downsampling_ratio {config.downsampling_ratio}"
        )
    if not encoder.io_channels == decoder.io_channels == config.io_channels == 2:
        raise ConfigError(f"{s.path}: in_channels, out_channels and io_channels must all be 2 (stereo)")
    if encoder.latent_dim != 2 * config.latent_dim or decoder.latent_dim != config.latent_dim:
        raise ConfigError(
            f"{s.path}: latent_dim {config.latent_dim} asks for {2 * config.latent_dim} in the encoder (mean and "
            f"scale) and {config.latent_dim} in the decoder, not {encoder.latent_dim} and {decoder.latent_dim}"
        )
    return config


def read_autoencoder(section: Section) -> tuple[Part, int, int]:
    """The row of the model's autoencoder, the samples in a latent, and the latents' channels."""
    config = read_sizes(section)
    return autoencoder_part(config), config.downsampling_ratio, config.latent_dim


def autoencoder_part(config: AutoencoderConfig) -> Part:
    def layout(module: nn.Module) -> Iterable[Slot]:
        return slots(module, PREFIX, weight_norm=True)

    def build(**options: Any) -> nn.Module:
        return Autoencoder(config, **options)

    return Part(
        name="autoencoder",
        label="autoencoder",
        build=build,
        layout=layout,
        format=wave_format,
        work=partial(wave_work, config.decoder.channels, config.downsampling_ratio),
        tiled=True,
    )
