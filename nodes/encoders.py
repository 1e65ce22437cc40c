"""The text, video and audio encoders of a loaded model, each under ComfyUI's model management."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ..audiox_core.errors import ModelNotFound
from ..audiox_core.memory.estimate import Dimensions, activations
from ..audiox_core.memory.formats import Format
from ..audiox_core.models.config import AudioConfig, ModelConfig, TextConfig, VideoConfig
from ..audiox_core.networks.t5 import Tokenizer, truncate
from . import host


class Encoders:
    """What AudioX Load gives as AUDIOX_ENCODERS: networks in patchers, loaded when they are needed."""

    def __init__(self, config: ModelConfig, formats: Mapping[str, Format], *, video: Any, audio: Any):
        self.config, self.timing = config, config.timing
        self.formats, self.dims = formats, Dimensions.from_config(config)
        self.video, self.audio, self.text = video, audio, None
        self.tokenizer: Tokenizer | None = None
        self.no_text = ""
        self._empty_text: Tensor | None = None

    def add_text(self, patcher: Any, tokenizer: Tokenizer | None, missing: str) -> None:
        """Puts in the text encoder with its tokenizer, or says why there is none."""
        self.text, self.tokenizer, self.no_text = patcher, tokenizer, missing

    def get_models(self) -> list[Any]:
        """The patchers, for ComfyUI's bookkeeping."""
        return [patcher for patcher in (self.video, self.audio, self.text) if patcher is not None]

    def get_ram_usage(self) -> int:
        """Bytes of weights, for ComfyUI's bookkeeping."""
        return sum(patcher.model_size() for patcher in self.get_models())

    def encode_text(self, text: str) -> Tensor:
        """Tokens (1, M, D) of a prompt, float32 on the CPU. Those of the empty one are kept: every video needs them."""
        if not text and self._empty_text is not None:
            return self._empty_text
        if self.text is None or self.tokenizer is None:
            raise ModelNotFound(self.no_text)
        ids = truncate(text, self.tokenizer, self.config.conditioner(TextConfig).max_length)
        host.load(self.text, self._memory("text", 1))
        tokens: Tensor = self.text.model([ids]).float().cpu()
        if not text:
            self._empty_text = tokens
        return tokens

    def encode_video(self, frames: Tensor, on_frames: Callable[[int, int], None]) -> Tensor:
        """Tokens (1, M, D) of frames (F, 3, H, W) uint8, float32 on the CPU."""
        host.load(self.video, self._memory("video", 1))
        return self.video.model(frames[None], on_frames=on_frames).cpu()

    def encode_audio(self, waveform: Tensor, on_tile: Callable[[int, int], None]) -> Tensor:
        """Tokens (B, M, D) of prompts (B, 2, N), float32 on the CPU, from the mean of their latents."""
        batch = len(waveform)
        device = host.load(self.audio, self._memory("audio", batch))
        tile = host.tile(device, self.timing.prompt_latents, lambda t: self._memory("audio", batch, t))
        return self.audio.model(waveform.to(device), tile=tile, on_tile=on_tile).cpu()

    def _memory(self, component: str, batch: int, tile: int | None = None) -> int:
        """Bytes that an encoder's work takes beside its weights."""
        latents = self.timing.prompt_latents
        return activations(component, self.dims, self.formats[component], latents=latents, batch=batch, tile=tile)

    def empty_tokens(self) -> dict[str, Tensor]:
        """The tokens that stand for each absent modality, by conditioner; of text only their shape counts."""
        config = self.config
        text = config.conditioner(TextConfig)
        return {
            text.id: torch.zeros(1, text.max_length, config.cond_dim),
            config.conditioner(VideoConfig).id: self.video.model.empty_visual_feat,
            config.conditioner(AudioConfig).id: self.audio.model.empty_audio_feat,
        }
