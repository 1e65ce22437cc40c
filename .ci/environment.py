"""Build an environment once, outside the checkout, and print the path of its interpreter.

Standard library only. There are two: that of the tests, and with --demo that of the demo, which holds what AudioX
needs at run time and nothing else. They lie in $XDG_CACHE_HOME/comfyui-audiox as env-<key> and demo-<key>; the key
covers the requirement files and the Python it is made from, so changed requirements get a new one and a second run
finds the old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
LAST_PYTHON = (3, 14)  # the newest one that the pinned torch has builds for


class Kind(NamedTuple):
    """What an environment is made of."""

    prefix: str  # of its folder
    requirements: tuple[Path, ...]  # the last one is installed, and names the others
    imports: str  # what must be importable together before it counts as finished
    size_gb: float  # on the disk, measured with du (docs/testing.md says what is in it)


TESTS = Kind(
    "env", (ROOT / "requirements.txt", ROOT / "tests" / "requirements.txt"), "torch, torchaudio, torchvision, av", 6.0
)
DEMO = Kind("demo", (ROOT / "requirements.txt", ROOT / ".ci" / "demo.txt"), "torch, torchaudio, av, transformers", 5.5)


def say(text: str) -> None:
    """Write one line to stderr: stdout carries nothing but the interpreter's path."""
    print(f"AudioX: {text}", file=sys.stderr, flush=True)


def cache_folder() -> Path:
    """The folder of our environments; a relative XDG_CACHE_HOME is ignored, as its specification demands."""
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (base if base.is_absolute() else Path.home() / ".cache") / "comfyui-audiox"


def key(requirements: Sequence[str]) -> str:
    """12 hex digits for these requirement texts (comments don't count) on this Python."""
    lines = (line.partition("#")[0].strip() for text in requirements for line in text.splitlines())
    parts = [sys.version, sys.base_prefix, platform.machine(), *filter(None, lines)]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def installer(environment: Path) -> list[str]:
    """Make the bare environment and give the command that installs into it.

    Raises SystemExit, naming the mend, where this Python can't make one.
    """
    python = environment / "bin" / "python"
    venv = [sys.executable, "-m", "venv"]
    if importlib.util.find_spec("ensurepip") and importlib.util.find_spec("venv"):
        run([*venv, str(environment)])
        return [str(python), "-I", "-m", "pip"]
    # Debian keeps ensurepip in python3-venv; a pip outside the environment can install into it just as well.
    if importlib.util.find_spec("pip") and importlib.util.find_spec("venv"):
        run([*venv, "--without-pip", str(environment)])
        return [sys.executable, "-m", "pip", "--python", str(python)]
    major, minor = sys.version_info[:2]
    sys.exit(
        f"AudioX: {sys.executable} can't make a virtual environment (it lacks ensurepip); "
        f"on Debian or Ubuntu: apt install python{major}.{minor}-venv"
    )


def run(command: Sequence[str], keep_open: int | None = None) -> None:
    """Run a command with its output on stderr; it inherits keep_open. Raises CalledProcessError."""
    # Without the settings that would send packages elsewhere than into the environment.
    elsewhere = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PYTHONHOME")
    env = {name: value for name, value in os.environ.items() if name not in elsewhere}
    env |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    inherited = () if keep_open is None else (keep_open,)
    subprocess.run(command, stdout=sys.stderr, env=env, check=True, pass_fds=inherited)


def build(environment: Path, kind: Kind, lock: int) -> None:
    """Build the environment from nothing; its stamp comes last, so an interrupted build never counts."""
    if environment.exists():
        say(f"{environment} is unfinished or its Python is gone; building it again")
        shutil.rmtree(environment)
    say(f"building the environment in {environment} (about {kind.size_gb:g} GB, some minutes; later runs find it)")
    pip = installer(environment)
    # pip holds our lock too: if this program is killed, the next one waits for that pip before it clears up.
    run([*pip, "install", "-r", str(kind.requirements[-1])], keep_open=lock)
    run([str(environment / "bin" / "python"), "-I", "-c", f"import {kind.imports}"])
    (environment / ".ready").touch()


def ready(environment: Path) -> bool:
    """Whether the environment was finished and its Python is still there."""
    return (environment / ".ready").exists() and os.access(environment / "bin" / "python", os.X_OK)


def place(kind: Kind) -> Path:
    """Where an environment of these requirements, made from this Python, lies or would lie."""
    return cache_folder() / f"{kind.prefix}-{key([path.read_text(encoding='utf-8') for path in kind.requirements])}"


def main() -> None:
    """Print an interpreter's path: that of the tests, or with --demo that of the demo. --remove deletes them all.

    The demo takes the environment of the tests where that is there already: it holds everything the demo needs.
    """
    cache = cache_folder()
    if sys.argv[1:] == ["--remove"]:
        for path in (path for kind in (TESTS, DEMO) for path in cache.glob(f"{kind.prefix}-*")):
            say(f"removing {path}")
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        return
    if sys.argv[1:] not in ([], ["--demo"]):
        sys.exit(f"AudioX: unknown arguments {' '.join(sys.argv[1:])}; there are --demo and --remove")
    kind = DEMO if sys.argv[1:] else TESTS
    if sys.version_info[:2] > LAST_PYTHON:
        newest = ".".join(map(str, LAST_PYTHON))
        sys.exit(
            f"AudioX: the pinned torch has no build for Python {platform.python_version()}; "
            f"name one from 3.10 to {newest}: make PYTHON=/path/to/python{newest} ..."
        )
    environment = place(kind)
    if kind is DEMO and not ready(environment) and ready(place(TESTS)):
        environment = place(TESTS)
    if not ready(environment):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with open(f"{environment}.lock", "w") as lock:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say(f"another run is building {environment}; waiting for it")
                    fcntl.flock(lock, fcntl.LOCK_EX)
                if not ready(environment):
                    build(environment, kind, lock.fileno())
        except subprocess.CalledProcessError as error:
            free_gb = shutil.disk_usage(cache).free / 1e9
            sys.exit(
                f"AudioX: setting up failed, see above; the command was: {' '.join(error.cmd)}\n"
                f"AudioX: it needs the Python package index and about {kind.size_gb:g} GB in {cache} "
                f"({free_gb:.0f} GB free; XDG_CACHE_HOME moves it). Then run the same command again."
            )
        except OSError as error:
            sys.exit(f"AudioX: can't keep an environment in {cache} ({error}); set XDG_CACHE_HOME elsewhere")
    print(environment / "bin" / "python")


if __name__ == "__main__":
    main()
