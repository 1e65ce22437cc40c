"""AudioX-Turbo: the network of AudioX-MAF-MMDiT as a flow, distilled to four steps without guidance."""

from __future__ import annotations

from ..weights.download import Released
from .maf import LICENCE
from .mmdit import mmdit_config
from .parts import Member

RELEASED = Released(
    name="AudioX-Turbo",
    repo="HKUSTAudio/AudioX-Turbo",
    revision="67af549c42aabdb666e559cb4993eddf48b62f08",
    files=("config.json", "audiox_turbo/audiox_turbo.ckpt"),
    licence=LICENCE,
)
TURBO_CONFIG = mmdit_config(
    "audio_autoencoder",
    {"mask_ratio_start": 0.25, "mask_ratio_end": 0.75},
    diffusion_objective="rectified_flow",
)
TURBO_CONFIG |= {"conditioning_seconds": 10, "training": {"dmd_sample_steps": 4}}

MEMBERS = (Member("AudioX-Turbo", TURBO_CONFIG, RELEASED, weights=RELEASED.files[1]),)
