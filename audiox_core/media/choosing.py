"""Which pictures are taken at which rates: the rule by time, whatever the pictures are, and its places filled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

from ..errors import InputError
from .checks import check_start, exact, real, whole
from .resizing import LARGEST

# Pictures a second, pictures in all, and what they fill. Beyond it somebody confused units.
SLOWEST, FASTEST = 0.001, 1_000_000
MOST_PICTURES = 1_000_000
MOST_BYTES = 1 << 35

Item = TypeVar("Item")
Progress = Callable[[int, int], None]


class Place(NamedTuple):
    """A place to be filled: the time in seconds whose picture is wanted, and which picture of which set it is."""

    time: Fraction
    chosen_set: int
    picture: int


def places(name: str, start: object, wanted: Sequence[tuple[float, int]], size: object) -> list[Place]:
    """The places of all sets in order of time; picture k of a set of rate `fps` is wanted at start + k / fps.

    Raises InputError for rates, counts and sizes outside any use, MediaError for a `start` that is no time.
    """
    begin = exact(check_start(name, start))
    edge = whole(size, f"{name}: size", 1, LARGEST)
    if not wanted:
        raise InputError(f"{name}: no rates are wanted. Give at least one (pictures a second, count).")
    found, total = [], 0
    for number, (fps, count) in enumerate(wanted):
        rate = exact(real(fps, f"{name}: fps", f". Give {SLOWEST:g} to {FASTEST} pictures a second.", SLOWEST, FASTEST))
        count = whole(count, f"{name}: count", 1, MOST_PICTURES)
        total += count
        if total * 3 * edge * edge > MOST_BYTES:
            raise InputError(
                f"{name}: count={total} pictures of size={edge} fill {total * 3 * edge * edge / 1e9:.1f} GB. "
                "Give fewer or smaller ones."
            )
        found += [Place(begin + k / rate, number, k) for k in range(count)]
    return sorted(found, key=lambda place: place.time)


def choose(
    timed: Iterable[tuple[Fraction, Item]], wanted: Sequence[Fraction], end: Callable[[], Fraction]
) -> Iterator[tuple[int, Item]]:
    """For each wanted time in turn its place and the item nearest in time; at equal distance the earlier.

    `timed` rises in time and is read no further than needed. `end()`, asked after its last item, is when that
    stops being shown: wanted times from there on get nothing.
    """
    place = 0
    before: tuple[Fraction, Item] | None = None
    for time, item in timed:
        while before is not None and place < len(wanted) and wanted[place] - before[0] <= time - wanted[place]:
            yield place, before[1]
            place += 1
        if place == len(wanted):
            return
        before = time, item
    if before is not None:
        last = end()
        for k in range(place, len(wanted)):
            if wanted[k] < last:
                yield k, before[1]


def collect(
    found: Iterator[tuple[int, Item]],
    wanted: Sequence[Place],
    small: Callable[[Item], Tensor],
    size: int,
    on_frame: Progress | None,
) -> list[Tensor] | None:
    """The small pictures (count, 3, size, size) uint8 of each set, from what `choose` found, each made once.

    The last one of a set is repeated to its end. None if there is none. `on_frame` is told how many places are
    filled, of how many in all.
    """
    counts = [0] * (1 + max(place.chosen_set for place in wanted))
    for place in wanted:
        counts[place.chosen_set] += 1
    out = [torch.empty(count, 3, size, size, dtype=torch.uint8) for count in counts]
    filled = [0] * len(counts)
    previous: Item | None = None
    picture: Tensor | None = None
    for done, (number, item) in enumerate(found, 1):
        if picture is None or item is not previous:
            picture, previous = small(item), item
        place = wanted[number]
        out[place.chosen_set][place.picture] = picture
        filled[place.chosen_set] = place.picture + 1
        if on_frame is not None:
            on_frame(done, len(wanted))
    if picture is None:
        return None
    for pictures, count in zip(out, filled, strict=True):
        pictures[count:] = pictures[count - 1]
    if on_frame is not None and sum(filled) < len(wanted):
        on_frame(len(wanted), len(wanted))
    return out
