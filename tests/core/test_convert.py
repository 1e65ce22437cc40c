"""A checkpoint rewritten as .safetensors: the same keys, types and numbers, or a refusal that names why."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiox_core.errors import CheckpointError, ConfigError
from audiox_core.weights.convert import convert
from audiox_core.weights.tensors import read_tensors
from tests.core.small import small_data, small_tensors


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return small_tensors()


@pytest.fixture
def checkpoint(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(small_data()))
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_convert_keeps_everything(checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    target = convert(checkpoint, tmp_path / "out" / "model.safetensors", on_progress=lambda *step: steps.append(step))
    read = read_tensors(target)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[k], v) for k, v in tensors.items())
    assert steps[-1][0] == steps[-1][1]
    with pytest.raises(CheckpointError, match="already exists"):
        convert(checkpoint, target)


def test_convert_refuses(checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    target = tmp_path / "new.safetensors"
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        convert(checkpoint, tmp_path / "new.ckpt")
    tensors["model.model.preprocess_conv.weight"][0] = torch.nan
    torch.save({"state_dict": tensors}, checkpoint)
    with pytest.raises(CheckpointError, match=r"model\.ckpt: model\.model\.preprocess_conv\.weight: 64 of"):
        convert(checkpoint, target)
    del tensors["model.model.preprocess_conv.weight"]
    torch.save({"state_dict": tensors}, checkpoint)
    with pytest.raises(CheckpointError, match="1 missing"):
        convert(checkpoint, target)
    (tmp_path / "config.json").unlink()
    with pytest.raises(ConfigError, match=r"what this is can't be told\. .* no config\.json lies beside it"):
        convert(checkpoint, target)
    assert not target.exists()


def test_convert_names_what_is_no_checkpoint(tmp_path: Path) -> None:
    torch.save({"encoder.block.0.layer.0.SelfAttention.k.weight": torch.ones(2)}, tmp_path / "t5.ckpt")
    with pytest.raises(
        CheckpointError, match=r"t5\.ckpt: This is a T5 text encoder, .* weights of a supported model\.$"
    ):
        convert(tmp_path / "t5.ckpt", tmp_path / "t5.safetensors")


def test_convert_takes_the_config_that_loading_takes(
    checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    """In a shared folder config.json may be another program's; NAME.json is the checkpoint's own."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "d_model": 768}))
    with pytest.raises(ConfigError, match="can't be told"):
        convert(checkpoint, tmp_path / "new.safetensors")
    (tmp_path / "model.json").write_text(json.dumps(small_data()))
    assert read_tensors(convert(checkpoint, tmp_path / "new.safetensors")).keys() == tensors.keys()
