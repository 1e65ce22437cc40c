"""AudioX in plain PyTorch: text, video, images and sound in; sound effects and music out.

Letters used throughout: B batch, C channels, L latent frames, N audio samples, F video frames, D width, H heads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .media.sound import Sound
    from .pipeline import Pipeline, load_pipeline

    __version__: str

__all__ = ["Pipeline", "Sound", "__version__", "load_pipeline"]

DISTRIBUTION = "audiox-nodes"  # the project's name in pyproject.toml

_HOMES = {"load_pipeline": "pipeline", "Pipeline": "pipeline", "Sound": "media.sound"}


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used: importing the package costs nothing."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def _version() -> str:
    """The version in the checkout's pyproject.toml, the one place where it is written, or of what is installed."""
    import re
    from importlib.metadata import version
    from pathlib import Path

    project = Path(__file__).parents[1] / "pyproject.toml"
    # Anything may lie beside an installed package: only a file that speaks of this project counts.
    text = project.read_text(encoding="utf-8") if project.is_file() else ""
    found = re.search(rf'^name = "{DISTRIBUTION}"\nversion = "([^"]+)"$', text, re.MULTILINE)
    return found[1] if found else version(DISTRIBUTION)
