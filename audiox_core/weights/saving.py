"""A model whose backbone was changed, as the tensors of a checkpoint again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..models.parts import Model
from .layout import slots_of


def with_backbone(model: Model, tensors: Mapping[str, Tensor], backbone: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The checkpoint's tensors by their released keys, the backbone's from `backbone` (by the network's own names).

    Weights kept in 8 bits become float16, which every host reads. What comes from files beside the checkpoint (the text
    encoder) is left out, as it was. Raises KeyError if the backbone lacks a weight.
    """
    beside = tuple(c.prefix for part in model.parts.values() for c in part.companions if not c.fills)
    out = {key: tensors[key] for key in tensors if not key.startswith(beside)}
    for slot in slots_of(model.backbone):
        if slot.name is not None:
            weight = backbone[slot.name].detach()
            out[slot.key] = weight.to(torch.float16) if weight.dtype.itemsize == 1 else weight
    return out
