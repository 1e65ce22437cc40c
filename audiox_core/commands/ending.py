"""How a command ends: which files it has written, and what signals do to it."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn


class Stopped(BaseException):
    """SIGTERM or SIGHUP, by its number."""


class Outputs:
    """The files that a command is to write, and which of them it has written."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args = args
        named = [getattr(args, name, None) for name in ("output", "spectrogram", "target")]
        takes = getattr(args, "takes", 1)
        several = [path for name in named if isinstance(name, str) for path in numbered(name, min(takes, 99))]
        self.before = {str(path): self._stamp(path) for path in several}

    def written(self) -> str:
        """A clause that names them; nothing where there are none. A command may tell it itself, as args.told."""
        from ..media.reading import name_of

        if hasattr(self.args, "told"):
            return str(self.args.told)
        done = [name_of(name) for name, stamp in self.before.items() if self._stamp(name) != stamp]
        return f"{' and '.join(done)} {'were' if len(done) > 1 else 'was'} written" if done else ""

    @staticmethod
    def _stamp(name: str | Path) -> tuple[int, int, int] | None:
        with suppress(OSError, ValueError):
            found = os.stat(name)
            return found.st_ino, found.st_size, found.st_mtime_ns
        return None


def numbered(path: str | Path, count: int) -> list[Path]:
    """The files of so many takes: name_1.wav, name_2.wav, ...; of one the path itself."""
    path = Path(path)
    return [path] if count == 1 else [path.parent / f"{path.stem}_{i}{path.suffix}" for i in range(1, count + 1)]


@contextmanager
def ends_at_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the command as Ctrl-C does, by an exception, so that nothing half-written stays.

    Where they are ignored (nohup) or handled by whoever called, they stay so; so do they off the main thread.
    """

    def stop(number: int, _: Any) -> NoReturn:
        for other in ours:
            signal.signal(other, signal.SIG_IGN)  # a second one must not break the tidying up
        raise Stopped(number)

    ours: list[int] = []
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # Windows has no SIGHUP
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            with suppress(ValueError):  # not the main thread
                signal.signal(number, stop)
                ours.append(number)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
