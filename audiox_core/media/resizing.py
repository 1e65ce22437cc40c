"""Pictures at the size a model looks at, bit for bit as torchvision does it, in little memory."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from .checks import tensor_of, whole

BAND_PIXELS = 1 << 21  # of a picture that are floats at once when it is resized
LARGEST = 8192  # width and height of a small picture


def resize(pictures: Tensor, size: int = 224) -> Tensor:
    """Pictures (..., 3, H, W), tensor or numpy array, as (..., 3, size, size): bilinear with antialiasing,
    aspect ratio not kept, computed in float32.

    uint8 is rounded (half to even) to uint8, bit for bit torchvision's `Resize((size, size))` on tensors;
    other types give float32. Pictures that have the size already keep their values. Raises InputError for a
    size outside 1 to 8192.
    """
    pictures, size = tensor_of(pictures, "pictures"), whole(size, "size", 1, LARGEST)
    if tuple(pictures.shape[-2:]) == (size, size):
        return pictures.contiguous()
    planes = pictures.flatten(0, -3)  # (planes, H, W)
    kind = torch.uint8 if pictures.dtype == torch.uint8 else torch.float32
    out = torch.empty(len(planes), size, size, dtype=kind, device=pictures.device)
    # One plane at a time, and the width of a few rows at a time, which do not depend on each other: the same
    # numbers as all at once, in a fraction of the memory.
    rows = max(1, BAND_PIXELS // planes.shape[-1])
    for plane, small in zip(planes, out, strict=True):
        narrow = torch.cat([_scaled(band.float(), len(band), size) for band in plane.split(rows)])  # (H, size)
        scaled = _scaled(narrow, size, size)
        small.copy_(scaled.round_() if kind == torch.uint8 else scaled)
    return out.view(*pictures.shape[:-2], size, size)


def _scaled(plane: Tensor, height: int, width: int) -> Tensor:
    """(H, W) float as (height, width)."""
    batch = plane[None, None]  # (1, 1, H, W)
    batch = functional.interpolate(batch, (height, width), mode="bilinear", align_corners=False, antialias=True)
    return batch[0, 0]
