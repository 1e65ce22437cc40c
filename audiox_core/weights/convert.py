"""A checkpoint as .safetensors: safe to share, faster to load."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import CheckpointError
from ..media.reading import name_of
from .hub import config_beside
from .load import cast
from .open import read_checkpoint
from .tensors import OnBytes, write_tensors


def convert(
    source: str | Path,
    target: str | Path,
    *,
    config: str | Path | None = None,
    overwrite: bool = False,
    on_progress: OnBytes | None = None,
) -> Path:
    """A checkpoint as .safetensors with the same keys (but for what a trainer put before them), types and numbers.

    It must fit config (a file, or a published model's name), the config.json beside it, or else a published model's; a
    NaN is refused. Nothing in the source is executed. An existing target stays, unless overwrite is given: then it is
    replaced once the new file is whole, through a link as well, and never by its own contents.
    on_progress(done bytes, all bytes) may raise to cancel.
    """
    source, target = Path(source), Path(target)
    if target.suffix != ".safetensors":
        raise CheckpointError(f"{target}: the target must end in .safetensors. Rename it.")
    check_target(source, target, overwrite)
    _, tensors = read_checkpoint(source, config or config_beside(source))
    for key, value in tensors.items():
        cast(value, value.dtype, tensors.source(key))
    if overwrite:
        target = Path(os.path.realpath(target))  # a link stays one
    return write_tensors(tensors, target, overwrite=overwrite, on_progress=on_progress)


def check_target(source: Path, target: Path, overwrite: bool) -> None:
    """Raises CheckpointError unless a converted file may have this name."""
    try:
        found = os.stat(target)
        same = source.exists() and os.path.samestat(found, os.stat(source))
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:  # too long, or a null byte
        reason = getattr(error, "strerror", None) or error
        raise CheckpointError(
            f"{name_of(target)}: is not a path to write to ({reason}). Choose another name."
        ) from error
    if same:
        raise CheckpointError(f"{target}: is the file being read and would be lost. Write to another name.")
    if not overwrite:
        raise CheckpointError(
            f"{target}: already exists. Choose another name, or give --overwrite (overwrite=True) to replace it."
        )
