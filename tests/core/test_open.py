"""Opening a model: its description, its tensors, and the files beside it, which are found when they are needed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch import Tensor

from audiox_core import load_pipeline
from audiox_core.commands.about import plan_for
from audiox_core.errors import CheckpointError, ConfigError, InputError, ModelNotFound
from audiox_core.memory.machine import measure
from audiox_core.models import member
from audiox_core.pipeline import assemble
from audiox_core.weights import hub
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.load import load_part
from audiox_core.weights.open import Opened, describe_model, open_model
from audiox_core.weights.tensors import write_tensors
from tests.core.small import T5, small_data, small_opened, small_text_tensors


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No models on this machine, no network."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv(hub.MODELS_VARIABLE, raising=False)
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_, **__: None)
    monkeypatch.setattr(hub, "download_file", lambda *_, **__: pytest.fail("something was downloaded"))


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    """The checkpoint of the small model, of which the pipe of the other tests is made."""
    return {key: value for key, value in small_opened().weights.items() if not key.startswith(T5)}


@pytest.fixture
def folder(weights: dict[str, Tensor], tmp_path: Path) -> Path:
    """A checkpoint with its config.json, without a text encoder."""
    folder = tmp_path / "small"
    folder.mkdir()
    write_tensors(weights, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(small_data()))
    return folder


def put_tokenizer(folder: Path) -> Path:
    words = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2, "rain": 3, "wind": 4}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    words.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    folder.mkdir(exist_ok=True)
    words.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


def put_text_encoder(folder: Path, **changes: Tensor) -> Path:
    put_tokenizer(folder)
    (folder / "t5_base.safetensors").unlink(missing_ok=True)
    return write_tensors({**small_text_tensors(), **changes}, folder / "t5_base.safetensors")


def test_files_beside_are_found_when_they_are_needed(folder: Path) -> None:
    """Everything else works without them; one that was put there later is found."""
    opened = open_model(folder, download=False)
    assert opened.name == "small" and opened.notice is None
    parts = opened.model.parts
    for name in ("video", "audio", "dit", "autoencoder"):
        opened.need(parts[name])
        load_part(parts[name], opened.weights)
    for ask in (lambda: opened.need(parts["text"]), lambda: opened.tokenizer):
        with pytest.raises(
            ModelNotFound, match=r"t5-base: tokenizer\.json and model\.safetensors not found here"
        ) as error:
            ask()
        assert "https://huggingface.co/google-t5/t5-base" in str(error.value)
    assert not [key for key in opened.weights if key.startswith(T5)]
    file = put_text_encoder(folder)
    opened.need(parts["text"])
    assert {k.removeprefix(T5) for k in opened.weights if k.startswith(T5)} == set(small_text_tensors())
    assert opened.weights.source(f"{T5}shared.weight") == f"{file}: shared.weight"
    assert opened.tokenizer.encode("rain wind snow") == [3, 4, 2, 1]
    file.unlink()
    opened.need(parts["text"])  # read once


def test_a_pipeline_needs_all_of_them(folder: Path) -> None:
    with pytest.raises(ModelNotFound, match="t5-base"):
        load_pipeline(folder, device="cpu", download=False)
    put_text_encoder(folder)
    pipe = load_pipeline(folder, device="cpu", dtype="fp32", download=False)
    ours = pipe("rain", steps=2, seconds=1.0).waveform
    given = small_opened()
    twin = Opened("twin", given.model, given.weights, tokenizer=pipe.opened.tokenizer)
    theirs = assemble(twin, measure("cpu"), dtype="fp32")("rain", steps=2, seconds=1.0).waveform
    assert torch.equal(ours, theirs), "from files as from memory"


@pytest.mark.parametrize("shared", ["shared.weight", "encoder.embed_tokens.weight"])
def test_a_text_encoder_may_have_a_decoder_and_either_name(shared: str, folder: Path, tmp_path: Path) -> None:
    given = small_text_tensors()
    table = given.pop("shared.weight")
    extra = {"decoder.final_layer_norm.weight": torch.ones(32), "lm_head.weight": torch.ones(64, 32)}
    put_tokenizer(tmp_path / "t5")
    path = write_tensors({**given, shared: table, **extra}, tmp_path / "t5" / "mine.safetensors")
    opened = open_model(folder, text_encoder=path, download=False)
    opened.need(opened.model.parts["text"])
    assert torch.equal(opened.weights[f"{T5}shared.weight"], table)
    assert not [key for key in opened.weights if key.startswith((f"{T5}decoder", f"{T5}lm_head"))]
    encoder: Any = load_part(opened.model.parts["text"], opened.weights)
    assert torch.equal(encoder.t5.encoder.embed_tokens.weight, table)
    assert not any(p.requires_grad or p.is_meta for p in encoder.parameters()) and not encoder.training


def test_a_text_encoder_that_does_not_fit(folder: Path) -> None:
    words, _ = small_text_tensors()["shared.weight"].shape
    stranger = {"text_model.embeddings.position_ids": torch.ones(1), "shared.weight": torch.ones(words, 48)}
    path = put_text_encoder(folder, **stranger)
    opened = open_model(folder, download=False)
    with pytest.raises(CheckpointError, match=r"1 unexpected, 1 misshapen") as error:
        opened.need(opened.model.parts["text"])
    assert str(error.value).startswith(f"{path}: ")
    assert f"shared.weight: expected ({words}, 32), ({words}, 48) in the file" in str(error.value)
    assert "text_model.embeddings.position_ids: not expected" in str(error.value)
    assert str(error.value).endswith("Get the text encoder t5-base.")
    path.unlink()
    write_tensors({"a": torch.ones(1)}, path)
    with pytest.raises(CheckpointError, match=r"shared\.weight: expected"):
        opened.need(opened.model.parts["text"])
    put_text_encoder(folder)
    opened.need(opened.model.parts["text"])  # and is read again once it is mended


def test_a_damaged_text_encoder_is_named(folder: Path) -> None:
    norm = torch.ones(32)
    norm[3] = torch.nan
    path = put_text_encoder(folder, **{"encoder.final_layer_norm.weight": norm})
    opened = open_model(folder, download=False)
    opened.need(opened.model.parts["text"])
    with pytest.raises(CheckpointError, match=r"final_layer_norm.weight: 1 of 32 weights are NaN") as error:
        load_part(opened.model.parts["text"], opened.weights)
    assert str(error.value).startswith(f"{path}: encoder.")


def test_a_broken_tokenizer_is_named(folder: Path) -> None:
    put_text_encoder(folder)
    (folder / "tokenizer.json").write_text("{}")
    opened = open_model(folder, download=False)
    with pytest.raises(InputError, match=r"tokenizer\.json: is no tokenizer"):
        opened.need(opened.model.parts["text"])


def test_places_of_companions(folder: Path, tmp_path: Path) -> None:
    """Hosts have folders of their own for what lies beside checkpoints."""
    put_text_encoder(tmp_path / "hosts")
    opened = open_model(folder, companion_dirs=[tmp_path / "hosts"], download=False)
    opened.need(opened.model.parts["text"])
    other = open_model(folder, models_dirs=[tmp_path / "hosts"], companion_dirs=[], download=False)
    with pytest.raises(ModelNotFound):
        other.need(other.model.parts["text"])
    own = put_tokenizer(tmp_path / "own")
    given = open_model(folder, text_encoder=tmp_path / "hosts" / "t5_base.safetensors", tokenizer=own, download=False)
    given.need(given.model.parts["text"])
    assert given.tokenizer.encode("wind") == [4, 1]


def test_learned_tokens_of_nothing(folder: Path) -> None:
    opened = open_model(folder, download=False)
    parts = opened.model.parts
    key = "conditioner.conditioners.video_prompt.empty_visual_feat"
    learned = opened.learned_nothing(parts["video"])
    assert learned is not None and torch.equal(learned, opened.weights[key]) and learned.dtype == torch.float32
    learned.zero_()
    assert opened.weights[key].any(), "a copy"
    assert opened.learned_nothing(parts["text"]) is None and opened.learned_nothing(parts["dit"]) is None
    half = Opened("half", opened.model, Bundle({k: v.half() for k, v in opened.weights.items()}))
    again = half.learned_nothing(parts["video"])
    assert again is not None and again.dtype == torch.float32


def test_a_model_without_a_text_encoder_opens(weights: dict[str, Tensor], tmp_path: Path) -> None:
    data = small_data()
    data["model"]["conditioning"]["configs"] = data["model"]["conditioning"]["configs"][:1]
    data["model"]["diffusion"]["cross_attention_cond_ids"] = ["video_prompt"]
    kept = {k: v for k, v in weights.items() if "audio_prompt" not in k}
    path = write_tensors(kept, tmp_path / "seeing.safetensors")
    path.with_suffix(".json").write_text(json.dumps(data))
    opened = open_model(path, text_encoder="unused.safetensors", download=False)
    assert list(opened.model.parts) == ["video", "dit", "autoencoder"]
    for part in opened.model.parts.values():
        opened.need(part)
    assert list(describe_model(path).parts) == list(opened.model.parts)


def test_a_published_models_licence_is_told(folder: Path, tmp_path: Path) -> None:
    folder.rename(tmp_path / "AudioX")
    opened = open_model("audiox", models_dirs=[tmp_path], download=False)
    assert opened.name == "AudioX" and "CC-BY-NC" in (opened.notice or "")
    assert opened.notice == member("AudioX").released.licence  # type: ignore[union-attr]


def test_a_checkpoint_that_does_not_fit_its_config(folder: Path, weights: dict[str, Tensor]) -> None:
    less = dict(weights)
    del less["model.model.preprocess_conv.weight"]
    (folder / "model.safetensors").unlink()
    write_tensors(less, folder / "model.safetensors")
    for ask in (open_model, describe_model):
        with pytest.raises(CheckpointError, match=r"1 missing, 0 unexpected"):
            ask(folder)  # type: ignore[operator]


def test_strangers_are_named(tmp_path: Path) -> None:
    path = write_tensors(small_text_tensors(), tmp_path / "t5.safetensors")
    for ask in (open_model, describe_model, plan_for):
        with pytest.raises(CheckpointError, match=r"t5\.safetensors: This is a T5 text encoder.*supported model\.$"):
            ask(path)  # type: ignore[operator]
    unknown = write_tensors({"a": torch.ones(2)}, tmp_path / "unknown.safetensors")
    with pytest.raises(ConfigError, match=r"what this is can't be told\. .* Put the model's config\.json into"):
        open_model(unknown)


def test_what_a_model_is_costs_nothing(tmp_path: Path) -> None:
    """By name though it is nowhere, by its config.json, or with neither an error."""
    assert describe_model("AudioX").channels == 64
    assert describe_model("hkustaudio/audiox").timing.latents == 236
    assert list(describe_model("demo").parts) == ["video", "text", "audio", "dit", "autoencoder"]
    config = tmp_path / "mine.json"
    config.write_text(json.dumps(small_data()))
    assert describe_model("AudioX", config=config).backbone.build(device="meta").config.depth == 2
    for name, error in (("AudioY", InputError), (tmp_path / "no.ckpt", ModelNotFound), ("no.ckpt", ModelNotFound)):
        with pytest.raises(error):
            describe_model(name)  # type: ignore[arg-type]
    machine, plan = plan_for("AudioX", device="cpu", dtype="fp8")
    assert machine.kind == "cpu" and plan.places["dit"].format.storage == "fp8"
