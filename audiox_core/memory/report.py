"""A short report of what the machine has and of the plan that follows, in words that users know."""

from __future__ import annotations

from .machine import Machine
from .plan import GB, Plan

WIDTH = 15  # of the names at the beginning of lines
LEAST = 5_000_000  # bytes; less would be shown as 0.00 GB


def report(plan: Plan, machine: Machine) -> str:
    """A few lines: what there is, what will be used, and where each part goes."""

    def line(name: str, text: str) -> str:
        return f"{name:{WIDTH}s}{text}"

    lines = [line("device", f"{machine.name} ({machine.device})")]
    if machine.kind != "cpu":
        free, most = gb(machine.vram_free), gb(plan.budget)
        own = f"{free} of it free; up to {most} may be used, {gb(plan.peak)} expected at most"
        lines.append(line("GPU memory", f"{gb(machine.vram_total)}, {own}"))
    free, most = gb(machine.ram_available), gb(plan.ram_budget)
    own = f"{free} of it free; up to {most} may be used, {gb(plan.ram)} expected at most"
    lines.append(line("RAM", f"{gb(machine.ram_total)}, {own}"))
    lines += [line("precision", plan.precision), line("offload", "on" if plan.offload else "off")]
    where = {"device": "always on the GPU", "stage": "on the GPU while it works", "cpu": "in RAM"}
    for name, place in plan.places.items():
        text = f"{gb(place.bytes)} in {place.format}, {where[place.where]}"
        if name == plan.backbone and plan.streamed_blocks:
            text += f" ({len(plan.streamed_blocks)} of its {plan.depth} blocks are read from RAM in each step)"
        if place.tile is not None:
            text += f", in pieces of {place.tile} latents"
        if place.activations >= LEAST:
            text += f", plus {gb(place.activations)} for its work"
        lines.append(line(place.label or name, text))
    lines += [f"warning: {text}" for text in plan.warnings] + [f"problem: {text}" for text in plan.problems]
    return "\n".join(lines)


def gb(number: int) -> str:
    """Bytes in GB of 1e9."""
    return f"{number / GB:.2f} GB" if number >= LEAST or not number else "under 0.01 GB"
