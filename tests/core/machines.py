"""Invented machines, and the released model in its full size (on the meta device), for the tests of plans."""

from __future__ import annotations

from audiox_core.memory.machine import Machine
from audiox_core.memory.plan import GB
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config

FULL = parse_config(BASE_CONFIG)


def gpu(gigabytes: float, ram: float = 32.0, device: str = "cuda:0", bf16: bool = True) -> Machine:
    """A card of that size with a desktop on it."""
    total = int(gigabytes * GB)
    return Machine(device, f"a {gigabytes} GB card", total, int(0.92 * total), int(ram * GB), int(0.7 * ram * GB), bf16)


def cpu(ram: float) -> Machine:
    return Machine("cpu", "CPU", 0, 0, int(ram * GB), int(0.8 * ram * GB))
