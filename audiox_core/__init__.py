"""AudioX in plain PyTorch: text, video, images and sound in; sound effects and music out.

Letters used throughout: B batch, C channels, L latent frames, N audio samples, F video frames, D width, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .media.sound import Sound
    from .pipeline import Pipeline, load_pipeline

__version__ = "0.1.0"
__all__ = ["Pipeline", "Sound", "load_pipeline"]

_HOMES = {"load_pipeline": "pipeline", "Pipeline": "pipeline", "Sound": "media.sound"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
