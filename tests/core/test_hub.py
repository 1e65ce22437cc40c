"""Finding model files: names, paths, folders, caches, a fake download, and what is said when there are none."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest

from audiox_core.errors import InputError, ModelNotFound
from audiox_core.models import members
from audiox_core.models.config import LARGEST_FILE, read_config
from audiox_core.weights import hub
from audiox_core.weights.download import Released
from audiox_core.weights.hub import CompanionFiles, ModelFiles, find_companion, find_model, model_folders
from tests.core.machines import FULL
from tests.core.small import small_data

Make = Callable[..., Path]
(T5,) = FULL.parts["text"].companions
BASE = members()["AudioX"].released


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """No models on this machine, no network; returns what the cache of Hugging Face is asked for."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv(hub.MODELS_VARIABLE, raising=False)
    asked: list[tuple[str, str, str]] = []

    def from_cache(repo: str, file: str, *, revision: str) -> None:
        asked.append((repo, file, revision))

    def no_network(*args: object) -> Path:
        raise ConnectionError("no network in this test")

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", from_cache)
    monkeypatch.setattr(hub, "download_file", no_network)
    return asked


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def create(name: str, content: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    return create


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """A working network: what is downloaded from where at which revision appears as an empty file."""
    done: list[tuple[str, str]] = []

    def download(released: Released, file: str, folder: Path, on_progress: object) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text("")
        done.append((f"{released.repo}@{released.revision}", file))
        return folder / file

    monkeypatch.setattr(hub, "download_file", download)
    return done


@pytest.mark.parametrize(
    "place",
    [
        "AudioX/model.safetensors",
        "AudioX/model.ckpt",
        "audiox/model.ckpt",
        "HKUSTAudio/AudioX/model.ckpt",
        "AudioX.safetensors",
        "audiox.ckpt",
        "model.ckpt",
    ],
)
@pytest.mark.parametrize("name", ["AudioX", "audiox", "HKUSTAudio/AudioX", "hkustaudio/audiox"])
def test_released_name_finds_local_copies(place: str, name: str, make: Make, tmp_path: Path) -> None:
    path = make(f"models/{place}")
    assert find_model(name, models_dirs=[tmp_path / "models"]) == ModelFiles("AudioX", path, None, BASE)


def test_folders_are_searched_in_order(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make("hf/audiox/AudioX/model.ckpt")
    assert find_model("AudioX").checkpoint == home
    make("work/models/audiox/AudioX/model.ckpt")
    assert find_model("AudioX").checkpoint == Path("models/audiox/AudioX/model.ckpt")
    named = make("second/model.ckpt")
    monkeypatch.setenv(hub.MODELS_VARIABLE, f"{tmp_path / 'first'}{os.pathsep}{tmp_path / 'second'}")
    assert find_model("AudioX").checkpoint == named
    given = make("given/AudioX.ckpt")
    safe = make("given/audiox.safetensors")
    assert find_model("AudioX", models_dirs=[tmp_path / "given"]).checkpoint == safe
    safe.unlink()
    assert find_model("AudioX", models_dirs=[tmp_path / "given"]).checkpoint == given


def test_own_models_are_found_by_name(make: Make, tmp_path: Path) -> None:
    file = make("models/Fine Tune.safetensors")
    folder = make("models/other/model.ckpt")
    assert find_model("fine tune", models_dirs=[tmp_path / "models"]).checkpoint == file
    assert find_model("other", models_dirs=[tmp_path / "models"]).checkpoint == folder


def test_paths(make: Make, tmp_path: Path) -> None:
    path = make("模型/mine.ckpt")
    assert find_model(str(path)) == ModelFiles("mine", path, None)
    assert find_model(path.parent).checkpoint == path
    preferred = make("模型/model.safetensors")
    assert find_model(str(path.parent)) == ModelFiles("模型", preferred, None)
    assert find_model("../模型").checkpoint.name == "model.safetensors"
    preferred.unlink()
    make("模型/second.ckpt")
    with pytest.raises(ModelNotFound, match=r"holds mine\.ckpt, second\.ckpt\. Give the path of one"):
        find_model(path.parent)
    with pytest.raises(ModelNotFound, match=r"none\.ckpt: no such file"):
        find_model(tmp_path / "none.ckpt")
    with pytest.raises(ModelNotFound, match=r"holds no \.safetensors or \.ckpt file"):
        find_model(make("empty/readme").parent)


def test_config_beside_a_checkpoint(make: Make, tmp_path: Path) -> None:
    path = make("m/AudioX.ckpt")
    foreign = make("m/config.json", json.dumps({"model_type": "t5", "transformers_version": "5"}))
    assert find_model(path).config is None
    foreign.write_text(json.dumps(small_data()))
    config = find_model(path).config
    assert config == foreign
    assert read_config(config).backbone.build(device="meta").config.depth == 2
    for broken in ("{broken", "[" * 100_000, " " * LARGEST_FILE + json.dumps({"model_type": "t5"})):
        foreign.write_text(broken)
        assert find_model(path).config == foreign, "reading it tells what is wrong"
    own = make("m/AudioX.json", "{}")
    assert find_model(path).config == own


@pytest.mark.parametrize("name", ["AudoiX", "HKUSTAudio/AudioX-Next", "stable-audio", "n" * 5000, "null\0byte", ""])
def test_unknown_names(name: str, make: Make, tmp_path: Path) -> None:
    make("models/mine.ckpt")
    with pytest.raises(InputError, match=f"Valid: {', '.join(members())}, mine\\.") as error:
        find_model(name, models_dirs=[tmp_path / "models"])
    assert repr(name)[:50] in str(error.value)
    assert len(str(error.value)) < 600
    if name == "AudoiX":
        assert "Did you mean 'AudioX'" in str(error.value)


def test_cache_of_hugging_face(
    make: Make, nowhere: list[tuple[str, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, config = make("cache/model.ckpt"), make("cache/config.json")

    def from_cache(repo: str, file: str, *, revision: str) -> str | None:
        nowhere.append((repo, file, revision))
        return {"model.ckpt": str(checkpoint), "config.json": str(config)}.get(file)

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", from_cache)
    assert find_model("AudioX") == ModelFiles("AudioX", checkpoint, config, BASE)
    assert {(repo, revision) for repo, _, revision in nowhere} == {
        ("HKUSTAudio/AudioX", "3d49eff6430b739ba5a28357b1a0eedd843e6711")
    }


def test_download_is_pinned_and_tells_the_licence(
    downloads: list[tuple[str, str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "audiox"):
        files = find_model("AudioX")
    folder = tmp_path / "hf" / "audiox" / "AudioX"
    assert files == ModelFiles("AudioX", folder / "model.ckpt", folder / "config.json", BASE)
    pinned = "HKUSTAudio/AudioX@3d49eff6430b739ba5a28357b1a0eedd843e6711"
    assert downloads == [(pinned, "config.json"), (pinned, "model.ckpt")]
    assert "CC-BY-NC 4.0" in caplog.text
    assert "watermarked" in caplog.text
    assert find_model("AudioX").checkpoint == files.checkpoint
    assert len(downloads) == 2, "found the second time"


def test_download_goes_where_models_are(
    downloads: list[tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_model("AudioX", models_dirs=[tmp_path / "a", tmp_path / "b"]).checkpoint.parts[-3] == "a"
    monkeypatch.setenv(hub.MODELS_VARIABLE, str(tmp_path / "c"))
    assert find_model("AudioX").checkpoint == tmp_path / "c" / "AudioX" / "model.ckpt"


@pytest.mark.parametrize("download", [True, False])
def test_without_network_the_way_out_is_told(download: bool, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound) as error:
        find_model("AudioX", models_dirs=[tmp_path / "models"], download=download)
    text = str(error.value)
    assert "config.json and model.ckpt" in text
    assert str(tmp_path / "models" / "AudioX") in text
    assert "https://huggingface.co/HKUSTAudio/AudioX (revision 3d49eff" in text
    assert ("no network in this test" if download else "downloading is switched off") in text


def test_real_failures_of_the_network_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the HTTP library in use raises when nobody answers."""
    from audiox_core.weights.download import download_file

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(hub, "download_file", download_file)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *args, **kw: "http://127.0.0.1:1/file")
    with pytest.raises(ModelNotFound, match=f"put them into this folder:\n  {tmp_path}"):
        find_model("AudioX", models_dirs=[tmp_path / "models"])


def test_missing_library_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setitem(sys.modules, "huggingface_hub.errors", None)
    with pytest.raises(ModelNotFound, match="pip install huggingface_hub"):
        find_model("AudioX")


def test_cancelling_passes_through(monkeypatch: pytest.MonkeyPatch) -> None:
    class Cancelled(Exception):
        pass

    def cancelled(released: Released, file: str, folder: Path, on_progress: hub.OnDownload) -> Path:
        on_progress(file, 1, 2)
        return folder

    def cancel(file: str, done: int, total: int) -> None:
        raise Cancelled

    monkeypatch.setattr(hub, "download_file", cancelled)
    with pytest.raises(Cancelled):
        find_model("AudioX", on_progress=cancel)


@pytest.mark.parametrize(
    "tokenizer",
    ["t5/tokenizer.json", "t5/t5_base_tokenizer/tokenizer.json", "t5/mine_tokenizer/tokenizer.json"],
)
def test_text_encoder_file_with_its_tokenizer(tokenizer: str, make: Make) -> None:
    weights, beside = make("t5/mine.safetensors"), make(tokenizer)
    assert find_companion(T5, weights) == CompanionFiles("t5-base", weights, beside.parent)


def test_text_encoder_in_the_folders(make: Make, tmp_path: Path) -> None:
    weights, tokenizer = make("enc/t5_base.safetensors"), make("models/t5-base/tokenizer.json")
    found = find_companion(T5, models_dirs=[tmp_path / "models", tmp_path / "enc"])
    assert found == CompanionFiles("t5-base", weights, tokenizer.parent)
    own = make("own/tokenizer.json")
    for given in (own, own.parent, str(own)):
        assert find_companion(T5, weights, tokenizer=given).tokenizer_folder == own.parent
    with pytest.raises(ModelNotFound, match=r"has no tokenizer\.json"):
        find_companion(T5, weights, tokenizer=tmp_path)


def test_text_encoder_in_the_cache(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs fetched it as t5-base, at whatever revision was the newest."""
    weights, tokenizer = make("cache/model.safetensors"), make("cache/tokenizer.json")

    def from_cache(repo: str, file: str, *, revision: str) -> str | None:
        return str(tokenizer.with_name(file)) if (repo, revision) == ("t5-base", "main") else None

    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", from_cache)
    assert find_companion(T5) == CompanionFiles("t5-base", weights, tokenizer.parent)


def test_only_what_is_missing_of_a_text_encoder_is_downloaded(
    downloads: list[tuple[str, str]], make: Make, tmp_path: Path
) -> None:
    pinned = "google-t5/t5-base@a9723ea7f1b39c1eae772870f3b547bf6ef7e6c1"
    weights = make("enc/t5_base.safetensors")
    found = find_companion(T5, weights, models_dirs=[tmp_path / "models"])
    assert found.weights == weights
    assert downloads == [(pinned, "tokenizer.json")]
    downloads.clear()
    other = find_companion(T5, "google-t5/t5-base", models_dirs=[tmp_path / "new"])
    assert other.weights == other.tokenizer_folder / "model.safetensors"
    assert downloads == [(pinned, "tokenizer.json"), (pinned, "model.safetensors")]


def test_text_encoder_that_is_nowhere(make: Make) -> None:
    with pytest.raises(ModelNotFound, match=r"tokenizer\.json and model\.safetensors not found here"):
        find_companion(T5)
    with pytest.raises(ModelNotFound, match=r"t5-base: tokenizer\.json not found here"):
        find_companion(T5, make("enc/t5_base.safetensors"))
    with pytest.raises(InputError, match="Did you mean 't5-base'"):
        find_companion(T5, "t5-bse")


@pytest.mark.parametrize("given", [5, None, b"AudioX", ["AudioX"]])
def test_names_are_texts_or_paths(given: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"model: expected a name or a path, got {type(given).__name__}"):
        find_model(given)
    if given is not None:
        with pytest.raises(InputError, match=f"text encoder: expected a name or a path, got {type(given).__name__}"):
            find_companion(T5, given)


def test_the_folder_of_the_checkpoint_comes_first(make: Make, tmp_path: Path) -> None:
    weights = make("models/t5_base.safetensors")
    make("models/tokenizer.json")
    own = make("model/t5-base.safetensors")
    make("model/tokenizer.json")
    found = find_companion(T5, models_dirs=[tmp_path / "models"], beside=tmp_path / "model")
    assert found == CompanionFiles("t5-base", own, own.parent)
    assert find_companion(T5, models_dirs=[tmp_path / "models"]).weights == weights
    other = find_companion(T5, weights, models_dirs=[tmp_path / "models"], beside=tmp_path / "model")
    assert other.weights == weights, "a given path wins"


def test_the_first_folder_is_the_given_one() -> None:
    assert model_folders(["~/x"])[0] == Path("~/x").expanduser()


def test_importing_touches_neither_network_nor_its_libraries() -> None:
    code = (
        "import socket, sys\n"
        "def refuse(*args, **kw): raise SystemExit('network at import')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "import audiox_core.weights.hub, audiox_core.weights.download, audiox_core.weights.load\n"
        "sys.exit('huggingface_hub' in sys.modules or 'transformers' in sys.modules)\n"
    )
    root = Path(hub.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_tokenizer_beside_the_checkpoint_is_found(make: Make, tmp_path: Path) -> None:
    """Also where the text encoder's weights lie elsewhere, as in a host's folder; theirs comes first."""
    weights = make("enc/t5_base.safetensors")
    tokenizer = make("AudioX/tokenizer.json")
    found = find_companion(T5, weights, beside=tmp_path / "AudioX", download=False)
    assert found == CompanionFiles("t5-base", weights, tokenizer.parent)
    nearer = make("enc/tokenizer.json")
    assert find_companion(T5, weights, beside=tmp_path / "AudioX").tokenizer_folder == nearer.parent
