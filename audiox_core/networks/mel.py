"""Audio conditioning of AudioX-MAF: a log-mel spectrogram, each frame projected to a token."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError
from .hidden_span import hide
from .ops import operations as default_operations

FLOOR = 1e-5  # of magnitudes, before the logarithm


@dataclass(frozen=True)
class MelConfig:
    """Conditioner type "mel_spec". The waveform comes at the model's rate, whatever the filters are laid out for."""

    cond_dim: int
    n_fft: int = 1024
    win_length: int = 1024
    hop_length: int = 256
    n_mel_channels: int = 256
    filter_rate: int = 24000  # the release's target_sample_rate, to which nothing is resampled
    hidden_share: tuple[float, float] = (0.7, 1.0)  # of the frames, also when generating

    def frames(self, samples: int) -> int:
        """Spectrogram frames, which are tokens, of so many samples: 1723 of ten seconds at 44.1 kHz."""
        return samples // self.hop_length + 1


def mel_filters(bins: int, filters: int, rate: int, device: Any = None) -> Tensor:
    """Triangular filters (bins, filters) evenly spaced on the HTK mel scale from 0 to rate / 2 Hz, peaks at 1.

    Computed in float32, as torchaudio's melscale_fbanks (norm None): some filters are narrower than a bin, so that
    rounding decides whether they see anything.
    """
    bin_hertz = torch.linspace(0, rate // 2, bins, device=device)
    top = 2595.0 * math.log10(1.0 + rate / 2 / 700.0)
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, top, filters + 2, device=device) / 2595.0) - 1.0)  # (filters + 2,)
    widths = edges.diff()
    distance = edges - bin_hertz[:, None]  # (bins, filters + 2)
    rising, falling = -distance[:, :-2] / widths[:-1], distance[:, 2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0.0)


def log_mel(wave: Tensor, config: MelConfig) -> Tensor:
    """Waveform (B, N) -> natural logarithm of its mel magnitudes (B, mels, frames) in float32; silence is -11.51."""
    wave = wave.float()
    spectrum = torch.stft(
        wave,
        config.n_fft,
        hop_length=config.hop_length,
        win_length=config.win_length,
        window=torch.hann_window(config.win_length, device=wave.device),
        center=True,
        pad_mode="reflect",
        return_complex=True,
    ).abs()  # (B, bins, frames)
    filters = mel_filters(spectrum.shape[1], config.n_mel_channels, config.filter_rate, wave.device)
    return (spectrum.transpose(1, 2) @ filters).transpose(1, 2).clamp(min=FLOOR).log()


class MelPromptEncoder(nn.Module):
    """Sound of any length to condition tokens; no learned empty feature: silence is encoded like sound.

    Its state dict has the released keys below the conditioner's id; it has no dead weights.
    """

    def __init__(
        self,
        config: MelConfig,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = default_operations,
    ):
        super().__init__()
        self.config = config
        self.compute_dtype = compute_dtype or dtype or torch.get_default_dtype()
        self.proj_features = operations.Linear(config.n_mel_channels, config.cond_dim, dtype=dtype, device=device)

    def forward(self, audio: Tensor, spans: Tensor | None = None) -> Tensor:
        """Waveform (B, any, N) -> tokens (B, N // 256 + 1, D) in float32.

        spans (B, 2): first frame and end of what is hidden, from hidden_span.draw_spans(B, frames, hidden_share);
        the released pipeline always hides some. Raises InputError when the sound is shorter than half a window.
        """
        if audio.ndim != 3 or audio.shape[-1] <= self.config.n_fft // 2:
            raise InputError(
                f"audio: waveform of shape {tuple(audio.shape)}; (batch, channels, more than {self.config.n_fft // 2} "
                "samples) is needed"
            )
        mel = hide(log_mel(audio.float().mean(dim=1), self.config), spans)  # (B, mels, frames)
        return self.proj_features(mel.transpose(1, 2).to(self.compute_dtype)).float()
