"""Model files: found on disk, or else downloaded from the Hugging Face hub after a notice."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelNotFound, nearest
from ..models import members
from ..models.config import LARGEST_FILE
from ..models.parts import Companion
from ..sampling.schedules import shown
from .download import OnDownload, Released, download_file

log = logging.getLogger("audiox")

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
MODELS_VARIABLE = "AUDIOX_MODELS"
LOCAL_FOLDER = Path("models/audiox")
TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "config.json"


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint, and its config.json if one lies beside it."""

    name: str
    checkpoint: Path
    config: Path | None
    released: Released | None = None  # the published model that was asked for


@dataclass(frozen=True)
class CompanionFiles:
    """A weights file that lies beside a checkpoint, and the folder of its tokenizer.json if it has one."""

    name: str
    weights: Path
    tokenizer_folder: Path | None


def model_folders(models_dirs: Iterable[str | Path] = ()) -> list[Path]:
    """Where models are looked for: the given folders, $AUDIOX_MODELS, ./models/audiox, the user's cache."""
    named = os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)
    cache = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME") or "~/.cache", "huggingface")
    folders = [*map(Path, models_dirs), *(Path(f) for f in named if f), LOCAL_FOLDER, Path(cache) / "audiox"]
    return list(dict.fromkeys(folder.expanduser() for folder in folders))


def find_model(
    name: str | Path,
    *,
    models_dirs: Sequence[str | Path] = (),
    download: bool = True,
    on_progress: OnDownload | None = None,
) -> ModelFiles:
    """The files of a model: a released one ("AudioX"), a path, or a name in one of model_folders.

    Local copies come first: model_folders, then Hugging Face's cache. Otherwise the released files are
    downloaded into the first of models_dirs or of $AUDIOX_MODELS, or into the user's cache. Raises InputError
    for an unknown name, and ModelNotFound (which files, where they go) when they can't be had.
    """
    by_name = {m.released.name: m for m in members().values() if m.released is not None}
    released = _released(name, {key: m.released for key, m in by_name.items() if m.released is not None})
    folders, possible = model_folders(models_dirs), _possible("model", name)
    if released is None and possible and _is_path(name):
        return _model_at(Path(name).expanduser())
    names = _spellings(released) if released else [str(name)]
    published = by_name[released.name].weights if released else ""
    usual = ["model", published, Path(published).name] if released else ["model"]
    # A bare model.safetensors is taken for the model that is meant when nobody names one.
    loose = [*names, "model"] if released is not None and released.name == next(iter(by_name)) else names
    checkpoint = _in_folders(folders, names, loose, usual) if possible else None
    if checkpoint is not None:
        return ModelFiles(released.name if released else str(name), checkpoint, config_beside(checkpoint), released)
    if released is None:
        if possible and Path(name).exists():
            return _model_at(Path(name))
        local = sorted({p.stem for folder in folders for p in _weights(folder)})
        raise InputError(
            f"model: unknown name {shown(str(name))}.{nearest(str(name)[:100], [*members(), *local])} "
            "Or give the path of a .safetensors or .ckpt file."
        )
    cached = _cached(released, published)
    if cached is not None:
        return ModelFiles(released.name, cached, _cached(released, CONFIG_FILE), released)
    files = _fetch(released, released.files, folders, models_dirs, download, on_progress)
    return ModelFiles(released.name, files[published], files.get(CONFIG_FILE), released)


def find_companion(
    companion: Companion,
    path: str | Path | None = None,
    *,
    tokenizer: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    beside: Path | None = None,
    download: bool = True,
    on_progress: OnDownload | None = None,
) -> CompanionFiles:
    """The files of what a model needs beside its checkpoint: found by the published name, or the weights at a path.

    beside is the checkpoint's folder, which is looked into first, then the one above it. tokenizer is a tokenizer.json
    or its folder; without one it is looked for beside the weights (there, in t5_base_tokenizer/ or in
    NAME_tokenizer/), then beside the checkpoint, then where models are, then downloaded. Else as find_model.
    """
    released = companion.released
    folders, possible = model_folders(models_dirs), path is None or _possible(companion.label, path)
    weights: Path | None
    if path is None or _released(path, {released.name: released}) is not None:
        places = [*([beside, beside.parent] if beside is not None else []), *folders]
        own = [released.name, released.name.lower(), released.name.replace("-", "_"), *companion.names]
        names = [*own, *_spellings(released), released.repo.split("/")[-1]]
        nested = [place / companion.weights for place in places if "/" in companion.weights]
        weights = next((file for file in nested if os.path.isfile(file)), None)
        weights = weights or _in_folders(places, names, own, [companion.weights, Path(companion.weights).name])
        weights = weights or _cached(released, companion.weights)
    elif possible and (_is_path(path) or Path(path).exists()):
        weights = _weights_at(Path(path).expanduser())
    else:
        raise InputError(
            f"{companion.label}: unknown name {shown(str(path))}.{nearest(str(path)[:100], [released.name])} "
            "Or give the path of a .safetensors file."
        )
    wanted = {companion.weights: weights}
    found: Path | None = None
    if TOKENIZER_FILE in released.files:
        found = _given_tokenizer(tokenizer) if tokenizer else _find_tokenizer(weights, beside, released, folders)
        wanted = {TOKENIZER_FILE: found, **wanted}
    missing = [file for file, have in wanted.items() if have is None]
    files = _fetch(released, missing, folders, models_dirs, download, on_progress) if missing else {}
    folder = files[TOKENIZER_FILE].parent if TOKENIZER_FILE in files else found
    return CompanionFiles(released.name, weights or files[companion.weights], folder)


def _released(name: str | Path, table: Mapping[str, Released]) -> Released | None:
    wanted = str(name).lower()
    return next((r for r in table.values() if wanted in (r.name.lower(), r.repo.lower())), None)


def _spellings(released: Released) -> list[str]:
    name = released.name
    return list(dict.fromkeys([name, name.lower(), name.replace("-", "_"), released.repo]))


def _possible(what: str, name: str | Path) -> bool:
    """Whether a file could have this name. Raises InputError for what is no name at all."""
    if not isinstance(name, str | os.PathLike):
        raise InputError(f"{what}: expected a name or a path, got {type(name).__name__}")
    try:
        Path(name).expanduser().exists()
    except PermissionError as error:
        raise ModelNotFound(f"{name}: can't be looked at ({error.strerror}). Fix its permissions.") from error
    except (OSError, ValueError, RuntimeError):  # too long, a null byte, nobody's home
        return False
    return bool(str(name)) and "\0" not in str(name)


def _is_path(name: str | Path) -> bool:
    """Whether a name is meant as a path, though nothing need be there; OWNER/NAME may be a repository."""
    text = str(name)
    return isinstance(name, Path) or text.endswith(SUFFIXES) or text[:1] in "~." or Path(text).is_absolute()


def check_place(what: str, name: str | Path) -> None:
    """Raises ModelNotFound for a path where nothing is, InputError for what is no name; a name alone may be any."""
    if _possible(what, name) and _is_path(name) and not Path(name).expanduser().exists():
        raise ModelNotFound(f"{what}: {shown(str(name))}: no such file or folder. Check the path.")


def _weights(folder: Path, stems: Iterable[str] | None = None) -> list[Path]:
    """Weights files right in a folder, safetensors first; of these stems, in any case, without looking at others."""
    try:
        found = [folder / name for name in sorted(os.listdir(folder))]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        _unreadable(folder, error.strerror or str(error))
        return []
    wanted = None if stems is None else {stem.lower() for stem in stems}
    files = [p for p in found if p.suffix in SUFFIXES and (wanted is None or p.stem.lower() in wanted)]
    return sorted((p for p in files if os.path.isfile(p)), key=lambda p: SUFFIXES.index(p.suffix))


@lru_cache(maxsize=64)
def _unreadable(folder: Path, reason: str) -> None:
    """Says once that a folder is passed over: models in others can still be had."""
    log.warning("%s can't be read (%s), so it is not searched for models. Fix its permissions.", folder, reason)


def _in_folders(
    folders: Iterable[Path], names: Iterable[str], stems: Iterable[str], usual: Iterable[str]
) -> Path | None:
    """A weights file: a usual one in a folder NAME of one of these, or right in one of these as STEM.safetensors.

    usual are paths in NAME, without their endings or as they were published; any format of them will do.
    """
    loose = list(stems)
    for folder in folders:
        for place in (folder / name / path for name in names for path in usual):
            found = [file for file in _weights(place.parent, [place.stem]) if file.stem == place.stem]
            if found or os.path.isfile(place):
                return [*found, place][0]
        for file in _weights(folder, loose):
            return file
    return None


def _weights_at(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder. Check the path.")
    found = _weights(path)
    usual = [p for p in found if p.stem == "model"]
    usual = usual or [p for m in members().values() if m.released and (p := path / m.weights).is_file()]
    usual = usual or (found if len(found) == 1 else [])
    if not usual:
        names = ", ".join(p.name for p in found) or "no .safetensors or .ckpt file"
        raise ModelNotFound(f"{path}: holds {names}. Give the path of one weights file.")
    return usual[0]


def _model_at(path: Path) -> ModelFiles:
    checkpoint = _weights_at(path)
    name = checkpoint.stem if path.is_file() else path.resolve().name
    return ModelFiles(name, checkpoint, config_beside(checkpoint))


def config_beside(checkpoint: Path) -> Path | None:
    """NAME.json, or a config.json that describes a model of this kind (in a shared folder it may be any).

    It may lie in the folder above, as where a published checkpoint has a folder of its own.
    """
    own = checkpoint.with_suffix(".json")
    if own.is_file():
        return own
    beside, above = (folder / CONFIG_FILE for folder in (checkpoint.parent, checkpoint.parent.parent))
    return next((file for file in (beside, above) if file.is_file() and _describes_a_model(file, file == beside)), None)


def _describes_a_model(config: Path, readable: bool) -> bool:
    """Whether a config.json is one of a model; readable: also one that can't be read, which will say what is wrong."""
    try:
        if config.stat().st_size > LARGEST_FILE:
            return readable
        data = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return readable
    if isinstance(data, dict) and {"model_type", "model"} <= data.keys():
        return True
    log.info("%s: describes no AudioX model, so it is not used", config)
    return False


def _given_tokenizer(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    folder = folder.parent if folder.name == TOKENIZER_FILE else folder
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelNotFound(f"{path}: has no {TOKENIZER_FILE}. Give the folder that holds t5-base's.")
    return folder


def _find_tokenizer(
    weights: Path | None, checkpoint: Path | None, released: Released, folders: list[Path]
) -> Path | None:
    own = f"{released.name.replace('-', '_')}_tokenizer"
    places = [folder / name for folder in folders for name in (*_spellings(released), own)]
    if checkpoint is not None:
        places = [checkpoint, checkpoint / own, *places]
    if weights is not None:
        beside = weights.parent
        places = [beside, beside / f"{weights.stem}_tokenizer", beside / own, *places]
    found = next((place for place in places if os.path.isfile(place / TOKENIZER_FILE)), None)
    cached = None if found else _cached(released, TOKENIZER_FILE)
    return cached.parent if cached else found


def _cached(released: Released, file: str) -> Path | None:
    """The file in Hugging Face's own cache, where other programs may have put it."""
    try:
        from huggingface_hub import try_to_load_from_cache
    except ImportError:
        return None
    # Another revision will do where aliases are known: t5-base's weights and tokenizer never changed.
    revisions = [released.revision, *(["main"] if released.repo_aliases else [])]
    for repo in (released.repo, *released.repo_aliases):
        for revision in revisions:
            found = try_to_load_from_cache(repo, file, revision=revision)
            if isinstance(found, str):
                return Path(found)
    return None


def _fetch(
    released: Released,
    files: Sequence[str],
    folders: list[Path],
    models_dirs: Sequence[str | Path],
    download: bool,
    on_progress: OnDownload | None,
) -> dict[str, Path]:
    """Downloads files of a released model; raises ModelNotFound, which says how to do it by hand."""

    named = models_dirs or os.environ.get(MODELS_VARIABLE)
    target = (folders[0] if named else folders[-1]).absolute() / released.name

    def not_found(reason: str) -> ModelNotFound:
        error = ModelNotFound(
            f"{released.name}: {' and '.join(files)} not found here, and not downloaded ({reason}).\n"
            f"Get them from {released.source} (revision {released.revision})\n"
            f"and put them into this folder:\n  {target}\n{released.licence}"
        )
        error.missing, error.folder = tuple(files), target
        return error

    if not download:
        raise not_found("downloading is switched off")
    try:
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise not_found(f"{error}; `pip install huggingface_hub` fixes that") from error
    # The bases of the hub's own error are those of the HTTP library that this version of it uses.
    http_errors: Any = (OSError, *HfHubHTTPError.__bases__)
    what = f"{' and '.join(files)} from {released.source} to {target}"
    log.warning("%s: downloading %s. %s", released.name, what, released.licence)
    try:
        return {file: download_file(released, file, target, on_progress) for file in files}
    except http_errors as error:
        raise not_found(f"{type(error).__name__}: {error}") from error
