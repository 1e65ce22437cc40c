"""Websocket follower: a background thread that keeps every message the ComfyUI server sends to one client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp

# Binary messages start with a big-endian event number; 1 is a preview picture followed by its format number.
PREVIEW_IMAGE = 1
END_OF_PROMPT = ("execution_success", "execution_error", "execution_interrupted")


@dataclass(frozen=True)
class Message:
    """One websocket message: `kind` is ComfyUI's type ("progress", "executing", ...) or "preview"."""

    kind: str
    data: dict[str, Any]
    at: float = field(default_factory=time.monotonic)

    def ends(self, prompt_id: str) -> bool:
        """Whether this is the last message of that prompt."""
        return self.kind in END_OF_PROMPT and self.data.get("prompt_id") == prompt_id


class Events:
    """Websocket client; `messages` grows in the background, `wait` blocks until one of them is as wanted."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.messages: list[Message] = []
        self._changed = threading.Condition()
        self._failure: BaseException | None = None
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="comfyui-events", daemon=True)

    def open(self, timeout: float = 20.0) -> None:
        """Connect, and return once the server's first message (its status) is here."""
        self._thread.start()
        self.wait(lambda message: True, timeout, what="first websocket message")

    def close(self) -> None:
        """Disconnect and join the thread; safe to call twice."""
        if self._closed:
            return
        self._closed = True
        if self._thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop may end by itself at this very moment
                self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(timeout=10)

    def mark(self) -> int:
        """Number of messages so far: a position to read on from."""
        return len(self.messages)

    def wait(
        self, wanted: Callable[[Message], bool], timeout: float, *, since: int = 0, what: str = "message"
    ) -> Message:
        """First `wanted` message from position `since` on; TimeoutError or ConnectionError name `what`."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                for message in self.messages[since:]:
                    if wanted(message):
                        return message
                since = len(self.messages)
                if self._failure is not None or not self._thread.is_alive():
                    raise ConnectionError(f"websocket closed while waiting for the {what}: {self._failure!r}")
                left = end - time.monotonic()
                if left <= 0:
                    last = [f"{m.kind} {m.data}" for m in self.messages[-5:]]
                    raise TimeoutError(f"{what} did not come in {timeout:.0f} s; last messages: {last}")
                self._changed.wait(min(left, 1.0))

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._receive())
        try:
            self._loop.run_until_complete(self._task)
        except asyncio.CancelledError:
            pass  # close() was called
        except (aiohttp.ClientError, OSError) as error:
            self._failure = error
        finally:
            self._loop.close()
            with self._changed:
                self._changed.notify_all()

    def _stop(self) -> None:
        self._task.cancel()

    async def _receive(self) -> None:
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(self.url, max_msg_size=0) as socket,
        ):
            async for raw in socket:
                if raw.type == aiohttp.WSMsgType.TEXT:
                    body = json.loads(raw.data)
                    self._keep(Message(body["type"], body.get("data") or {}))
                elif raw.type == aiohttp.WSMsgType.BINARY and len(raw.data) > 8:
                    event, _format = struct.unpack(">II", raw.data[:8])
                    if event == PREVIEW_IMAGE:
                        self._keep(Message("preview", {"picture": raw.data[8:]}))

    def _keep(self, message: Message) -> None:
        with self._changed:
            self.messages.append(message)
            self._changed.notify_all()
