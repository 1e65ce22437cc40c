"""Which files of the released models are here, and where; what is missing, and where it goes. Nothing is downloaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import ModelNotFound
from ..models import members
from ..models.config import parse_config
from ..models.parts import Companion
from .hub import find_companion, find_model


@dataclass(frozen=True)
class Entry:
    """A released model, or a file that several of them need beside their checkpoints."""

    name: str
    label: str  # what it is, in words
    users: tuple[str, ...]  # the models that need it
    files: tuple[Path, ...] = ()  # found
    missing: tuple[str, ...] = ()  # as they were published
    folder: Path | None = None  # where the missing ones go, by download or by hand


def inventory(models_dirs: Sequence[str | Path] = ()) -> list[Entry]:
    """The released models in the order in which they are offered, then what they need beside their checkpoints."""
    models, needed, folders = [], dict[str, tuple[Companion, list[str]]](), dict[str, Path | None]()
    for known in members().values():
        if known.released is None:
            continue
        models.append(_model(known.name, models_dirs))
        folders[known.name] = models[-1].files[0].parent if models[-1].files else None
        for companion in parse_config(known.config(), known.name).companions:
            if not companion.fills:  # those are in the published checkpoint
                needed.setdefault(companion.released.name, (companion, []))[1].append(known.name)
    return [*models, *(_companion(it, users, folders, models_dirs) for it, users in needed.values())]


def _model(name: str, models_dirs: Sequence[str | Path]) -> Entry:
    try:
        found = find_model(name, models_dirs=models_dirs, download=False)
    except ModelNotFound as error:
        return Entry(name, "model", (name,), missing=error.missing, folder=error.folder)
    files = (found.checkpoint, *([found.config] if found.config else []))
    return Entry(name, "model", (name,), files)


def _companion(
    companion: Companion, users: list[str], folders: dict[str, Path | None], models_dirs: Sequence[str | Path]
) -> Entry:
    """Found beside the checkpoint of any of its users, or where models are."""
    name, label = companion.released.name, companion.label
    places = list(dict.fromkeys(folders[user] for user in users))
    missed: ModelNotFound | None = None
    for beside in sorted(places, key=lambda place: place is None):
        try:
            found = find_companion(companion, beside=beside, models_dirs=models_dirs, download=False)
        except ModelNotFound as error:
            if missed is None or len(error.missing) < len(missed.missing):
                missed = error
        else:
            return Entry(name, label, tuple(users), (found.weights,))
    assert missed is not None
    return Entry(name, label, tuple(users), missing=missed.missing, folder=missed.folder)


def told(entries: Sequence[Entry]) -> str:
    """An inventory in lines of text, for people."""
    models = [entry.name for entry in entries if entry.users == (entry.name,)]
    names = [entry.name if entry.name in models else f"{entry.name} ({entry.label})" for entry in entries]
    width = max(map(len, names)) + 2
    lines = ["model files"]
    for name, entry in zip(names, entries, strict=True):
        bare = " without its config.json" if entry.name in models and len(entry.files) == 1 else ""
        where = (
            ", ".join(map(str, entry.files)) + bare
            or f"missing: {' and '.join(entry.missing)}, to go into {entry.folder}"
        )
        use = "" if set(entry.users) in ({entry.name}, set(models)) else f" (needed by {', '.join(entry.users)})"
        lines.append(f"{name:{width}s}{where}{use}")
    if any(entry.missing for entry in entries):
        lines.append("Missing files are downloaded when a model is first used, or can be put into place by hand.")
    return "\n".join(lines)
