"""Pictures that exist only in memory, in the place of a video or image file."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from ..errors import InputError


@dataclass(frozen=True, eq=False)
class Shown:
    """Images (F, H, W, 3 or 4), float in 0..1 or uint8, shown `fps` a second; one image is a still, of no length."""

    images: Tensor
    fps: float | Fraction = 1
    name: str = "the video in memory"  # as messages call them

    def __post_init__(self) -> None:
        shape = tuple(self.images.shape)
        if len(shape) != 4 or shape[-1] not in (3, 4) or 0 in shape:
            raise InputError(f"{self.name}: a picture is {shape[1:]}. Give (height, width, 3 or 4), none of them 0.")
        if self.images.dtype != torch.uint8 and not self.images.is_floating_point():
            raise InputError(f"{self.name}: {self.images.dtype}. Give floating point values in 0..1, or uint8.")

    @property
    def still(self) -> bool:
        return len(self.images) == 1

    @property
    def seconds(self) -> float | None:
        return None if self.still else float(len(self.images) / self.fps)
