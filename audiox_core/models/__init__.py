"""What a model is: its configuration, its clock, its parts, its recipe; one file a released member.

A new member is a file here (with its networks in networks/), its name in FILES, and its row in family.py. The file
may hold CONDITIONERS and BACKBONES, readers by the type that a config.json names.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .family import Member

FILES = ("conditioners", "audiox", "maf", "mmdit", "turbo", "demo")


def register(module: Any) -> None:
    """Takes a member's file (or any object like it) into the tables. What is there already is replaced."""
    from .config import BACKBONES, CONDITIONERS

    CONDITIONERS.update(getattr(module, "CONDITIONERS", {}))
    BACKBONES.update(getattr(module, "BACKBONES", {}))
    members().update({member.name: member for member in getattr(module, "MEMBERS", ())})


@cache
def register_all() -> None:
    """Takes in the files of this folder, once, when a config is first read."""
    for name in FILES:
        register(import_module(f".{name}", __name__))


@cache
def members() -> dict[str, Member]:
    """The models to be had by name, in the order in which they are offered."""
    from .family import MEMBERS

    return {member.name: member for member in MEMBERS}


def member(name: object) -> Member | None:
    """The model of a name or of a repository on the hub, in any case; None where there is none (or for a path)."""
    if not isinstance(name, str):
        return None
    for found in members().values():
        names = [found.name, *([found.released.repo] if found.released else [])]
        if name.lower() in (known.lower() for known in names):
            return found
    return None
