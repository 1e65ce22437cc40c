"""ComfyUI-AudioX: soundtracks from text, video, images and sound, as ComfyUI nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from comfy_api.latest import ComfyExtension

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]


async def comfy_entrypoint() -> ComfyExtension:
    """The pack's extension. Only ComfyUI calls this: importing the pack itself needs no ComfyUI."""
    from .nodes import AudioXExtension

    return AudioXExtension()
