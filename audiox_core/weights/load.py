"""From tensors to networks: built on the meta device, weights assigned from the memory map."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.parts import Part
from .bundle import Bundle, bundle
from .layout import require, slots_of
from .tensors import OnBytes

SHARED_FROM = 1 << 12  # numbers of a weight that is worth sharing


def fold_weight_norm(g: Tensor, v: Tensor) -> Tensor:
    """weight = g v / |v|, |v| over all dimensions but the first, in float32 or wider. May overwrite v."""
    v = v.to(torch.promote_types(v.dtype, torch.float32))
    length = torch.linalg.vector_norm(v, dim=tuple(range(1, v.ndim)), keepdim=True)
    return v.mul_(g.to(v.dtype) / length)


def cast(value: Tensor, dtype: torch.dtype, where: str) -> Tensor:
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


def stored_dtype(part: Part, tensors: Mapping[str, Tensor]) -> torch.dtype:
    """The type in which a file keeps a part's live weights; float32 if they are mixed or in 8 bits."""
    found = {tensors[s.key].dtype for s in slots_of(part) if s.name is not None and s.key in tensors}
    dtype = found.pop() if found else torch.float32
    return torch.float32 if found or dtype.itemsize == 1 else dtype


def part_tensors(
    part: Part,
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | Mapping[str, torch.dtype] | None = None,
    fold: bool = True,
    on_tensor: OnBytes | None = None,
) -> dict[str, Tensor]:
    """A part's weights under its network's own names; dead weights left out.

    Weight norm is folded; with fold=False both tensors stay, as weight_g and weight_v. Tensors that need no
    change are the given ones, not copies. dtype is one type, or one for each name (8-bit ones are left to the
    module, which scales as it rounds); None keeps the file's type (float32 if it mixes several).
    on_tensor(done, all) is told of each tensor, and may raise to cancel.
    Raises CheckpointError for missing or misshapen keys, for NaN, and for numbers too large for dtype.
    """
    weights, wanted = bundle(tensors), slots_of(part)
    expected = {s.key: s.shape for s in wanted}
    require({k: weights[k] for k in expected if k in weights}, expected, f"{weights.name}, {part.label}")
    live = [s for s in wanted if s.name is not None]
    dtype = dtype or stored_dtype(part, weights)
    out: dict[str, Tensor] = {}
    for i, slot in enumerate(live):
        if on_tensor is not None:
            on_tensor(i, len(live))
        target, value = slot.name or "", weights[slot.key]
        kept = dtype[target] if isinstance(dtype, Mapping) else dtype
        kept = value.dtype if kept.itemsize == 1 else kept
        if slot.key.endswith((".weight_g", ".weight_v")):
            if not fold:
                target = f"{target}{slot.key[-2:]}"
            elif slot.key.endswith("_g"):
                continue
            else:
                value = fold_weight_norm(weights[slot.key[:-1] + "g"], weights.private(slot.key))
        elif value.dtype != kept and weights.seekable(slot.key):
            value = weights.private(slot.key)  # what is only converted need not fill the map
        value = cast(value, kept, weights.source(slot.key))
        # What is cut out is copied, so that the rest of it is let go.
        out[target] = value if slot.take is None else slot.take(value).clone(memory_format=torch.contiguous_format)
    return out


def parameter_types(part: Part, options: Mapping[str, Any]) -> dict[str, torch.dtype]:
    """The type in which a network built with such options keeps each of its weights, by name."""
    return {name: value.dtype for name, value in part.build(**{**options, "device": "meta"}).state_dict().items()}


def load_part(
    part: Part,
    tensors: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = None,
    types: Mapping[str, torch.dtype] | None = None,
    on_tensor: OnBytes | None = None,
    **options: Any,
) -> nn.Module:
    """A part's network with its weights, on the CPU, in evaluation mode, without gradients.

    Weights that need no change stay memory-mapped; the others are converted one by one to the types that the
    module was built with. options (operations, attention, compute_dtype): as in the network's constructor.
    dtype None is the file's type, or with operations their choice. types, by name, overrides what the layers were
    built with (a host's may have no weights yet). on_tensor and errors: as part_tensors.
    """
    if dtype is None and "operations" not in options:
        dtype = stored_dtype(part, tensors)
    options["dtype"] = dtype
    module = part.build(device="meta", **options)
    types = parameter_types(part, options) if types is None else types
    state = part_tensors(part, tensors, dtype=types, on_tensor=on_tensor)
    module.load_state_dict(state, strict=True, assign=True)
    return finish(module)


def finish(module: nn.Module) -> nn.Module:
    """Fills the buffers that no file holds, ties what is one, and makes the module ready for inference."""
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
        tie = getattr(part, "tie", None)
        if tie is not None:
            tie()
    return module.eval().requires_grad_(False)


def share_equal(networks: Iterable[nn.Module]) -> int:
    """Makes large weights of different networks that are equal, bit by bit, one tensor; the bytes that this saves.

    Some released checkpoints hold their autoencoder twice. Only for networks whose weights are moved by replacing
    them, never in place.
    """
    known: dict[tuple[torch.Size, torch.dtype], list[nn.Parameter]] = {}
    saved = 0
    for network in networks:
        own: list[nn.Parameter] = []
        for part in network.modules():
            for name, parameter in part._parameters.items():
                if parameter is None or parameter.numel() < SHARED_FROM:
                    continue
                alike = known.get((parameter.shape, parameter.dtype), [])
                twin = next((other for other in alike if _equal(parameter, other)), None)
                if twin is None:
                    own.append(parameter)
                elif twin is not parameter:
                    part._parameters[name] = twin
                    saved += parameter.nbytes
        for parameter in own:
            known.setdefault((parameter.shape, parameter.dtype), []).append(parameter)
    return saved


def _equal(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors are the same bit by bit; mostly told by their first numbers, without reading the rest."""
    one, two = (t.detach().reshape(-1).view(torch.uint8) for t in (a, b))
    return torch.equal(one[:256], two[:256]) and torch.equal(one, two)


__all__ = [
    "Bundle",
    "cast",
    "finish",
    "fold_weight_norm",
    "load_part",
    "parameter_types",
    "part_tensors",
    "share_equal",
]
