"""Numbers and units written into a picture, in letters of five by seven dots."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

WIDE, TALL, PITCH = 5, 7, 6  # dots of a letter, and from one letter to the next
# Each letter is five dots wide and stands a dot from the next one, in the order of the line above it.
DRAWN = (
    (
        "0123456789",
        """
.###....#....###...###.....#..#####..###..#####..###...###.
#...#..##...#...#.#...#...##..#.....#.........#.#...#.#...#
#...#...#.......#.....#..#.#..####..#........#..#...#.#...#
#...#...#......#....##..#..#......#.####....#....###...####
#...#...#.....#.......#.#####.....#.#...#...#...#...#.....#
#...#...#....#....#...#....#..#...#.#...#...#...#...#.....#
.###...###..#####..###.....#...###...###....#....###...###.
""",
    ),
    (
        "-.:HzkdBsmin",
        """
..................#...#.......#.........#.####................#........
.............##...#...#.......#.........#.#...#........................
.............##...#...#.#####.#..#...####.#...#..####.##.#...##...####.
.###..............#####....#..#.#...#...#.####..#.....#.#.#...#...#...#
.............##...#...#...#...##....#...#.#...#..###..#.#.#...#...#...#
.......##....##...#...#..#....#.#...#...#.#...#.....#.#.#.#...#...#...#
.......##.........#...#.#####.#..#...####.####..####..#.#.#..###..#...#
""",
    ),
)


def wide(text: str, size: int) -> int:
    """How many pixels a text takes from left to right, at `size` pixels a dot."""
    return (len(text) * PITCH - 1) * size


def tall(size: int) -> int:
    """How many pixels a text takes from top to bottom."""
    return TALL * size


def write(image: Tensor, text: str, left: int, top: int, size: int, colour: Tensor) -> None:
    """Writes a text into (H, W, 3) uint8, in place; of what lies outside, nothing is seen."""
    letters = _letters()
    for number, letter in enumerate(text):
        x = left + number * PITCH * size
        dots = letters[letter].repeat_interleave(size, 0).repeat_interleave(size, 1)
        first, above = max(-x, 0), max(-top, 0)
        place = image[max(top, 0) : max(top + len(dots), 0), max(x, 0) : max(x + dots.shape[1], 0)]
        place[dots[above : above + place.shape[0], first : first + place.shape[1]]] = colour


@lru_cache(maxsize=1)
def _letters() -> dict[str, Tensor]:
    """Each letter as dots (7, 5) bool."""
    found = {" ": torch.zeros(TALL, WIDE, dtype=torch.bool)}
    for names, drawn in DRAWN:
        dots = torch.tensor([[dot == "#" for dot in line] for line in drawn.split()])
        found |= {name: dots[:, i * PITCH : i * PITCH + WIDE] for i, name in enumerate(names)}
    return found
