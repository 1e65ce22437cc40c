"""The released layout against its golden list, and reports about files that do not fit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError
from audiox_core.models import members
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config, read_config
from audiox_core.models.parts import Model
from audiox_core.weights.layout import (
    check_tensors,
    companion_keys,
    describe,
    expected_keys,
    recognise,
    require,
    slots_of,
)
from tests.core.small import T5, small_model

GOLDEN = Path(__file__).parents[1] / "golden" / "audiox"


@pytest.fixture(scope="module")
def base() -> Model:
    return parse_config(BASE_CONFIG)


def meta_tensors(shapes: dict[str, tuple[int, ...]]) -> dict[str, Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


@pytest.mark.parametrize(("keys", "config"), [("keys.full", "config.full"), ("keys.tiny", "config")])
def test_layout_is_the_released_one(keys: str, config: str) -> None:
    golden = json.loads((GOLDEN / f"{keys}.json").read_text())
    expected = expected_keys(read_config(GOLDEN / f"{config}.json"))
    assert expected == {key: tuple(shape) for key, (shape, _) in golden.items()}
    assert {dtype for _, dtype in golden.values()} == {"float32"}


def test_base_model_is_recognised_even_with_a_key_missing(base: Model) -> None:
    tensors = meta_tensors(expected_keys(base))
    del tensors["model.model.transformer.project_in.weight"]
    (member,) = recognise(tensors)
    assert (member.name, member.weights) == ("AudioX", "model.ckpt")
    assert expected_keys(parse_config(member.config())) == expected_keys(base)
    with pytest.raises(CheckpointError, match=r"1 missing, 0 unexpected of 1357 keys") as error:
        check_tensors(tensors, base, "AudioX.ckpt")
    assert "project_in.weight: expected (1536, 64), not in the file" in str(error.value)


def test_other_models_are_not_taken_for_the_base_model(base: Model) -> None:
    assert recognise(meta_tensors(expected_keys(small_model()))) == []
    assert recognise({}) == []
    some = list(expected_keys(base).items())
    assert recognise(meta_tensors(dict(some[: round(0.85 * len(some))]))) == []


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (["shared.weight", "encoder.block.0.layer.0.SelfAttention.k.weight"], "T5 text encoder"),
        (["encoder.layers.0.bias", "decoder.layers.0.bias"], "autoencoder alone"),
        (["diffusion.model.model.to_cond_embed.0.weight"], "training checkpoint"),
        (["model.model.x", "conditioner.conditioners.seconds_total.embedder.x"], "Stable Audio"),
    ],
)
def test_known_strangers_are_named(keys: list[str], words: str) -> None:
    tensors = meta_tensors(dict.fromkeys(keys, (1,)))
    with pytest.raises(CheckpointError, match=words) as error:
        check_tensors(tensors, small_model(), "file.ckpt")
    assert str(error.value).startswith("file.ckpt: ")
    assert str(error.value).endswith("Give the weights of a supported model.")


def test_an_ordinary_checkpoint_is_nothing_special() -> None:
    assert describe(expected_keys(small_model())) is None


def test_every_difference_is_reported_with_both_shapes() -> None:
    model = small_model()
    tensors = meta_tensors(expected_keys(model))
    check_tensors(tensors, model)
    bias = "pretransform.model.encoder.layers.0.bias"
    tensors[bias] = torch.empty(5, device="meta")
    del tensors["model.model.preprocess_conv.weight"]
    tensors["model.model.extra"] = torch.empty(3, 4, device="meta")
    tensors["model.model.to_global_embed.0.weight"] = torch.empty(64, 64, dtype=torch.int8, device="meta")
    with pytest.raises(CheckpointError) as error:
        check_tensors(tensors, model, "m.ckpt")
    text = str(error.value)
    assert "1 missing, 1 unexpected, 1 misshapen, 1 not floating point" in text
    assert "model.model.preprocess_conv.weight: expected (64, 64, 1), not in the file" in text
    assert "model.model.extra: not expected, (3, 4) in the file" in text
    assert f"{bias}: expected (2,), (5,) in the file" in text
    assert "to_global_embed.0.weight: torch.int8" in text


def test_long_lists_are_cut_and_counted() -> None:
    model = small_model()
    expected = meta_tensors(expected_keys(model))
    with pytest.raises(CheckpointError, match=rf"\.\.\. and {len(expected) - 20} more") as error:
        check_tensors({}, model)
    listed = [line for line in str(error.value).splitlines() if line.startswith("  ") and "expected" in line]
    assert len(listed) == 20
    assert f"{len(expected)} missing" in str(error.value)
    for missing, more in ((20, ""), (21, "... and 1 more")):
        with pytest.raises(CheckpointError, match=rf"\({missing} missing, 0 unexpected") as error:
            check_tensors(dict(list(expected.items())[missing:]), model)
        found = str(error.value)
        assert more in found if more else "more" not in found


def test_a_config_of_another_size_is_said_in_words(base: Model) -> None:
    tensors = meta_tensors(expected_keys(base))
    with pytest.raises(CheckpointError, match="width 1536 and depth 24, the config says width 64 and depth 2"):
        check_tensors(tensors, small_model(), "AudioX.ckpt")


def test_files_beside_the_checkpoint_have_a_layout_of_their_own(base: Model) -> None:
    assert not [key for key in expected_keys(base) if key.startswith(T5)]
    keys = companion_keys(base, T5)
    assert len(keys) == 12 * 8 + 3  # attention, feed-forward, two norms a layer; table, buckets, last norm
    assert keys["shared.weight"] == (32128, 768)
    assert keys["encoder.block.11.layer.1.DenseReluDense.wi.weight"] == (3072, 768)
    assert keys["encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight"] == (32, 12)
    assert "encoder.embed_tokens.weight" not in keys, "the second name of the table lies in no file"
    assert companion_keys(base, "no such prefix.") == {}


def test_every_weight_of_a_network_has_its_place(base: Model) -> None:
    """Live slots name each parameter of the network once; weight norm's two keys and the table's two names aside."""
    for part in base.parts.values():
        network = part.build(device="meta")
        names = [slot.name for slot in slots_of(part) if slot.name is not None and not slot.key.endswith("weight_g")]
        assert sorted(names) == sorted(network.state_dict(keep_vars=True))
        assert len(set(names)) == len(names)


def test_the_words_of_a_requirement_are_its_owners() -> None:
    with pytest.raises(CheckpointError) as error:
        require({"a": torch.zeros(2)}, {"a": (3,), "b": (1,)}, "t5.safetensors", mend="Get the other one.")
    assert str(error.value).splitlines() == [
        "t5.safetensors: the weights do not fit (1 missing, 0 unexpected, 1 misshapen of 2 keys).",
        "missing:",
        "  b: expected (1,), not in the file",
        "misshapen:",
        "  a: expected (3,), (2,) in the file",
        "Get the other one.",
    ]
    require({"a": torch.zeros(3), "b": torch.zeros(1)}, {"a": (3,), "b": (1,)}, "t5.safetensors")


def test_another_member_of_the_family_is_named(base: Model) -> None:
    """Not the one that is expected: of it something is merely missing."""
    other = members()["AudioX-MAF"]
    tensors = meta_tensors(expected_keys(parse_config(other.config())))
    for model, named in ((base, True), (parse_config(other.config()), False)):
        weights = dict(tensors)
        if not named:
            weights.popitem()
        with pytest.raises(CheckpointError) as error:
            check_tensors(weights, model, "file.ckpt")
        first = str(error.value).splitlines()[0]
        assert first.endswith("These are the weights of AudioX-MAF.") is named, first


def test_sizes_are_told_only_of_a_whole_network_of_the_family(base: Model) -> None:
    """Of a stranger, of a file without the network, and of parts beside a checkpoint nobody asked for its sizes."""
    words = "The file holds a network of width"
    whole = meta_tensors(expected_keys(base))
    stranger = {**whole, "encoder.block.0.x": torch.empty(1, device="meta")}
    without = {key: t for key, t in whole.items() if not key.startswith("model.model.transformer.")}
    for tensors, told in ((whole, True), (stranger, False), (without, False)):
        with pytest.raises(CheckpointError) as error:
            check_tensors(tensors, small_model(), "file.ckpt")
        assert (words in str(error.value)) is told
    with pytest.raises(CheckpointError) as error:
        require(whole, expected_keys(small_model()), "part.safetensors")
    assert words not in str(error.value)
