"""The device and the memory there is, measured: this machine, and others played."""

from __future__ import annotations

import pytest
import torch

from audiox_core.errors import InputError
from audiox_core.memory.machine import measure
from audiox_core.memory.plan import GB


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


def test_apple_memory_that_is_more_than_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: GB)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 2 * GB)
    assert measure("mps").vram_free == 0


@pytest.mark.parametrize(
    ("capability", "hip", "native"),
    [((7, 5), None, False), ((8, 0), None, True), ((9, 0), None, True), ((7, 5), "6.2", True)],
)
def test_which_cards_compute_bf16(
    capability: tuple[int, int], hip: str | None, native: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = {"is_available": True, "device_count": 1, "current_device": 0, "mem_get_info": (GB, GB)}
    answers |= {"memory_reserved": 0, "memory_allocated": 0, "get_device_name": "a card"}
    for name, value in {**answers, "get_device_capability": capability}.items():
        monkeypatch.setattr(torch.cuda, name, lambda *_, value=value: value)
    monkeypatch.setattr(torch.version, "hip", hip)
    machine = measure()
    assert machine.bf16 is native and machine.kind == "cuda" and machine.vram_free == GB
