"""First on ComfyUI's path, it keeps torchaudio for ComfyUI's own files, as if this version didn't need it.

For everything else torchaudio is as the variable AUDIOX_TEST_TORCHAUDIO says: absent, or broken (its import ends in an
OSError, as with a build for another torch).
"""

from __future__ import annotations

import builtins
import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any

NAME = "torchaudio"
MODE = os.environ["AUDIOX_TEST_TORCHAUDIO"]
HOST = tuple(os.path.join(os.getcwd(), name) for name in ("comfy", "comfy_extras", "comfy_api", "nodes.py"))

plain_import = builtins.__import__
kept: dict[str, ModuleType] = {}
served = 0  # imports of the host that are under way


def is_torchaudio(name: str) -> bool:
    return name.partition(".")[0] == NAME


class BrokenLoader:
    """Loads nothing."""

    def create_module(self, spec: ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        raise OSError("libtorchaudio.so: undefined symbol")


class Finder(PathFinder):
    """Looks along sys.path, but for torchaudio."""

    @classmethod
    def find_spec(cls, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if not is_torchaudio(name) or served:
            return super().find_spec(name, path, target)
        return None if MODE == "absent" else ModuleSpec(name, BrokenLoader())


def importing(name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0) -> Any:
    """builtins.__import__, in which torchaudio is there for ComfyUI's own files and for its own."""
    global served
    importer = (globals or {}).get("__file__") or ""
    theirs = importer.startswith(HOST) or is_torchaudio((globals or {}).get("__name__") or "")
    if not theirs or not (is_torchaudio(name) or level):
        return plain_import(name, globals, locals, fromlist, level)
    served += 1
    sys.modules.update(kept)
    try:
        return plain_import(name, globals, locals, fromlist, level)
    finally:
        served -= 1
        if not served:
            for found in [found for found in sys.modules if is_torchaudio(found)]:
                kept[found] = sys.modules.pop(found)


sys.meta_path[sys.meta_path.index(PathFinder)] = Finder
builtins.__import__ = importing
