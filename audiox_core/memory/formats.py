"""Number formats: what weights are kept in and what they multiply in, for each kind of network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from ..errors import InputError, nearest
from ..networks.ops import storage_operations

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}


def dtype_of(name: str) -> torch.dtype:
    """The torch type of fp32, fp16, bf16 or fp8. Raises InputError for other names."""
    if name not in DTYPES:
        raise InputError(f"dtype: unknown name {name!r}.{nearest(name, list(DTYPES))}")
    return DTYPES[name]


def name_of(dtype: torch.dtype) -> str:
    """The short name of a torch type. Raises InputError for types that no weights come in."""
    for name, known in DTYPES.items():
        if known == dtype:
            return name
    raise InputError(f"dtype: {dtype} is not supported; use one of {', '.join(DTYPES)}")


@dataclass(frozen=True)
class Format:
    """What a component's weights are kept in and what they multiply in, by short names."""

    storage: str = "fp32"
    compute: str = "fp32"

    @property
    def bytes(self) -> int:
        """Bytes of one weight."""
        return dtype_of(self.storage).itemsize

    @property
    def storage_dtype(self) -> torch.dtype:
        return dtype_of(self.storage)

    @property
    def compute_dtype(self) -> torch.dtype:
        return dtype_of(self.compute)

    @property
    def casts(self) -> bool:
        return self.storage != self.compute

    def options(self) -> dict[str, Any]:
        """dtype, compute_dtype and, where weights are cast, operations, for a network's constructor."""
        options: dict[str, Any] = {"dtype": self.storage_dtype, "compute_dtype": self.compute_dtype}
        if self.casts:
            options["operations"] = storage_operations(self.storage_dtype, self.compute_dtype)
        return options

    def __str__(self) -> str:
        return f"{self.storage}, computing in {self.compute}" if self.casts else self.storage


# On a CPU half precision only saves memory: weights are cast as they are used, because most CPUs multiply float16
# slower than float32.


def network_format(precision: str, *, on_cpu: bool) -> Format:
    """The format of a backbone for fp32, fp16, bf16 or fp8 (kept in 8 bits, computing in fp16)."""
    _check(precision)
    if on_cpu:
        return Format(precision, "fp32")
    return Format(precision, "fp16" if precision == "fp8" else precision)


def wave_format(precision: str, *, on_cpu: bool) -> Format:
    """The format of a network of long chains of convolutions: eight bits are too few for them, so bf16 is only kept."""
    _check(precision)
    kept = "fp16" if precision == "fp8" else precision
    return Format(kept, "fp32" if on_cpu or precision == "bf16" else kept)


def public_format(precision: str, *, on_cpu: bool) -> Format:
    """The format of a public encoder, whose layers don't cast.

    They are sound in fp16, the text encoder's released format, and lose three to ten times as much in bf16.
    """
    _check(precision)
    return Format() if on_cpu or precision == "fp32" else Format("fp16", "fp16")


def exact_format(precision: str, *, on_cpu: bool) -> Format:
    """The format of a part of so few weights that they are always float32."""
    _check(precision)
    return Format()


def _check(precision: str) -> None:
    if precision not in DTYPES:
        raise InputError(f"precision: unknown name {precision!r}.{nearest(precision, list(DTYPES))}")
