"""The newer members' estimates against what their networks make on the meta device, and their plans on many cards."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.memory.plan import GB, make_plan
from audiox_core.memory.residence import Residence
from audiox_core.models.config import parse_config
from audiox_core.networks.synchformer import SEGMENTS_AT_ONCE
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.weights.load import load_part
from tests.core.fake_allocator import Allocator
from tests.core.machines import cpu, gpu
from tests.core.small_family import CONFIGS, member_tensors, small_member

MAF, TURBO = (parse_config(CONFIGS[name]) for name in ("maf", "turbo"))
FULL, HALF = Format(), Format("fp16", "fp16")
FORMATS = (FULL, HALF)


def peak(work: Callable[[], object]) -> int:
    with torch.no_grad(), Allocator() as allocator:
        work()
    return allocator.peak


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def built(part: Any, format: Format) -> Any:
    return part.build(device="meta", **format.options())


def tokens(model: Any, batch: int) -> dict[str, torch.Tensor]:
    return {part.name: empty(batch, 1, part.condition.tokens, 768) for part in model.conditioners}


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_modulated_step(format: Format, batch: int) -> None:
    """With a condition for each item, and all their modulation held."""
    part, both = TURBO.backbone, tokens(TURBO, batch)
    net = built(part, format)
    found = peak(lambda: GuidedVelocity(net, both, both)(empty(batch, 64, 236), empty(batch)))
    assert 0.95 * found <= part.work(format, 236, batch, None) <= 1.2 * found


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_what_is_held_is_24_modulations_of_every_position(format: Format) -> None:
    part = TURBO.backbone
    assert part.held is not None and part.held(format, 1) == 2 * 24 * 237 * 9216 * format.bytes
    net = built(part, format)

    def kept(hold: bool) -> int:
        context = net.prepare(tokens(TURBO, 1), hold=hold)
        return sum(t.nbytes for piece in context.pieces for t in piece)

    assert 2 * (kept(True) - kept(False)) == pytest.approx(part.held(format, 1), rel=0.01)
    assert MAF.backbone.held is not None  # the keys of 12 heads, each once more for a second
    assert MAF.backbone.held(format, 1) == 4 * 24 * 1979 * 2 * 768 * format.bytes


@pytest.mark.parametrize("format", FORMATS, ids=str)
@pytest.mark.parametrize("latents", [236, 700])
def test_a_fused_step(format: Format, latents: int) -> None:
    part, both = MAF.backbone, tokens(MAF, 1)
    net = built(part, format)
    found = peak(lambda: GuidedVelocity(net, both, both)(empty(1, 64, latents), empty(1)))
    assert 0.9 * found <= part.work(format, latents, 1, None) <= 1.5 * found
    assert peak(lambda: net.maf_block.fuse(*(t[:, 0] for t in tokens(MAF, 1).values()))) <= found


@pytest.mark.parametrize("format", FORMATS, ids=str)
def test_features_of_motion(format: Format) -> None:
    part = MAF.parts["video"]
    net = built(part, format)
    found = peak(lambda: net.synchformer.segments(empty(SEGMENTS_AT_ONCE, 16, 3, 224, 224)))
    found += 250 * 3 * 224**2  # the pictures themselves, as bytes
    assert found <= part.work(format, 236, 1, None) <= 1.3 * found


def test_a_spectrogram() -> None:
    part = MAF.parts["audio"]
    net = built(part, FULL)
    found = peak(lambda: net(empty(1, 2, 441000))) + 2 * 441000 * 4
    assert found <= part.work(FULL, 236, 1, None) <= 1.5 * found
    assert part.format("fp8", on_cpu=False) == part.format("fp16", on_cpu=True) == FULL


def test_sizes_are_the_released_models() -> None:
    numbers = {name: weights_of(part, FULL).numbers for name, part in TURBO.parts.items()}
    assert numbers["dit"] == 2_217_621_229 + 60_991_494 - 117_964_800
    assert numbers["video"] == 119_826_433 - 394_752 + 122_440_704 - 590_592
    assert weights_of(MAF.parts["audio"], FULL).numbers == 197_376


@pytest.mark.parametrize("storage", ["fp8", "fp16"])
def test_what_is_never_kept_in_8_bits(storage: str) -> None:
    net = built(TURBO.backbone, Format(storage, "fp16"))
    block = net.backbone.transformer.layers[0]
    eight = torch.float8_e4m3fn if storage == "fp8" else torch.float16
    assert block.ffn.w1.weight.dtype == block.attn.qkv.weight.dtype == eight
    fusion = net.maf_block
    said = (block.adaLN_modulation[1].weight, fusion.cross_attn.in_proj_weight, fusion.cross_attn.out_proj.weight)
    assert {weight.dtype for weight in said} == {torch.float16}


@pytest.mark.parametrize("gigabytes", [2, 4, 6, 8, 12, 24, 80])
@pytest.mark.parametrize("precision", ["auto", "fp16", "fp8"])
@pytest.mark.parametrize("name", ["maf", "turbo"])
def test_every_card_gets_a_plan_within_its_budget(name: str, precision: str, gigabytes: int) -> None:
    plan = make_plan(gpu(gigabytes), {"maf": MAF, "turbo": TURBO}[name], precision=precision)
    assert not plan.problems and plan.peak <= plan.budget
    # MAF's keys, of two thousand tokens for every head, are too much for the smallest card.
    assert plan.places["dit"].holds is (gigabytes > 2 or name == "turbo")


def test_a_cap_of_4_gb_works() -> None:
    for model in (MAF, TURBO):
        plan = make_plan(gpu(24, ram=64), model, max_vram_gb=4)
        assert not plan.problems and plan.peak <= 4 * GB
    assert make_plan(gpu(8), TURBO).streamed_blocks == () != make_plan(gpu(4), TURBO).streamed_blocks
    assert make_plan(cpu(64), TURBO).precision == "fp32"


def test_what_only_spares_time_is_given_up_last() -> None:
    roomy, tight = make_plan(gpu(2), TURBO), make_plan(gpu(1.5), TURBO)
    assert roomy.places["dit"].holds and 0 < len(roomy.streamed_blocks) < 24
    assert not tight.places["dit"].holds and not tight.problems and len(tight.streamed_blocks) == 24
    saved = roomy.places["dit"].activations - tight.places["dit"].activations
    assert TURBO.backbone.held is not None and saved == TURBO.backbone.held(HALF, 1)


def test_out_of_memory_lets_go_of_it_in_the_end(caplog: Any) -> None:
    """On a device that is never satisfied; its answers stay the same."""
    model = small_member("turbo")
    net = load_part(model.backbone, member_tensors("turbo"))
    plan = make_plan(cpu(32), model)
    residence = Residence({"dit": net}, plan)
    seen = []

    def work(network: Any, step: Any) -> None:
        seen.append((step.holds, network.backbone.hold))
        if step.holds:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    residence.run("dit", work)
    assert seen == [(True, True), (False, False)] and "computed again in each" in caplog.text
