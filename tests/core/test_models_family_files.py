"""Checkpoints of the newer members on disk: what wraps their names, what completes them, what tells them apart."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError, ConfigError, ModelNotFound
from audiox_core.models import members
from audiox_core.models.config import parse_config
from audiox_core.weights import hub
from audiox_core.weights.convert import convert
from audiox_core.weights.layout import describe, expected_keys
from audiox_core.weights.load import load_part, share_equal
from audiox_core.weights.names import layout_names
from audiox_core.weights.open import Opened, describe_model, open_model, read_checkpoint
from audiox_core.weights.tensors import read_tensors, write_tensors
from tests.core.small_family import (
    CLIP,
    PROMPT_VAE,
    SYNCHFORMER,
    VAE,
    companion_tensors,
    member_tensors,
    small_family_data,
    small_member,
)

STUDENT, SYNC_FILE = "audiox_turbo/audiox_turbo.ckpt", "synchformer/synchformer_state_dict.pth"


@pytest.fixture(autouse=True)
def small_members(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The published members at small sizes, and no model anywhere on the machine."""
    for name, data in (("AudioX-MAF", "maf"), ("AudioX-MAF-MMDiT", "mmdit"), ("AudioX-Turbo", "turbo")):
        known = members()[name]
        monkeypatch.setitem(members(), name, replace(known, config=partial(small_family_data, data)))
    monkeypatch.setattr("audiox_core.weights.layout._known", lambda name: parse_config(members()[name].config(), name))
    monkeypatch.setattr(hub, "_cached", lambda released, file: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "nothing here"))
    monkeypatch.delenv("HF_HOME", raising=False)
    monkeypatch.delenv("AUDIOX_MODELS", raising=False)
    monkeypatch.chdir(tmp_path)


def config_file(folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(small_family_data(name)))


def without(tensors: dict[str, Tensor], *starts: str) -> dict[str, Tensor]:
    return {key: value for key, value in tensors.items() if not key.startswith(starts)}


def save(content: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def autoencoder_file(path: Path) -> Path:
    tensors = {key.removeprefix(VAE): v for key, v in member_tensors("turbo").items() if key.startswith(VAE)}
    return save({"state_dict": tensors}, path)


def wrapped(prefix: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {prefix + key: value for key, value in tensors.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        dict,
        wrapped("module."),
        wrapped("model."),
        wrapped("student."),
        wrapped("student.model."),
        lambda t: {"state_dict": t},
        lambda t: {"model": t, "step": 7},
        lambda t: {"student": wrapped("module.")(t), "teacher": {"w": torch.zeros(1)}},
        lambda t: {"student_state_dict": t, "optimizer": {"lr": 1.0}},
    ],
)
def test_containers_of_the_student(wrap: Callable[[dict[str, Tensor]], Any], tmp_path: Path) -> None:
    tensors = member_tensors("turbo")
    path = save(wrap(tensors), tmp_path / "model.ckpt")
    config_file(tmp_path, "turbo")
    model, weights = read_checkpoint(path, tmp_path / "config.json")
    assert model.recipe.sampler == "dmd" and weights.keys() == tensors.keys()
    assert all(torch.equal(weights[key], value) for key, value in tensors.items())
    target = convert(path, tmp_path / "new.safetensors")
    assert read_tensors(target).keys() == tensors.keys()


def test_names_that_fit_as_they_are_stay() -> None:
    expected = {"model.a", "a", "b"}
    assert layout_names(["model.a", "module.b", "c"], expected) == {"model.a": "model.a", "b": "module.b", "c": "c"}
    assert layout_names(["a", "model.a"], {"a"}) == {"a": "a", "model.a": "model.a"}, "one of two is refused, not lost"


def test_a_student_without_autoencoders_and_clip_is_completed(tmp_path: Path, caplog: Any) -> None:
    full = member_tensors("turbo")
    save(without(full, VAE, PROMPT_VAE, CLIP), tmp_path / STUDENT)
    config_file(tmp_path, "turbo")
    autoencoder_file(tmp_path / "pretransform/vae.ckpt")
    clip = {key.removeprefix(CLIP): value for key, value in full.items() if key.startswith(CLIP)}
    others = {"text_model.embeddings.x": torch.zeros(1), "vision_model.embeddings.position_ids": torch.zeros(1, 5)}
    save({**clip, **others}, tmp_path / "clip-vit-base-patch32/pytorch_model.bin")
    save(companion_tensors("turbo", SYNCHFORMER), tmp_path / SYNC_FILE)
    with caplog.at_level(logging.WARNING, "audiox"):
        opened = open_model(tmp_path / STUDENT, download=False, models_dirs=[tmp_path])
        for name in ("video", "audio", "autoencoder"):
            opened.need(opened.model.parts[name])
    assert all(torch.equal(opened.weights[key], value) for key, value in full.items())
    said = [record.getMessage() for record in caplog.records if "is taken from" in record.getMessage()]
    assert [message.split(";")[0].split(": has ")[1] for message in said] == [
        "no vision tower",
        "no autoencoder",
        "no autoencoder",
    ]
    assert all("vae.ckpt" in message for message in said[1:]) and "pytorch_model.bin" in said[0]
    load_part(opened.model.parts["audio"], opened.weights)


def test_what_nothing_completes_is_refused_with_both_lists(tmp_path: Path) -> None:
    full = member_tensors("turbo")
    broken = without(full, "maf_block.", "conditioner.conditioners.audio_prompt.proj_", VAE) | {"extra": torch.zeros(2)}
    path = save(broken, tmp_path / "model.ckpt")
    config_file(tmp_path, "turbo")
    with pytest.raises(CheckpointError) as error:
        open_model(path, download=False)
    said = str(error.value)
    assert "maf_block.unified_experts: expected (6, 32), not in the file" in said
    assert "extra: not expected, (2,) in the file" in said and "pretransform.model." not in said
    assert "audio_prompt.proj_out.weight" in said


def test_half_an_autoencoder_is_not_completed(tmp_path: Path) -> None:
    broken = without(member_tensors("turbo"), f"{VAE}decoder.")
    with pytest.raises(CheckpointError, match=r"pretransform\.model\.decoder\.layers\.0.*not in the file"):
        read_checkpoint(save(broken, tmp_path / "x.ckpt"), "AudioX-Turbo")


def test_mmdit_runs_without_the_file_of_the_autoencoder(tmp_path: Path) -> None:
    path = save({"state_dict": member_tensors("mmdit")}, tmp_path / "AudioX-MAF-MMDiT/model.ckpt")
    config_file(path.parent, "mmdit")
    opened = open_model("AudioX-MAF-MMDiT", download=False, models_dirs=[tmp_path])
    assert opened.model.recipe.objective == "v" and "CC-BY-NC" in (opened.notice or "")
    for name in ("audio", "autoencoder"):
        opened.need(opened.model.parts[name])


def test_equal_keys_need_a_config_or_a_name(tmp_path: Path) -> None:
    path = save({"state_dict": member_tensors("turbo")}, tmp_path / "mystery.ckpt")
    with pytest.raises(ConfigError, match=r"AudioX-MAF-MMDiT and AudioX-Turbo have the same.*config\.json"):
        open_model(path, download=False)
    assert open_model(path, config="AudioX-Turbo", download=False).model.recipe.steps == 4
    assert open_model(path, config="audiox-maf-mmdit", download=False).model.recipe.steps == 250
    named = save({"state_dict": member_tensors("turbo")}, tmp_path / "models/AudioX-Turbo.ckpt")
    assert open_model("AudioX-Turbo", models_dirs=[named.parent], download=False).model.recipe.steps == 4
    maf = save({"state_dict": member_tensors("maf")}, tmp_path / "no hint.ckpt")
    assert open_model(maf, download=False).model.condition("audio").tokens == 1723


def test_a_file_is_what_its_keys_say_whatever_its_name(tmp_path: Path) -> None:
    path = save({"state_dict": member_tensors("maf")}, tmp_path / "AudioX-Turbo.ckpt")
    assert open_model(path, download=False).model.length is None
    with pytest.raises(CheckpointError, match=r"found as AudioX-Turbo, and these are the weights of AudioX-MAF\."):
        open_model("AudioX-Turbo", models_dirs=[tmp_path], download=False)


def test_a_file_without_a_name_is_not_taken_for_any_member(tmp_path: Path) -> None:
    save({"state_dict": member_tensors("maf")}, tmp_path / "model.ckpt")
    with pytest.raises(ModelNotFound, match=r"AudioX-Turbo: config\.json and .* not found"):
        open_model("AudioX-Turbo", models_dirs=[tmp_path], download=False)


def test_converting_what_only_a_config_tells_apart(tmp_path: Path) -> None:
    path = save(wrapped("student.")(member_tensors("turbo")), tmp_path / "mystery.ckpt")
    with pytest.raises(ConfigError, match="have the same"):
        convert(path, tmp_path / "x.safetensors")
    assert read_tensors(convert(path, tmp_path / "x.safetensors", config="AudioX-Turbo")).keys() == set(
        member_tensors("turbo")
    )


def test_a_config_of_the_other_member_is_found_out(tmp_path: Path) -> None:
    path = save({"state_dict": member_tensors("maf")}, tmp_path / "model.ckpt")
    with pytest.raises(CheckpointError, match=r"These are the weights of AudioX-MAF\."):
        read_checkpoint(path, "AudioX-Turbo")


@pytest.mark.parametrize("asked", ["AudioX-Turbo", "folder", "file"])
def test_a_copy_of_the_whole_repository(asked: str, tmp_path: Path) -> None:
    """The nested files where the hub has them; config.json is one folder above the student."""
    root = tmp_path / "AudioX-Turbo"
    save({"state_dict": member_tensors("turbo")}, root / STUDENT)
    config_file(root, "turbo")
    save(companion_tensors("turbo", SYNCHFORMER), root / SYNC_FILE)
    name: Any = {"folder": root, "file": root / STUDENT}.get(asked, asked)
    opened = open_model(name, models_dirs=[tmp_path], download=False)
    assert opened.model.recipe.steps == 4
    opened.need(opened.model.parts["video"])
    assert describe_model(name, models_dirs=[tmp_path]).recipe == opened.model.recipe


def opened_maf(folder: Path) -> Opened:
    path = save({"state_dict": member_tensors("maf")}, folder / "maf.ckpt")
    return open_model(path, download=False, models_dirs=[folder / "others"])


@pytest.mark.parametrize(
    "place",
    [
        "synchformer_state_dict.pth",
        "others/mmaudio_synchformer_fp16.safetensors",
        "others/synchformer/synchformer_state_dict.safetensors",
        "others/AudioX-MAF/synchformer_state_dict.pth",
    ],
)
def test_synchformer_of_others(place: str, tmp_path: Path) -> None:
    """MMAudio's file: only its visual part is read, whatever else it holds and in whatever type."""
    tensors = {key: value.half() for key, value in companion_tensors("maf", SYNCHFORMER).items()}
    more = {"afeat_extractor.x": torch.zeros(3), "transformer.y": torch.zeros(2)}
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    if place.endswith(".pth"):
        torch.save({**tensors, **more}, tmp_path / place)
    else:
        write_tensors({**tensors, **more}, tmp_path / place)
    opened = opened_maf(tmp_path)
    opened.need(opened.model.parts["video"])
    found = {key for key in opened.weights if key.startswith(SYNCHFORMER)}
    assert found == {SYNCHFORMER + key for key in tensors}
    net = load_part(opened.model.parts["video"], opened.weights, dtype=torch.float32)
    key = "vfeat_extractor.blocks.0.mlp.fc1.weight"
    assert torch.equal(net.synchformer.blocks[0].mlp.fc1.weight, tensors[key].float())  # type: ignore[union-attr]


def test_synchformer_missing_or_broken(tmp_path: Path) -> None:
    opened = opened_maf(tmp_path)
    with pytest.raises(ModelNotFound, match=r"synchformer_state_dict\.pth not found.*\n.*HKUSTAudio/AudioX-MAF"):
        opened.need(opened.model.parts["video"])
    tensors = companion_tensors("maf", SYNCHFORMER)
    del tensors["vfeat_extractor.cls_token"]
    save(tensors, tmp_path / "synchformer_state_dict.pth")
    with pytest.raises(CheckpointError, match=r"cls_token: expected \(1, 1, 32\), not in the file"):
        opened.need(opened.model.parts["video"])


def test_a_downloaded_member(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """Only what is needed is fetched, at the pinned revision, into the folders that the repository has."""
    source = tmp_path / "hub"
    save({"state_dict": member_tensors("turbo")}, source / STUDENT)
    config_file(source, "turbo")
    save(companion_tensors("turbo", SYNCHFORMER), source / "synchformer_state_dict.pth")
    fetched = []

    def download(released: Any, file: str, folder: Path, on_progress: Any = None) -> Path:
        fetched.append((released.repo, released.revision[:8], file))
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source / file, target)
        return target

    monkeypatch.setattr(hub, "download_file", download)
    with caplog.at_level(logging.WARNING, "audiox"):
        opened = open_model("AudioX-Turbo", models_dirs=[tmp_path / "models"])
        opened.need(opened.model.parts["video"])
        opened.need(opened.model.parts["autoencoder"])
    assert fetched == [
        ("HKUSTAudio/AudioX-Turbo", "67af549c", "config.json"),
        ("HKUSTAudio/AudioX-Turbo", "67af549c", STUDENT),
        ("HKUSTAudio/AudioX-MAF", "0a6575a6", "synchformer_state_dict.pth"),
    ]
    assert "CC-BY-NC" in caplog.text and (tmp_path / "models/AudioX-Turbo" / STUDENT).is_file()
    again = open_model("AudioX-Turbo", models_dirs=[tmp_path / "models"], download=False)
    again.need(again.model.parts["video"])
    assert again.model.recipe.steps == 4


def test_equal_autoencoders_are_kept_once() -> None:
    tensors, model = member_tensors("turbo"), small_member("turbo")
    networks: Any = {name: load_part(model.parts[name], tensors) for name in ("audio", "autoencoder")}
    before = {k: v.clone() for k, v in networks["audio"].state_dict().items()}
    one, two = networks["audio"].pretransform.model.encoder, networks["autoencoder"].encoder
    large = [p for p in one.parameters() if p.numel() >= 1 << 12]
    assert share_equal(networks.values()) == sum(p.nbytes for p in large) > 0
    shared = {p.data_ptr() for p in two.parameters()}
    assert all(p.data_ptr() in shared for p in one.parameters() if p.numel() >= 1 << 12)
    assert all(torch.equal(before[k], v) for k, v in networks["audio"].state_dict().items())
    with torch.no_grad():
        load = {name: load_part(model.parts[name], tensors) for name in ("audio", "autoencoder")}
        changed: Any = load["audio"]
        for parameter in changed.parameters():
            parameter.view(-1)[-1] += 1e-3
    assert share_equal(load.values()) == 0


def test_strangers_are_named() -> None:
    assert "Synchformer" in (describe(companion_tensors("maf", SYNCHFORMER)) or "")
    assert "autoencoder alone" in (describe(["encoder.layers.0.bias", "decoder.layers.0.bias"]) or "")
    assert describe(expected_keys(small_member("turbo"))) is None
