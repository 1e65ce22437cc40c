"""What all nodes' descriptions share: category, the one own type, and terms that newer ComfyUI versions search by."""

from __future__ import annotations

from typing import Any

from comfy_api.latest import io

CATEGORY = "AudioX"
Encoders = io.Custom("AUDIOX_ENCODERS")


def schema(node_id: str, display_name: str, description: str, aliases: list[str], **parts: Any) -> io.Schema:
    """A node's schema in our category; search terms only where this ComfyUI knows them."""
    if "search_aliases" in io.Schema.__dataclass_fields__:
        parts["search_aliases"] = aliases
    return io.Schema(node_id=node_id, display_name=display_name, category=CATEGORY, description=description, **parts)
