"""The video conditioner with features of motion."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.clip_sync import SyncVideoEncoder
from tests.core.family import ALL, error, fill, golden_set, randomise, shapes_of
from tests.core.small_family import pixels, small_member

BEFORE = "conditioner.conditioners.video_prompt."
DEAD = ("visual_encoder_model.vision_model.post_layernorm.", "visual_encoder_model.visual_projection.")
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 32,
    "projection_dim": 16,
}


@lru_cache(maxsize=1)
def tiny(name: str) -> SyncVideoEncoder:
    golden = golden_set(name)
    vision = golden.conditioner("video_prompt")["clip_vision_config"]
    return fill(SyncVideoEncoder(vision), BEFORE, golden.shapes(BEFORE))


@pytest.mark.parametrize("name", ALL)
def test_names_are_the_released_ones(name: str) -> None:
    ours = {key: shape for key, shape in shapes_of(tiny(name)).items() if not key.endswith("position_ids")}
    released = golden_set(name).shapes(BEFORE)
    assert ours == {key: shape for key, shape in released.items() if not key.startswith(DEAD)}


def small_inputs(batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    frames = torch.randint(0, 256, (batch, 50, 3, 64, 64), generator=generator, dtype=torch.uint8)
    return frames, torch.randn(batch, 240, 32, generator=generator)


@torch.inference_mode()
def test_black_is_no_video_whatever_the_features() -> None:
    net = randomise(SyncVideoEncoder(SMALL))
    frames, sync = small_inputs(2)
    alone = net(frames[:1], sync[:1])
    frames[1] = 0
    tokens = net(frames, sync)
    assert torch.equal(tokens[1:], net.empty_visual_feat)
    assert error(tokens[:1], alone) <= 1e-6
    assert error(net(frames[:1]), alone) > 1e-3


@torch.inference_mode()
def test_other_sizes_are_refused() -> None:
    net = randomise(SyncVideoEncoder(SMALL))
    frames, sync = small_inputs(1)
    with pytest.raises(InputError, match="240"):
        net(frames, sync[:, :232])
    with pytest.raises(InputError, match="50"):
        net(frames[:, :40], sync)


@torch.inference_mode()
@pytest.mark.parametrize("black", [False, True])
def test_progress_is_told_over_both_networks(black: bool) -> None:
    """Of 50 pictures and of the 240 that begin a feature, for each of a batch; black ones leave out the second."""
    net = randomise(small_member("maf").parts["video"].build())
    slow, fast = pixels(2, 50, 3, 64, 64), pixels(2, 250, 3, 64, 64)
    told: list[tuple[int, int]] = []
    net(slow * (not black), fast * (not black), lambda done, total: told.append((done, total)))
    assert {total for _, total in told} == {2 * (50 + 240)}
    assert told == sorted(told) and told[-1][0] == 2 * (50 + 240)
    assert len({done for done, _ in told}) == len(told) > (5 if black else 15)
