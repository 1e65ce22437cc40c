"""The released checkpoint's layout: every key, its shape and its place; and whether a file fits it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from torch import Tensor, nn

from ..errors import CheckpointError, InputError, nearest
from ..models.audiox import BASE_CONFIG
from ..models.config import AudioConfig, ModelConfig, VideoConfig, parse_config
from ..networks.audio_prompt import AudioPromptEncoder
from ..networks.autoencoder import Autoencoder, Decoder
from ..networks.clip_time import VideoEncoder
from ..networks.dit import DiffusionTransformer

COMPONENTS = ("dit", "autoencoder", "video", "audio")
SHOWN = 20
SAME_MODEL = "Use the file and the config.json of the same model."
# CLIP's last norm and projection serve a pooled answer that nobody reads.
DEAD_IN_CLIP = (
    "visual_encoder_model.vision_model.post_layernorm.",
    "visual_encoder_model.visual_projection.",
)
# How many of the base model's keys a file must have, in their shapes, to count as one; AudioX-MAF has 0.7.
ALIKE = 0.9


@dataclass(frozen=True)
class Slot:
    """One tensor of the released layout."""

    key: str
    shape: tuple[int, ...]
    name: str | None  # in our module; None for dead weights; a weight-normed convolution's two keys have the same


def build(name: str, config: ModelConfig, **options: Any) -> nn.Module:
    """A component on the meta device: shapes only, no memory. options: as in its constructor."""
    kw: dict[str, Any] = {"device": "meta", **options}
    if name == "dit":
        return DiffusionTransformer(config.dit, **kw)
    if name == "autoencoder":
        return Autoencoder(config.autoencoder, **kw)
    if name == "video":
        return VideoEncoder(config.conditioner(VideoConfig), **kw)
    if name == "audio":
        return AudioPromptEncoder(config.conditioner(AudioConfig), config.cond_dim, **kw)
    raise InputError(f"component: unknown name {name!r}.{nearest(name, list(COMPONENTS))}")


def prefix(name: str, config: ModelConfig) -> str:
    """What stands before a component's own names in the released keys."""
    if name == "dit":
        return "model.model."
    if name == "autoencoder":
        return "pretransform.model."
    id = config.conditioner({"video": VideoConfig, "audio": AudioConfig}[name]).id
    return f"conditioner.conditioners.{id}."


def _slots(module: nn.Module, before: str, *, norms: bool = False, weight_norm: bool = False) -> Iterable[Slot]:
    """The released keys of a module's parameters.

    norms: LayerNorms have gamma and beta. weight_norm: convolutions hold a direction weight_v and a length
    weight_g over all dimensions but the first (arXiv:1602.07868).
    """
    for path, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            name, shape = f"{path}.{own}" if path else own, tuple(parameter.shape)
            stem = before + name.removesuffix(own)
            if norms and isinstance(part, nn.LayerNorm):
                yield Slot(stem + {"weight": "gamma", "bias": "beta"}[own], shape, name)
            elif weight_norm and own == "weight" and isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
                yield Slot(stem + "weight_g", (shape[0], 1, 1), name)
                yield Slot(stem + "weight_v", shape, name)
            else:
                yield Slot(stem + own, shape, name)


def slots(name: str, config: ModelConfig) -> list[Slot]:
    """A component's part of the released layout, dead weights included."""
    module, before = build(name, config), prefix(name, config)
    found = list(_slots(module, before, norms=name == "dit", weight_norm=name in ("autoencoder", "audio")))
    if name == "dit":
        width, given = config.dit.embed_dim, config.dit.global_cond_dim
        rotated = cast(DiffusionTransformer, module).transformer.rotary_dims
        found += [
            Slot(f"{before}to_global_embed.0.weight", (width, given), None),  # no condition is global
            Slot(f"{before}to_global_embed.2.weight", (width, width), None),
            Slot(f"{before}transformer.rotary_pos_emb.inv_freq", (rotated // 2,), None),
        ]
    elif name == "video":
        found = [Slot(s.key, s.shape, None if s.name and s.name.startswith(DEAD_IN_CLIP) else s.name) for s in found]
    elif name == "audio":
        half = config.conditioner(AudioConfig).autoencoder.decoder
        decoder = Decoder(half, device="meta")  # a prompt is only ever encoded
        dead = _slots(decoder, f"{before}pretransform.model.decoder.", weight_norm=True)
        found += [Slot(s.key, s.shape, None) for s in dead]
    return found


def expected_keys(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every key of the released layout with its shape; dead weights included, the text encoder not."""
    return {s.key: s.shape for name in COMPONENTS for s in slots(name, config)}


def base_config() -> ModelConfig:
    """The released base model's configuration."""
    return parse_config(BASE_CONFIG, "AudioX")


def recognise(tensors: Mapping[str, Tensor]) -> ModelConfig | None:
    """The base model's configuration if the tensors are (nearly) its, else None."""
    config = base_config()
    expected = expected_keys(config)
    found = sum(key in tensors and tuple(tensors[key].shape) == shape for key, shape in expected.items())
    return config if found >= ALIKE * len(expected) else None


def describe(keys: Iterable[str]) -> str | None:
    """What a file with such keys is, in words, where it is something known that isn't AudioX's base model."""
    keys = set(keys)

    def some(*starts: str) -> bool:
        return any(key.startswith(starts) for key in keys)

    if some("maf_block."):
        if "model.model.transformer.proj_mm_seq_len.weight" in keys:
            return "These are the weights of AudioX-MAF-MMDiT or AudioX-Turbo, which are not supported yet."
        return "These are the weights of AudioX-MAF, which is not supported yet."
    if some("encoder.block."):
        return "This is a T5 text encoder, not an AudioX checkpoint."
    if some("encoder.layers.") and some("decoder.layers."):
        return "This is an autoencoder alone (VAE.ckpt), not an AudioX checkpoint."
    if some("diffusion.", "diffusion_ema."):
        return "This is a training checkpoint; export the model from it first."
    if some("model.model.") and some("conditioner.conditioners.seconds_total."):
        return "These are the weights of a Stable Audio model, not of AudioX."
    return None


def check_tensors(tensors: Mapping[str, Tensor], config: ModelConfig, source: str | Path = "checkpoint") -> None:
    """Raises CheckpointError unless the tensors are exactly those of the released layout for this config."""
    report(tensors, expected_keys(config), source, config=config)


def report(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    source: str | Path,
    *,
    mend: str = SAME_MODEL,
    config: ModelConfig | None = None,
) -> None:
    """Raises CheckpointError if keys are missing, unexpected or misshapen, listing them with both shapes.

    A config adds what the file seems to be instead.
    """
    shapes = {key: tuple(t.shape) for key, t in tensors.items()}
    kinds = {
        "missing": [f"{k}: expected {v}, not in the file" for k, v in expected.items() if k not in shapes],
        "unexpected": [f"{k}: not expected, {v} in the file" for k, v in shapes.items() if k not in expected],
        "misshapen": [
            f"{k}: expected {v}, {shapes[k]} in the file" for k, v in expected.items() if shapes.get(k, v) != v
        ],
        "not floating point": [
            f"{k}: {t.dtype}" for k, t in tensors.items() if k in expected and not t.is_floating_point()
        ],
    }
    if not any(kinds.values()):
        return
    counts = ", ".join(
        f"{len(lines)} {kind}" for kind, lines in kinds.items() if lines or kind in ("missing", "unexpected")
    )
    known = describe(shapes) if config is not None else None
    text = [f"{source}: the weights do not fit ({counts} of {len(expected)} keys). {known or ''}".rstrip()]
    if config is not None and known is None:
        text += _sizes(shapes, config)
    for kind, lines in kinds.items():
        if lines:
            text += [f"{kind}:", *(f"  {line}" for line in lines[:SHOWN])]
        if len(lines) > SHOWN:
            text.append(f"  ... and {len(lines) - SHOWN} more")
    raise CheckpointError("\n".join([*text, "Give the weights of a supported model." if known else mend]))


def _sizes(shapes: Mapping[str, tuple[int, ...]], config: ModelConfig) -> list[str]:
    """A sentence when the file's network plainly has other sizes than the configuration's."""
    start = "model.model.transformer."
    width = shapes.get(f"{start}project_in.weight", (0,))[0]
    depth = len({k.removeprefix(f"{start}layers.").split(".")[0] for k in shapes if k.startswith(f"{start}layers.")})
    said = (config.dit.embed_dim, config.dit.depth)
    if not width or (width, depth) == said:
        return []
    return [
        f"The file holds a network of width {width} and depth {depth}, the config says width {said[0]} "
        f"and depth {said[1]}: the config is from another model."
    ]
