"""Synchformer's visual part: golden answers, its segments, and that it attends as it says."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.layers import torch_attention
from audiox_core.networks.ops import operations
from audiox_core.networks.synchformer import DividedAttention, Synchformer, SynchformerConfig, dead_shapes
from tests.core.family import error, golden_set, randomise, shapes_of

BEFORE = "vfeat_extractor."
CONFIGS = {"tiny": SynchformerConfig(width=192, depth=2), "full": SynchformerConfig()}
SMALL = SynchformerConfig(width=24, depth=1, heads=2, image_size=32)


@pytest.mark.parametrize("size", CONFIGS)
def test_names_are_the_released_ones(size: str) -> None:
    ours = shapes_of(Synchformer(CONFIGS[size], device="meta")) | dead_shapes(CONFIGS[size])
    assert ours == golden_set("audiox_maf").shapes(BEFORE, f"keys.synchformer.{size}.json")


def frames(batch: int, count: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(0, 256, (batch, count, 3, 32, 32), generator=generator, dtype=torch.uint8)


@torch.inference_mode()
def test_segments_do_not_see_each_other() -> None:
    net, clip, told = randomise(Synchformer(SMALL)), frames(2, 47), []
    whole = net(clip, lambda done, total: told.append((done, total)), segments_at_once=3)
    assert whole.shape == (2, 32, 24)  # segments at 0, 8, 16 and 24; the last seven frames fill none
    assert told == [(3, 8), (6, 8), (8, 8)]
    for i, start in enumerate((0, 8, 16, 24)):
        alone = net(clip[1:, start : start + 16])
        assert error(whole[1:, 8 * i : 8 * i + 8], alone) <= 1e-6


@torch.inference_mode()
def test_half_precision() -> None:
    whole = randomise(Synchformer(SMALL))(frames(1, 16))
    assert error(randomise(Synchformer(SMALL, dtype=torch.float16))(frames(1, 16)), whole) <= 1e-2


@torch.inference_mode()
@pytest.mark.parametrize("along_time", [True, False])
def test_divided_attention_is_a_masked_one(along_time: bool) -> None:
    """The class token sees all; others see it, and their place over time or their time over space."""
    net = randomise(DividedAttention(SMALL, torch_attention, operations, along_time))
    x = torch.randn(2, 1 + 8 * 4, 24, generator=torch.Generator().manual_seed(2))
    token = torch.arange(8 * 4)
    group = token % 4 if along_time else token // 4
    allowed = torch.ones(33, 33, dtype=torch.bool)
    allowed[1:, 1:] = group[:, None] == group
    q, k, v = net.qkv(x).unflatten(-1, (3, 2, 12)).permute(2, 0, 3, 1, 4)
    out = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    assert error(net(x), net.proj(out.transpose(1, 2).flatten(2))) <= 1e-5


def test_too_few_frames() -> None:
    net = randomise(Synchformer(SMALL))
    with pytest.raises(InputError, match="at least 16"):
        net(frames(1, 15))
    with pytest.raises(InputError, match="32"):
        net(frames(1, 16)[..., :16])
