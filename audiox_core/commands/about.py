"""The commands about models: info and convert."""

from __future__ import annotations

import argparse

from .options import place_of


def info(args: argparse.Namespace) -> None:
    """Prints what the machine has, and where the parts of the model would go."""
    from ..memory.report import report
    from ..pipeline import plan_for

    machine, plan = plan_for(args.model, **place_of(args))
    print(report(plan, machine))


def convert(args: argparse.Namespace) -> None:
    """Rewrites a checkpoint as safetensors."""
    from ..media.reading import name_of
    from ..weights.convert import convert as rewrite

    rewrite(args.source, args.target, config=args.config, overwrite=args.overwrite)
    print(f"{name_of(args.target)}: written")
