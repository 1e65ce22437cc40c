"""Each term of the estimates of memory, on sizes so small that they can be added up by hand."""

from __future__ import annotations

from typing import Any

import pytest

from audiox_core.memory.estimate import (
    fused_work,
    keys_held,
    modulated_work,
    motion_work,
    network_work,
    sight_work,
    spectrogram_work,
    words_work,
)
from audiox_core.memory.formats import Format

HALF, FULL, CAST = Format("fp16", "fp16"), Format(), Format("fp8", "fp16")


@pytest.mark.parametrize(
    ("tokens", "format", "batch", "terms"),
    [
        # The feed-forward's tensors, then keys and values of both conditions and of their joined copy.
        (10, HALF, 1, [16 * 64 * (8 + 17 * 2), 4 * 3 * 10 * 2 * 64 * 2]),
        (10, HALF, 2, [32 * 64 * (8 + 17 * 2), 6 * 3 * 10 * 2 * 64 * 2]),
        # With many tokens the scores of the cross-attention outweigh it.
        (1000, HALF, 1, [16 * 64 * (20 + 8 * 2), 2 * 2 * 8 * 1000 * 8, 4 * 3 * 1000 * 2 * 64 * 2]),
        # The largest matrix, while it is used.
        (10, CAST, 1, [16 * 64 * (8 + 17 * 2), 4 * 3 * 10 * 2 * 64 * 2, 8 * 64 * 64 * 2]),
    ],
)
def test_a_step_of_the_cross_attention_transformer(tokens: int, format: Format, batch: int, terms: list[int]) -> None:
    assert network_work(64, 2, 32, 3, tokens, format, 7, batch) == sum(terms)
    assert keys_held(64, 32, 3, tokens, format, batch) == (2 + 2 * batch) * 3 * tokens * 2 * 32 * 2


@pytest.mark.parametrize(
    ("inner", "latents", "format", "batch", "total"),
    [(200, 7, HALF, 1, 88_064), (20, 70, HALF, 1, 924_704), (200, 7, CAST, 2, 252_928)],
)
def test_a_step_of_the_modulated_transformer(inner: int, latents: int, format: Format, batch: int, total: int) -> None:
    assert modulated_work(64, 2, inner, 3, format, latents, batch) == total


def test_a_fusion_block_or_the_network_behind_it() -> None:
    small: Any = lambda *_: 0  # noqa: E731
    large: Any = lambda *_: 10**9  # noqa: E731
    assert fused_work(small, 64, 2, 200, 5, 10, HALF, 7, 1) == 10 * 64 * 18 + 5 * (64 * 22 + 800 + 2 * 10 * 8)
    assert fused_work(small, 64, 2, 200, 50, 10, FULL, 7, 2) == 475_520
    assert fused_work(large, 64, 2, 200, 5, 10, HALF, 7, 1) == 10**9


def test_encoders() -> None:
    pictures: Any = lambda *_: 10**9  # noqa: E731
    assert motion_work(lambda *_: 0, 100, 64, 999, HALF, 7, 2) == 2 * 999 + 4 * 100 * 64 * (68 + 4)
    assert motion_work(pictures, 100, 64, 999, HALF, 7, 2) == 2 * 999 + 10**9
    assert spectrogram_work(44100, 400, 160, 64, 128, FULL, 7, 2) == 8 * (3 * 44100 + 276 * (800 + 128 + 128))
    assert sight_work(50, 64, 5, FULL, 7, 2) == 12_800 * (10 * 21 + 2 * 5 * 16)
    assert words_work(10, 64, FULL, 7, 2) == 2 * 10 * 64 * 4 * 16
