"""The fusion block: golden answers, and a backbone behind it."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor

from audiox_core.networks.maf import FusedNetwork, MAFConfig, MultimodalFusion
from audiox_core.networks.mmdit import MMDiTConfig, ModulatedTransformer
from tests.core.family import ALL, BOUND, error, fill, golden_set, randomise, shapes_of

SMALL = MAFConfig(width=16, num_experts_per_modality=2, num_heads=4, num_fusion_layers=1, inner=32)
BEFORE = "maf_block."
ORDER = ("text", "video", "audio")


def config_of(gate: dict[str, int]) -> MAFConfig:
    return MAFConfig(768, gate["num_experts_per_modality"], gate["num_heads"], gate["num_fusion_layers"])


@lru_cache(maxsize=4)
def tiny(name: str, dtype: torch.dtype = torch.float32) -> MultimodalFusion:
    golden = golden_set(name)
    config = config_of(golden.config["diffusion"]["gate_type_config"])
    return fill(MultimodalFusion(config, dtype=dtype), BEFORE, golden.shapes(BEFORE))


def answers(net: MultimodalFusion, name: str) -> dict[str, Tensor]:
    g = golden_set(name).inputs("fusion")
    block = net(g["video"], g["text"], g["audio"])
    fused = net.fuse(text=g["text"], video=g["video"], audio=g["audio"])
    return {
        **dict(zip(("block_video", "block_text", "block_audio"), block, strict=True)),
        "context": torch.cat(fused, dim=1),
    }


@torch.inference_mode()
@pytest.mark.parametrize("output", ["block_video", "block_text", "block_audio", "context"])
@pytest.mark.parametrize("name", ALL)
def test_golden(name: str, output: str) -> None:
    assert error(answers(tiny(name), name)[output], golden_set(name).stored("fusion")[output]) <= BOUND


@torch.inference_mode()
def test_golden_in_half_precision() -> None:
    name = "audiox_turbo"
    ours, expected = answers(tiny(name, torch.float16), name), golden_set(name).stored("fusion")
    assert max(error(ours[output], expected[output]) for output in ours) <= 1e-2


@pytest.mark.parametrize("file", ["keys.tiny.json", "keys.full.json"])
@pytest.mark.parametrize("name", ALL)
def test_names_are_the_released_ones(name: str, file: str) -> None:
    golden = golden_set(name)
    config = golden.json(file.replace("keys", "config").replace(".tiny", ""))["model"]["diffusion"]
    net = MultimodalFusion(config_of(config["gate_type_config"]), device="meta")
    assert shapes_of(net) == golden.shapes(BEFORE, file)


def small_network() -> FusedNetwork:
    backbone = ModulatedTransformer(MMDiTConfig(4, 32, 1, 8, 16, ORDER, latents=9, tokens=7))
    return randomise(FusedNetwork(backbone, MultimodalFusion(SMALL)))


@torch.inference_mode()
def test_a_network_behind_it() -> None:
    """Its condition is the fused one, in each window for itself; the null condition replaces the fused tokens."""
    net = small_network()
    generator = torch.Generator().manual_seed(2)
    counts = {"text": (1, 1, 2), "video": (2, 2, 2), "audio": (1, 2, 3)}
    tokens = {name: torch.randn(*shape, 16, generator=generator) for name, shape in counts.items()}
    x, t = torch.randn(4, 4, 9, generator=generator), torch.full((4,), 0.5)
    together = net(x, t, net.prepare(tokens))
    for row in range(4):
        item, window = divmod(row, 2)
        parts = {name: v[item % v.shape[0], window % v.shape[1]][None] for name, v in tokens.items()}
        joined = torch.cat(net.maf_block.fuse(**parts), dim=1)
        alone = net.backbone(x[row : row + 1], t[:1], net.backbone.prepare_context(joined))
        assert error(together[row : row + 1], alone) <= 1e-5
    assert torch.equal(net(x, t, net.prepare(None)), net.backbone(x, t))
    assert net.blocks == net.backbone.blocks and net.once == net.backbone.once


@torch.inference_mode()
def test_modalities_may_have_any_number_of_tokens() -> None:
    fusion = small_network().maf_block
    text, video, audio = torch.randn(3, 2, 6, 16, generator=torch.Generator().manual_seed(3))
    fused = fusion.fuse(text[:, :1], video, audio[:, :4])
    assert [part.shape[1] for part in fused] == [1, 6, 4]
    shift = fused[1] - video
    assert torch.allclose(shift, shift[:, :1].expand_as(shift), atol=1e-5)  # one for all tokens of a modality
