"""The fusion block of AudioX-MAF and its kin: experts read all modalities' tokens, and shift them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Attention, torch_attention
from .multihead import MultiheadAttention
from .ops import operations as default_operations
from .rows import rows_of


@dataclass(frozen=True)
class MAFConfig:
    """Sizes of the block; the released values of gate_type_config are 64, 24 and 8."""

    width: int  # of a token
    num_experts_per_modality: int
    num_heads: int
    num_fusion_layers: int
    inner: int = 3072


class FusionLayer(nn.Module):
    """Pre-norm transformer layer; the residual stream and the norms are float32, the matrices multiply in compute."""

    def __init__(self, config: MAFConfig, attention: Attention, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        width, norm = config.width, {**kw, "dtype": torch.float32}
        self.compute = compute
        self.self_attn = MultiheadAttention(width, config.num_heads, attention, operations, **kw)
        self.linear1 = operations.Linear(width, config.inner, **kw)
        self.linear2 = operations.Linear(config.inner, width, **kw)
        self.norm1 = operations.LayerNorm(width, **norm)
        self.norm2 = operations.LayerNorm(width, **norm)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.self_attn(self.norm1(x).to(self.compute))
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x).to(self.compute))))


class MultimodalFusion(nn.Module):
    """Shifts each modality's tokens by what experts read from all of them (AudioX-MAF); once per condition.

    Its state dict has the released keys below `maf_block.`; it has no dead weights. dtype, compute_dtype, operations
    and attention: as in the networks, but never 8 bits, which attention's bare matrices have no scale for.
    """

    def __init__(
        self,
        config: MAFConfig,
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
        width = config.width
        self.config = config
        self.compute_dtype = compute_dtype or dtype or torch.get_default_dtype()
        self.unified_experts = nn.Parameter(torch.empty(3 * config.num_experts_per_modality, width, **small))
        self.gating_network = nn.Sequential(
            operations.Linear(3 * width, width, **small), nn.GELU(), operations.Linear(width, 3, **small)
        )
        self.cross_attn = MultiheadAttention(width, config.num_heads, attention, operations, **kw)
        self.norm1 = operations.LayerNorm(width, **small)
        self.fusion_transformer = nn.Module()
        self.fusion_transformer.layers = nn.ModuleList(
            FusionLayer(config, attention, operations, self.compute_dtype, **kw)
            for _ in range(config.num_fusion_layers)
        )
        self.norm_v2 = operations.LayerNorm(width, **small)
        self.norm_t2 = operations.LayerNorm(width, **small)
        self.norm_a2 = operations.LayerNorm(width, **small)
        self.bypass_gate_v = nn.Parameter(torch.empty((), **small))
        self.bypass_gate_t = nn.Parameter(torch.empty((), **small))
        self.bypass_gate_a = nn.Parameter(torch.empty((), **small))

    def forward(self, video: Tensor, text: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The block under its own names: tokens (B, any, D) of each -> the same, shifted, in float32. See fuse()."""
        tokens = [t.float() for t in (video, text, audio)]
        weights = self.gating_network(torch.cat([t.mean(dim=1) for t in tokens], dim=-1)).sigmoid()  # (B, 3)
        gated = torch.cat([t * weights[:, i, None, None] for i, t in enumerate(tokens)], dim=1)  # (B, M, D)
        experts = self.unified_experts.to(gated)[None]  # (1, 3 E, D)
        x = self.norm1(experts + self.cross_attn(experts.to(self.compute_dtype), gated.to(self.compute_dtype)))
        for layer in self.fusion_transformer.layers:  # type: ignore[union-attr]
            x = layer(x)
        shifts = x.unflatten(1, (3, -1)).mean(dim=2)  # (B, 3, D)
        norms = (self.norm_v2, self.norm_t2, self.norm_a2)
        gates = (self.bypass_gate_v, self.bypass_gate_t, self.bypass_gate_a)
        v, t, a = (
            part + (norm(shifts[:, i]) * gate.to(shifts).sigmoid())[:, None]
            for i, (part, norm, gate) in enumerate(zip(tokens, norms, gates, strict=True))
        )
        return v, t, a

    def fuse(self, text: Tensor, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (R, any, D) -> the same, shifted, in this order, in which the networks behind it take them.

        The release was trained with text in the block's place for video and the reverse; so are its weights.
        """
        return self(text, video, audio)


class FusedNetwork(nn.Module):
    """A backbone whose condition tokens pass the fusion block first; otherwise it is the backbone.

    Released keys: backbone.* below `model.model.`, maf_block.* as they are.
    """

    def __init__(self, backbone: Any, maf_block: MultimodalFusion):
        super().__init__()
        self.backbone, self.maf_block = backbone, maf_block
        self.config = backbone.config
        self.dtype, self.compute_dtype = backbone.dtype, backbone.compute_dtype

    @property
    def blocks(self) -> Sequence[nn.Module]:
        return self.backbone.blocks

    @property
    def once(self) -> tuple[str, ...]:
        return self.backbone.once

    @property
    def hold(self) -> bool:
        """Whether the backbone keeps what only spares time in the steps. AttributeError where it has nothing of it."""
        return self.backbone.hold

    @hold.setter
    def hold(self, hold: bool) -> None:
        self.backbone.hold = hold

    def prepare(self, tokens: Mapping[str, Tensor] | None, device: torch.device | None = None, **options: Any) -> Any:
        """Tokens (B, W, M, D) of text, video and audio -> the backbone's context; options are its own.

        None, the null condition, stands in place of the fused tokens.
        """
        if tokens is None:
            return self.backbone.prepare(None, device, **options)
        order = self.config.order
        fused = zip(order, self.maf_block.fuse(**rows_of(tokens, order)), strict=True)
        return self.backbone.prepare({name: part[:, None] for name, part in fused}, device, **options)

    def prepare_context(self, tokens: Tensor, **options: Any) -> Any:
        """prepare() from tokens (B, M, D) that are fused and joined already."""
        return self.backbone.prepare_context(tokens, **options)

    def forward(self, x: Tensor, t: Tensor, context: Any = None, attention: Attention | None = None) -> Tensor:
        """Velocity like x at latents x (B, C, L) and times t (B,)."""
        return self.backbone(x, t, context, attention)
