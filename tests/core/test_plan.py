"""Measuring, and the plan on many invented machines."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from audiox_core.errors import InputError, OutOfMemory
from audiox_core.memory.formats import Format
from audiox_core.memory.plan import COMPONENTS, spread
from audiox_core.memory.report import GB, Machine, Plan, make_plan, measure, report
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.weights.load import component_sizes

SIZES = {"dit": 1052220544, "autoencoder": 156077696, "video": 119400832, "audio": 78188416, "text": 109628544}


def gpu(gigabytes: float, ram: float = 32.0, device: str = "cuda:0", bf16: bool = True) -> Machine:
    """A card of that size with a desktop on it."""
    total = int(gigabytes * GB)
    return Machine(device, f"a {gigabytes} GB card", total, int(0.92 * total), int(ram * GB), int(0.7 * ram * GB), bf16)


def cpu(ram: float) -> Machine:
    return Machine("cpu", "CPU", 0, 0, int(ram * GB), int(0.8 * ram * GB))


def places(plan: Plan) -> set[str]:
    return {p.where for p in plan.places.values()}


def test_sizes_are_the_released_models() -> None:
    assert component_sizes(parse_config(BASE_CONFIG)) == SIZES


@pytest.mark.parametrize("gigabytes", [2, 4, 6, 8, 12, 24, 80])
@pytest.mark.parametrize("precision", ["auto", "fp16", "bf16", "fp8"])
@pytest.mark.parametrize("offload", ["auto", "on"])
def test_every_card_gets_a_plan_within_its_budget(gigabytes: int, precision: str, offload: str) -> None:
    machine = gpu(gigabytes)
    plan = make_plan(machine, SIZES, precision=precision, offload=offload)
    assert not plan.problems and plan.peak <= plan.budget == int(0.9 * machine.vram_free)
    assert plan == make_plan(machine, SIZES, precision=precision, offload=offload)
    plan.check()


@pytest.mark.parametrize(
    ("gigabytes", "where", "streams"),
    [(80, {"device"}, False), (8, {"device"}, False), (4, {"device", "stage"}, False), (2, {"stage"}, True)],
)
def test_concessions_grow_as_cards_shrink(gigabytes: int, where: set[str], streams: bool) -> None:
    plan = make_plan(gpu(gigabytes), SIZES)
    assert places(plan) == where and bool(plan.streamed_blocks) is streams
    assert plan.offload is (where != {"device"})


def test_less_memory_never_streams_less() -> None:
    counts = [len(make_plan(gpu(g), SIZES).streamed_blocks) for g in (4, 3, 2, 1.5, 1, 0.8)]
    assert counts == sorted(counts) and counts[0] == 0 and counts[-1] > 12


def test_one_component_at_a_time_stays_below_3_gb() -> None:
    plan = make_plan(gpu(24), SIZES, precision="fp16", seconds=10.95, max_vram_gb=2.5)
    assert not plan.streamed_blocks and plan.peak < 3e9


def test_a_cap_of_2_gb_works() -> None:
    plan = make_plan(gpu(24), SIZES, max_vram_gb=2, seconds=10.95)
    assert not plan.problems and plan.budget == 2 * GB and plan.peak <= 2 * GB


def test_offload_off_keeps_everything_or_says_why_not() -> None:
    plan = make_plan(gpu(8), SIZES, offload="off")
    assert places(plan) == {"device"} and not plan.problems and not plan.offload
    crowded = make_plan(gpu(3.4), SIZES, offload="off")
    assert places(crowded) == {"device"} and "--no-cpu-offload" in crowded.problems[0]
    with pytest.raises(OutOfMemory, match=r"are needed on a 3\.4 GB card"):
        crowded.check()


def test_offload_on_takes_the_least() -> None:
    least, usual = (make_plan(gpu(80), SIZES, offload=o) for o in ("on", "auto"))
    assert len(least.streamed_blocks) == 24 and least.peak < 1e9 < usual.peak
    assert least.places["autoencoder"].tile is not None


def test_long_sounds_are_tiled_not_refused() -> None:
    short, long, longer = (make_plan(gpu(4), SIZES, seconds=s).places["autoencoder"] for s in (10, 90, 180))
    assert short.tile is None and long.tile is not None
    assert longer.activations - long.activations < 100e6  # the waveform itself


def test_a_card_too_small_for_streaming_is_refused_with_numbers() -> None:
    plan = make_plan(gpu(0.3), SIZES)
    assert plan.problems and "GB are needed" in plan.problems[0] and "--device cpu" in plan.problems[0]
    assert plan.places["text"].where == "cpu" or plan.places["text"].device_bytes <= plan.budget
    assert any("stays on the CPU" in w for w in plan.warnings)


def test_precision_auto() -> None:
    assert make_plan(cpu(32), SIZES).precision == "fp32"
    assert make_plan(cpu(8), SIZES).precision == "fp16"
    plan = make_plan(gpu(24), SIZES)
    assert plan.places["dit"].format == Format("fp16", "fp16")
    assert plan.places["text"].format == Format("fp16", "fp16")
    assert plan.places["autoencoder"].format == Format("fp32", "fp32")
    assert make_plan(gpu(4), SIZES).places["autoencoder"].format == Format("fp16", "fp16")


def test_a_machine_without_gpu() -> None:
    plan = make_plan(cpu(16), SIZES)
    assert plan.device == "cpu" and places(plan) == {"cpu"} and not plan.offload and not plan.streamed_blocks
    assert plan.peak == plan.ram <= plan.ram_budget
    assert all(p.format.compute == "fp32" for p in make_plan(cpu(16), SIZES, precision="bf16").places.values())
    assert "no effect" in make_plan(cpu(16), SIZES, max_vram_gb=4).warnings[0]


def test_little_ram() -> None:
    assert "of RAM are needed" in make_plan(cpu(2.5), SIZES).problems[0]
    assert "RAM is short" in make_plan(gpu(2, ram=4), SIZES).warnings[0]
    assert not make_plan(gpu(24, ram=4), SIZES).warnings  # nothing stays in RAM
    plenty, scarce = make_plan(gpu(2, ram=32), SIZES), make_plan(gpu(2, ram=5), SIZES)
    assert plenty.pinned and not scarce.pinned and plenty.ram > scarce.ram


def test_warnings_of_the_device() -> None:
    assert "emulates bf16" in make_plan(gpu(8, bf16=False), SIZES, precision="bf16").warnings[0]
    assert not make_plan(gpu(8, bf16=False), SIZES).warnings
    with pytest.raises(InputError, match="fp8"):
        make_plan(gpu(16, device="mps"), SIZES, precision="fp8")


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"precision": "half"}, "precision: unknown value 'half'"),
        ({"offload": "maybe"}, "offload"),
        ({"seconds": 0}, "seconds 0"),
        ({"seconds": float("nan")}, "seconds nan"),
        ({"batch": 0}, "batch 0"),
        ({"max_vram_gb": -1}, "max_vram_gb"),
        ({"sizes": {"dit": 1}}, "text, video, audio, autoencoder"),
    ],
)
def test_bad_arguments(given: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        make_plan(gpu(8), given.pop("sizes", SIZES), **given)


def test_streamed_blocks_are_spread_evenly() -> None:
    assert spread(4, 24) == (0, 6, 12, 18)
    assert spread(24, 24) == tuple(range(24)) and spread(0, 24) == ()


def test_report_tells_it_all() -> None:
    machine = gpu(2)
    text = report(make_plan(machine, SIZES), machine)
    for part in ("a 2 GB card", "2.00 GB", "RAM", "precision   fp16", "offload     on", "blocks streamed", *COMPONENTS):
        assert part in text
    assert "problem:" in report(make_plan(gpu(0.3), SIZES), gpu(0.3))
    assert "VRAM" not in report(make_plan(cpu(16), SIZES), cpu(16))


def test_measure_this_machine() -> None:
    machine = measure("cpu")
    assert machine.kind == "cpu" and 0 < machine.ram_available <= machine.ram_total and machine.vram_total == 0
    with pytest.raises(InputError, match="Valid: auto"):
        measure("tpu")


def test_measure_counts_our_own_reserve_as_free(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "is_available": True,
        "device_count": 2,
        "current_device": 1,
        "mem_get_info": (3 * GB, 8 * GB),
        "memory_reserved": 2 * GB,
        "memory_allocated": GB,
        "get_device_capability": (7, 5),
        "get_device_name": "a card",
    }.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.version, "hip", None)
    machine = measure()
    assert (machine.device, machine.name, machine.bf16) == ("cuda:1", "a card", False)
    assert machine.vram_free == 4 * GB and machine.vram_total == 8 * GB
    assert measure("cuda:0").device == "cuda:0"
    with pytest.raises(InputError, match="there are 2 of cuda"):
        measure("cuda:2")


def test_measure_apple(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 12 * GB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: GB)
    machine = measure()
    assert machine.kind == "mps" and machine.vram_total == 12 * GB
    assert 0 < machine.vram_free <= 11 * GB
