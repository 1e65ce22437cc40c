"""The plan on many invented machines."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from audiox_core.errors import InputError, OutOfMemory
from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.memory.plan import CPU_EXTRA, GB, TILES, Plan, make_plan, spread
from tests.core.machines import FULL, cpu, gpu

SIZES = {"dit": 1052220544, "autoencoder": 156077696, "video": 119400832, "audio": 78188416, "text": 109628544}


def places(plan: Plan) -> set[str]:
    return {p.where for p in plan.places.values()}


def test_sizes_are_the_released_models() -> None:
    assert {name: weights_of(part, Format()).numbers for name, part in FULL.parts.items()} == SIZES


@pytest.mark.parametrize("gigabytes", [2, 4, 6, 8, 12, 24, 80])
@pytest.mark.parametrize("precision", ["auto", "fp16", "bf16", "fp8"])
@pytest.mark.parametrize("offload", ["auto", "on"])
def test_every_card_gets_a_plan_within_its_budget(gigabytes: int, precision: str, offload: str) -> None:
    machine = gpu(gigabytes)
    plan = make_plan(machine, FULL, precision=precision, offload=offload)
    assert not plan.problems and plan.peak <= plan.budget == int(0.9 * machine.vram_free)
    assert plan == make_plan(machine, FULL, precision=precision, offload=offload)
    plan.check()


def test_a_fifth_of_the_free_ram_is_left_to_others() -> None:
    machine = cpu(32)
    assert make_plan(machine, FULL).budget == int(0.8 * machine.ram_available)


@pytest.mark.parametrize(
    ("gigabytes", "where", "streams"),
    [(80, {"device"}, False), (8, {"device"}, False), (4, {"device", "stage"}, False), (2, {"stage"}, True)],
)
def test_concessions_grow_as_cards_shrink(gigabytes: int, where: set[str], streams: bool) -> None:
    plan = make_plan(gpu(gigabytes), FULL)
    assert places(plan) == where and bool(plan.streamed_blocks) is streams
    assert plan.offload is (where != {"device"})


def test_less_memory_never_streams_less() -> None:
    counts = [len(make_plan(gpu(g), FULL).streamed_blocks) for g in (4, 3, 2, 1.5, 1, 0.8)]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] > 12


def test_one_part_at_a_time_stays_below_3_gb() -> None:
    plan = make_plan(gpu(24), FULL, precision="fp16", seconds=10.95, max_vram_gb=2.5)
    assert not plan.streamed_blocks and plan.peak < 3e9


def test_a_cap_of_2_gb_works() -> None:
    plan = make_plan(gpu(24), FULL, max_vram_gb=2, seconds=10.95)
    assert not plan.problems and plan.budget == 2 * GB and plan.peak <= 2 * GB


def test_offload_off_keeps_everything_or_says_why_not() -> None:
    plan = make_plan(gpu(8), FULL, offload="off")
    assert places(plan) == {"device"} and not plan.problems and not plan.offload
    crowded = make_plan(gpu(3.4), FULL, offload="off")
    assert places(crowded) == {"device"} and "--no-cpu-offload" in crowded.problems[0]
    with pytest.raises(OutOfMemory, match=r"are needed on a 3\.4 GB card"):
        crowded.check()


def test_offload_on_takes_the_least() -> None:
    least, usual = (make_plan(gpu(80), FULL, offload=o) for o in ("on", "auto"))
    assert len(least.streamed_blocks) == 24 and least.peak < 1e9 < usual.peak
    assert least.places["autoencoder"].tile is not None


def test_long_sounds_are_tiled_not_refused() -> None:
    short, long, longer = (make_plan(gpu(4), FULL, seconds=s).places["autoencoder"] for s in (10, 90, 180))
    assert short.tile is None and long.tile is not None
    assert longer.activations - long.activations < 100e6  # the waveform itself


def test_a_card_too_small_for_streaming_is_refused_with_numbers() -> None:
    plan = make_plan(gpu(0.3), FULL)
    assert plan.problems and "GB are needed" in plan.problems[0] and "--device cpu" in plan.problems[0]
    assert plan.places["text"].where == "cpu" or plan.places["text"].device_bytes <= plan.budget
    assert any("stays on the CPU" in w for w in plan.warnings)


def test_precision_auto() -> None:
    assert make_plan(cpu(32), FULL).precision == "fp32"
    assert make_plan(cpu(8), FULL).precision == "fp16"
    plan = make_plan(gpu(24), FULL)
    assert plan.places["dit"].format == Format("fp16", "fp16")
    assert plan.places["text"].format == Format("fp16", "fp16")
    assert plan.places["autoencoder"].format == Format("fp32", "fp32")
    assert make_plan(gpu(4), FULL).places["autoencoder"].format == Format("fp16", "fp16")


def test_a_machine_without_gpu() -> None:
    plan = make_plan(cpu(16), FULL)
    assert plan.device == "cpu" and places(plan) == {"cpu"} and not plan.offload and not plan.streamed_blocks
    assert plan.peak == plan.ram <= plan.ram_budget
    assert all(p.format.compute == "fp32" for p in make_plan(cpu(16), FULL, precision="bf16").places.values())
    assert "no effect" in make_plan(cpu(16), FULL, max_vram_gb=4).warnings[0]


def test_little_ram() -> None:
    assert "of RAM are needed" in make_plan(cpu(2.5), FULL).problems[0]
    assert "RAM is tight" in make_plan(gpu(2, ram=4), FULL).warnings[0]
    assert not make_plan(gpu(24, ram=4), FULL).warnings  # nothing stays in RAM
    plenty, scarce = make_plan(gpu(2, ram=32), FULL), make_plan(gpu(2, ram=5), FULL)
    assert plenty.pinned and not scarce.pinned and plenty.ram > scarce.ram


def test_warnings_of_the_device() -> None:
    assert "emulates bf16" in make_plan(gpu(8, bf16=False), FULL, precision="bf16").warnings[0]
    assert not make_plan(gpu(8, bf16=False), FULL).warnings
    with pytest.raises(InputError, match="fp8"):
        make_plan(gpu(16, device="mps"), FULL, precision="fp8")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"precision": "half"}, "precision: unknown value 'half'"),
        ({"offload": "maybe"}, "offload"),
        ({"seconds": 0}, "seconds 0"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"batch": 0}, "batch 0"),
        ({"max_vram_gb": -1}, "max_vram_gb"),
        ({"max_vram_gb": float("nan")}, "max_vram_gb"),
        ({"max_vram_gb": float("inf")}, "max_vram_gb"),
        ({"max_vram_gb": "8"}, "max_vram_gb: '8' is out of range"),
        ({"max_vram_gb": True}, "max_vram_gb"),
        ({"precision": None}, "precision: unknown value None"),
        ({"offload": 1}, "offload: unknown value 1"),
    ],
)
def test_bad_arguments(given: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make_plan(gpu(8), given.pop("sizes", FULL), **given)


def test_streamed_blocks_are_spread_evenly() -> None:
    assert spread(4, 24) == (0, 6, 12, 18)
    assert spread(24, 24) == tuple(range(24)) and spread(0, 24) == ()


def test_a_cpu_works_in_the_largest_tiles_that_fit() -> None:
    """Beside all weights and what libraries take, in what others leave."""
    autoencoder, seen = FULL.autoencoder, set()
    for ram in (8.0, 8.5, 9.0, 9.5, 10.0, 10.5, 11.0, 12.0, 16.0):
        plan = make_plan(cpu(ram), FULL, precision="fp32")
        tile = plan.places[autoencoder.name].tile
        seen.add(tile)
        room = plan.budget - CPU_EXTRA - sum(p.bytes for p in plan.places.values())
        works = {each: autoencoder.work(Format(), 236, 1, each) for each in TILES}
        assert tile == next((each for each in TILES if works[each] <= room), TILES[-1])
        assert plan.peak <= plan.budget or tile == TILES[-1]
    assert len(seen) >= 3 and None in seen


def test_what_just_fits_is_no_problem() -> None:
    """All of what may be used, in RAM and on a card."""
    need = make_plan(cpu(64), FULL, precision="fp32").peak
    for short in (0, 1):
        available = need - short
        machine = replace(cpu(64), ram_available=available)
        assert bool(make_plan(machine, FULL, precision="fp32", seconds=None).peak > available) is bool(
            make_plan(machine, FULL, precision="fp32").problems
        )
    peak = make_plan(gpu(24), FULL, precision="fp16", offload="off").peak
    for budget, fits in ((peak, True), (peak - 1, False)):
        plan = make_plan(gpu(24), FULL, precision="fp16", offload="off", max_vram_gb=(budget + 0.5) / GB)
        assert plan.budget == budget
        tiles = {p.tile for p in plan.places.values() if p.tiled}
        assert (tiles == {None}) is fits
