"""The conditioners that the base model brought and its kin share: CLIP over time, T5, the audio prompt."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..memory.estimate import prompt_work, sight_work, words_work
from ..memory.formats import public_format, wave_format
from ..networks.audio_prompt import TOKENS as PROMPT_TOKENS
from ..networks.audio_prompt import AudioPromptEncoder
from ..networks.autoencoder import Decoder
from ..networks.clip_time import FRAMES, VideoEncoder
from ..networks.clip_time import TOKENS as VIDEO_TOKENS
from ..networks.t5 import TextEncoder, encoder_tensors
from ..weights.download import Released
from .autoencoder import read_sizes
from .config import Given
from .parts import Companion, Condition, Hearing, Part, Sight, Slot, Words, slots
from .section import Section

T5_BASE = Released(
    name="t5-base",
    repo="google-t5/t5-base",
    revision="a9723ea7f1b39c1eae772870f3b547bf6ef7e6c1",
    files=("tokenizer.json", "model.safetensors"),
    licence="The weights are licensed Apache 2.0.",
    repo_aliases=("t5-base",),
)
# The vision tower that the released files call by name (arguments of transformers.CLIPVisionConfig).
CLIP_VISION = {
    "clip-vit-base-patch32": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 224,
        "patch_size": 32,
        "projection_dim": 512,
    }
}
# The text encoder that the released files call by name (arguments of transformers.T5Config).
T5_ENCODERS: dict[str, dict[str, Any]] = {
    "t5-base": {
        "d_model": 768,
        "d_kv": 64,
        "d_ff": 3072,
        "num_layers": 12,
        "num_heads": 12,
        "vocab_size": 32128,
        "feed_forward_proj": "relu",
    }
}
# What transformers takes where a given configuration leaves a size out.
T5_DEFAULTS = {
    "d_model": 512,
    "d_kv": 64,
    "d_ff": 2048,
    "num_layers": 6,
    "num_heads": 8,
    "vocab_size": 32128,
    "feed_forward_proj": "relu",
}
LARGEST = 1 << 16  # of any size in a config: nothing larger was ever trained


def conditioner_prefix(id: str) -> str:
    """What stands before a conditioner's own names in the released keys."""
    return f"conditioner.conditioners.{id}."


def read_vision(s: Section) -> dict[str, Any]:
    """The vision tower's sizes: those of a known name, or given ones (which only small test models have)."""
    name = s.take("clip_model_name", str)
    vision = s.sizes("clip_vision_config", CLIP_VISION["clip-vit-base-patch32"], LARGEST) or CLIP_VISION.get(name)
    if vision is None:
        raise ConfigError(f"{s.path}.clip_model_name: unknown {name!r}; known: {', '.join(CLIP_VISION)}")
    if vision["hidden_size"] % vision["num_attention_heads"] or vision["image_size"] % vision["patch_size"]:
        raise ConfigError(f"{s.path}.clip_vision_config: heads must divide the width, patches the image")
    if vision["image_size"] > 4096 or vision["num_hidden_layers"] > 256:
        raise ConfigError(f"{s.path}.clip_vision_config: is larger than any known vision tower")
    return dict(vision)


def sight_bytes(vision: Mapping[str, Any], frames: int) -> Any:
    """The work of a vision tower over so many frames, for Part.work."""
    return partial(sight_work, (vision["image_size"] // vision["patch_size"]) ** 2 + 1, vision["hidden_size"], frames)


def dead_in_clip(vision: Mapping[str, Any], prefix: str) -> list[Slot]:
    """CLIP's last norm and projection serve a pooled answer that nobody reads."""
    width, inner = vision["hidden_size"], prefix + "visual_encoder_model."
    shapes: dict[str, tuple[int, ...]] = {
        "vision_model.post_layernorm.weight": (width,),
        "vision_model.post_layernorm.bias": (width,),
        "visual_projection.weight": (vision["projection_dim"], width),
    }
    return [Slot(inner + name, shape, None) for name, shape in shapes.items()]


def read_clip(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "clip"."""
    vision, prefix = read_vision(s), conditioner_prefix(id)
    timing = given.timing
    if timing.frames != FRAMES:
        raise ConfigError(f"{s.path}: this conditioner takes {FRAMES} frames, video_fps gives {timing.frames}")

    def layout(module: nn.Module) -> Iterable[Slot]:
        return [*slots(module, prefix), *dead_in_clip(vision, prefix)]

    def build(**options: Any) -> nn.Module:
        return VideoEncoder(vision, **options)

    def encode(net: Any, frames: list[Tensor], drawn: None, tile: int | None, told: Any) -> Tensor:
        return net(frames[0], on_frames=told)

    return Part(
        name="video",
        label="video encoder",
        build=build,
        layout=layout,
        format=public_format,
        work=sight_bytes(vision, FRAMES),
        whole=True,
        condition=Condition(
            reads=Sight(vision["image_size"], ((float(timing.video_fps), FRAMES),)),
            tokens=VIDEO_TOKENS,
            width=vision["hidden_size"],
            encode=encode,
            nothing="empty_visual_feat",
        ),
    )


def read_t5(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "t5"; its weights lie in a file of their own."""
    name = s.take("t5_model_name", str)
    t5 = s.sizes("t5_config", T5_DEFAULTS, LARGEST) or T5_ENCODERS.get(name)
    if t5 is None:
        raise ConfigError(f"{s.path}.t5_model_name: unknown {name!r}; known: {', '.join(T5_ENCODERS)}")
    if t5["num_layers"] > 256:
        raise ConfigError(f"{s.path}.t5_config.num_layers: {t5['num_layers']} is more than any known text encoder has")
    max_length = s.number("max_length", 1, 4096)
    s.ignore("mask_ratio", "mask_type")
    prefix = "t5."

    def layout(module: nn.Module) -> Iterable[Slot]:
        return t5_slots(cast(Any, module).t5, prefix)

    def build(**options: Any) -> nn.Module:
        return TextEncoder(t5, max_length, **options)

    def encode(net: Any, ids: list[list[int]], drawn: None, tile: int | None, told: Any) -> Tensor:
        return net(ids)

    return Part(
        name="text",
        label="text encoder",
        build=build,
        layout=layout,
        format=public_format,
        work=partial(words_work, max_length, t5["d_model"]),
        whole=True,
        companions=(Companion("text encoder", prefix, T5_BASE, "model.safetensors", encoder_tensors),),
        condition=Condition(reads=Words(max_length), tokens=max_length, width=t5["d_model"], encode=encode),
    )


def t5_slots(t5: nn.Module, prefix: str) -> list[Slot]:
    """A text encoder's keys behind a prefix. The embedding is one tensor in the file and two names in the module."""
    shared, alias = "shared.weight", "encoder.embed_tokens.weight"
    found = {slot.key: slot for slot in slots(t5, prefix, inside="t5.") if not slot.key.endswith(alias)}
    embedding = found[prefix + shared]
    return [*found.values(), Slot(embedding.key, embedding.shape, "t5." + alias)]


def read_audio(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "audio_autoencoder"."""
    rate, config = s.number("sample_rate", 1, 1_000_000), read_sizes(s.section("pretransform_config"))
    prefix, timing = conditioner_prefix(id), given.timing
    if rate != timing.sample_rate:
        raise ConfigError(f"{s.path}.sample_rate: {rate} differs from the model's {timing.sample_rate}")
    if timing.prompt_samples // config.downsampling_ratio != PROMPT_TOKENS:
        raise ConfigError(f"{s.path}: this conditioner takes {PROMPT_TOKENS} latents, which its prompt doesn't give")

    def layout(module: nn.Module) -> Iterable[Slot]:
        decoder = Decoder(config.decoder, device="meta")  # a prompt is only ever encoded
        dead = slots(decoder, f"{prefix}pretransform.model.decoder.", weight_norm=True)
        return [*slots(module, prefix, weight_norm=True), *(Slot(d.key, d.shape, None) for d in dead)]

    def build(**options: Any) -> nn.Module:
        return AudioPromptEncoder(config, given.width, **options)

    def draw(generator: torch.Generator, hidden: float | None = None) -> Tensor:
        return torch.randn(1, config.latent_dim, PROMPT_TOKENS, generator=generator)

    def encode(net: Any, waveform: Tensor, drawn: Tensor | None, tile: int | None, told: Any) -> Tensor:
        return net(waveform, drawn, tile=tile, on_tile=told)

    return Part(
        name="audio",
        label="audio encoder",
        build=build,
        layout=layout,
        format=wave_format,
        work=partial(prompt_work, config.decoder.channels, config.downsampling_ratio, PROMPT_TOKENS),
        tiled=True,
        condition=Condition(
            reads=Hearing(timing.sample_rate, timing.prompt_samples),
            tokens=PROMPT_TOKENS,
            width=given.width,
            encode=encode,
            nothing="empty_audio_feat",
            draw=draw,
        ),
    )


CONDITIONERS = {"clip": read_clip, "t5": read_t5, "audio_autoencoder": read_audio}
