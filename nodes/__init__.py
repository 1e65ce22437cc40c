"""AudioX's nodes for ComfyUI: the one list of them, and the extension that ComfyUI asks for it."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .condition import AudioXCombine, AudioXEncodeAudio, AudioXEncodeText, AudioXEncodeVideo, AudioXNull
from .latent import AudioXDecode, AudioXEmptyLatent
from .load import AudioXLoad
from .sample import AudioXSampler
from .soundtrack import AudioXSetSoundtrack, AudioXSpectrogram

__all__ = ["NODES", "AudioXExtension"]

NODES: list[type[io.ComfyNode]] = [
    AudioXLoad,
    AudioXEncodeText,
    AudioXEncodeVideo,
    AudioXEncodeAudio,
    AudioXCombine,
    AudioXNull,
    AudioXEmptyLatent,
    AudioXSampler,
    AudioXDecode,
    AudioXSetSoundtrack,
    AudioXSpectrogram,
]


class AudioXExtension(ComfyExtension):
    """What this pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_folders()
        return NODES
