"""What `info` says of model files: which are here, which are missing and where they go; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from audiox_core import __main__ as cli
from audiox_core.weights import hub
from audiox_core.weights.inventory import inventory, told

NAMES = ["AudioX", "AudioX-MAF", "AudioX-MAF-MMDiT", "AudioX-Turbo", "t5-base", "synchformer"]


@pytest.fixture(autouse=True)
def nothing_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No folder of this machine's own is looked into, and a download fails the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("AUDIOX_MODELS", raising=False)
    monkeypatch.setattr(hub, "_cached", lambda *_: None)

    def download(*_: Any, **__: Any) -> Any:
        pytest.fail("something was downloaded")

    monkeypatch.setattr(hub, "download_file", download)


def put(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text('{"model_type": "", "model": {}}')


def test_with_nothing_here(tmp_path: Path) -> None:
    entries = inventory([tmp_path / "models"])
    assert [entry.name for entry in entries] == NAMES
    assert not any(entry.files for entry in entries)
    assert all(entry.folder == tmp_path / "models" / entry.name for entry in entries)
    assert entries[3].missing == ("config.json", "audiox_turbo/audiox_turbo.ckpt")
    assert entries[5].users == ("AudioX-MAF", "AudioX-MAF-MMDiT", "AudioX-Turbo")
    lines = told(entries).splitlines()
    assert lines[1].split(maxsplit=1) == [
        "AudioX",
        f"missing: config.json and model.ckpt, to go into {tmp_path / 'models/AudioX'}",
    ]
    assert lines[6].endswith("(needed by AudioX-MAF, AudioX-MAF-MMDiT, AudioX-Turbo)")
    assert lines[7].startswith("Missing files are downloaded when a model is first used")


def test_with_some_of_them(tmp_path: Path) -> None:
    models = tmp_path / "models"
    own = [models / "AudioX" / name for name in ("model.safetensors", "config.json")]
    t5 = [models / "t5-base" / name for name in ("model.safetensors", "tokenizer.json")]
    bare = models / "AudioX-Turbo" / "model.ckpt"
    put(*own, *t5, bare, models / "AudioX-MAF" / "config.json")
    found = {entry.name: entry for entry in inventory([models])}
    assert found["AudioX"].files == tuple(own) and found["t5-base"].files == (t5[0],)
    assert found["AudioX-Turbo"].files == (bare,) and found["AudioX-MAF"].missing == ("config.json", "model.ckpt")
    said = told(list(found.values()))
    assert f"{own[0]}, {own[1]}\n" in said and f"{bare} without its config.json\n" in said


def test_text_encoder_without_its_tokenizer(tmp_path: Path) -> None:
    put(tmp_path / "t5-base" / "model.safetensors")
    (entry,) = [entry for entry in inventory([tmp_path]) if entry.name == "t5-base"]
    assert entry.missing == ("tokenizer.json",) and not entry.files


def test_beside_the_checkpoint_of_a_model(tmp_path: Path) -> None:
    """Where the published repository has it."""
    put(tmp_path / "AudioX-MAF" / "model.ckpt", tmp_path / "AudioX-MAF" / "synchformer_state_dict.pth")
    (entry,) = [entry for entry in inventory([tmp_path]) if entry.name == "synchformer"]
    assert entry.files == (tmp_path / "AudioX-MAF" / "synchformer_state_dict.pth",)


def test_all_of_them(tmp_path: Path) -> None:
    for name, file in zip(NAMES[:4], ["model.ckpt"] * 3 + ["audiox_turbo/audiox_turbo.ckpt"], strict=True):
        put(tmp_path / name / file, tmp_path / name / "config.json")
    put(*(tmp_path / "t5-base" / name for name in ("model.safetensors", "tokenizer.json")))
    put(tmp_path / "synchformer" / "synchformer_state_dict.pth")
    said = told(inventory([tmp_path]))
    assert "issing" not in said and "without" not in said and len(said.splitlines()) == 7


def test_info_tells_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(tmp_path / "x" / "AudioX-MAF" / "model.safetensors")
    assert cli.main(["info", "--model", "demo", "--device", "cpu", "--models-dir", str(tmp_path / "x")]) == 0
    plan, files = capsys.readouterr().out.split("\n\nmodel files\n")
    assert "transformer" in plan and str(tmp_path / "x" / "AudioX-MAF" / "model.safetensors") in files
