"""AudioX-Turbo: the network of AudioX-MAF-MMDiT as a flow, distilled to four steps without guidance."""

from __future__ import annotations

from .mmdit import mmdit_config

TURBO_CONFIG = mmdit_config(
    "audio_autoencoder",
    {"mask_ratio_start": 0.25, "mask_ratio_end": 0.75},
    diffusion_objective="rectified_flow",
)
TURBO_CONFIG |= {"conditioning_seconds": 10, "training": {"dmd_sample_steps": 4}}
