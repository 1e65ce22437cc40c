"""What a model is: its configuration, its clock, its parts, its recipe; one file a released member.

A new member is a file here (with its networks in networks/) and its name in FILES. It may hold CONDITIONERS and
BACKBONES, readers by the type that a config.json names, and MEMBERS, the models to be had by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .parts import Member

FILES = ("conditioners", "audiox", "maf", "mmdit", "turbo", "demo")
_members: dict[str, Member] = {}


def register(module: Any) -> None:
    """Takes a member's file (or any object like it) into the tables. What is there already is replaced."""
    from .config import BACKBONES, CONDITIONERS

    CONDITIONERS.update(getattr(module, "CONDITIONERS", {}))
    BACKBONES.update(getattr(module, "BACKBONES", {}))
    _members.update({member.name: member for member in getattr(module, "MEMBERS", ())})


@cache
def register_all() -> None:
    """Takes in the members of this folder, once, when a model is first asked for."""
    for name in FILES:
        register(import_module(f".{name}", __name__))


def members() -> Mapping[str, Member]:
    """The models to be had by name, in the order in which they are offered."""
    register_all()
    return _members


def member(name: object) -> Member | None:
    """The model of a name or of a repository on the hub, in any case; None where there is none (or for a path)."""
    if not isinstance(name, str):
        return None
    for found in members().values():
        names = [found.name, *([found.released.repo] if found.released else [])]
        if name.lower() in (known.lower() for known in names):
            return found
    return None
