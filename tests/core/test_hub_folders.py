"""Folders in which models are looked for: ones that may not be read, and ones with many other files."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import pytest

from audiox_core.errors import InputError, ModelNotFound
from audiox_core.weights import hub
from audiox_core.weights.hub import find_companion, find_model
from tests.core.machines import FULL

(T5,) = FULL.parts["text"].companions


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models on this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv(hub.MODELS_VARIABLE, raising=False)
    monkeypatch.setattr(hub, "_cached", lambda *_: None)
    hub._unreadable.cache_clear()


def shut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody may read the folder any more, as chmod 000 does it (but not to root, as whom tests may run)."""

    def refusing(call: Any, *, inside: bool) -> Any:
        def refuse(path: Any = ".", *given: Any, **named: Any) -> Any:
            place = Path(path) if isinstance(path, str | os.PathLike) else Path()
            if folder in place.parents or (place == folder and not inside):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *given, **named)

        return refuse

    monkeypatch.setattr(os, "listdir", refusing(os.listdir, inside=False))
    monkeypatch.setattr(os, "scandir", refusing(os.scandir, inside=False))
    monkeypatch.setattr(os, "stat", refusing(os.stat, inside=True))


def test_a_folder_that_may_not_be_read_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    closed, opened = tmp_path / "closed", tmp_path / "opened"
    for folder in (closed / "AudioX", opened / "AudioX", opened / "t5-base"):
        folder.mkdir(parents=True)
        (folder / "model.safetensors").touch()
    (opened / "t5-base" / "tokenizer.json").touch()
    shut(closed, monkeypatch)
    caplog.set_level(logging.WARNING, "audiox")
    for _ in range(2):
        found = find_model("AudioX", models_dirs=[closed, opened], download=False)
        assert found.checkpoint == opened / "AudioX" / "model.safetensors"
        words = find_companion(T5, models_dirs=[closed, opened], download=False)
        assert (words.weights, words.tokenizer_folder) == (opened / "t5-base" / "model.safetensors", opened / "t5-base")
    told = [record.getMessage() for record in caplog.records if f"{closed} can't be read" in record.getMessage()]
    assert told == [
        f"{closed} can't be read (Permission denied), so it is not searched for models. Fix its permissions."
    ]
    with pytest.raises(ModelNotFound, match="downloading is switched off"):
        find_model("AudioX", models_dirs=[closed], download=False)
    with pytest.raises(InputError, match="unknown name"):
        find_model("mine", models_dirs=[closed], download=False)


def test_other_files_of_a_folder_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ComfyUI asks whenever its page is opened, and a folder on a network may hold hundreds of models."""
    folder = tmp_path / "models"
    folder.mkdir()
    looks: list[str] = []
    stat = os.stat

    def counted(path: Any, *given: Any, **named: Any) -> Any:
        looks.append(str(path))
        return stat(path, *given, **named)

    monkeypatch.setattr(os, "stat", counted)
    counts = []
    for number in range(3):
        (folder / f"other{number}.safetensors").touch()
        looks.clear()
        with pytest.raises(ModelNotFound):
            find_model("AudioX", models_dirs=[folder], download=False)
        counts.append(len(looks))
        assert not [path for path in looks if Path(path).name.startswith("other")]
    assert len(set(counts)) == 1
    (folder / "AudioX.SAFETENSORS").touch()
    (folder / "audiox.ckpt").touch()
    assert find_model("AudioX", models_dirs=[folder], download=False).checkpoint == folder / "audiox.ckpt"
