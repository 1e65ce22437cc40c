"""What all nodes share: category, own type, terms that newer versions search by, errors with the node's name."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Any

from comfy_api.latest import io

from ..audiox_core.errors import AudioXError

CATEGORY = "AudioX"
Encoders = io.Custom("AUDIOX_ENCODERS")


def schema(node_id: str, display_name: str, description: str, aliases: list[str], **parts: Any) -> io.Schema:
    """A node's schema in our category; search terms only where this ComfyUI knows them."""
    if "search_aliases" in io.Schema.__dataclass_fields__:
        parts["search_aliases"] = aliases
    return io.Schema(node_id=node_id, display_name=display_name, category=CATEGORY, description=description, **parts)


@cache
def _short(kind: type[AudioXError]) -> type[AudioXError]:
    """An error's class under a short name: ComfyUI shows the whole path of a class, and builtins have none."""
    return type("AudioXError", (kind,), {"__module__": "builtins"})


def named(title: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """For a node's execute: errors of the core begin with the node's name."""

    def decorate(execute: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(execute)
        def told(*given: Any, **values: Any) -> Any:
            try:
                return execute(*given, **values)
            except AudioXError as error:
                text = str(error)
                if text.startswith(title):
                    raise
                raise _short(type(error))(f"{title}: {text}") from error

        return told

    return decorate
