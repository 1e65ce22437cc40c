"""Multi-head attention with the weights of torch.nn.MultiheadAttention."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from .layers import Attention
from .ops import linear


class MultiheadAttention(nn.Module):
    """Attention of a sequence to itself or to another of the same width, with biases and an attention of choice."""

    def __init__(self, width: int, heads: int, attention: Attention, operations: Any, **kw: Any):
        super().__init__()
        self.heads, self.attention = heads, attention
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width, **kw))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width, **kw))
        self.out_proj = operations.Linear(width, width, **kw)

    def _project(self, x: Tensor, first: int, end: int) -> Tensor:
        """x (B, N, D) by some of the thirds (query 0, key 1, value 2) -> (end - first, B, H, N, d)."""
        width = x.shape[-1]
        weight, bias = (p[first * width : end * width].to(x) for p in (self.in_proj_weight, self.in_proj_bias))
        return linear(x, weight, bias).unflatten(-1, (end - first, self.heads, -1)).permute(2, 0, 3, 1, 4)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (B or 1, N, D) attends to itself, or to a context (B, M, D) -> (B, N, D)."""
        if context is None:
            q, k, v = self._project(x, 0, 3)
        else:
            q, (k, v) = self._project(x, 0, 1)[0], self._project(context, 1, 3)
            q = q.expand(context.shape[0], -1, -1, -1)
        return self.out_proj(self.attention(q, k, v).transpose(1, 2).flatten(2))
