"""The diffusion transformer: noisy latents, a timestep and condition tokens to a velocity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..models.config import DiTConfig
from .layers import (
    Attention,
    CrossAttention,
    FeedForward,
    FourierFeatures,
    Rotary,
    SelfAttention,
    rotary_table,
    torch_attention,
)
from .ops import operations as default_operations

TIMESTEP_FEATURES = 256


@dataclass(frozen=True)
class Context:
    """Keys and values of every layer's cross-attention, each (B, Hkv, M, d): computed once per condition.

    A context with fewer rows than the latents serves the first rows; the others get no cross-attention,
    which is exactly what the null condition gives (zero tokens meet no bias on the way to to_out).
    """

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def rows(self) -> int:
        return self.layers[0][0].shape[0]

    def expand(self, rows: int) -> Context:
        """The same condition for each of several rows, without copying."""
        return Context(tuple((k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in self.layers))

    def cat(self, other: Context) -> Context:
        """This context's rows, then the other's."""
        return Context(
            tuple(
                (torch.cat([k, k2]), torch.cat([v, v2]))
                for (k, v), (k2, v2) in zip(self.layers, other.layers, strict=True)
            )
        )


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm and around a residual.

    The residual stream and the norms are float32 whatever the matrices compute in: sums over many blocks are
    where half precision overflows (float16) and loses most (bfloat16).
    """

    def __init__(self, config: DiTConfig, attention: Attention, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        width = config.embed_dim
        norm = {**kw, "dtype": torch.float32}
        self.compute = compute
        self.pre_norm = operations.LayerNorm(width, **norm)
        self.self_attn = SelfAttention(width, config.num_heads, attention, operations, **kw)
        self.cross_attend_norm = operations.LayerNorm(width, **norm)
        self.cross_attn = CrossAttention(
            width, config.context_dim, config.num_heads, attention, operations, compute, **kw
        )
        self.ff_norm = operations.LayerNorm(width, **norm)
        self.ff = FeedForward(width, operations, **kw)

    def forward(self, x: Tensor, rotary: Rotary, context: tuple[Tensor, Tensor] | None) -> Tensor:
        x = x + self.self_attn(self.pre_norm(x).to(self.compute), rotary)
        if context is not None:
            rows = context[0].shape[0]
            seeing = x if rows == x.shape[0] else x[:rows]
            seeing = seeing + self.cross_attn(self.cross_attend_norm(seeing).to(self.compute), *context)
            x = seeing if rows == x.shape[0] else torch.cat([seeing, x[rows:]])
        return x + self.ff(self.ff_norm(x).to(self.compute))


class Transformer(nn.Module):
    """Linear in, blocks, linear out; one extra token in front carries the timestep."""

    def __init__(self, config: DiTConfig, attention: Attention, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        small = {**kw, "dtype": torch.float32}
        # Only half of each head is rotated, but never fewer than 32 dims.
        self.rotary_dims = max(config.head_dim // 2, 32)
        self.project_in = operations.Linear(config.io_channels, config.embed_dim, bias=False, **small)
        self.layers = nn.ModuleList(Block(config, attention, operations, compute, **kw) for _ in range(config.depth))
        self.project_out = operations.Linear(config.embed_dim, config.io_channels, bias=False, **small)

    def forward(self, x: Tensor, time_token: Tensor, context: Context | None) -> Tensor:
        """x (B, L, C), time_token (B, 1, D) -> (B, L, C)."""
        x = torch.cat([time_token, self.project_in(x)], dim=1)  # (B, 1 + L, D)
        rotary = rotary_table(x.shape[1], self.rotary_dims, x.device)
        for i, block in enumerate(self.layers):
            x = block(x, rotary, context.layers[i] if context else None)
        return self.project_out(x)[:, 1:]


class DiffusionTransformer(nn.Module):
    """AudioX's backbone (arXiv:2503.10522), a v-prediction network over latents (B, C, L).

    operations is a namespace with Linear, Conv1d and LayerNorm (torch.nn's, or a host's casting layers);
    attention a function (q, k, v) -> out. Latents of any float dtype come in; the answer has theirs.
    dtype is what the blocks' matrices are kept in, compute_dtype what they multiply in (the same, unless operations
    cast). The layers around the blocks, the norms and the residual stream are few and stay float32.
    """

    def __init__(
        self,
        config: DiTConfig,
        *,
        dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
        attention: Attention = torch_attention,
        compute_dtype: torch.dtype | None = None,
    ):
        super().__init__()
        kw: dict[str, Any] = {"dtype": dtype, "device": device}
        small: dict[str, Any] = {"dtype": torch.float32, "device": device}
        self.config = config
        self.dtype = dtype or torch.get_default_dtype()
        self.compute_dtype = compute_dtype or self.dtype
        width, channels, tokens = config.embed_dim, config.io_channels, config.cond_token_dim
        self.timestep_features = FourierFeatures(TIMESTEP_FEATURES, **small)
        self.to_timestep_embed = nn.Sequential(
            operations.Linear(TIMESTEP_FEATURES, width, **small),
            nn.SiLU(),
            operations.Linear(width, width, **small),
        )
        self.to_cond_embed = nn.Sequential(
            operations.Linear(tokens, config.context_dim, bias=False, **small),
            nn.SiLU(),
            operations.Linear(config.context_dim, config.context_dim, bias=False, **small),
        )
        self.preprocess_conv = operations.Conv1d(channels, channels, 1, bias=False, **small)
        self.transformer = Transformer(config, attention, operations, self.compute_dtype, **kw)
        self.postprocess_conv = operations.Conv1d(channels, channels, 1, bias=False, **small)

    def prepare(self, tokens: Tensor) -> Context:
        """Condition tokens (B, M, D) -> what the steps need of them; independent of latents and timestep."""
        context = self.to_cond_embed(tokens.float()).to(self.compute_dtype)
        blocks = self.transformer.layers
        return Context(tuple(block.cross_attn.keys_values(context) for block in blocks))  # type: ignore[operator, union-attr]

    def forward(self, x: Tensor, t: Tensor, context: Context | None = None) -> Tensor:
        """Velocity (B, C, L) at latents x (B, C, L) and times t (B,) in 0..1; without context, the null condition."""
        h = x.float()
        h = h + self.preprocess_conv(h)
        time_token = self.to_timestep_embed(self.timestep_features(t))[:, None]  # (B, 1, D)
        h = self.transformer(h.transpose(1, 2), time_token, context).transpose(1, 2)
        return (h + self.postprocess_conv(h)).to(x.dtype)
