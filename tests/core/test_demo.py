"""The demo model: the same weights everywhere, the released layout, a sound that is not silent."""

from __future__ import annotations

import pytest
import torch

from audiox_core import load_pipeline
from audiox_core.models.demo import NOISE
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.weights.layout import check_tensors
from audiox_core.weights.open import open_model
from tests.core.small import T5


def test_the_weights_are_a_checkpoint_of_the_released_layout() -> None:
    opened = open_model("demo")
    tensors = {key: value for key, value in opened.weights.items() if not key.startswith(T5)}
    check_tensors(tensors, opened.model, "demo")
    key = "model.model.transformer.layers.0.self_attn.to_qkv.weight"
    assert torch.equal(tensors[key], open_model("demo").weights[key])
    assert tensors[key].std() == pytest.approx(768**-0.5, rel=0.01)
    assert all(t.isfinite().all() for t in tensors.values())


def test_text_weights_are_deterministic() -> None:
    first, again = (open_model("Demo").weights for _ in range(2))
    keys = [key for key in first if key.startswith(T5)]
    assert len(keys) == 2 * 8 + 3 and keys == [key for key in again if key.startswith(T5)]
    assert all(torch.equal(first[k], again[k]) for k in keys)


def test_nothing_is_looked_for_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file called demo in the working directory changes nothing."""
    from audiox_core.weights import open

    for name in ("find_model", "find_companion", "read_tensors"):
        monkeypatch.setattr(open, name, lambda *_, **__: pytest.fail("looked for a file"))
    opened = open_model("demo", download=False)
    for part in opened.model.parts.values():
        opened.need(part)
    assert isinstance(opened.tokenizer, ByteTokenizer)


def test_demo_makes_a_sound_and_says_that_it_is_noise() -> None:
    pipe = load_pipeline("demo", device="cpu")
    sound = pipe("anything", steps=1, seconds=1.0, normalize=False)
    assert sound.waveform.std() > 1e-3
    assert sound.waveform.abs().max() < 100
    assert pipe.notice == f"demo: {NOISE}"
    assert "noise" in NOISE
