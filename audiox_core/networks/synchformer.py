"""Synchformer's visual part (arXiv:2401.16423): frames at 25 a second to features of what moves when."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from .layers import Attention, torch_attention
from .multihead import MultiheadAttention
from .ops import linear
from .ops import operations as default_operations

SEGMENT, STRIDE = 16, 8  # frames of a segment, and from one's start to the next's
TUBE, PATCH = 2, 16  # a token's frames, and its pixels either way
TIMES = SEGMENT // TUBE
EPS = 1e-6
SEGMENTS_AT_ONCE = 4  # few enough for small devices, and they fill large ones


@dataclass(frozen=True)
class SynchformerConfig:
    """Sizes; the defaults are the released ones."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    image_size: int = 224

    @property
    def patches(self) -> int:
        """Tokens of one time."""
        return (self.image_size // PATCH) ** 2


class TubeEmbedding(nn.Module):
    """Tubes of 2 x 16 x 16 pixels to tokens: a 3-D convolution without overlap, written as a matrix product."""

    def __init__(self, width: int, **kw: Any):
        super().__init__()
        self.proj = nn.Module()
        self.proj.weight = nn.Parameter(torch.empty(width, 3, TUBE, PATCH, PATCH, **kw))
        self.proj.bias = nn.Parameter(torch.empty(width, **kw))

    def forward(self, x: Tensor) -> Tensor:
        """(n, frames, 3, H, W) -> (n, tokens, D), time slowest."""
        tubes = rearrange(
            x,
            "n (time tube) c (row y) (column x) -> n (time row column) (c tube y x)",
            tube=TUBE,
            y=PATCH,
            x=PATCH,
        )
        weight: Any = self.proj.weight
        bias: Any = self.proj.bias
        return linear(tubes, weight.flatten(1).to(x), bias.to(x))


class DividedAttention(nn.Module):
    """Attention along time or within one time (arXiv:2102.05095).

    Tokens see their own group, the class token and nothing else; the class token sees everything.
    """

    def __init__(self, config: SynchformerConfig, attention: Attention, operations: Any, along_time: bool, **kw: Any):
        super().__init__()
        self.heads, self.attention = config.heads, attention
        self.order = (3, 0, 2, 4, 1, 5) if along_time else (3, 0, 1, 4, 2, 5)
        self.back = (0, 3, 1, 2, 4) if along_time else (0, 1, 3, 2, 4)
        self.qkv = operations.Linear(config.width, 3 * config.width, **kw)
        self.proj = operations.Linear(config.width, config.width, **kw)

    def forward(self, x: Tensor) -> Tensor:
        """(n, 1 + times x patches, D) -> the same."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))  # (n, N, 3, H, d)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each (n, H, N, d)
        first = self.attention(q[:, :, :1], k, v).transpose(1, 2)  # (n, 1, H, d)
        grouped = qkv[:, 1:].unflatten(1, (TIMES, -1)).permute(self.order)  # (3, n, groups, H, L, d)
        n, groups = grouped.shape[1:3]
        shared = qkv[:, :1].permute(2, 0, 3, 1, 4)[1:, :, None].expand(-1, -1, groups, -1, -1, -1)
        keys, values = torch.cat([shared, grouped[1:]], dim=4).flatten(1, 2)  # each (n groups, H, 1 + L, d)
        rest = self.attention(grouped[0].flatten(0, 1), keys, values).unflatten(0, (n, groups))
        rest = rest.permute(self.back).flatten(1, 2)  # (n, N - 1, H, d)
        return self.proj(torch.cat([first, rest], dim=1).flatten(2))


class Mlp(nn.Module):
    """Position-wise feed-forward, four times as wide inside."""

    def __init__(self, width: int, operations: Any, **kw: Any):
        super().__init__()
        self.fc1 = operations.Linear(width, 4 * width, **kw)
        self.fc2 = operations.Linear(4 * width, width, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """Attention along time, within each time, then feed-forward; residual stream and norms in float32."""

    def __init__(
        self, config: SynchformerConfig, attention: Attention, operations: Any, compute: torch.dtype, **kw: Any
    ):
        super().__init__()
        width, norm = config.width, {**kw, "dtype": torch.float32, "eps": EPS}
        self.compute = compute
        self.norm3 = operations.LayerNorm(width, **norm)
        self.timeattn = DividedAttention(config, attention, operations, True, **kw)
        self.norm1 = operations.LayerNorm(width, **norm)
        self.attn = DividedAttention(config, attention, operations, False, **kw)
        self.norm2 = operations.LayerNorm(width, **norm)
        self.mlp = Mlp(width, operations, **kw)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.timeattn(self.norm3(x).to(self.compute))
        x = x + self.attn(self.norm1(x).to(self.compute))
        return x + self.mlp(self.norm2(x).to(self.compute))


class FrameSummary(nn.Module):
    """A pre-norm transformer layer over the patches of one time, of which only its own class token's answer is made."""

    def __init__(
        self, config: SynchformerConfig, attention: Attention, operations: Any, compute: torch.dtype, **kw: Any
    ):
        super().__init__()
        width, small = config.width, {**kw, "dtype": torch.float32}
        self.compute = compute
        self.cls_token = nn.Parameter(torch.empty(1, 1, width, **small))
        self.self_attn = MultiheadAttention(width, config.heads, attention, operations, **kw)
        self.linear1 = operations.Linear(width, 4 * width, **kw)
        self.linear2 = operations.Linear(4 * width, width, **kw)
        self.norm1 = operations.LayerNorm(width, eps=EPS, **small)
        self.norm2 = operations.LayerNorm(width, eps=EPS, **small)

    def forward(self, x: Tensor) -> Tensor:
        """(n, patches, D) -> (n, D)."""
        token = self.cls_token.to(x).expand(x.shape[0], -1, -1)
        seen = self.norm1(torch.cat([token, x], dim=1)).to(self.compute)
        token = token + self.self_attn(seen[:, :1], seen)
        return (token + self.linear2(F.gelu(self.linear1(self.norm2(token).to(self.compute)))))[:, 0]


class Synchformer(nn.Module):
    """Frames at 25 a second to 8 features for each segment of 16 frames; one starts every 8, and none sees another.

    Its state dict has the released keys below `vfeat_extractor.` of synchformer_state_dict.pth; see dead_shapes.
    dtype, compute_dtype, operations and attention: as in the networks.
    """

    def __init__(
        self,
        config: SynchformerConfig,
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
        width, compute = config.width, compute_dtype or dtype or torch.get_default_dtype()
        self.config, self.compute_dtype = config, compute
        self.cls_token = nn.Parameter(torch.empty(1, 1, width, **small))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + config.patches, width, **small))
        self.temp_embed = nn.Parameter(torch.empty(1, TIMES, width, **small))
        self.patch_embed_3d = TubeEmbedding(width, **small)
        self.blocks = nn.ModuleList(Block(config, attention, operations, compute, **kw) for _ in range(config.depth))
        self.norm = operations.LayerNorm(width, eps=EPS, **small)
        self.spatial_attn_agg = FrameSummary(config, attention, operations, compute, **kw)

    def segments(self, x: Tensor) -> Tensor:
        """Segments (n, 16, 3, H, W) of pixels in -1..1 -> features (n, 8, D) in float32."""
        place = self.pos_embed.to(x)
        tokens = self.patch_embed_3d(x).unflatten(1, (TIMES, -1))  # (n, times, patches, D)
        tokens = tokens + place[:, None, 1:] + self.temp_embed.to(x)[:, :, None]
        first = (self.cls_token.to(x) + place[:, :1]).expand(x.shape[0], -1, -1)
        tokens = torch.cat([first, tokens.flatten(1, 2)], dim=1)  # (n, 1 + times x patches, D)
        for block in self.blocks:
            tokens = block(tokens)
        frames = self.norm(tokens)[:, 1:].unflatten(1, (TIMES, -1)).flatten(0, 1)  # (n times, patches, D)
        return self.spatial_attn_agg(frames).unflatten(0, (-1, TIMES))

    def forward(
        self,
        frames: Tensor,
        on_segments: Callable[[int, int], None] | None = None,
        *,
        segments_at_once: int = SEGMENTS_AT_ONCE,
    ) -> Tensor:
        """Frames (B, F >= 16, 3, 224, 224), uint8 in 0..255 -> features (B, 8 segments, D): 240 of 250 frames.

        Frames that fill no segment are not used. on_segments(done, total) is told of progress after each batch of
        segments_at_once. Raises InputError for fewer frames or another size.
        """
        size = self.config.image_size
        if frames.ndim != 5 or frames.shape[1] < SEGMENT or frames.shape[2:] != (3, size, size):
            raise InputError(
                f"video: frames of shape {tuple(frames.shape)}; (B, at least {SEGMENT}, 3, {size}, {size}) is needed"
            )
        starts = range(0, frames.shape[1] - SEGMENT + 1, STRIDE)
        cuts = [(item, start) for item in range(len(frames)) for start in starts]
        found = []
        for i in range(0, len(cuts), segments_at_once):
            batch = torch.stack([frames[b, s : s + SEGMENT] for b, s in cuts[i : i + segments_at_once]])
            found.append(self.segments((batch.float() / 255.0 - 0.5) / 0.5))
            if on_segments is not None:
                on_segments(min(i + segments_at_once, len(cuts)), len(cuts))
        return torch.cat(found).unflatten(0, (len(frames), -1)).flatten(1, 2)


def dead_shapes(config: SynchformerConfig) -> dict[str, tuple[int, ...]]:
    """Released tensors below `vfeat_extractor.` that nothing reads: the embedding of single pictures."""
    return {"patch_embed.proj.weight": (config.width, 3, PATCH, PATCH), "patch_embed.proj.bias": (config.width,)}
