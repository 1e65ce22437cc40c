"""The device and the memory there is, measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..errors import InputError


@dataclass(frozen=True)
class Machine:
    """A device and its memory in bytes. Without an accelerator vram_total and vram_free are 0."""

    device: str  # for torch.device: cpu, cuda:0, xpu:0, mps
    name: str
    vram_total: int
    vram_free: int
    ram_total: int
    ram_available: int
    bf16: bool = True  # computes bfloat16 natively

    @property
    def kind(self) -> str:
        """cuda (also ROCm), xpu, mps or cpu."""
        return self.device.split(":")[0]


def measure(device: Any = "auto") -> Machine:
    """The machine as it is now; device is a name or a torch.device, auto takes the first accelerator there is.

    Raises InputError for an absent device.
    """
    import psutil
    import torch

    if isinstance(device, torch.device):
        device = str(device)
    if not isinstance(device, str):
        raise InputError(f"device: expected a name such as cuda:0, got {type(device).__name__}")
    ram = psutil.virtual_memory()
    memory = {"ram_total": ram.total, "ram_available": ram.available}
    there: dict[str, Any] = {
        "cuda": torch.cuda.is_available,
        "xpu": lambda: hasattr(torch, "xpu") and torch.xpu.is_available(),
        "mps": torch.backends.mps.is_available,
        "cpu": lambda: True,
    }
    kind, _, index = device.partition(":")
    if kind == "auto":
        kind = next(k for k, available in there.items() if available())
    if kind not in there or not there[kind]():
        found = [k for k, available in there.items() if available()]
        raise InputError(f"device: {device!r} is not available here. Valid: auto, {', '.join(found)}.")
    if kind == "cpu":
        return Machine("cpu", "CPU", 0, 0, **memory)
    if kind == "mps":
        total = torch.mps.recommended_max_memory()
        free = min(total - torch.mps.driver_allocated_memory(), ram.available)
        return Machine("mps", "Apple GPU", total, max(free, 0), **memory)
    module: Any = getattr(torch, kind)
    count = module.device_count()
    if index and not (index.isdigit() and int(index) < count):
        raise InputError(f"device: {device!r} is not available here; there are {count} of {kind}, from {kind}:0 on.")
    number = int(index) if index else module.current_device()
    free, total = module.mem_get_info(number)
    # What this process has reserved without using it is free to us.
    free += module.memory_reserved(number) - module.memory_allocated(number)
    bf16 = kind != "cuda" or torch.version.hip is not None or module.get_device_capability(number) >= (8, 0)
    return Machine(f"{kind}:{number}", module.get_device_name(number), total, free, **memory, bf16=bf16)
