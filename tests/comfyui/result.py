"""What one prompt did: nodes run and cached, progress, previews, files and errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.comfyui.events import END_OF_PROMPT, Message


class PromptRejected(ValueError):
    """POST /prompt answered 400; `node_errors` maps node ids to ComfyUI's validation errors."""

    def __init__(self, body: dict[str, Any]) -> None:
        self.error: dict[str, Any] = body.get("error", {})
        self.node_errors: dict[str, Any] = body.get("node_errors", {})
        super().__init__(json.dumps(body, indent=1)[:4000])


@dataclass
class Result:
    """What one prompt did: `files` are absolute, `progress` maps a node id to its (value, max) messages."""

    prompt_id: str
    status: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    executed: list[str] = field(default_factory=list)
    cached: list[str] = field(default_factory=list)
    progress: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    previews: list[bytes] = field(default_factory=list)
    error: dict[str, Any] | None = None
    seconds: float = 0.0

    def check(self) -> Result:
        """This result; AssertionError with the node's message and traceback if the prompt did not succeed."""
        if self.status != "execution_success":
            error = self.error or {}
            trace = "".join(error.get("traceback") or [])
            raise AssertionError(
                f"{self.status} in {error.get('node_type')}: {error.get('exception_message')}\n{trace}"
            )
        return self

    def files_of(self, node_id: str) -> list[Path]:
        """Files that one output node wrote."""
        written = {entry["filename"] for entry in _file_entries(self.outputs.get(node_id, {}))}
        return [path for path in self.files if path.name in written]


def make_result(
    prompt_id: str, messages: Iterable[Message], outputs: Mapping[str, dict[str, Any]], base: Path
) -> Result:
    """Result of a finished prompt from the websocket's messages and /history's `outputs`."""
    mine: list[Message] = []
    running = False
    for message in list(messages):
        if message.data.get("prompt_id") == prompt_id:
            mine.append(message)
            running = message.kind not in END_OF_PROMPT
        elif message.kind == "preview" and running:  # carries no prompt id
            mine.append(message)
    last = next(message for message in mine if message.ends(prompt_id))
    result = Result(prompt_id, last.kind, outputs=dict(outputs), seconds=last.at - mine[0].at)
    for message in mine:
        data = message.data
        if message.kind == "executing" and data.get("node") and data["node"] not in result.executed:
            result.executed.append(data["node"])
        elif message.kind == "execution_cached":
            result.cached.extend(data["nodes"])
        elif message.kind == "progress":
            result.progress.setdefault(data["node"], []).append((data["value"], data["max"]))
        elif message.kind == "preview":
            result.previews.append(data["picture"])
        elif message.kind in ("execution_error", "execution_interrupted"):
            result.error = data
    for node_output in result.outputs.values():
        for entry in _file_entries(node_output):
            result.files.append(base / entry["type"] / entry.get("subfolder", "") / entry["filename"])
    return result


def _file_entries(node_output: Mapping[str, Any]) -> list[dict[str, Any]]:
    lists = [value for value in node_output.values() if isinstance(value, list)]
    return [entry for entries in lists for entry in entries if isinstance(entry, dict) and "filename" in entry]
