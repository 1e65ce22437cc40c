"""A real ComfyUI server for the tests: on the CPU unless asked, in a temporary base directory, spoken to over HTTP."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.comfyui.events import Events, Message
from tests.comfyui.result import PromptRejected, Result, make_result

REPO = Path(__file__).resolve().parents[2]
PACK_NAME = "ComfyUI_AudioX"
BASE_FOLDERS = ("models", "input", "output", "temp", "user", "custom_nodes")

Prompt = dict[str, dict[str, Any]]


class ServerDied(RuntimeError):
    """The ComfyUI process ended by itself; the message carries the end of its log."""


def find_comfyui() -> Path | None:
    """ComfyUI's folder: COMFYUI_PATH, or the checkout whose custom_nodes holds this repository, or None."""
    named = os.environ.get("COMFYUI_PATH")
    if named:
        path = Path(named).expanduser().resolve()
        if not (path / "main.py").is_file():
            raise FileNotFoundError(f"COMFYUI_PATH={named} has no main.py; set it to a ComfyUI checkout")
        return path
    # The unresolved path matters where the repository is linked into custom_nodes.
    for repo in (REPO, Path(os.path.abspath(__file__)).parents[2]):
        if repo.parent.name == "custom_nodes" and (repo.parent.parent / "main.py").is_file():
            return repo.parent.parent
    return None


def comfyui_environment(packages: Sequence[Path] = ()) -> dict[str, str]:
    """Environment for ComfyUI's interpreter: packages and COMFYUI_PYTHONPATH in front; no model hubs."""
    extra = [*map(str, packages)]
    extra += [os.environ[name] for name in ("COMFYUI_PYTHONPATH", "PYTHONPATH") if os.environ.get(name)]
    environment = dict(os.environ, PYTHONUNBUFFERED="1", HF_HUB_OFFLINE="1", NO_COLOR="1")
    environment["PYTHONPATH"] = os.pathsep.join(extra)
    return environment


def comfyui_python() -> str:
    """Interpreter that runs ComfyUI: COMFYUI_PYTHON, else the one that runs the tests."""
    return os.environ.get("COMFYUI_PYTHON") or sys.executable


class ComfyServer:
    """Context manager around one ComfyUI process with our pack linked into its custom_nodes.

    packages: folders that come first on its path; environment: further variables of it; device: arguments that choose
    what it computes on, none for the card that it finds.
    """

    def __init__(
        self,
        comfyui: Path,
        *,
        pack: Path | None = REPO,
        pack_name: str = PACK_NAME,
        arguments: Sequence[str] = (),
        device: Sequence[str] = ("--cpu",),
        packages: Sequence[Path] = (),
        environment: Mapping[str, str] | None = None,
        start_timeout: float = 180.0,
    ) -> None:
        self.comfyui = comfyui
        self.pack = pack
        self.pack_name = pack_name
        self.arguments, self.device = list(arguments), list(device)
        self.packages, self.environment = list(packages), dict(environment or {})
        self.start_timeout = start_timeout
        self.base = Path(tempfile.mkdtemp(prefix="audiox-comfyui-"))
        self.port = 0
        self.events: Events | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0

    def __enter__(self) -> ComfyServer:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            shutil.rmtree(self.base, ignore_errors=True)

    # Life of the process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """Everything the running (or last) process wrote to stdout and stderr."""
        path = self.base / "server.log"
        return path.read_bytes()[self._log_start :].decode(errors="replace") if path.exists() else ""

    def start(self) -> None:
        """Start ComfyUI on a free loopback port and return when it answers and the websocket is connected."""
        for name in BASE_FOLDERS:
            (self.base / name).mkdir(exist_ok=True)
        for link in (self.base / "custom_nodes").iterdir():
            if link.is_symlink():
                link.unlink()
        if self.pack is not None:
            (self.base / "custom_nodes" / self.pack_name).symlink_to(self.pack, target_is_directory=True)
        self.port = _free_port()
        log_path = self.base / "server.log"
        self._log_start = log_path.stat().st_size if log_path.exists() else 0
        command = [comfyui_python(), "main.py", *self.device, "--listen", "127.0.0.1", "--port", str(self.port)]
        command += ["--base-directory", str(self.base), "--database-url", "sqlite:///:memory:"]
        command += [
            "--disable-auto-launch",
            "--disable-api-nodes",
            "--preview-method",
            "auto",
            *self.arguments,
        ]
        with log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self.comfyui,
                env=comfyui_environment(self.packages) | self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=_die_with_parent if sys.platform == "linux" else None,
            )
        self._wait_until_ready()
        self.client_id = uuid.uuid4().hex
        self.events = Events(f"ws://127.0.0.1:{self.port}/ws?clientId={self.client_id}")
        self.events.open()

    def stop(self) -> None:
        """End the process group (SIGTERM, after 10 s SIGKILL) and close the websocket."""
        if self.events is not None:
            self.events.close()
            self.events = None
        process, self._process = self._process, None
        if process is None:
            return
        for kind in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(process.pid, kind)  # start_new_session made the pid the group's id
            except ProcessLookupError:
                break
            try:
                process.wait(timeout=10)
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait(timeout=10)

    def restart(self, *, pack_name: str | None = None, arguments: Sequence[str] | None = None) -> None:
        """Stop and start again on the same base directory, under another pack folder name if given."""
        self.stop()
        self.pack_name = pack_name or self.pack_name
        self.arguments = self.arguments if arguments is None else list(arguments)
        self.start()

    # Requests

    def get(self, path: str, timeout: float = 60.0) -> Any:
        """JSON that GET `path` answers (bytes when it is no JSON); urllib.error.HTTPError on 4xx and 5xx."""
        return self._request(urllib.request.Request(self.url + path), timeout)

    def post(self, path: str, body: Mapping[str, Any], timeout: float = 60.0) -> Any:
        """JSON that POST `path` answers to the JSON `body`."""
        data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"})
        return self._request(request, timeout)

    def object_info(self) -> dict[str, Any]:
        """Descriptions of all registered nodes, by id."""
        return self.get("/object_info")

    def queue(self, prompt: Prompt) -> str:
        """Id of the queued API prompt; PromptRejected when its validation fails."""
        try:
            return self.post("/prompt", {"prompt": prompt, "client_id": self.client_id})["prompt_id"]
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            raise PromptRejected(json.loads(error.read())) from None

    def run(self, prompt: Prompt, timeout: float = 300.0) -> Result:
        """Queue an API prompt and follow it to its end."""
        return self.follow(self.queue(prompt), timeout)

    def follow(self, prompt_id: str, timeout: float = 300.0) -> Result:
        """Result of a queued prompt, once it has succeeded, failed or been interrupted."""
        self.wait_for(lambda message: message.ends(prompt_id), timeout, what=f"end of prompt {prompt_id}")
        assert self.events is not None
        return make_result(prompt_id, self.events.messages, self._outputs(prompt_id), self.base)

    def wait_for(
        self, wanted: Callable[[Message], bool], timeout: float, *, since: int = 0, what: str = "message"
    ) -> Message:
        """First websocket message, from position `since` on, for which `wanted(message)` is true."""
        assert self.events is not None, "the server is not running"
        try:
            return self.events.wait(wanted, timeout, since=since, what=what)
        except (ConnectionError, TimeoutError) as error:
            kind = ServerDied if isinstance(error, ConnectionError) else TimeoutError
            raise kind(f"{error}\nserver log:\n{self.log[-3000:]}") from None

    def interrupt(self) -> None:
        """Ask ComfyUI to stop the running prompt."""
        self.post("/interrupt", {})

    def free(self, timeout: float = 60.0) -> None:
        """The unload button: drop all models and cached outputs, then wait until the worker has done it."""
        # ComfyUI sets the two flags one after the other, and its worker may look between them.
        for flag in ("unload_models", "free_memory"):
            self.post("/free", {flag: True})
            self.wait_idle(timeout)
            time.sleep(2)  # the worker looks at them when idle, every second where the machine is free

    def wait_idle(self, timeout: float = 60.0) -> None:
        """Return when the queue is empty; TimeoutError after `timeout`."""
        start = time.monotonic()
        while True:
            queue = self.get("/queue")
            if not queue["queue_running"] and not queue["queue_pending"]:
                return
            if time.monotonic() - start > timeout:
                raise TimeoutError(f"queue still busy after {timeout:.0f} s: {str(queue)[:500]}")
            time.sleep(0.05)

    # Inner parts

    def _request(self, request: urllib.request.Request, timeout: float) -> Any:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=timeout) as answer:
            body = answer.read()
            if "json" in answer.headers.get("Content-Type", ""):
                return json.loads(body)
            return body

    def _wait_until_ready(self) -> None:
        assert self._process is not None
        end = time.monotonic() + self.start_timeout
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise ServerDied(f"exit code {self._process.returncode}; log:\n{self.log[-6000:]}")
            try:
                self.get("/system_stats", timeout=5)
                return
            except (urllib.error.URLError, OSError):
                time.sleep(0.2)
        raise TimeoutError(f"ComfyUI did not answer in {self.start_timeout:.0f} s; log:\n{self.log[-6000:]}")

    def _outputs(self, prompt_id: str) -> dict[str, dict[str, Any]]:
        # The history entry is written just after the last websocket message.
        end = time.monotonic() + 60
        while time.monotonic() < end:
            history = self.get(f"/history/{prompt_id}")
            if prompt_id in history:
                return history[prompt_id]["outputs"]
            time.sleep(0.05)
        raise TimeoutError(f"prompt {prompt_id} never appeared in /history")


def _die_with_parent() -> None:
    # A killed test run can't stop its server: the kernel then sends it this signal (prctl: 1 is PR_SET_PDEATHSIG).
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
