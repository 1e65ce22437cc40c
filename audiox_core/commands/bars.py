"""Who is told how far a run is: progress bars of a terminal, and callers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ..media.sound import Sound
from ..weights.download import OnDownload

OnStep = Callable[[int, int], None]
OnSound = Callable[[Sound], None]


@dataclass(frozen=True)
class Watch:
    """Who is told of a run, and what stays of it when it is stopped; see Pipeline's call."""

    on_step: OnStep | None = None
    on_sound: OnSound | None = None
    keep_finished: bool = False
    progress: bool = False


@contextmanager
def bar_of(name: str, show: bool) -> Iterator[OnStep | None]:
    """A progress bar fed by (done, total) calls, from the first one on; None when it is not wanted."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    bars: list[Any] = []

    def tell(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc=name, total=total))
        bars[0].update(done - bars[0].n)

    try:
        yield tell
    finally:
        for bar in bars:
            bar.close()


@contextmanager
def download_bars(show: bool) -> Iterator[OnDownload | None]:
    """A progress bar for each file that is downloaded."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def tell(file: str, done: int, total: int) -> None:
        if file not in bars:
            bars[file] = tqdm(desc=f"download {file}", total=total, unit="B", unit_scale=True, initial=done)
        bars[file].update(done - bars[file].n)

    try:
        yield tell
    finally:
        for bar in bars.values():
            bar.close()
