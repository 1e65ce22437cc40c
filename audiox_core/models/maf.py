"""AudioX-MAF: video at two rates, sound as a mel spectrogram, and the fusion block in front of the base's network."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from ..memory.estimate import fused_work, motion_work, sight_work, spectrogram_work
from ..memory.formats import exact_format, public_format
from ..networks.clip_sync import MOTION_FPS, MOTION_FRAMES, MotionVideoEncoder
from ..networks.clip_time import FRAMES
from ..networks.clip_time import TOKENS as VIDEO_TOKENS
from ..networks.hidden_span import draw_spans
from ..networks.maf import FusedNetwork, MAFConfig, MultimodalFusion
from ..networks.mel import MelConfig, MelPromptEncoder
from ..networks.synchformer import SEGMENT, STRIDE, TIMES, SynchformerConfig
from ..networks.synchformer import dead_shapes as dead_in_synchformer
from ..weights.download import Released
from .audiox import BASE_CONFIG, read_dit
from .conditioners import LARGEST, conditioner_prefix, dead_in_clip, read_vision
from .config import Backbone, Given
from .parts import Companion, Condition, Hearing, Part, Sight, Slot, slots
from .section import Section

# MMAudio's file; every member of the family comes with a copy.
SYNCHFORMER = Released(
    name="synchformer",
    repo="HKUSTAudio/AudioX-MAF",
    revision="0a6575a6fd58039281584ad1c6f9e895233e8ca7",
    files=("synchformer_state_dict.pth",),
    licence="It is Synchformer, which its authors license MIT.",
    repo_aliases=("HKUSTAudio/AudioX-MAF-MMDiT",),
)
SYNCHFORMER_NAMES = ("synchformer_state_dict", "mmaudio_synchformer_fp32", "mmaudio_synchformer_fp16")
CLIP = Released(
    name="clip-vit-base-patch32",
    repo="openai/clip-vit-base-patch32",
    revision="3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268",
    files=("pytorch_model.bin",),
    licence="The weights are licensed MIT.",
)
MODALITIES = ("text", "video", "audio")  # in the order in which a network behind the fusion block takes them
BEFORE_SYNCHFORMER, IN_SYNCHFORMER = "synchformer.", "vfeat_extractor."


def below(*starts: str) -> Any:
    """For Companion.select: the tensors whose names begin so, under their own names; everything else is left aside."""
    return lambda tensors: {key: key for key in tensors if key.startswith(starts)}


def vision_tower(keys: Iterable[str]) -> dict[str, str]:
    """For Companion.select: the vision half of a CLIP."""
    wanted = below("vision_model.", "visual_projection.")(keys)
    return {key: own for key, own in wanted.items() if not key.endswith("position_ids")}


def read_motion_video(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "clip-with-sync-w-empty-feat"; Synchformer's weights lie in a file of their own."""
    vision, prefix, timing = read_vision(s), conditioner_prefix(id), given.timing
    s.ignore("mask_ratio", "mask_type", "sync_type")
    size, width = vision["image_size"], vision["hidden_size"]
    sizes = s.sizes("synchformer_config", {"width": 768, "depth": 12, "heads": 12}, LARGEST) or {}
    synchformer = SynchformerConfig(**sizes, image_size=size)
    if synchformer.width != width or width % synchformer.heads or synchformer.depth > 256 or size % 16:
        raise ConfigError(
            f"{s.path}: features of motion {synchformer.width} wide in {synchformer.heads} heads, of pictures of {size}"
            f" pixels, can't be added to tokens {width} wide"
        )
    if timing.frames != FRAMES or MOTION_FPS * timing.prompt_seconds != MOTION_FRAMES:
        raise ConfigError(
            f"{s.path}: this conditioner takes {FRAMES} frames and {MOTION_FRAMES} at {MOTION_FPS:g} a second, "
            f"video_fps gives {timing.frames} in {timing.prompt_seconds} seconds"
        )

    def layout(module: nn.Module) -> Iterable[Slot]:
        net, inner = cast(MotionVideoEncoder, module), BEFORE_SYNCHFORMER + IN_SYNCHFORMER
        dead = dead_in_synchformer(synchformer)
        return [
            *slots(net.video, prefix, inside="video."),
            *dead_in_clip(vision, prefix),
            *slots(net.synchformer, inner, inside="synchformer."),
            *(Slot(inner + name, shape, None) for name, shape in dead.items()),
        ]

    def build(**options: Any) -> nn.Module:
        return MotionVideoEncoder(vision, synchformer, **options)

    def encode(net: Any, frames: list[Tensor], drawn: None, tile: int | None, told: Any) -> Tensor:
        return net(*frames, told)

    patches = (size // vision["patch_size"]) ** 2 + 1
    return Part(
        name="video",
        label="video encoder",
        build=build,
        layout=layout,
        format=public_format,
        work=partial(
            motion_work,
            partial(sight_work, patches, width, FRAMES),
            1 + TIMES * synchformer.patches,
            width,
            SEGMENT * MOTION_FRAMES // STRIDE * 3 * size**2,
        ),
        whole=True,
        companions=(
            Companion(
                "motion encoder",
                BEFORE_SYNCHFORMER,
                SYNCHFORMER,
                SYNCHFORMER.files[0],
                below(IN_SYNCHFORMER),
                SYNCHFORMER_NAMES,
            ),
            Companion("vision tower", f"{prefix}visual_encoder_model.", CLIP, CLIP.files[0], vision_tower, fills=True),
        ),
        condition=Condition(
            reads=Sight(size, ((float(timing.video_fps), FRAMES), (MOTION_FPS, MOTION_FRAMES))),
            tokens=VIDEO_TOKENS,
            width=width,
            encode=encode,
            nothing="video.empty_visual_feat",
        ),
    )


def hidden_share(s: Section, low: float, high: float) -> tuple[float, float]:
    """The share of a prompt that is hidden at random, also when generating: mask_ratio_start to mask_ratio_end."""
    share = s.share("mask_ratio_start", low), s.share("mask_ratio_end", high)
    if share[0] > share[1]:
        raise ConfigError(f"{s.path}: mask_ratio_start {share[0]} is more than mask_ratio_end {share[1]}")
    return share


def share_of(hidden: float | None, own: tuple[float, float]) -> tuple[float, float]:
    """The share to hide where somebody asked for one, or the model's own."""
    return own if hidden is None else (hidden, hidden)


def read_mel(s: Section, id: str, given: Given) -> Part:
    """Conditioner type "mel_spec"."""
    s.choice("mel_spec_type", ("mel_features",), "mel_features")
    config = MelConfig(
        cond_dim=given.width,
        n_fft=s.number("n_fft", 2, 1 << 16),
        win_length=s.number("win_length", 1, 1 << 16),
        hop_length=s.number("hop_length", 1, 1 << 16),
        n_mel_channels=s.number("n_mel_channels", 1, 1 << 12),
        filter_rate=s.number("target_sample_rate", 1000, 1_000_000),
        hidden_share=hidden_share(s, *MelConfig(1).hidden_share),
    )
    if config.win_length > config.n_fft:
        raise ConfigError(f"{s.path}.win_length: {config.win_length} is more than n_fft, {config.n_fft}")
    prefix, samples = conditioner_prefix(id), given.timing.prompt_samples

    def layout(module: nn.Module) -> Iterable[Slot]:
        return slots(module, prefix)

    def build(**options: Any) -> nn.Module:
        return MelPromptEncoder(config, **options)

    def draw(generator: torch.Generator, hidden: float | None = None, *, samples: int = samples) -> Tensor | None:
        return draw_spans(1, config.frames(samples), share_of(hidden, config.hidden_share), generator)

    def encode(net: Any, waveform: Tensor, drawn: Tensor | None, tile: int | None, told: Any) -> Tensor:
        return net(waveform, drawn)

    return Part(
        name="audio",
        label="audio encoder",
        build=build,
        layout=layout,
        format=exact_format,
        work=partial(spectrogram_work, samples, config.n_fft, config.hop_length, config.n_mel_channels, given.width),
        condition=Condition(
            reads=Hearing(given.timing.sample_rate, samples),
            tokens=config.frames(samples),
            width=given.width,
            encode=encode,
            draw=draw,
            hides=config.hidden_share,
        ),
    )


def read_gate(diffusion: Section, conditioners: tuple[Part, ...], given: Given) -> MAFConfig | None:
    """The fusion block in front of a backbone; None where the config has none. Raises ConfigError for another gate."""
    if not diffusion.take("gate", bool, False):
        diffusion.ignore("gate_type", "gate_type_config")
        return None
    diffusion.choice("gate_type", ("MAF",))
    with diffusion.section("gate_type_config") as s:
        config = MAFConfig(
            width=given.width,
            num_experts_per_modality=s.number("num_experts_per_modality", 1, 1 << 12),
            num_heads=s.number("num_heads", 1, 1024),
            num_fusion_layers=s.number("num_fusion_layers", 1, 256),
        )
    if config.width % config.num_heads:
        raise ConfigError(f"{s.path}.num_heads: {config.num_heads} does not divide the width, {config.width}")
    names = [part.name for part in conditioners]
    if sorted(names) != sorted(MODALITIES):
        raise ConfigError(f"{diffusion.path}.gate: fuses {', '.join(MODALITIES)}; the conditioners are {names}")
    return config


def in_order(conditioners: tuple[Part, ...]) -> tuple[Part, ...]:
    """Conditioners in the order in which a network behind the gate takes their tokens."""
    return tuple(sorted(conditioners, key=lambda part: MODALITIES.index(part.name)))


def fused(gate: MAFConfig, backbone: Part, conditioners: tuple[Part, ...]) -> Part:
    """A backbone's row with the fusion block in front."""

    def build(**options: Any) -> nn.Module:
        inner, dtype = backbone.build(**options), options.get("dtype")
        if dtype is not None and dtype.itemsize == 1:
            # Its attention's bare matrices have no scale for 8 bits, and it is a sixteenth of the network.
            options = {**options, "dtype": options.get("compute_dtype") or torch.float16}
        return FusedNetwork(inner, MultimodalFusion(gate, **options))

    def layout(module: nn.Module) -> Iterable[Slot]:
        net = cast(FusedNetwork, module)
        own = backbone.layout(net.backbone)
        return [
            *(slot if slot.name is None else replace(slot, name=f"backbone.{slot.name}") for slot in own),
            *slots(net.maf_block, "maf_block.", inside="maf_block."),
        ]

    tokens = sum(part.condition.tokens for part in conditioners if part.condition)
    experts = 3 * gate.num_experts_per_modality
    work = partial(fused_work, backbone.work, gate.width, gate.num_heads, gate.inner, experts, tokens)
    return replace(backbone, build=build, layout=layout, work=work)


def read_fused_dit(diffusion: Section, conditioners: tuple[Part, ...], given: Given) -> Backbone:
    """Backbone type "dit": the base model's, with the fusion block in front where the config has a gate."""
    gate = read_gate(diffusion, conditioners, given)
    if gate is None:
        return read_dit(diffusion, conditioners, given)
    row = read_dit(diffusion, in_order(conditioners), given)
    return replace(row, part=fused(gate, row.part, conditioners))


CONDITIONERS = {
    "clip-with-sync-w-empty-feat": read_motion_video,
    "mel_spec": read_mel,
    "mel_spec-w-empty-feature": read_mel,  # the same under the name that the code of June has for it
}
BACKBONES = {"dit": read_fused_dit}


def family_config(audio: Mapping[str, Any], diffusion: Mapping[str, Any], **network: Any) -> dict[str, Any]:
    """The config.json of a member behind the gate: the base's with other conditioners of video and audio."""
    data = copy.deepcopy(BASE_CONFIG)
    model = data["model"]
    video, _, prompt = model["conditioning"]["configs"]
    video["type"] = "clip-with-sync-w-empty-feat"
    prompt.update(copy.deepcopy(dict(audio)))
    gate = {"num_experts_per_modality": 64, "num_heads": 24, "num_fusion_layers": 8}
    model["diffusion"] |= {"gate": True, "gate_type": "MAF", "gate_type_config": gate, **diffusion}
    model["diffusion"]["config"] |= {"global_cond_dim": 768, **network}
    return data


# The published file was not seen: put together from what loads it. Where it lies beside the weights, it is read.
MAF_CONFIG = family_config(
    {
        "type": "mel_spec",
        "config": {
            "mel_spec_type": "mel_features",
            "n_fft": 1024,
            "hop_length": 256,
            "win_length": 1024,
            "n_mel_channels": 256,
            "target_sample_rate": 24000,
        },
    },
    {"diffusion_objective": "v"},
)
