"""The layers that networks are built from by default: torch.nn's, with a faster float32 Linear on the CPU."""

from __future__ import annotations

from types import SimpleNamespace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
    if _ONEDNN is None or not plain or torch.is_grad_enabled():
        return F.linear(x, weight, bias)
    return _ONEDNN(x, weight, bias, "none", [], "")


operations = SimpleNamespace(
    Linear=Linear, Conv1d=nn.Conv1d, ConvTranspose1d=nn.ConvTranspose1d, LayerNorm=nn.LayerNorm
)
