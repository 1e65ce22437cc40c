"""Number formats: what weights are kept in, what they multiply in, and layers that cast from one to the other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError, nearest
from ..networks.ops import linear

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
    "fp8": torch.float8_e4m3fn,
}
# Weights below this many numbers are not worth rounding to the storage format.
MIN_STORED = 1 << 16
# The largest weight is scaled to between half of this and this; 2^-9 is the smallest step of float8_e4m3fn.
FP8_PEAK_EXPONENT = 4


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

    def options(self, component: str) -> dict[str, Any]:
        """dtype, and where needed operations and compute_dtype, for the constructor of a component's network."""
        if not self.casts:
            return {"dtype": self.storage_dtype}
        operations = storage_operations(self.storage_dtype, self.compute_dtype)
        if component == "dit":
            return {
                "dtype": self.storage_dtype,
                "compute_dtype": self.compute_dtype,
                "operations": operations,
            }
        return {"dtype": None, "operations": operations}

    def __str__(self) -> str:
        return f"{self.storage}, computing in {self.compute}" if self.casts else self.storage


def formats(precision: str, *, on_cpu: bool) -> dict[str, Format]:
    """The format of each component for fp32, fp16, bf16 or fp8.

    The two public encoders (video, text) are sound in fp16, the text encoder's released format, and lose three
    to ten times as much in bf16. On a CPU half precision only saves memory: weights are cast as they are used,
    because most CPUs multiply float16 slower than float32.
    """
    half, public = Format(precision, precision), Format("fp16", "fp16")
    if precision == "fp32" or precision == "fp16":
        table = dict.fromkeys(("dit", "autoencoder", "audio", "video", "text"), half)
    elif precision == "bf16":
        # Eight bits are too few for the long chains of convolutions, so these only keep their weights in them.
        wave = Format("bf16", "fp32")
        table = {"dit": half, "autoencoder": wave, "audio": wave, "video": public, "text": public}
    elif precision == "fp8":
        dit = Format("fp8", "fp16")
        table = {"dit": dit, "autoencoder": public, "audio": public, "video": public, "text": public}
    else:
        raise InputError(f"precision: unknown name {precision!r}.{nearest(precision, list(DTYPES))}")
    if not on_cpu:
        return table
    own = {name: Format(table[name].storage, "fp32") for name in ("dit", "autoencoder", "audio")}
    return {**own, "video": Format(), "text": Format()}


def quantize(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, float]:
    """(rounded, scale) with weight = scale * rounded. The scale is a power of two, so that it rounds nothing itself.

    Only 8-bit types need one: their smallest step would swallow the weights of a wide layer.
    """
    if dtype.itemsize > 1:
        return weight.to(dtype), 1.0
    peak = float(weight.abs().amax()) if weight.numel() and not weight.is_meta else 0.0
    scale = 2.0 ** (math.ceil(math.log2(peak)) - FP8_PEAK_EXPONENT) if peak > 0 else 1.0
    return (weight.float() / scale).to(dtype), scale


class _Stored(nn.Module):
    """Keeps its weight in storage and casts it to the input's type in each call.

    A state dict in any float type can be loaded; one that is saved holds the weight in the computing type.
    """

    storage: torch.dtype
    compute: torch.dtype
    scale: float = 1.0
    weight: Tensor

    def _first(self, asked: torch.dtype | None) -> torch.dtype:
        """The type to build in: what was asked for, but the storage's biases are kept in the computing type."""
        return self.compute if asked in (None, self.storage) else asked

    def _store(self, asked: torch.dtype | None) -> None:
        """Rounds the new weight, unless a type was asked for or it is too small to matter."""
        if asked in (None, self.storage) and self.weight.numel() >= MIN_STORED:
            rounded, self.scale = quantize(self.weight.detach(), self.storage)
            self.weight = nn.Parameter(rounded, requires_grad=False)

    def _ready(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Input (scaled, which is cheaper than scaling the weight), weight and bias in the input's type."""
        bias: Tensor | None = getattr(self, "bias", None)
        scaled = x if self.scale == 1.0 else x * self.scale
        return scaled, self.weight.to(x.dtype), None if bias is None else bias.to(x.dtype)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        key = f"{prefix}weight"
        if key in state_dict and self.weight.dtype == self.storage != state_dict[key].dtype:
            state_dict[key], self.scale = quantize(state_dict[key], self.storage)
        elif key in state_dict:
            self.scale = 1.0
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _save_to_state_dict(self, destination: Any, prefix: str, keep_vars: bool) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if self.scale != 1.0:
            destination[f"{prefix}weight"] = self.weight.detach().to(self.compute) * self.scale


class StoredLinear(_Stored, nn.Linear):
    """torch.nn.Linear whose weight is kept in another type."""

    def __init__(self, inputs: int, outputs: int, bias: bool = True, *, dtype: torch.dtype | None = None, **kw: Any):
        super().__init__(inputs, outputs, bias, dtype=self._first(dtype), **kw)
        self._store(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return linear(*self._ready(x))


class StoredConv1d(_Stored, nn.Conv1d):
    """torch.nn.Conv1d whose weight is kept in another type."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dtype: torch.dtype | None = None, **kw: Any):
        super().__init__(inputs, outputs, kernel, dtype=self._first(dtype), **kw)
        self._store(dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(*self._ready(x))


class StoredConvTranspose1d(_Stored, nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d whose weight is kept in another type."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, dtype: torch.dtype | None = None, **kw: Any):
        super().__init__(inputs, outputs, kernel, dtype=self._first(dtype), **kw)
        self._store(dtype)

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        if output_size is not None:
            raise InputError("output_size: not supported by this layer; leave it out")
        x, weight, bias = self._ready(x)
        padding: Any = self.padding
        return F.conv_transpose1d(
            x, weight, bias, self.stride, padding, self.output_padding, self.groups, self.dilation
        )


def storage_operations(storage: torch.dtype, compute: torch.dtype) -> SimpleNamespace:
    """A namespace for a network's `operations`: Linear, Conv1d, ConvTranspose1d and LayerNorm.

    Built without a dtype (or with storage), layers keep large weights in storage, with a scale if it has 8 bits, and
    biases, norms and small weights in compute. Another dtype given to a layer wins. Weights are cast in each call.
    """
    kept = {"storage": storage, "compute": compute}

    def layer_norm(width: int, *, dtype: torch.dtype | None = None, **kw: Any) -> nn.LayerNorm:
        return nn.LayerNorm(width, dtype=compute if dtype in (None, storage) else dtype, **kw)

    return SimpleNamespace(
        Linear=type("Linear", (StoredLinear,), kept),
        Conv1d=type("Conv1d", (StoredConv1d,), kept),
        ConvTranspose1d=type("ConvTranspose1d", (StoredConvTranspose1d,), kept),
        LayerNorm=layer_norm,
    )
