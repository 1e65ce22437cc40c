"""The layers of networks: torch.nn's with a faster float32 Linear, and layers that cast as they compute."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError

# Weights below this many numbers are not worth rounding to the storage format.
MIN_STORED = 1 << 16
# The largest weight is scaled to between half of this and this; 2^-9 is the smallest step of float8_e4m3fn.
FP8_PEAK_EXPONENT = 4

# oneDNN's matrix product, the one torch's own compiler calls. Not part of the documented interface, hence the look.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None


class Linear(nn.Linear):
    """torch.nn.Linear; on the CPU in float32, without gradients, through oneDNN instead of BLAS.

    Equal to rounding. The BLAS in torch's builds is slow on processors of other makes than its own
    (2.5 times on an AMD EPYC, tests/benchmarks/bench_step.py); where it is not, the two are alike.
    """

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (..., in) times weight (out, in), plus bias (out,)."""
    plain = x.dtype == weight.dtype == torch.float32 and x.device.type == "cpu"
    if _ONEDNN is None or not plain or torch.is_grad_enabled() or torch.compiler.is_compiling():
        return F.linear(x, weight, bias)
    return _ONEDNN(x, weight, bias, "none", [], "")


operations = SimpleNamespace(
    Linear=Linear, Conv1d=nn.Conv1d, ConvTranspose1d=nn.ConvTranspose1d, LayerNorm=nn.LayerNorm
)


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
