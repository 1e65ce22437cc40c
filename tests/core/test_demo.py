"""The demo model: the same weights everywhere, the released layout, a sound that is not silent."""

from __future__ import annotations

import pytest
import torch

from audiox_core import load_pipeline
from audiox_core.models.demo import NOTICE, demo_config, demo_tensors, demo_text_tensors
from audiox_core.weights.load import check_tensors


def test_the_weights_are_a_checkpoint_of_the_released_layout() -> None:
    config = demo_config()
    tensors = demo_tensors(config)
    check_tensors(tensors, config, "demo")
    key = "model.model.transformer.layers.0.self_attn.to_qkv.weight"
    assert torch.equal(tensors[key], demo_tensors(config)[key])
    assert tensors[key].std() == pytest.approx(768**-0.5, rel=0.01)
    assert all(t.isfinite().all() for t in tensors.values())


def test_text_weights_are_deterministic() -> None:
    first, again = (demo_text_tensors(demo_config()) for _ in range(2))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[k], again[k]) for k in first)


def test_demo_makes_a_sound_and_says_that_it_is_noise() -> None:
    pipe = load_pipeline("demo", device="cpu")
    sound = pipe("anything", steps=1, seconds=1.0, normalize=False)
    assert sound.waveform.std() > 1e-3
    assert sound.waveform.abs().max() < 100
    assert pipe.notice == NOTICE
    assert "noise" in NOTICE
