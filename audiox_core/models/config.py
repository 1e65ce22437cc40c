"""Frozen dataclasses read from a released config.json; every unknown key or type is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .section import Section
from .timing import Timing

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
T5_ENCODERS = {
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


@dataclass(frozen=True)
class VideoConfig:
    """Conditioner type "clip": CLIP frames, a temporal transformer, a projection to 128 tokens."""

    id: str
    clip_model_name: str
    vision: Mapping[str, Any]


@dataclass(frozen=True)
class TextConfig:
    """Conditioner type "t5": the last hidden states of a T5 encoder, padded to max_length tokens."""

    id: str
    t5_model_name: str
    max_length: int
    t5: Mapping[str, Any]


@dataclass(frozen=True)
class AudioConfig:
    """Conditioner type "audio_autoencoder": latents of an autoencoder of its own, projected to tokens."""

    id: str
    sample_rate: int
    autoencoder: AutoencoderConfig


ConditionerConfig = VideoConfig | TextConfig | AudioConfig


@dataclass(frozen=True)
class DiTConfig:
    """Backbone type "dit": the diffusion transformer."""

    io_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    cond_token_dim: int
    global_cond_dim: int
    project_cond_tokens: bool
    transformer_type: str

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def context_dim(self) -> int:
        """Width of the context after to_cond_embed."""
        return self.embed_dim if self.project_cond_tokens else self.cond_token_dim


@dataclass(frozen=True)
class ModelConfig:
    """A whole model, as its config.json describes it."""

    sample_rate: int
    sample_size: int
    video_fps: int
    audio_channels: int
    autoencoder: AutoencoderConfig
    conditioners: tuple[ConditionerConfig, ...]
    cond_dim: int
    cross_attention_cond_ids: tuple[str, ...]
    dit: DiTConfig
    objective: str

    @property
    def timing(self) -> Timing:
        return Timing(
            sample_rate=self.sample_rate,
            sample_size=self.sample_size,
            downsampling_ratio=self.autoencoder.downsampling_ratio,
            video_fps=self.video_fps,
        )

    def conditioner(self, kind: type) -> Any:
        """The one conditioner of a config class, for example TextConfig."""
        found = [c for c in self.conditioners if isinstance(c, kind)]
        if len(found) != 1:
            raise ConfigError(f"config: expected one {kind.__name__}, found {len(found)}")
        return found[0]


def _read_oobleck(outer: Section, key: str, io_key: str) -> OobleckConfig:
    with outer.section(key) as half:
        half.choice("type", ("oobleck",))
        half.ignore("requires_grad")
        with half.section("config") as s:
            for flag, wanted in (("use_snake", True), ("final_tanh", False)):
                if s.take(flag, bool, wanted) is not wanted:
                    raise ConfigError(f"{s.path}.{flag}: only {str(wanted).lower()} is supported")
            config = OobleckConfig(
                io_channels=s.take(io_key, int),
                channels=s.take("channels", int),
                c_mults=s.numbers("c_mults"),
                strides=s.numbers("strides"),
                latent_dim=s.take("latent_dim", int),
            )
    if len(config.c_mults) != len(config.strides):
        raise ConfigError(f"{s.path}: c_mults and strides differ in length")
    return config


def _read_autoencoder(section: Section) -> AutoencoderConfig:
    with section:
        section.choice("type", ("autoencoder",))
        section.ignore("iterate_batch")
        with section.section("config") as s:
            with s.section("bottleneck") as bottleneck:
                bottleneck.choice("type", ("vae",))
            config = AutoencoderConfig(
                encoder=_read_oobleck(s, "encoder", "in_channels"),
                decoder=_read_oobleck(s, "decoder", "out_channels"),
                latent_dim=s.take("latent_dim", int),
                downsampling_ratio=s.take("downsampling_ratio", int),
                io_channels=s.take("io_channels", int),
            )
    product = 1
    for stride in config.decoder.strides:
        product *= stride
    if config.encoder.strides != config.decoder.strides or product != config.downsampling_ratio:
        raise ConfigError(
            f"{s.path}: strides {config.encoder.strides} (encoder) and {config.decoder.strides} (decoder) "
            f"do not give downsampling_ratio {config.downsampling_ratio}"
        )
    return config


def _read_video(id: str, s: Section) -> VideoConfig:
    name = s.take("clip_model_name", str)
    s.ignore("clip_vision_config")
    vision = s.data.get("clip_vision_config") or CLIP_VISION.get(name)
    if vision is None:
        raise ConfigError(f"{s.path}.clip_model_name: unknown {name!r}; known: {', '.join(CLIP_VISION)}")
    return VideoConfig(id, name, dict(vision))


def _read_text(id: str, s: Section) -> TextConfig:
    name = s.take("t5_model_name", str)
    s.ignore("t5_config")
    t5 = s.data.get("t5_config") or T5_ENCODERS.get(name)
    if t5 is None:
        raise ConfigError(f"{s.path}.t5_model_name: unknown {name!r}; known: {', '.join(T5_ENCODERS)}")
    return TextConfig(id, name, s.take("max_length", int), dict(t5))


def _read_audio(id: str, s: Section) -> AudioConfig:
    return AudioConfig(id, s.take("sample_rate", int), _read_autoencoder(s.section("pretransform_config")))


CONDITIONERS: dict[str, Callable[[str, Section], ConditionerConfig]] = {
    "clip": _read_video,
    "t5": _read_text,
    "audio_autoencoder": _read_audio,
}


def _read_dit(s: Section) -> DiTConfig:
    s.ignore("video_fps", "condition_mask_type")
    config = DiTConfig(
        io_channels=s.take("io_channels", int),
        embed_dim=s.take("embed_dim", int),
        depth=s.take("depth", int),
        num_heads=s.take("num_heads", int),
        cond_token_dim=s.take("cond_token_dim", int),
        global_cond_dim=s.take("global_cond_dim", int),
        project_cond_tokens=s.take("project_cond_tokens", bool),
        transformer_type=s.choice("transformer_type", ("continuous_transformer",)),
    )
    if config.embed_dim % config.num_heads or config.context_dim % config.head_dim:
        raise ConfigError(
            f"{s.path}: widths {config.embed_dim} and {config.context_dim} do not divide into {config.num_heads} heads"
        )
    return config


BACKBONES = {"dit": _read_dit}


def parse_config(data: Any, path: str = "config") -> ModelConfig:
    """The model described by a parsed config.json. Raises ConfigError naming the key and what is wrong."""
    with Section(data, path) as top:
        top.choice("model_type", ("diffusion_cond",))
        top.ignore("training", "dataset")
        with top.section("model") as model:
            conditioners = []
            with model.section("conditioning") as conditioning:
                cond_dim = conditioning.take("cond_dim", int)
                for i, entry in enumerate(conditioning.take("configs", list)):
                    with Section(entry, f"{conditioning.path}.configs[{i}]") as s:
                        kind, id = s.choice("type", CONDITIONERS), s.take("id", str)
                        with s.section("config") as inner:
                            conditioners.append(CONDITIONERS[kind](id, inner))
            with model.section("diffusion") as diffusion:
                backbone = diffusion.choice("type", BACKBONES)
                objective = diffusion.choice("diffusion_objective", ("v", "rectified_flow"), "v")
                ids = tuple(diffusion.take("cross_attention_cond_ids", list))
                if diffusion.take("global_cond_ids", list, []):
                    raise ConfigError(f"{diffusion.path}.global_cond_ids: only an empty list is supported")
                with diffusion.section("config") as s:
                    dit = BACKBONES[backbone](s)
            autoencoder = _read_autoencoder(model.section("pretransform"))
            if model.take("io_channels", int) != autoencoder.latent_dim:
                raise ConfigError(f"{model.path}.io_channels differs from the autoencoder's latent_dim")
        config = ModelConfig(
            sample_rate=top.take("sample_rate", int),
            sample_size=top.take("sample_size", int),
            video_fps=top.take("video_fps", int),
            audio_channels=top.take("audio_channels", int),
            autoencoder=autoencoder,
            conditioners=tuple(conditioners),
            cond_dim=cond_dim,
            cross_attention_cond_ids=ids,
            dit=dit,
            objective=objective,
        )
    if sorted(ids) != sorted(c.id for c in conditioners):
        raise ConfigError(f"{path}: cross_attention_cond_ids {list(ids)} are not the ids of the conditioners")
    return config


def read_config(source: str | Path) -> ModelConfig:
    """The model described by a config.json file."""
    try:
        data = json.loads(Path(source).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ConfigError(f"{source}: not readable as JSON ({error}). Use the model's config.json.") from error
    return parse_config(data, Path(source).name)
