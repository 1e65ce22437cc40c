"""A checkpoint as .safetensors: safe to share, faster to load."""

from __future__ import annotations

from pathlib import Path

from ..errors import CheckpointError
from .hub import config_beside
from .load import cast
from .open import read_checkpoint
from .tensors import OnBytes, write_tensors


def convert(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    on_progress: OnBytes | None = None,
) -> Path:
    """A checkpoint as .safetensors with the same keys (but for what a trainer put before them), types and numbers.

    It must fit config (a file, or a published model's name), the config.json beside it, or else a published model's; a
    NaN is refused. Nothing in the source is executed, and an existing target is never overwritten.
    on_progress(done bytes, all bytes) may raise to cancel.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target must end in .safetensors. Rename it.")
    if target.exists():
        raise CheckpointError(f"{target}: already exists. Remove it first, or choose another name.")
    _, tensors = read_checkpoint(source, config or config_beside(source))
    for key, value in tensors.items():
        cast(value, value.dtype, tensors.source(key))
    return write_tensors(tensors, target, on_progress=on_progress)
