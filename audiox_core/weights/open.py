"""From a model's name to what was opened: its description, its tensors, its tokenizer; for scripts and for hosts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError, ConfigError, ModelNotFound
from ..models import demo, member
from ..models.config import parse_config, read_config
from ..models.family import Member
from ..models.parts import Companion, Model, Part, Words
from ..networks.t5 import ByteTokenizer, T5Tokenizer, Tokenizer
from .bundle import Bundle
from .download import OnDownload, Released
from .hub import TOKENIZER_FILE, find_companion, find_model
from .layout import check_tensors, companion_keys, describe, expected_keys, recognise, require, slots_of
from .names import layout_names
from .tensors import read_tensors

log = logging.getLogger("audiox")


class Opened:
    """A model whose checkpoint is read and fits; files beside it are found when they are needed.

    Nothing is in memory yet: tensors are mapped from their files.
    """

    def __init__(
        self,
        name: str,
        model: Model,
        weights: Bundle,
        *,
        notice: str | None = None,
        folder: Path | None = None,
        paths: Mapping[str, str | Path] | None = None,
        tokenizer: Tokenizer | None = None,
        tokenizer_folder: str | Path | None = None,
        where: Mapping[str, Any] | None = None,
    ):
        """folder is the checkpoint's; paths name files of companions by prefix; where: as find_companion's options."""
        self.name, self.model, self.weights, self.notice = name, model, weights, notice
        self._folder, self._paths, self._where = folder, dict(paths or {}), dict(where or {})
        self._tokenizer, self._tokenizer_folder = tokenizer, tokenizer_folder
        self._read: set[str] = set()

    @property
    def tokenizer(self) -> Tokenizer:
        """The text encoder's tokenizer. Raises ModelNotFound where its files are neither here nor to be had."""
        if self._tokenizer is None:
            self.need(self.model.parts[self.model.reader(Words)])
        if self._tokenizer is None:
            raise ModelNotFound(f"{self.name}: no file of this model brings a tokenizer.")
        return self._tokenizer

    def need(self, part: Part) -> None:
        """Reads the files that a part needs beside the checkpoint, once they can be found.

        Raises ModelNotFound (which files, where they go), CheckpointError when they don't fit.
        """
        for companion in part.companions:
            if companion.prefix not in self._read:
                self._take(companion)
                self._read.add(companion.prefix)

    def _take(self, companion: Companion) -> None:
        prefix = companion.prefix
        if any(key.startswith(prefix) for key in self.weights):
            return  # made on the spot, or in the checkpoint itself
        folder = self._tokenizer_folder if TOKENIZER_FILE in companion.released.files else None
        files = find_companion(companion, self._paths.get(prefix), tokenizer=folder, beside=self._folder, **self._where)
        tensors = read_tensors(files.weights)
        keys = companion.select(tensors)
        mend = f"Get the {companion.label} {companion.released.name}."
        require(
            {ours: tensors[own] for ours, own in keys.items()},
            companion_keys(self.model, prefix),
            files.weights,
            mend=mend,
        )
        self.weights.add(tensors, str(files.weights), prefix, keys)
        if companion.fills:
            log.warning("%s: has no %s; %s* is taken from %s", self.name, companion.label, prefix, files.weights)
        if files.tokenizer_folder is not None and self._tokenizer is None:
            self._tokenizer = T5Tokenizer(files.tokenizer_folder)

    def learned_nothing(self, part: Part) -> Tensor | None:
        """A conditioner's learned tokens (1, M, D) of an absent input, float32; None where it has none."""
        name = part.condition.nothing if part.condition is not None else None
        if name is None:
            return None
        key = next(slot.key for slot in slots_of(part) if slot.name == name)
        return self.weights.private(key).float()


def open_model(
    name: str | Path = "AudioX",
    *,
    config: str | Path | None = None,
    text_encoder: str | Path | None = None,
    tokenizer: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    companion_dirs: Sequence[str | Path] | None = None,
    download: bool = True,
    on_progress: OnDownload | None = None,
) -> Opened:
    """A model by name ("AudioX", "demo", ...), by its checkpoint's path, or by a file's name in models_dirs.

    config, text_encoder and tokenizer are paths, for files that are not found by themselves; companion_dirs are
    looked into for what lies beside checkpoints (models_dirs, unless given). on_progress(file, bytes, all bytes) is
    told of downloads and may raise to cancel. Raises ModelNotFound, CheckpointError, ConfigError, InputError.
    """
    known = member(name)
    if known is not None and known.released is None:
        return _made(known)
    options: dict[str, Any] = {"download": download, "on_progress": on_progress}
    files = find_model(name, models_dirs=models_dirs, **options)
    model, weights = read_checkpoint(files.checkpoint, config or files.config, files.released)
    readers = [part for part in model.conditioners if part.condition and isinstance(part.condition.reads, Words)]
    text = [companion.prefix for part in readers for companion in part.companions]
    return Opened(
        files.name,
        model,
        weights,
        notice=files.released.licence if files.released else None,
        folder=files.checkpoint.parent,
        paths={prefix: text_encoder for prefix in text if text_encoder is not None},
        tokenizer_folder=tokenizer,
        where={"models_dirs": models_dirs if companion_dirs is None else companion_dirs, **options},
    )


def describe_model(
    name: str | Path = "AudioX", *, config: str | Path | None = None, models_dirs: Sequence[str | Path] = ()
) -> Model:
    """What a model is, without loading or downloading it; one that isn't on disk as it was published.

    Raises ModelNotFound for a path that isn't there, InputError for an unknown name, ConfigError, CheckpointError.
    """
    if config is not None:
        return configured(config)
    known = member(name)
    try:
        files = None if known and not known.released else find_model(name, models_dirs=models_dirs, download=False)
    except ModelNotFound:
        if known is None:
            raise
        files = None
    if files is None:
        assert known is not None
        return parse_config(known.config(), known.name)
    return read_checkpoint(files.checkpoint, files.config, files.released)[0]


def read_checkpoint(
    path: str | Path, config: str | Path | None = None, released: Released | None = None
) -> tuple[Model, Bundle]:
    """A checkpoint's model and its tensors by the names of that model's layout, checked against it.

    config is the file that describes it, or a published model's name; released what was asked for by name. Without
    either the keys tell. Raises ConfigError, CheckpointError.
    """
    tensors = read_tensors(path)
    _check_name(tensors, path, released)
    model = model_of(tensors, config, path, released)
    names = layout_names(tensors, expected_keys(model))
    renamed = sum(ours != own for ours, own in names.items())
    if renamed:
        log.info("%s: %d keys are taken without what a training loop put before them", path, renamed)
    weights = Bundle(tensors, keys=names)
    check_tensors(weights, model, path)
    return model, weights


def _check_name(tensors: Mapping[str, Tensor], path: str | Path, released: Released | None) -> None:
    """Raises CheckpointError when the file that was found by a published name is another published model."""
    alike = recognise(tensors) if released is not None else []
    if released is not None and alike and all(known.released is not released for known in alike):
        found = " or ".join(known.name for known in alike)
        raise CheckpointError(
            f"{path}: was found as {released.name}, and these are the weights of {found}. Ask for it by that name, or "
            "give the file's path."
        )


def configured(config: str | Path) -> Model:
    """The model of a config.json's path, or of a published model's name. Raises ConfigError."""
    known = member(config)
    return read_config(config) if known is None else parse_config(known.config(), known.name)


def model_of(
    tensors: Mapping[str, Tensor], config: str | Path | None, source: str | Path, released: Released | None = None
) -> Model:
    """The model on file, or the published one that the weights give away. Raises ConfigError, CheckpointError."""
    if config is not None:
        return configured(config)
    alike = recognise(tensors)
    asked = [known for known in alike if known.released is released]
    if len(alike) == 1 or asked:
        (found,) = asked or alike
        return parse_config(found.config(), found.name)
    if alike:
        names = " and ".join(known.name for known in alike)
        raise ConfigError(
            f"{source}: {names} have the same weights' names and shapes, so only the config.json tells them apart. "
            "Put the one that was published with this file into the same folder, or give a name of these as config."
        )
    known = describe(tensors)
    if known is not None:
        raise CheckpointError(f"{source}: {known} Give the weights of a supported model.")
    if released is not None:
        return configured(released.name)  # checking against it will say what is missing
    raise ConfigError(
        f"{source}: what this is can't be told. It is no published model of the family, and no config.json lies beside "
        "it. Put the model's config.json into the same folder."
    )


def _made(known: Member) -> Opened:
    """A demo model: every weight a function of its name and shape."""
    model = parse_config(known.config(), known.name)
    made = {key: demo.random_weight(key, shape) for key, shape in expected_keys(model).items()}
    weights = Bundle(made, known.name)
    for companion in model.companions:
        prefix = companion.prefix
        if companion.fills:
            continue  # in the checkpoint itself
        own = {key: demo.random_weight(prefix + key, shape) for key, shape in companion_keys(model, prefix).items()}
        weights.add(own, known.name, prefix)
    notice = f"{known.name}: {demo.NOISE}"
    return Opened(known.name, model, weights, notice=notice, tokenizer=ByteTokenizer())
