"""Model files: found on disk, or else downloaded from the Hugging Face hub after a notice."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, ModelNotFound, nearest
from .download import OnDownload, Released, download_file

log = logging.getLogger("audiox")

SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth")
MODELS_VARIABLE = "AUDIOX_MODELS"
LOCAL_FOLDER = Path("models/audiox")
TOKENIZER_FILE = "tokenizer.json"


RELEASED = {
    "AudioX": Released(
        name="AudioX",
        repo="HKUSTAudio/AudioX",
        revision="3d49eff6430b739ba5a28357b1a0eedd843e6711",
        files=("config.json", "model.ckpt"),
        licence="The weights are licensed CC-BY-NC 4.0 (no commercial use), and the model is watermarked.",
    )
}
TEXT_ENCODERS = {
    "t5-base": Released(
        name="t5-base",
        repo="google-t5/t5-base",
        revision="a9723ea7f1b39c1eae772870f3b547bf6ef7e6c1",
        files=(TOKENIZER_FILE, "model.safetensors"),
        licence="The weights are licensed Apache 2.0.",
        repo_aliases=("t5-base",),
    )
}


@dataclass(frozen=True)
class ModelFiles:
    """A checkpoint, and its config.json if one lies beside it."""

    name: str
    checkpoint: Path
    config: Path | None


@dataclass(frozen=True)
class TextEncoderFiles:
    """A T5 weights file and the folder that holds its tokenizer.json."""

    name: str
    weights: Path
    tokenizer_folder: Path


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
    released = _released(name, RELEASED)
    if released is None and _is_path(name):
        return _model_at(Path(name).expanduser())
    folders = model_folders(models_dirs)
    names = _spellings(released) if released else [str(name)]
    checkpoint = _in_folders(folders, names, bare=released is not None)
    if checkpoint is not None:
        return ModelFiles(released.name if released else str(name), checkpoint, _config_beside(checkpoint))
    if released is None:
        if Path(name).exists():
            return _model_at(Path(name))
        local = sorted({p.stem for folder in folders for p in _weights(folder)})
        raise InputError(
            f"model: unknown name {str(name)!r}.{nearest(str(name), [*RELEASED, 'demo', *local])} "
            "Or give the path of a .safetensors or .ckpt file."
        )
    cached = _cached(released, "model.ckpt")
    if cached is not None:
        return ModelFiles(released.name, cached, _cached(released, "config.json"))
    files = _fetch(released, released.files, folders, models_dirs, download, on_progress)
    return ModelFiles(released.name, files["model.ckpt"], files["config.json"])


def find_text_encoder(
    name: str | Path = "t5-base",
    *,
    tokenizer: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    download: bool = True,
    on_progress: OnDownload | None = None,
) -> TextEncoderFiles:
    """The files of a text encoder: "t5-base", or its weights' path (such as ComfyUI's t5_base.safetensors).

    tokenizer is a tokenizer.json or its folder. Without one it is looked for beside the weights (there, in
    t5_base_tokenizer/ or in NAME_tokenizer/), then where models are, then downloaded. Else as find_model.
    """
    released = _released(name, TEXT_ENCODERS)
    folders = model_folders(models_dirs)
    weights: Path | None
    if released is not None:
        weights = _in_folders(folders, _spellings(released), bare=False)
        weights = weights or _cached(released, "model.safetensors")
    elif _is_path(name) or Path(name).exists():
        released = TEXT_ENCODERS["t5-base"]
        weights = _weights_at(Path(name).expanduser())
    else:
        raise InputError(
            f"text encoder: unknown name {str(name)!r}.{nearest(str(name), list(TEXT_ENCODERS))} "
            "Or give the path of a .safetensors file."
        )
    found = _given_tokenizer(tokenizer) if tokenizer else _find_tokenizer(weights, released, folders)
    missing = [f for f, have in ((TOKENIZER_FILE, found), ("model.safetensors", weights)) if have is None]
    files = _fetch(released, missing, folders, models_dirs, download, on_progress) if missing else {}
    return TextEncoderFiles(released.name, weights or files["model.safetensors"], found or files[TOKENIZER_FILE].parent)


def _released(name: str | Path, table: Mapping[str, Released]) -> Released | None:
    wanted = str(name).lower()
    return next((r for r in table.values() if wanted in (r.name.lower(), r.repo.lower())), None)


def _spellings(released: Released) -> list[str]:
    name = released.name
    return list(dict.fromkeys([name, name.lower(), name.replace("-", "_"), released.repo]))


def _is_path(name: str | Path) -> bool:
    """Whether a name is meant as a path, though nothing need be there; OWNER/NAME may be a repository."""
    text = str(name)
    return isinstance(name, Path) or text.endswith(SUFFIXES) or text[:1] in "~." or Path(text).is_absolute()


def _weights(folder: Path) -> list[Path]:
    """Weights files right in a folder, safetensors first."""
    if not folder.is_dir():
        return []
    files = [p for p in sorted(folder.iterdir()) if p.suffix in SUFFIXES and p.is_file()]
    return sorted(files, key=lambda p: SUFFIXES.index(p.suffix))


def _in_folders(folders: list[Path], names: list[str], *, bare: bool) -> Path | None:
    """NAME/model.safetensors (or .ckpt) or NAME.safetensors in a folder; bare: also model.safetensors."""
    for folder in folders:
        for name in names:
            inside = [p for p in _weights(folder / name) if p.stem == "model"]
            if inside:
                return inside[0]
        stems = [*(name.lower() for name in names), *(["model"] if bare else [])]
        for found in _weights(folder):
            if found.stem.lower() in stems:
                return found
    return None


def _weights_at(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ModelNotFound(f"{path}: no such file or folder. Check the path.")
    found = _weights(path)
    usual = [p for p in found if p.stem == "model"] or (found if len(found) == 1 else [])
    if not usual:
        names = ", ".join(p.name for p in found) or "no .safetensors or .ckpt file"
        raise ModelNotFound(f"{path}: holds {names}. Give the path of one weights file.")
    return usual[0]


def _model_at(path: Path) -> ModelFiles:
    checkpoint = _weights_at(path)
    name = checkpoint.stem if path.is_file() else path.resolve().name
    return ModelFiles(name, checkpoint, _config_beside(checkpoint))


def _config_beside(checkpoint: Path) -> Path | None:
    """NAME.json, or a config.json that describes a model of this kind (in a shared folder it may be any)."""
    own, shared = checkpoint.with_suffix(".json"), checkpoint.with_name("config.json")
    if own.is_file():
        return own
    if not shared.is_file():
        return None
    try:
        data = json.loads(shared.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return shared  # reading it will say what is wrong
    if isinstance(data, dict) and {"model_type", "model"} <= data.keys():
        return shared
    log.info("%s: describes no AudioX model, so it is not used for %s", shared, checkpoint.name)
    return None


def _given_tokenizer(path: str | Path) -> Path:
    folder = Path(path).expanduser()
    folder = folder.parent if folder.name == TOKENIZER_FILE else folder
    if not (folder / TOKENIZER_FILE).is_file():
        raise ModelNotFound(f"{path}: has no {TOKENIZER_FILE}. Give the folder that holds t5-base's.")
    return folder


def _find_tokenizer(weights: Path | None, released: Released, folders: list[Path]) -> Path | None:
    own = f"{released.name.replace('-', '_')}_tokenizer"
    places = [folder / name for folder in folders for name in (*_spellings(released), own)]
    if weights is not None:
        beside = weights.parent
        places = [beside, beside / f"{weights.stem}_tokenizer", beside / own, *places]
    found = next((place for place in places if (place / TOKENIZER_FILE).is_file()), None)
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

    def not_found(reason: str) -> ModelNotFound:
        places = "\n".join(f"  {folder / released.name}" for folder in folders)
        return ModelNotFound(
            f"{released.name}: {' and '.join(files)} not found here, and not downloaded ({reason}).\n"
            f"Get them from {released.source} (revision {released.revision})\n"
            f"and put them into one of these folders:\n{places}\n{released.licence}"
        )

    if not download:
        raise not_found("downloading is switched off")
    try:
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise not_found(f"{error}; `pip install huggingface_hub` mends that") from error
    # The bases of the hub's own error are those of the HTTP library that this version of it uses.
    http_errors: Any = (OSError, *HfHubHTTPError.__bases__)
    named = models_dirs or os.environ.get(MODELS_VARIABLE)
    target = (folders[0] if named else folders[-1]) / released.name
    what = f"{' and '.join(files)} from {released.source} to {target}"
    log.warning("%s: downloading %s. %s", released.name, what, released.licence)
    try:
        return {file: download_file(released, file, target, on_progress) for file in files}
    except http_errors as error:
        raise not_found(f"{type(error).__name__}: {error}") from error
