"""From a released config.json to a Model; every unknown key, type or number out of bounds is an error that names it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import ConfigError
from .parts import Companion, Model, Part, Recipe
from .section import Section
from .timing import Timing

LARGEST_FILE = 1 << 20  # bytes; the released ones have a few thousand


@dataclass(frozen=True)
class Given:
    """What the readers of parts know of the model besides their own section."""

    timing: Timing
    width: int  # of a condition token
    channels: int  # of the latents
    training: Mapping[str, Any] = field(default_factory=dict)  # what the file says of how the model was trained


@dataclass(frozen=True)
class Backbone:
    """What the reader of a backbone answers: its row, and what it means for the whole model."""

    part: Part
    recipe: Recipe
    length: int | None = None  # latents, where only one length works
    autoencoder: tuple[Companion, ...] = ()  # files for a checkpoint that comes without the model's autoencoder


ReadConditioner = Callable[[Section, str, Given], Part]  # (its config, its id, ...); Part.name is the modality
ReadBackbone = Callable[[Section, "tuple[Part, ...]", Given], Backbone]  # (diffusion, conditioners in its order, ...)

# What can stand in a config, by the type named there. A member of the family adds its own (models/__init__.py).
CONDITIONERS: dict[str, ReadConditioner] = {}
BACKBONES: dict[str, ReadBackbone] = {}


def parse_config(data: Any, path: str = "config") -> Model:
    """The model described by a parsed config.json. Raises ConfigError naming the key and what is wrong."""
    from . import register_all
    from .autoencoder import read_autoencoder

    register_all()
    with Section(data, path) as top:
        top.choice("model_type", ("diffusion_cond",))
        top.ignore("training", "dataset")
        training = top.data.get("training")
        training = training if isinstance(training, Mapping) else {}
        channels = top.take("audio_channels", int)
        if channels != 2:
            raise ConfigError(f"{top.path}.audio_channels: {channels} is not supported, only 2 (stereo)")
        with top.section("model") as model:
            autoencoder, ratio, latent_channels = read_autoencoder(model.section("pretransform"))
            if model.take("io_channels", int) != latent_channels:
                raise ConfigError(f"{model.path}.io_channels differs from the autoencoder's latent_dim")
            timing = Timing(
                sample_rate=top.number("sample_rate", 1000, 1_000_000),
                sample_size=top.number("sample_size", 1, 1 << 32),
                downsampling_ratio=ratio,
                video_fps=top.number("video_fps", 1, 1000),
                prompt_seconds=top.number("conditioning_seconds", 1, 1000, default=10),
            )
            if timing.latents < 1:
                raise ConfigError(f"{top.path}.sample_size: {timing.sample_size} samples are less than one latent")
            by_id, given = _read_conditioners(model, timing, latent_channels)
            backbone = _read_backbone(model, by_id, replace(given, training=training))
            if backbone.length not in (None, timing.latents):
                raise ConfigError(
                    f"{top.path}.sample_size: {timing.sample_size} samples are {timing.latents} latents, and the "
                    f"network makes exactly {backbone.length}"
                )
    return Model(
        timing=timing,
        channels=latent_channels,
        conditioners=tuple(by_id.values()),
        backbone=backbone.part,
        autoencoder=replace(autoencoder, companions=backbone.autoencoder),
        recipe=backbone.recipe,
        length=backbone.length,
    )


def _read_conditioners(model: Section, timing: Timing, channels: int) -> tuple[dict[str, Part], Given]:
    by_id: dict[str, Part] = {}
    with model.section("conditioning") as conditioning:
        given = Given(timing, conditioning.number("cond_dim", 1, 1 << 16), channels)
        for i, entry in enumerate(conditioning.take("configs", list)):
            with Section(entry, f"{conditioning.path}.configs[{i}]") as s:
                kind, id = s.choice("type", CONDITIONERS), s.take("id", str)
                if not id.isidentifier() or id in by_id:
                    raise ConfigError(f"{s.path}.id: {id!r} is taken or no plain name; give each conditioner its own")
                with s.section("config") as inner:
                    part = CONDITIONERS[kind](inner, id, given)
                if part.condition is None or part.condition.width != given.width:
                    width = part.condition and part.condition.width
                    raise ConfigError(f"{s.path}: gives tokens {width} wide, cond_dim is {given.width}")
                if part.name in (other.name for other in by_id.values()):
                    raise ConfigError(f"{s.path}: is a second conditioner of {part.name}; only one can be used")
                by_id[id] = part
        if not by_id:
            raise ConfigError(
                f"{conditioning.path}.configs: is empty: nothing could be followed. Use the config.json of the model."
            )
    return by_id, given


def _read_backbone(model: Section, by_id: dict[str, Part], given: Given) -> Backbone:
    with model.section("diffusion") as diffusion:
        kind = diffusion.choice("type", BACKBONES)
        ids = diffusion.take("cross_attention_cond_ids", list)
        if not all(isinstance(id, str) for id in ids) or sorted(ids) != sorted(by_id):
            raise ConfigError(
                f"{diffusion.path}.cross_attention_cond_ids: {ids} are not the ids of the conditioners, {list(by_id)}"
            )
        if diffusion.take("global_cond_ids", list, []):
            raise ConfigError(f"{diffusion.path}.global_cond_ids: only an empty list is supported")
        return BACKBONES[kind](diffusion, tuple(by_id[id] for id in ids), given)


def read_config(source: str | Path) -> Model:
    """The model described by a config.json file. Raises ConfigError."""
    path = Path(source)
    try:
        if not path.is_file():
            raise ConfigError(f"{source}: no such file. Give the model's config.json.")
        if path.stat().st_size > LARGEST_FILE:
            raise ConfigError(f"{source}: is too large for a config. Use the model's config.json.")
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{source}: not readable as JSON ({error}). Use the model's config.json.") from error
    return parse_config(data, path.name)
