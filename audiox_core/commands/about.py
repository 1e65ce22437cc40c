"""The commands about models: info and convert."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .options import place_of

if TYPE_CHECKING:
    import torch

    from ..memory.machine import Machine
    from ..memory.plan import Plan


def info(args: argparse.Namespace) -> None:
    """Prints what the machine has, where the parts of the model would go, and which model files are here."""
    from ..memory.report import report
    from ..weights.inventory import inventory, told

    machine, plan = plan_for(args.model, **place_of(args))
    print(f"{report(plan, machine)}\n\n{told(inventory(args.models_dir))}")


def plan_for(
    name: str | Path = "AudioX",
    *,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    device: str | torch.device = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
) -> tuple[Machine, Plan]:
    """The machine, and the plan for a model, without loading or downloading it. options: as in load_pipeline.

    A released model that is not on disk is planned by its published configuration.
    """
    from ..memory.machine import measure
    from ..memory.plan import make_plan
    from ..weights.open import describe_model

    model = describe_model(name, config=config, models_dirs=models_dirs)
    machine = measure(device)
    return machine, make_plan(machine, model, precision=dtype, offload=offload, max_vram_gb=max_vram_gb)


def convert(args: argparse.Namespace) -> None:
    """Rewrites a checkpoint as safetensors."""
    from ..media.reading import name_of
    from ..weights.convert import convert as rewrite

    rewrite(args.source, args.target, config=args.config, overwrite=args.overwrite)
    print(f"{name_of(args.target)}: written")
