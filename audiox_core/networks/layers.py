"""Building blocks of the diffusion transformer: attention, rotary positions, feed-forward, Fourier features."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# (q (B, H, L, d), k (B, Hkv, M, d), v (B, Hkv, M, d)) -> (B, H, L, d); Hkv divides H. A host may put its own.
Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
# (L, rotated dims / 2, 2, 2) float32: for each position and frequency, the matrix that turns a pair of numbers
Rotary = Tensor

ROTARY_BASE = 10000.0


def repeat_heads(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values with a head for each query head: key head j serves query heads j H / Hkv onwards (grouped)."""
    groups = q.shape[1] // k.shape[1]
    return (k, v) if groups == 1 else (k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1))


def torch_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Softmax attention by torch's fused kernel; in float32 on the CPU, where that rounds otherwise and spares no
    time, as it is written (arXiv:1706.03762).
    """
    k, v = repeat_heads(q, k, v)
    if q.dtype == torch.float32 and q.device.type == "cpu":
        return (q * q.shape[-1] ** -0.5 @ k.transpose(-1, -2)).softmax(dim=-1) @ v
    return F.scaled_dot_product_attention(q, k, v)


def rotary_table(length: int, dims: int, device: torch.device) -> Rotary:
    """Rotations of rotary position embedding (arXiv:2104.09864) for positions 0..length-1, always float32."""
    inv_freq = ROTARY_BASE ** -(torch.arange(0, dims, 2, device=device, dtype=torch.float32) / dims)
    angles = torch.outer(torch.arange(length, device=device, dtype=torch.float32), inv_freq)  # (L, dims / 2)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack([cos, -sin, sin, cos], dim=-1).unflatten(-1, (2, 2))


def turn(pairs: Tensor, rotary: Rotary) -> None:
    """Turns pairs of numbers (..., L, dims / 2, 2) by their position, in place; in float32 whatever their own type."""
    # All four products in one multiplication; their sums are rounded as they are written.
    first, second = (pairs[..., None, :] * rotary).unbind(-1)  # (..., L, dims / 2, 2) each
    if pairs.requires_grad or torch.compiler.is_compiling():  # which know no out=
        pairs.copy_(first + second)
    else:
        torch.add(first, second, out=pairs)


class SelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions, without biases."""

    def __init__(self, width: int, heads: int, operations: Any, **kw: Any):
        super().__init__()
        self.heads = heads
        self.to_qkv = operations.Linear(width, 3 * width, bias=False, **kw)
        self.to_out = operations.Linear(width, width, bias=False, **kw)

    def forward(self, x: Tensor, rotary: Rotary, attention: Attention) -> Tensor:
        b, n, width = x.shape
        qkv = self.to_qkv(x).view(b, n, 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # (3, B, H, L, d)
        # Only the first dims of a head are rotated, the first half of these against the second, where they lie.
        half = rotary.shape[-3]
        pairs = qkv[:2, ..., : 2 * half].unflatten(-1, (2, half)).transpose(-1, -2)  # (2, B, H, L, half, 2)
        turn(pairs, rotary)
        out = attention(*qkv.unbind(0))
        return self.to_out(out.transpose(1, 2).reshape(b, n, width))


class CrossAttention(nn.Module):
    """Attention from the latents to a context whose keys and values are computed once per condition.

    Heads are grouped: a context narrower than the model has fewer key heads, each serving several queries.
    """

    def __init__(
        self,
        width: int,
        context_width: int,
        heads: int,
        operations: Any,
        compute: torch.dtype,
        **kw: Any,
    ):
        super().__init__()
        self.heads, self.head_dim = heads, width // heads
        # What the condition says passes through these two, and guidance multiplies their errors: never 8 bits.
        said = {**kw, "dtype": compute} if kw["dtype"] and kw["dtype"].itemsize == 1 else kw
        self.to_q = operations.Linear(width, width, bias=False, **kw)
        self.to_kv = operations.Linear(context_width, 2 * context_width, bias=False, **said)
        self.to_out = operations.Linear(width, width, bias=False, **said)

    def keys_values(self, context: Tensor, *, repeated: bool) -> tuple[Tensor, Tensor]:
        """(B, M, context width) -> keys and values, each (B, Hkv, M, d), or repeated (B, H, M, d), for all steps."""
        k, v = self.to_kv(context).unflatten(-1, (2, -1, self.head_dim)).permute(2, 0, 3, 1, 4)
        groups = self.heads // k.shape[1] if repeated else 1
        return (k, v) if groups == 1 else (k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1))

    def forward(self, x: Tensor, k: Tensor, v: Tensor, attention: Attention) -> Tensor:
        q = self.to_q(x).unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)  # (B, H, L, d)
        out = attention(q, k.expand(x.shape[0], -1, -1, -1), v.expand(x.shape[0], -1, -1, -1))
        return self.to_out(out.transpose(1, 2).flatten(2))


class GatedLinear(nn.Module):
    """SwiGLU (arXiv:2002.05202): the first half of the projection, gated by SiLU of the second."""

    def __init__(self, width: int, inner: int, operations: Any, **kw: Any):
        super().__init__()
        self.proj = operations.Linear(width, 2 * inner, bias=True, **kw)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.silu(gate)


class FeedForward(nn.Module):
    """Position-wise gated feed-forward, four times as wide inside."""

    def __init__(self, width: int, operations: Any, **kw: Any):
        super().__init__()
        inner = 4 * width
        self.ff = nn.Sequential(
            GatedLinear(width, inner, operations, **kw),
            nn.Identity(),  # keeps the released key names (ff.0, ff.2)
            operations.Linear(inner, width, bias=True, **kw),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.ff(x)


class FourierFeatures(nn.Module):
    """Random Fourier features of the timestep (arXiv:2006.10739), cosines first, always in float32."""

    def __init__(self, out_features: int, dtype: torch.dtype | None = None, device: Any = None):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_features // 2, 1, dtype=dtype, device=device))

    def forward(self, t: Tensor) -> Tensor:
        weight = self.weight.to(t.device, torch.float32)
        angles = 2 * math.pi * t.float()[:, None] @ weight.T  # (B, out / 2)
        return torch.cat([angles.cos(), angles.sin()], dim=-1)
