"""The modulated transformer of AudioX-MAF-MMDiT and AudioX-Turbo: condition tokens scale, shift and gate each position.

The tokens enter no attention. They are mapped along their axis to one vector per latent position, which each block
turns into its modulation; nothing of that depends on latents or timestep, so it's done once per condition.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import InputError
from .layers import Attention, FourierFeatures, Rotary, rotary_table, torch_attention, turn
from .ops import operations as default_operations
from .rows import rows_of

TIMESTEP_FEATURES = 256
LAYER_NORM_EPS, RMS_NORM_EPS = 1e-5, 1e-6
# Of these released tensors only some rows are used: of to_kv the even ones (the others would be the keys of a single
# token, which softmax ignores). What load must do: tensor[SLICED[ending]].
SLICED = {"cross_attn.to_kv.weight": slice(0, None, 2)}


@dataclass(frozen=True)
class MMDiTConfig:
    """Sizes of the network, and the order in which it takes the tokens of each modality.

    The defaults are what the release doesn't say in its config.
    """

    io_channels: int
    embed_dim: int
    depth: int
    num_heads: int  # as the release calls it, but it is the width of a head
    cond_token_dim: int
    order: tuple[str, ...]
    latents: int = 236
    tokens: int = 384

    @property
    def head_dim(self) -> int:
        return self.num_heads

    @property
    def heads(self) -> int:
        return self.embed_dim // self.num_heads

    @property
    def inner(self) -> int:
        """Channels inside the feed-forward: two thirds of four times the width, up to the next multiple of 256."""
        return -(-int(2 * 4 * self.embed_dim / 3) // 256) * 256


@dataclass(frozen=True)
class Context:
    """What the steps need of the conditions, in pieces: each serves its count of rows, with as many rows or with one.

    A piece holds each layer's modulation (r, P, 6 D); or, where that isn't held, the one (r, P, D) it's made from.
    Conditions are never copied to fill a batch: only the block at work joins the pieces of its layer.
    """

    pieces: tuple[tuple[Tensor, ...], ...]
    counts: tuple[int, ...]
    held: bool

    @property
    def rows(self) -> int:
        return sum(self.counts)

    def expand(self, rows: int) -> Context:
        """The same condition for each of several rows, without copying."""
        if rows == self.rows:
            return self
        if self.rows != 1:
            raise InputError(f"conditioning: {self.rows} rows can't serve {rows}; give one row, or as many as latents")
        return Context(self.pieces, (rows,), self.held)

    def cat(self, other: Context) -> Context:
        """This context's rows, then the other's; both with their modulation held, or neither."""
        if self.held != other.held:
            raise InputError("conditioning: one context holds its modulation, the other doesn't; prepare both alike")
        return Context(self.pieces + other.pieces, self.counts + other.counts, self.held)

    def layer(self, i: int) -> tuple[Tensor, ...]:
        """What layer i takes of each piece."""
        return tuple(piece[i if self.held else 0] for piece in self.pieces)


def _join(pieces: Sequence[Tensor], counts: Sequence[int]) -> Tensor:
    """Pieces (1 or count, P, N) -> (sum of counts, P, N)."""
    parts = [piece.expand(count, -1, -1) for piece, count in zip(pieces, counts, strict=True)]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _rms_norm(x: Tensor) -> Tensor:
    """Root mean square norm over the last axis, without weights, in float32: half precision can't square 256."""
    x = x.to(dtype=torch.float32, memory_format=torch.contiguous_format)  # which the norm would see to in a copy more
    return F.rms_norm(x, (x.shape[-1],), eps=RMS_NORM_EPS)


def _modulate(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    """Layer norm without weights, then (1 + scale) of it and the shift of each position; (B, L, D) float32."""
    normal = F.layer_norm(x, (x.shape[-1],), eps=LAYER_NORM_EPS)
    return torch.addcmul(normal + shift, normal, scale)


class SelfAttention(nn.Module):
    """Attention with normalised, rotated queries and keys; its answer (B, D, L) is still to be mixed by the block."""

    def __init__(self, config: MMDiTConfig, operations: Any, **kw: Any):
        super().__init__()
        self.head_dim = config.head_dim
        self.qkv = operations.Linear(config.embed_dim, 3 * config.embed_dim, **kw)

    def forward(self, x: Tensor, rotary: Rotary, attention: Attention) -> Tensor:
        # The released rows run (head, channel, q k v): the three lie next to each other.
        qkv = self.qkv(x).unflatten(-1, (-1, self.head_dim, 3)).permute(4, 0, 2, 1, 3)  # (3, B, H, L, d)
        normal = _rms_norm(qkv[:2])
        turn(normal.unflatten(-1, (-1, 2)), rotary)  # neighbours are a pair
        q, k = normal.to(x.dtype)
        out = attention(q, k, qkv[2].contiguous())
        return out.transpose(2, 3).flatten(1, 2)  # (B, D, L)


class TimeAttention(nn.Module):
    """Cross-attention to the time token alone: softmax over one key is 1, so the answer is the normalised value."""

    def __init__(self, config: MMDiTConfig, operations: Any, **kw: Any):
        super().__init__()
        self.head_dim = config.head_dim
        self.to_kv = operations.Linear(config.embed_dim, config.embed_dim, bias=False, **kw)

    def forward(self, time_token: Tensor) -> Tensor:
        """(B, 1, D) -> (B, 1, D) float32, the same for every position."""
        return _rms_norm(self.to_kv(time_token).unflatten(-1, (-1, self.head_dim))).flatten(-2)


class ConvFeedForward(nn.Module):
    """SwiGLU (arXiv:2002.05202) of three convolutions that also see both neighbours; (B, D, L) -> (B, D, L)."""

    def __init__(self, config: MMDiTConfig, operations: Any, **kw: Any):
        super().__init__()
        width, inner = config.embed_dim, config.inner
        self.w1 = operations.Conv1d(width, inner, 3, padding=1, bias=False, **kw)
        self.w2 = operations.Conv1d(inner, width, 3, padding=1, bias=False, **kw)
        self.w3 = operations.Conv1d(width, inner, 3, padding=1, bias=False, **kw)

    def forward(self, x: Tensor) -> Tensor:
        return self.w2(F.silu(self.w1(x)) * self.w3(x))


class Block(nn.Module):
    """Modulated self-attention, the time token's contribution, modulated feed-forward; residual stream in float32."""

    def __init__(self, config: MMDiTConfig, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        width = config.embed_dim
        # What condition and time say passes through these two, and guidance multiplies their errors: never 8 bits.
        said = {**kw, "dtype": compute} if kw["dtype"] and kw["dtype"].itemsize == 1 else kw
        self.compute = compute
        self.attn = SelfAttention(config, operations, **kw)
        self.cross_attn = TimeAttention(config, operations, **said)
        self.linear1 = operations.Conv1d(width, width, 3, padding=1, **kw)
        self.ffn = ConvFeedForward(config, operations, **kw)
        # SiLU, the first of the two in the release, has been applied once for all blocks.
        self.adaLN_modulation = nn.Sequential(nn.Identity(), operations.Linear(width, 6 * width, **said))

    def forward(
        self,
        x: Tensor,
        time_token: Tensor,
        condition: Sequence[Tensor],
        counts: Sequence[int],
        held: bool,
        rotary: Rotary,
        attention: Attention,
    ) -> Tensor:
        """x (B, P, D) float32, time_token (B, 1, D) in the type of the matrices; condition and counts as in Context."""
        pieces = condition if held else [self.adaLN_modulation(piece) for piece in condition]
        shift, scale, gate, shift2, scale2, gate2 = _join(pieces, counts).chunk(6, dim=-1)  # (B, P, D) each
        h = self.attn(_modulate(x, shift, scale).to(self.compute), rotary, attention)
        x = torch.addcmul(x, self.linear1(h).transpose(1, 2), gate)
        x = x + self.cross_attn(time_token)
        h = _modulate(x, shift2, scale2).to(self.compute).transpose(1, 2)
        return torch.addcmul(x, self.ffn(h).transpose(1, 2), gate2)


class Transformer(nn.Module):
    """Linear in, blocks, linear out; one extra position in front carries the timestep."""

    def __init__(self, config: MMDiTConfig, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        small = {**kw, "dtype": torch.float32}
        width = config.embed_dim
        self.head_dim, self.compute = config.head_dim, compute
        self.project_in = operations.Linear(config.io_channels, width, bias=False, **small)
        self.proj_mm_tokens = operations.Linear(config.cond_token_dim, width, **small)
        self.proj_mm_seq_len = operations.Linear(config.tokens, 1 + config.latents, **small)
        self.layers = nn.ModuleList(Block(config, operations, compute, **kw) for _ in range(config.depth))
        self.project_out = operations.Linear(width, config.io_channels, bias=False, **small)

    def positions(self, tokens: Tensor) -> Tensor:
        """Tokens (R, M, D of tokens) -> one vector per position, the time token's first (R, P, D)."""
        return self.proj_mm_seq_len(self.proj_mm_tokens(tokens).transpose(1, 2)).transpose(1, 2)

    def forward(self, x: Tensor, time_token: Tensor, context: Context, attention: Attention) -> Tensor:
        """x (B, L, C), time_token (B, 1, D) -> (B, L, C)."""
        x = torch.cat([time_token, self.project_in(x)], dim=1)  # (B, P, D)
        rotary = rotary_table(x.shape[1], self.head_dim, x.device)
        time_token = time_token.to(self.compute)
        for i, block in enumerate(self.layers):
            x = block(x, time_token, context.layer(i), context.counts, context.held, rotary, attention)
        return self.project_out(x)[:, 1:]


class ModulatedTransformer(nn.Module):
    """The backbone "mmdit": a velocity over exactly 236 latents, from exactly 384 condition tokens.

    operations is a namespace with Linear and Conv1d (torch.nn's, or a host's casting layers); attention a function
    (q, k, v) -> out. Latents of any float dtype come in; the answer has theirs. dtype is what the blocks' matrices
    are kept in, compute_dtype what they multiply in; norms, rotary and the residual stream are float32.
    Its state dict has the released keys below `model.model.`; see SLICED and dead_shapes.
    """

    # Paths in a block that only prepare() runs, when it holds the modulation; else the block's own forward does.
    once: tuple[str, ...] = ("adaLN_modulation",)

    def __init__(
        self,
        config: MMDiTConfig,
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
        self.hold = True  # whoever plans the memory may say otherwise
        self.dtype = dtype or torch.get_default_dtype()
        self.compute_dtype = compute_dtype or self.dtype
        width, channels = config.embed_dim, config.io_channels
        self.timestep_features = FourierFeatures(TIMESTEP_FEATURES, **small)
        self.to_timestep_embed = nn.Sequential(
            operations.Linear(TIMESTEP_FEATURES, width, **small),
            nn.SiLU(),
            operations.Linear(width, width, **small),
        )
        self.preprocess_conv = operations.Conv1d(channels, channels, 1, bias=False, **small)
        self.transformer = Transformer(config, operations, self.compute_dtype, **kw)
        self.postprocess_conv = operations.Conv1d(channels, channels, 1, bias=False, **small)

    @property
    def blocks(self) -> Sequence[nn.Module]:
        """What may be streamed, in the order in which it computes."""
        return list(self.transformer.layers)

    def prepare(
        self, tokens: Mapping[str, Tensor] | None, device: torch.device | None = None, *, hold: bool | None = None
    ) -> Context:
        """Tokens (B, W, M, D) of text, video and audio -> what the steps need of them, B W rows.

        None is the null condition: zero tokens, one row, on `device` (default: where the weights are).
        hold keeps all layers' modulation, depth x P x 6 D numbers a row in compute_dtype (105 MB in fp16, released
        sizes); without, each step makes it anew from P x D numbers, with the same result. None: as self.hold says.
        """
        config = self.config
        if tokens is None:
            device = device or self.transformer.proj_mm_tokens.weight.device
            return self.prepare_context(torch.zeros(1, config.tokens, config.cond_token_dim, device=device), hold=hold)
        return self.prepare_context(torch.cat([*rows_of(tokens, config.order).values()], dim=1), hold=hold)

    def prepare_context(self, tokens: Tensor, *, hold: bool | None = None) -> Context:
        """prepare() from tokens (R, 384, D) that are joined already."""
        config, hold = self.config, self.hold if hold is None else hold
        if tokens.ndim != 3 or tokens.shape[1:] != (config.tokens, config.cond_token_dim):
            raise InputError(
                f"conditioning: tokens of shape {tuple(tokens.shape)}; this model takes exactly {config.tokens} "
                f"of {config.cond_token_dim} numbers, text, video and audio together"
            )
        activated = F.silu(self.transformer.positions(tokens.float())).to(self.compute_dtype)  # (R, P, D)
        blocks: Any = self.blocks
        piece = tuple(block.adaLN_modulation(activated) for block in blocks) if hold else (activated,)
        return Context((piece,), (tokens.shape[0],), hold)

    def forward(
        self, x: Tensor, t: Tensor, context: Context | None = None, attention: Attention | None = None
    ) -> Tensor:
        """Velocity (B, C, 236) at latents x (B, C, 236) and times t (B,) in 0..1; without context, the null condition.

        attention stands in for the constructor's. Raises InputError for another number of latents, or of rows.
        """
        if x.shape[-1] != self.config.latents:
            raise InputError(f"latents: {x.shape[-1]} positions; this model makes exactly {self.config.latents}")
        if context is None:
            context = self.prepare(None, hold=False, device=x.device)
        context = context.expand(x.shape[0])
        h = x.float()
        h = h + self.preprocess_conv(h)
        time_token = self.to_timestep_embed(self.timestep_features(t))[:, None]  # (B, 1, D)
        h = self.transformer(h.transpose(1, 2), time_token, context, attention or self.attention).transpose(1, 2)
        return (h + self.postprocess_conv(h)).to(x.dtype)


def dead_shapes(config: MMDiTConfig, global_cond_dim: int) -> dict[str, tuple[int, ...]]:
    """Released tensors below `model.model.` that nothing reads, with their shapes."""
    width, tokens = config.embed_dim, config.cond_token_dim
    found: dict[str, tuple[int, ...]] = {
        "to_cond_embed.0.weight": (tokens, tokens),
        "to_cond_embed.2.weight": (tokens, tokens),
        "to_global_embed.0.weight": (width, global_cond_dim),
        "to_global_embed.2.weight": (width, width),
    }
    for i in range(config.depth):  # queries to a single key
        found[f"transformer.layers.{i}.cross_attn.to_q.weight"] = (width, width)
    return found
