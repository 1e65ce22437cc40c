"""Video conditioning of the newer models: CLIP over time, as in the base model, plus features of motion in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from .clip_time import TOKENS, VideoEncoder
from .layers import Attention, torch_attention
from .ops import operations as default_operations
from .synchformer import STRIDE, Synchformer, SynchformerConfig

SYNC_FEATURES = 240  # of ten seconds, each as wide as a token
MOTION_FPS, MOTION_FRAMES = 25.0, 250  # what these features are made from


class SyncVideoEncoder(VideoEncoder):
    """Frames and Synchformer's features to condition tokens. Black items count as "no video", whatever the features.

    Arguments as for VideoEncoder. Module names are the released keys'.
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
        kw: dict[str, Any] = {"dtype": dtype, "device": device}
        super().__init__(vision, compute_dtype=compute_dtype, operations=operations, attention=attention, **kw)
        self.proj_sync = operations.Linear(SYNC_FEATURES, TOKENS, **kw)
        self.sync_weight = nn.Parameter(torch.empty((), dtype=torch.float32, device=device))

    def synced(self, sync: Tensor) -> Tensor:
        """Features (B, 240, D) -> what they add to the tokens (B, 128, D), in float32."""
        # Read flat in rows of 240 consecutive numbers, as the frames' projection reads its input: no transpose.
        flat = rearrange(sync, "batch feature d -> batch (feature d)").to(self.compute_dtype)
        rows = rearrange(flat, "batch (row number) -> batch row number", row=sync.shape[-1])
        flat = rearrange(self.proj_sync(rows), "batch row number -> batch (row number)")
        projected = rearrange(flat, "batch (token d) -> batch token d", token=TOKENS).float()
        return projected * self.sync_weight.to(projected)

    def forward(  # type: ignore[override]
        self, frames: Tensor, sync: Tensor | None = None, on_frames: Callable[[int, int], None] | None = None
    ) -> Tensor:
        """Frames (B, 50, 3, 224, 224), uint8 or float in 0..255, and sync features (B, 240, D) -> (B, 128, D) float32.

        Without sync features they are zero. on_frames(done, total) is told of progress. Raises InputError for other
        numbers or sizes.
        """
        tokens = super().forward(frames, on_frames)
        wanted = (len(frames), SYNC_FEATURES, tokens.shape[-1])
        if sync is None:
            sync = tokens.new_zeros(wanted)
        if tuple(sync.shape) != wanted:
            raise InputError(f"video: sync features of shape {tuple(sync.shape)}; {wanted} is needed")
        black = (frames == 0).flatten(1).all(dim=1).to(tokens.device)[:, None, None]
        return torch.where(black, tokens, tokens + self.synced(sync.to(tokens.device)))


class MotionVideoEncoder(nn.Module):
    """Pictures at two rates to condition tokens: CLIP over time, and Synchformer's features of what moves when.

    synchformer must be as wide as a token. Other arguments as for VideoEncoder.
    """

    def __init__(self, vision: Mapping[str, Any], synchformer: SynchformerConfig, **options: Any):
        super().__init__()
        self.video = SyncVideoEncoder(vision, **options)
        self.synchformer = Synchformer(synchformer, **options)

    def forward(self, frames: Tensor, motion: Tensor, on_frames: Callable[[int, int], None] | None = None) -> Tensor:
        """Frames (B, 50, 3, 224, 224) at 5 a second and (B, 250, 3, 224, 224) at 25, uint8 -> (B, 128, D) float32.

        on_frames(done, total) is told of progress over both. Raises InputError for other numbers or sizes.
        """
        total = frames.shape[0] * (frames.shape[1] + SYNC_FEATURES)

        def told(before: int, each: int) -> Callable[[int, int], None] | None:
            return None if on_frames is None else lambda done, _: on_frames(before + each * done, total)

        # Black pictures give the learned empty tokens, whatever the features are.
        if not frames.any():
            return self.video(frames, None, told(total - frames.shape[0] * frames.shape[1], 1))
        sync = self.synchformer(motion, told(0, STRIDE))
        return self.video(frames, sync, told(total - frames.shape[0] * frames.shape[1], 1))
