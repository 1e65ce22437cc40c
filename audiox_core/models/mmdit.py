"""AudioX-MAF-MMDiT: the modulated transformer behind the fusion block, and the sound conditioner of fixed length."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from operator import itemgetter
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..memory.estimate import modulated_work, modulation_held, prompt_work
from ..memory.formats import network_format, wave_format
from ..networks.audio_prompt_fixed import FixedAudioConfig, FixedAudioPromptEncoder, dead_decoder
from ..networks.hidden_span import draw_spans
from ..networks.mmdit import SLICED, MMDiTConfig, ModulatedTransformer, dead_shapes
from ..weights.download import Released
from .audiox import NETWORK_PREFIX, autoencoder_data, read_network_sizes
from .autoencoder import PREFIX, read_sizes
from .conditioners import conditioner_prefix, read_audio
from .config import Backbone, Given
from .family import LICENCE
from .maf import below, family_config, fused, hidden_share, in_order, read_gate, share_of
from .parts import Companion, Condition, Hearing, Part, Recipe, Slot, slots
from .section import Section

# The autoencoder alone, as AudioX-Turbo publishes it for checkpoints that come without one.
VAE = Released(
    name="AudioX-VAE",
    repo="HKUSTAudio/AudioX-Turbo",
    revision="67af549c42aabdb666e559cb4993eddf48b62f08",
    files=("pretransform/vae.ckpt",),
    licence=LICENCE,
)


def autoencoder_file(prefix: str) -> Companion:
    """What completes a checkpoint without the autoencoder whose keys begin so."""
    return Companion("autoencoder", prefix, VAE, VAE.files[0], below(""), names=("vae",), fills=True)


def read_fixed_audio(s: Section, id: str, given: Given) -> Part:
    """Conditioner types "audio_autoencoder_v2", and "audio_autoencoder" where the config says latent_seq_len."""
    s.ignore("pretransform_ckpt_path")  # a place on the authors' machine
    rate, vae = s.number("sample_rate", 1, 1_000_000), read_sizes(s.section("pretransform_config"))
    timing, prefix = given.timing, conditioner_prefix(id)
    config = FixedAudioConfig(
        autoencoder=vae,
        cond_dim=given.width,
        latents=s.number("latent_seq_len", 1, 1 << 16, FixedAudioConfig(vae, 1).latents),
        hidden_share=hidden_share(s, 0.0, 0.0),
    )
    if rate != timing.sample_rate:
        raise ConfigError(f"{s.path}.sample_rate: {rate} differs from the model's {timing.sample_rate}")
    # The released one hears its ten seconds; one of another length hears as much as makes its latents.
    fits = timing.prompt_samples // vae.downsampling_ratio == config.latents
    samples = timing.prompt_samples if fits else config.latents * vae.downsampling_ratio

    def layout(module: nn.Module) -> Iterable[Slot]:
        dead = slots(dead_decoder(config), f"{prefix}pretransform.model.decoder.", weight_norm=True)
        return [*slots(module, prefix, weight_norm=True), *(replace(slot, name=None) for slot in dead)]

    def build(**options: Any) -> nn.Module:
        return FixedAudioPromptEncoder(config, **options)

    def draw(
        generator: torch.Generator, hidden: float | None = None, *, samples: int = samples
    ) -> tuple[Tensor | None, Tensor]:
        spans = draw_spans(1, samples, share_of(hidden, config.hidden_share), generator)
        return spans, torch.randn(1, vae.latent_dim, config.latents, generator=generator)

    def encode(net: Any, waveform: Tensor, drawn: tuple[Any, Any] | None, tile: int | None, told: Any) -> Tensor:
        return net(waveform, *(drawn or (None, None)), tile=tile, on_tile=told)

    return Part(
        name="audio",
        label="audio encoder",
        build=build,
        layout=layout,
        format=wave_format,
        work=partial(prompt_work, vae.encoder.channels, vae.downsampling_ratio, config.latents),
        tiled=True,
        companions=(autoencoder_file(f"{prefix}pretransform.model."),),
        condition=Condition(
            reads=Hearing(timing.sample_rate, samples),
            tokens=config.tokens,
            width=given.width,
            encode=encode,
            draw=draw,
            hides=config.hidden_share if config.hidden_share[1] else None,
        ),
    )


def read_any_audio(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "audio_autoencoder", which names two things: only the newer one says latent_seq_len."""
    return (read_fixed_audio if "latent_seq_len" in s.data else read_audio)(s, id, given)


def mmdit_slots(module: nn.Module, unread: int) -> list[Slot]:
    """The network's part of the released layout: what is dead in it, and of what only some rows are kept."""
    net, found = cast(ModulatedTransformer, module), []
    for slot in slots(net, NETWORK_PREFIX):
        rows = next((rows for ending, rows in SLICED.items() if slot.key.endswith(ending)), None)
        if rows is not None:
            shape = (slot.shape[0] * rows.step, *slot.shape[1:])
            slot = replace(slot, shape=shape, take=itemgetter(rows))
        found.append(slot)
    dead = dead_shapes(net.config, unread)
    return [*found, *(Slot(NETWORK_PREFIX + name, shape, None) for name, shape in dead.items())]


def read_mmdit(diffusion: Section, conditioners: tuple[Part, ...], given: Given) -> Backbone:
    """Backbone type "mmdit", always behind the fusion block; it makes one length of latents only."""
    gate = read_gate(diffusion, conditioners, given)
    if gate is None:
        raise ConfigError(f"{diffusion.path}.gate: this network is only known behind the gate MAF")
    objective = diffusion.choice("diffusion_objective", ("v", "rectified_flow"), "v")
    order = tuple(part.name for part in in_order(conditioners))
    with diffusion.section("config") as s:
        positions = s.number("_latent_seq_len", 2, 1 << 16, MMDiTConfig.latents + 1)
        sizes, unread = read_network_sizes(s, order, given)
        if sizes.project_cond_tokens:
            raise ConfigError(f"{s.path}.project_cond_tokens: only false is supported")
        if sizes.embed_dim % sizes.num_heads or sizes.num_heads % 2:  # what the config calls so is a head's width
            raise ConfigError(f"{s.path}.num_heads: {sizes.num_heads} must be even and divide {sizes.embed_dim}")
    config = MMDiTConfig(
        io_channels=sizes.io_channels,
        embed_dim=sizes.embed_dim,
        depth=sizes.depth,
        num_heads=sizes.num_heads,
        cond_token_dim=sizes.cond_token_dim,
        latents=positions - 1,
        order=order,
    )
    tokens = sum(part.condition.tokens for part in conditioners if part.condition)
    if tokens != config.tokens:
        raise ConfigError(
            f"{diffusion.path}: the conditioners give {tokens} tokens, this network takes {config.tokens}"
        )
    row = Part(
        name="dit",
        label="transformer",
        build=lambda **options: ModulatedTransformer(config, **options),
        layout=lambda module: mmdit_slots(module, unread),
        format=network_format,
        work=partial(modulated_work, config.embed_dim, config.heads, config.inner, config.depth),
        held=partial(modulation_held, config.embed_dim, config.depth, positions),
    )
    recipe = FLOW if objective == "rectified_flow" else Recipe()
    steps = given.training.get("dmd_sample_steps")
    if objective == "rectified_flow" and isinstance(steps, int) and steps > 0:
        recipe = replace(FLOW, sampler="dmd", guidance=1.0, steps=steps)
    return Backbone(
        fused(gate, row, conditioners), recipe, length=config.latents, autoencoder=(autoencoder_file(PREFIX),)
    )


# Of a flow that wasn't distilled: a distilled one says its steps in its config, and takes no guidance.
FLOW = Recipe("rectified_flow", "rectified-flow", steps=100, guidance=6.0, sigma_max=1.0)
CONDITIONERS = {"audio_autoencoder_v2": read_fixed_audio, "audio_autoencoder": read_any_audio}
BACKBONES = {"mmdit": read_mmdit}


def mmdit_config(kind: str, audio: dict[str, Any], **diffusion: Any) -> dict[str, Any]:
    """The config.json of a member with the modulated transformer and the sound conditioner of fixed length."""
    fixed = {"sample_rate": 44100, "pretransform_config": autoencoder_data(), "latent_seq_len": 215}
    return family_config({"type": kind, "config": {**fixed, **audio}}, {"type": "mmdit", **diffusion})


# The published file was not seen: put together from what loads it. Where it lies beside the weights, it is read,
# and only it knows whether a share of the prompt is hidden.
MMDIT_CONFIG = mmdit_config("audio_autoencoder_v2", {}, diffusion_objective="v")
