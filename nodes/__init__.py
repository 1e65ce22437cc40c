"""AudioX's nodes for ComfyUI: the one list of them, and the extension that ComfyUI asks for it."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import host
from .condition import AudioXCombine, AudioXEncodeText, AudioXNull
from .edit import AudioXEdit
from .encode import AudioXEncodeAudio, AudioXEncodeVideo
from .guider import AudioXGuider
from .latent import AudioXDecode, AudioXEmptyLatent
from .load import AudioXLoad
from .long import AudioXTimedText, AudioXWindows
from .sample import AudioXSampler
from .soundtrack import AudioXSetSoundtrack, AudioXSpectrogram
from .takes import AudioXTake

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
    AudioXEdit,
    AudioXTimedText,
    AudioXWindows,
    AudioXGuider,
    AudioXTake,
]


class AudioXExtension(ComfyExtension):
    """What this pack adds to ComfyUI."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        host.register_folders()
        return NODES
