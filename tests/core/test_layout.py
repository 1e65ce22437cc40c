"""The released layout against its golden list, and reports about files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError, InputError
from audiox_core.models.config import read_config
from audiox_core.weights.layout import base_config, build, check_tensors, describe, expected_keys, recognise
from tests.core.small import small_config

GOLDEN = Path(__file__).parents[1] / "golden" / "audiox"
MAF_KEYS = ["maf_block.norm1.bias", "model.model.transformer.project_in.weight"]


def meta_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(("keys", "config"), [("keys.full", "config.full"), ("keys.tiny", "config")])
def test_layout_is_the_released_one(keys: str, config: str) -> None:
    golden = json.loads((GOLDEN / f"{keys}.json").read_text())
    expected = expected_keys(read_config(GOLDEN / f"{config}.json"))
    assert expected == {key: tuple(shape) for key, (shape, _) in golden.items()}
    assert {dtype for _, dtype in golden.values()} == {"float32"}


def test_base_model_is_recognised_even_with_a_key_missing() -> None:
    tensors = meta_tensors(expected_keys(base_config()))
    del tensors["model.model.transformer.project_in.weight"]
    config = recognise(tensors)
    assert config == read_config(GOLDEN / "config.full.json")
    with pytest.raises(CheckpointError, match=r"1 missing, 0 unexpected of 1357 keys") as error:
        check_tensors(tensors, config, "AudioX.ckpt")
    assert "project_in.weight: expected (1536, 64), not in the file" in str(error.value)


def test_other_models_are_not_taken_for_the_base_model() -> None:
    assert recognise(meta_tensors(expected_keys(small_config()))) is None
    assert recognise({}) is None


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (MAF_KEYS, "AudioX-MAF, which"),
        ([*MAF_KEYS, "model.model.transformer.proj_mm_seq_len.weight"], "AudioX-MAF-MMDiT or AudioX-Turbo"),
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.k.weight"], "T5 text encoder"),
        (["encoder.layers.0.bias", "decoder.layers.0.bias"], "autoencoder alone"),
        (["diffusion.model.model.to_cond_embed.0.weight"], "training checkpoint"),
        (["model.model.x", "conditioner.conditioners.seconds_total.embedder.x"], "Stable Audio"),
    ],
)
def test_known_strangers_are_named(keys: list[str], words: str) -> None:
    tensors = meta_tensors(dict.fromkeys(keys, (1,)))
    with pytest.raises(CheckpointError, match=words) as error:
        check_tensors(tensors, small_config(), "file.ckpt")
    assert str(error.value).startswith("file.ckpt: ")
    assert str(error.value).endswith("Give the weights of a supported model.")


def test_an_ordinary_checkpoint_is_nothing_special() -> None:
    assert describe(expected_keys(small_config())) is None


def test_every_difference_is_reported_with_both_shapes() -> None:
    config = small_config()
    tensors = meta_tensors(expected_keys(config))
    check_tensors(tensors, config)
    bias = "pretransform.model.encoder.layers.0.bias"
    tensors[bias] = torch.empty(5, device="meta")
    del tensors["model.model.preprocess_conv.weight"]
    tensors["model.model.extra"] = torch.empty(3, 4, device="meta")
    tensors["model.model.to_global_embed.0.weight"] = torch.empty(64, 64, dtype=torch.int8, device="meta")
    with pytest.raises(CheckpointError) as error:
        check_tensors(tensors, config, "m.ckpt")
    text = str(error.value)
    assert "1 missing, 1 unexpected, 1 misshapen, 1 not floating point" in text
    assert "model.model.preprocess_conv.weight: expected (64, 64, 1), not in the file" in text
    assert "model.model.extra: not expected, (3, 4) in the file" in text
    assert f"{bias}: expected (2,), (5,) in the file" in text
    assert "to_global_embed.0.weight: torch.int8" in text


def test_long_lists_are_cut_and_counted() -> None:
    config = small_config()
    with pytest.raises(CheckpointError, match=r"\.\.\. and \d+ more") as error:
        check_tensors({}, config)
    listed = [line for line in str(error.value).splitlines() if line.startswith("  ") and "expected" in line]
    assert len(listed) == 20
    assert f"{len(expected_keys(config))} missing" in str(error.value)


def test_a_config_of_another_size_is_said_in_words() -> None:
    tensors = meta_tensors(expected_keys(base_config()))
    with pytest.raises(CheckpointError, match="width 1536 and depth 24, the config says width 64 and depth 2"):
        check_tensors(tensors, small_config(), "AudioX.ckpt")


def test_unknown_component() -> None:
    with pytest.raises(InputError, match="Did you mean 'video'"):
        build("vidio", small_config())
