"""From checkpoints to modules: built on the meta device, weights assigned from the memory map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.config import ModelConfig, TextConfig, read_config
from ..networks.t5 import TextEncoder, text_keys
from .layout import (
    COMPONENTS,
    build,
    check_tensors,
    describe,
    expected_keys,
    recognise,
    report,
    slots,
)
from .tensors import FileTensors, OnBytes, read_tensors, write_tensors

__all__ = [
    "COMPONENTS",
    "FileTensors",
    "check_tensors",
    "component_sizes",
    "component_tensors",
    "convert",
    "expected_keys",
    "load_component",
    "load_text_encoder",
    "read_tensors",
    "recognise",
    "write_tensors",
]

# What a T5 file may hold beside its encoder.
T5_EXTRAS = ("decoder.", "lm_head.", "shared.", "encoder.", "spiece_model")


def fold_weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """weight = g v / |v|, |v| over all dimensions but the first, in float32 or wider. May overwrite v."""
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    length = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return v.mul_(g.to(v.dtype) / length)


def _source(tensors: Mapping[str, Tensor]) -> str:
    return str(tensors.path) if isinstance(tensors, FileTensors) else "checkpoint"


def _private(tensors: Mapping[str, Tensor], key: str) -> Tensor:
    return tensors.private(key) if isinstance(tensors, FileTensors) else tensors[key].clone()


def _cast(value: Tensor, dtype: torch.dtype, where: str) -> Tensor:
    """The tensor in a type, itself if it has it. Raises CheckpointError for NaN and for numbers beyond it."""
    if not value.numel():
        return value.to(dtype)
    low, high = map(float, torch.aminmax(value if value.element_size() > 1 else value.float()))
    limit = torch.finfo(dtype).max
    if -limit <= low and high <= limit:  # NaN fails both
        return value.to(dtype)
    if math.isfinite(low) and math.isfinite(high):
        raise CheckpointError(
            f"{where}: holds {low if -low > high else high:.4g}, and {dtype} reaches {limit:.4g}. "
            "Use float32 or bfloat16."
        )
    count = int((~torch.isfinite(value.float())).sum())
    raise CheckpointError(
        f"{where}: {count} of {value.numel()} weights are NaN or infinite. The file is damaged; download it again."
    )


def _stored_dtype(tensors: Mapping[str, Tensor], keys: list[str]) -> torch.dtype:
    """The type when none is asked for: the file's own, but float32 if it mixes several or has 8 bits."""
    found = {tensors[key].dtype for key in keys}
    dtype = found.pop()
    return torch.float32 if found or dtype.itemsize == 1 else dtype


def component_tensors(
    name: str,
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    *,
    dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
    fold: bool = True,
    on_tensor: OnBytes | None = None,
) -> dict[str, Tensor]:
    """A component's weights under its module's own names; dead weights left out.

    Weight norm is folded; with fold=False both tensors stay, as weight_g and weight_v. Tensors that need no
    change are the given ones, not copies. dtype is one type, or one for each name (8-bit ones are left to the
    module, which scales as it rounds); None keeps the file's type (float32 if it mixes several).
    on_tensor(done, all) is told of each tensor, and may raise to cancel.
    Raises CheckpointError for missing or misshapen keys, for NaN, and for numbers too large for dtype.
    """
    wanted = slots(name, config)
    expected = {s.key: s.shape for s in wanted}
    source = _source(tensors)
    report({k: t for k, t in tensors.items() if k in expected}, expected, f"{source}, component {name!r}")
    live = [s for s in wanted if s.name is not None]
    dtype = dtype or stored_dtype(name, tensors, config)
    out: dict[str, Tensor] = {}
    for i, slot in enumerate(live):
        if on_tensor is not None:
            on_tensor(i, len(live))
        target, value = slot.name or "", tensors[slot.key]
        kept = dtype[target] if isinstance(dtype, Mapping) else dtype
        kept = value.dtype if kept.itemsize == 1 else kept
        if slot.key.endswith((".weight_g", ".weight_v")):
            if not fold:
                target = f"{target}{slot.key[-2:]}"
            elif slot.key.endswith("_g"):
                continue
            else:
                value = fold_weight_norm(tensors[slot.key[:-1] + "g"], _private(tensors, slot.key))
        elif value.dtype != kept and isinstance(tensors, FileTensors) and tensors.seekable:
            value = tensors.private(slot.key)  # what is only converted need not fill the map
        out[target] = _cast(value, kept, f"{source}: {slot.key}")
    return out


def stored_dtype(name: str, tensors: Mapping[str, Tensor], config: ModelConfig) -> torch.dtype:
    """The type in which a file keeps a component's live weights; float32 if they are mixed or in 8 bits."""
    return _stored_dtype(tensors, [s.key for s in slots(name, config) if s.name is not None and s.key in tensors])


def load_component(
    name: str,
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    *,
    dtype: torch.dtype | None = None,
    on_tensor: OnBytes | None = None,
    **options: Any,
) -> nn.Module:
    """One of COMPONENTS with its weights, on the CPU, in evaluation mode, without gradients.

    Weights that need no change stay memory-mapped; the others are converted one by one to the types that the
    module was built with. options (operations, attention, compute_dtype): as in the component's constructor.
    dtype None is the file's type, or with operations their choice. on_tensor and errors: as component_tensors.
    """
    if dtype is None and "operations" not in options:
        dtype = stored_dtype(name, tensors, config)
    module = build(name, config, dtype=dtype, **options)
    _drop_dead(name, module)
    types = {key: value.dtype for key, value in module.state_dict(keep_vars=True).items()}
    state = component_tensors(name, tensors, config, dtype=types, on_tensor=on_tensor)
    module.load_state_dict(state, strict=True, assign=True)
    return _finish(module)


def _drop_dead(name: str, module: nn.Module) -> None:
    """Takes out what has no influence, so that it takes no memory."""
    if name == "video":
        clip: Any = module.visual_encoder_model
        clip.vision_model.post_layernorm = nn.Identity()
        clip.visual_projection = nn.Identity()


def _finish(module: nn.Module) -> nn.Module:
    """Fills the buffers that no file holds, and makes the module ready for inference."""
    for path, part in module.named_modules():
        for name, buffer in part.named_buffers(recurse=False):
            if not buffer.is_meta:
                continue
            if name != "position_ids":
                raise CheckpointError(
                    f"{path}.{name}: this version of transformers has a buffer that is not known here. "
                    "Use another one (4.50 or newer)."
                )
            setattr(part, name, torch.arange(buffer.shape[-1]).expand(buffer.shape))
    return module.eval().requires_grad_(False)


def load_text_encoder(
    source: str | Path | Mapping[str, Tensor], config: ModelConfig, *, dtype: torch.dtype | None = None
) -> TextEncoder:
    """The T5 encoder from a file with Hugging Face's names (or its tensors); a decoder in it is left aside.

    dtype None keeps the file's type. Raises CheckpointError, naming keys and shapes, unless the encoder fits.
    """
    tensors = read_tensors(source) if isinstance(source, str | Path) else source
    path = tensors.path if isinstance(tensors, FileTensors) else "text encoder"
    text = config.conditioner(TextConfig)
    encoder = TextEncoder(text, device="meta")
    found = text_keys(tensors)
    foreign = {k: t for k, t in tensors.items() if not k.startswith(T5_EXTRAS)}
    expected = {k: tuple(t.shape) for k, t in encoder.t5.state_dict().items()}
    report({**found, **foreign}, expected, path, mend=f"Get the encoder of {text.t5_model_name}.")
    dtype = dtype or _stored_dtype(found, list(found))
    shared = _cast(found.pop("shared.weight"), dtype, f"{path}: shared.weight")
    found.pop("encoder.embed_tokens.weight")
    state = {key: _cast(value, dtype, f"{path}: {key}") for key, value in found.items()}
    state["shared.weight"] = state["encoder.embed_tokens.weight"] = shared
    encoder.t5.load_state_dict(state, strict=True, assign=True)
    encoder.t5.encoder.embed_tokens.weight = encoder.t5.shared.weight  # one parameter, so that moving keeps one copy
    _finish(encoder)
    return encoder


def component_sizes(config: ModelConfig) -> dict[str, int]:
    """Numbers (parameters) that each of COMPONENTS and "text" keeps in memory when loaded."""
    sizes = {}
    for name in COMPONENTS:
        module = build(name, config)
        _drop_dead(name, module)
        sizes[name] = sum(p.numel() for p in module.parameters())
    text = TextEncoder(config.conditioner(TextConfig), device="meta")
    return {**sizes, "text": sum(p.numel() for p in text.parameters())}


def convert(source: str | Path, target: str | Path, *, on_progress: OnBytes | None = None) -> Path:
    """A checkpoint as .safetensors with the same keys, types and numbers: safe to share, faster to load.

    It must fit the config.json beside it, or else the base model's; a NaN is refused. Nothing in the source
    is executed, and an existing target is never overwritten. on_progress(done bytes, all bytes) may raise to
    cancel.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target must end in .safetensors. Rename it.")
    if target.exists():
        raise CheckpointError(f"{target}: already exists. Remove it first, or choose another name.")
    tensors = read_tensors(source)
    beside = source.parent / "config.json"
    config = read_config(beside) if beside.is_file() else recognise(tensors)
    if config is None:
        known = describe(tensors) or "It is not AudioX's base model, and no config.json lies beside it."
        raise CheckpointError(f"{source}: what this is can't be told. {known} Put the model's config.json beside it.")
    check_tensors(tensors, config, source)
    for key, value in tensors.items():
        _cast(value, value.dtype, f"{source}: {key}")
    return write_tensors(tensors, target, on_progress=on_progress)
