"""Models and what stands beside them where downloading is switched off, or no folder is named for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from audiox_core.errors import ModelNotFound
from audiox_core.weights import hub
from audiox_core.weights.download import Released
from audiox_core.weights.hub import find_companion, find_model
from audiox_core.weights.open import open_model
from tests.core.machines import FULL

(T5,) = FULL.parts["text"].companions


@pytest.fixture(autouse=True)
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """No models on this machine; what is downloaded is written down with its folder, and appears as an empty file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv(hub.MODELS_VARIABLE, raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    into: list[Path] = []

    def download(released: Released, file: str, folder: Path, on_progress: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
        into.append(folder / file)
        return folder / file

    monkeypatch.setattr(hub, "download_file", download)
    return into


@pytest.mark.parametrize(
    "find",
    [
        lambda: find_model("AudioX", download=False),
        lambda: find_companion(T5, download=False),
        lambda: find_companion(T5, "t5-base", download=False),
        lambda: open_model("AudioX", download=False),
    ],
)
def test_nothing_is_asked_of_the_network(find: Any, asked: list[Path]) -> None:
    with pytest.raises(ModelNotFound, match="downloading is switched off"):
        find()
    assert asked == []


def test_a_missing_tokenizer_is_not_fetched_either(asked: list[Path], tmp_path: Path) -> None:
    weights = tmp_path / "enc" / "t5_base.safetensors"
    weights.parent.mkdir()
    weights.write_text("")
    with pytest.raises(ModelNotFound, match=r"t5-base: tokenizer\.json not found here"):
        find_companion(T5, weights, download=False)
    assert asked == []
    assert find_companion(T5, weights).tokenizer_folder == asked[0].parent


@pytest.mark.parametrize("find", [lambda **given: find_model("AudioX", **given), lambda **g: find_companion(T5, **g)])
def test_where_downloads_go(find: Any, asked: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the first folder that is named, then of those in the environment; else into the user's cache."""
    find()
    assert {file.parent.parent for file in asked} == {hub.model_folders()[-1].absolute()}
    for known in asked:
        known.unlink()
    asked.clear()
    monkeypatch.setenv(hub.MODELS_VARIABLE, str(tmp_path / "named"))
    find()
    assert {file.parent.parent for file in asked} == {tmp_path / "named"}
    for known in asked:
        known.unlink()
    asked.clear()
    find(models_dirs=[tmp_path / "given", tmp_path / "second"])
    assert {file.parent.parent for file in asked} == {tmp_path / "given"}


def test_one_absolute_folder_is_named_for_missing_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That into which a download would go, wherever one stands."""

    def told() -> str:
        with pytest.raises(ModelNotFound) as error:
            find_model("AudioX", download=False)
        return str(error.value)

    assert f"put them into this folder:\n  {tmp_path / 'hf' / 'audiox' / 'AudioX'}\n" in told()
    assert "models/audiox" not in told()
    monkeypatch.setenv(hub.MODELS_VARIABLE, "relative")
    assert f"put them into this folder:\n  {Path('relative').absolute() / 'AudioX'}\n" in told()
