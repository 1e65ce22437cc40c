"""A short report of what the machine has and of the plan that follows."""

from __future__ import annotations

from .machine import Machine
from .plan import GB, Plan


def report(plan: Plan, machine: Machine) -> str:
    """A few lines: what there is, what will be used, and where each part goes."""

    def gb(number: int) -> str:
        return f"{number / GB:.2f} GB"

    cpu = machine.kind == "cpu"
    lines = [f"device      {machine.name} ({machine.device})"]
    if not cpu:
        lines.append(
            f"VRAM        {gb(machine.vram_total)}, {gb(machine.vram_free)} free, up to {gb(plan.budget)} may be used, "
            f"{gb(plan.peak)} expected at most"
        )
    lines.append(
        f"RAM         {gb(machine.ram_total)}, {gb(machine.ram_available)} available, up to {gb(plan.ram_budget)} may "
        f"be used, {gb(plan.ram)} expected at most"
    )
    lines += [f"precision   {plan.precision}", f"offload     {'on' if plan.offload else 'off'}"]
    where = {"device": "on the device", "stage": "on the device while it works", "cpu": "in RAM"}
    for name, place in plan.places.items():
        text = f"{name:12s}{gb(place.bytes)} {place.format}, {where[place.where]}"
        if name == plan.backbone and plan.streamed_blocks:
            text += f", {len(plan.streamed_blocks)} of {plan.depth} blocks streamed in each step"
        if place.tile is not None:
            text += f", tiles of {place.tile} latents"
        lines.append(f"{text}, {gb(place.activations)} to work in")
    lines += [f"warning: {text}" for text in plan.warnings] + [f"problem: {text}" for text in plan.problems]
    return "\n".join(lines)
