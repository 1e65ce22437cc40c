"""Video conditioning: CLIP on each frame, a transformer over time, a projection to tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from .borrowed import from_transformers
from .layers import Attention, torch_attention
from .ops import operations as default_operations

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
FRAMES = 50
TOKENS = 128
DEPTH, HEADS, HEAD_DIM, MLP = 4, 16, 64, 3072
CHUNK = 10  # frames per CLIP call: enough to fill a device, few enough to cancel soon


class _Attention(nn.Module):
    def __init__(self, width: int, attention: Attention, operations: Any, **kw: Any):
        super().__init__()
        self.attention = attention
        self.to_qkv = operations.Linear(width, 3 * HEADS * HEAD_DIM, bias=False, **kw)
        self.to_out = nn.Sequential(operations.Linear(HEADS * HEAD_DIM, width, **kw))

    def forward(self, x: Tensor) -> Tensor:
        qkv = self.to_qkv(x).unflatten(-1, (3, HEADS, HEAD_DIM)).permute(2, 0, 3, 1, 4)  # (3, B, H, F, d)
        out = self.attention(qkv[0], qkv[1], qkv[2])
        return self.to_out(out.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int, operations: Any, **kw: Any):
        super().__init__()
        # The two identities keep the released key names (net.0, net.3).
        self.net = nn.Sequential(
            operations.Linear(width, MLP, **kw), nn.GELU(), nn.Identity(), operations.Linear(MLP, width, **kw)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)


class _PreNorm(nn.Module):
    def __init__(self, width: int, fn: nn.Module, operations: Any, **kw: Any):
        super().__init__()
        self.norm = operations.LayerNorm(width, **kw)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        return x + self.fn(self.norm(x))


class TemporalTransformer(nn.Module):
    """Pre-norm transformer along the frames of one spatial position: (B, F, D) -> (B, F, D)."""

    def __init__(self, width: int, attention: Attention, operations: Any, **kw: Any):
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                [
                    _PreNorm(width, _Attention(width, attention, operations, **kw), operations, **kw),
                    _PreNorm(width, _Mlp(width, operations, **kw), operations, **kw),
                ]
            )
            for _ in range(DEPTH)
        )
        self.norm = operations.LayerNorm(width, **kw)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            for part in layer:  # type: ignore[attr-defined]
                x = part(x)
        return self.norm(x)


class VideoEncoder(nn.Module):
    """Frames to condition tokens. Purely black items count as "no video" and give the learned empty feature.

    vision holds the arguments of transformers.CLIPVisionConfig. Module names are the released keys'. CLIP's layers
    are transformers' own and don't cast: they are kept in what they compute in.
    """

    def __init__(
        self,
        vision: Mapping[str, Any],
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
        attention: Attention = torch_attention,
    ):
        super().__init__()
        CLIPVisionConfig, CLIPVisionModelWithProjection = from_transformers(
            "CLIPVisionConfig", "CLIPVisionModelWithProjection"
        )
        kw: dict[str, Any] = {"dtype": dtype, "device": device}
        config = CLIPVisionConfig(**vision)
        width = config.hidden_size
        patches = (config.image_size // config.patch_size) ** 2 + 1
        self.size = config.image_size
        self.compute_dtype = compute_dtype or dtype or torch.get_default_dtype()
        with torch.device(device or "cpu"):
            clip = CLIPVisionModelWithProjection(config).to(self.compute_dtype).eval()
        # Its last norm and projection serve a pooled answer that nobody reads.
        clip.vision_model.post_layernorm = nn.Identity()
        clip.visual_projection = nn.Identity()
        self.visual_encoder_model = clip
        self.Temp_pos_embedding = nn.Parameter(torch.empty(1, FRAMES, width, **kw))
        self.Temp_transformer = TemporalTransformer(width, attention, operations, **kw)
        self.proj = operations.Linear(FRAMES * patches, TOKENS, **kw)
        self.empty_visual_feat = nn.Parameter(torch.empty(1, TOKENS, width, **kw))

    def clip(self, frames: Tensor) -> Tensor:
        """Pixels (n, 3, 224, 224) in 0..255 -> CLIP's last hidden states (n, 50, D), before its post-norm."""
        mean, std = (torch.tensor(v, device=frames.device)[:, None, None] for v in (CLIP_MEAN, CLIP_STD))
        pixels = ((frames.float() / 255.0 - mean) / std).to(self.compute_dtype)
        return self.visual_encoder_model.vision_model(pixel_values=pixels).last_hidden_state

    def temporal(self, hidden: Tensor) -> Tensor:
        """CLIP states (B, F, 50, D) -> the same, mixed along time at each of the 50 positions."""
        x = rearrange(hidden, "batch frame place d -> (batch place) frame d")
        x = self.Temp_transformer(x + self.Temp_pos_embedding.to(x))
        return rearrange(x, "(batch place) frame d -> batch frame place d", batch=len(hidden))

    def forward(self, frames: Tensor, on_frames: Callable[[int, int], None] | None = None) -> Tensor:
        """Frames (B, 50, 3, 224, 224), uint8 or float in 0..255 -> tokens (B, 128, D) in float32.

        on_frames(done, total) is told of progress. Raises InputError for another number or size of frames.
        """
        b, f = frames.shape[:2]
        if frames.shape[1:] != (FRAMES, 3, self.size, self.size):
            raise InputError(
                f"video: frames of shape {tuple(frames.shape)}; (B, {FRAMES}, 3, {self.size}, {self.size}) is needed"
            )
        flat = frames.flatten(0, 1)  # (B F, 3, H, W)
        states = []
        for i in range(0, len(flat), CHUNK):
            states.append(self.clip(flat[i : i + CHUNK]))
            if on_frames is not None:
                on_frames(min(i + CHUNK, len(flat)), len(flat))
        hidden = self.temporal(torch.cat(states).unflatten(0, (b, f)))
        # The released projection reads the flat (F, 50, D) array in rows of 2500 consecutive numbers, and its
        # (D, 128) answer again as (128, D): not a transpose, but what the weights were trained with.
        flat = rearrange(hidden, "batch frame place d -> batch (frame place d)")
        rows = rearrange(flat, "batch (row number) -> batch row number", row=hidden.shape[-1])  # (B, D, 2500)
        flat = rearrange(self.proj(rows), "batch row number -> batch (row number)")
        tokens = rearrange(flat, "batch (token d) -> batch token d", token=TOKENS).float()
        black = (frames == 0).flatten(1).all(dim=1).to(tokens.device)[:, None, None]
        return torch.where(black, self.empty_visual_feat.to(tokens), tokens)
