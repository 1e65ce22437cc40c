"""The diffusion transformer: noisy latents, a timestep and condition tokens to a velocity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
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
from .rows import rows_of

TIMESTEP_FEATURES = 256


@dataclass(frozen=True)
class DiTConfig:
    """Sizes of the network, and the order in which it takes the tokens of each modality."""

    io_channels: int
    embed_dim: int
    depth: int
    num_heads: int
    cond_token_dim: int
    order: tuple[str, ...]
    project_cond_tokens: bool = False

    @property
    def head_dim(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def context_dim(self) -> int:
        """Width of the context after to_cond_embed."""
        return self.embed_dim if self.project_cond_tokens else self.cond_token_dim


@dataclass(frozen=True)
class Context:
    """Keys and values of every layer's cross-attention, each (B, H or Hkv, M, d): computed once per condition.

    They serve the first rows. The `null` rows after them get no cross-attention, which is exactly what the null
    condition gives: zero tokens meet no bias on the way to to_out.
    """

    layers: tuple[tuple[Tensor, Tensor], ...] = ()
    null: int = 0

    @property
    def rows(self) -> int:
        return (self.layers[0][0].shape[0] if self.layers else 0) + self.null

    def expand(self, rows: int) -> Context:
        """The same condition (of one row, or of as many) for each of several rows, without copying."""
        if self.rows == rows:
            return self
        if not self.layers:
            return Context((), rows)
        return Context(tuple((k.expand(rows, -1, -1, -1), v.expand(rows, -1, -1, -1)) for k, v in self.layers))

    def cat(self, other: Context) -> Context:
        """This context's rows, then the other's."""
        if not other.layers:
            return Context(self.layers, self.null + other.null)
        if not self.layers:
            return other.padded(self.null, front=True)
        mine = self.padded(self.null)
        return Context(
            tuple(
                (torch.cat([k, k2]), torch.cat([v, v2]))
                for (k, v), (k2, v2) in zip(mine.layers, other.layers, strict=True)
            ),
            other.null,
        )

    def padded(self, count: int, *, front: bool = False) -> Context:
        """So many null rows written out as keys and values of zero, which give zero too."""
        if not count:
            return self

        def pad(x: Tensor) -> Tensor:
            zeros = x.new_zeros(count, *x.shape[1:])
            return torch.cat([zeros, x] if front else [x, zeros])

        return Context(tuple((pad(k), pad(v)) for k, v in self.layers), self.null if front else self.null - count)


class Block(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a norm and around a residual.

    The residual stream and the norms are float32 whatever the matrices compute in: sums over many blocks are
    where half precision overflows (float16) and loses most (bfloat16).
    """

    def __init__(self, config: DiTConfig, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        width = config.embed_dim
        norm = {**kw, "dtype": torch.float32}
        self.compute = compute
        self.pre_norm = operations.LayerNorm(width, **norm)
        self.self_attn = SelfAttention(width, config.num_heads, operations, **kw)
        self.cross_attend_norm = operations.LayerNorm(width, **norm)
        self.cross_attn = CrossAttention(width, config.context_dim, config.num_heads, operations, compute, **kw)
        self.ff_norm = operations.LayerNorm(width, **norm)
        self.ff = FeedForward(width, operations, **kw)

    def forward(self, x: Tensor, rotary: Rotary, context: tuple[Tensor, Tensor] | None, attention: Attention) -> Tensor:
        x = x + self.self_attn(self.pre_norm(x).to(self.compute), rotary, attention)
        if context is not None:
            seeing = x[: context[0].shape[0]]  # the null rows come last
            heard = self.cross_attn(self.cross_attend_norm(seeing).to(self.compute), *context, attention)
            if len(seeing) == len(x):
                x = x + heard
            elif x.requires_grad:
                x = torch.cat([seeing + heard, x[len(seeing) :]])
            else:  # x is this block's own
                seeing += heard
        return x + self.ff(self.ff_norm(x).to(self.compute))


class Transformer(nn.Module):
    """Linear in, blocks, linear out; one extra token in front carries the timestep."""

    def __init__(self, config: DiTConfig, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        small = {**kw, "dtype": torch.float32}
        # Only half of each head is rotated, but never fewer than 32 dims.
        self.rotary_dims = max(config.head_dim // 2, 32)
        self.project_in = operations.Linear(config.io_channels, config.embed_dim, bias=False, **small)
        self.layers = nn.ModuleList(Block(config, operations, compute, **kw) for _ in range(config.depth))
        self.project_out = operations.Linear(config.embed_dim, config.io_channels, bias=False, **small)

    def forward(self, x: Tensor, time_token: Tensor, context: Context, attention: Attention) -> Tensor:
        """x (B, L, C), time_token (B, 1, D) -> (B, L, C)."""
        x = torch.cat([time_token, self.project_in(x)], dim=1)  # (B, 1 + L, D)
        rotary = rotary_table(x.shape[1], self.rotary_dims, x.device)
        for i, block in enumerate(self.layers):
            x = block(x, rotary, context.layers[i] if context.layers else None, attention)
        return self.project_out(x)[:, 1:]


class DiffusionTransformer(nn.Module):
    """AudioX's backbone (arXiv:2503.10522), a velocity network over latents (B, C, L).

    operations is a namespace with Linear, Conv1d and LayerNorm (torch.nn's, or a host's casting layers);
    attention a function (q, k, v) -> out. Latents of any float dtype come in; the answer has theirs.
    dtype is what the blocks' matrices are kept in, compute_dtype what they multiply in (the same, unless operations
    cast). The layers around the blocks, the norms and the residual stream are few and stay float32.
    """

    once = ("cross_attn.to_kv",)

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
        self.config, self.attention = config, attention
        self.hold = True  # keys and values for every head, not only for its group; whoever plans may say otherwise
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
        self.transformer = Transformer(config, operations, self.compute_dtype, **kw)
        self.postprocess_conv = operations.Conv1d(channels, channels, 1, bias=False, **small)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """What may be streamed, in the order in which it computes."""
        return list(self.transformer.layers)

    def prepare(self, tokens: Mapping[str, Tensor] | None, device: torch.device | None = None) -> Context:
        """Tokens (B, W, M, D) of each modality -> what the steps need of them, a row for each item and window.

        Independent of latents and timestep. None is the null condition, one row of it, on `device`.
        """
        if tokens is None:
            return Context(null=1)
        return self.prepare_context(torch.cat(list(rows_of(tokens, self.config.order).values()), dim=1))

    def prepare_context(self, tokens: Tensor) -> Context:
        """prepare() from tokens (B, M, D) that are joined already."""
        context = self.to_cond_embed(tokens.float()).to(self.compute_dtype)
        blocks: Any = self.blocks
        return Context(tuple(block.cross_attn.keys_values(context, repeated=self.hold) for block in blocks))

    def forward(
        self, x: Tensor, t: Tensor, context: Context | None = None, attention: Attention | None = None
    ) -> Tensor:
        """Velocity (B, C, L) at latents x (B, C, L) and times t (B,) in 0..1; without context, the null condition.

        context has a row for each of B; attention takes the place of the network's own in this call.
        """
        context = Context(null=x.shape[0]) if context is None else context
        attention = self.attention if attention is None else attention  # "or" would break the graph of a compiler
        if context.rows != x.shape[0]:
            raise InputError(f"latents have {x.shape[0]} rows, their conditions {context.rows}; give as many of each")
        h = x.float()
        h = h + self.preprocess_conv(h)
        time_token = self.to_timestep_embed(self.timestep_features(t))[:, None]  # (B, 1, D)
        h = self.transformer(h.transpose(1, 2), time_token, context, attention).transpose(1, 2)
        return (h + self.postprocess_conv(h)).to(x.dtype)
