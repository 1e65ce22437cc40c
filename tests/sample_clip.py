"""The sample video that ships with the package: a ball that bounces in time, drawn here."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor

from audiox_core.media import encode_video

WIDTH, HEIGHT = 480, 270
BEAT = 0.5  # seconds from hit to hit
FLOOR, LEFT, RIGHT, RADIUS = 176.0, 70.0, 410.0, 22.0  # FLOOR: the ball's middle when it lies
SKY, GROUND = ((24, 32, 58), (74, 66, 112)), ((38, 30, 52), (24, 18, 36))
BALL, GLOW, RING = (255, 176, 74), (255, 236, 190), (120, 210, 255)


def make_sample_clip(
    path: str | os.PathLike[str], seconds: float = 10, fps: int = 25, *, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """Draws and writes the clip (H.264, no sound): the ball hits the floor twice a second, which lights up
    and sends out rings.
    """
    encode_video(
        _pictures(round(seconds * fps), Fraction(fps), size), Fraction(fps), os.fspath(path), crf=19, preset="slow"
    )
    return Path(path)


def _pictures(count: int, fps: Fraction, size: tuple[int, int]) -> Iterator[Tensor]:
    width, height = size
    rows = (torch.arange(height) + 0.5) * (HEIGHT / height)
    columns = (torch.arange(width) + 0.5) * (WIDTH / width)
    y, x = torch.meshgrid(rows, columns, indexing="ij")  # (height, width)
    room = _room(y)
    for index in range(count):
        yield _picture(room, y, x, float(index / fps))


def _room(y: Tensor) -> Tensor:
    """The still background (height, width, 3): a sky that brightens downwards, and the floor."""
    floor = FLOOR + RADIUS
    sky = _blend(torch.tensor(SKY[0]), torch.tensor(SKY[1]), (y / floor).clamp(0, 1))
    ground = _blend(torch.tensor(GROUND[0]), torch.tensor(GROUND[1]), ((y - floor) / (HEIGHT - floor)).clamp(0, 1))
    return torch.where((y < floor)[..., None], sky, ground)


def _picture(room: Tensor, y: Tensor, x: Tensor, time: float) -> Tensor:
    """The scene at `time` seconds, float (height, width, 3) in 0..1. The ball hits at 0.25 s, 0.75 s, 1.25 s,
    ...
    """
    beats = time / BEAT + 0.5
    phase = beats % 1  # 0 at a hit
    stride = 1 - abs(beats % 8 - 4) / 4  # there and back in eight hits
    ball_x = LEFT + (RIGHT - LEFT) * stride
    ball_y = FLOOR - 4 * 132 * phase * (1 - phase)  # a parabola between hits
    since, squash = phase * BEAT, 0.32 * math.exp(-phase * BEAT / 0.035)
    hit = beats - phase
    hit_x = LEFT + (RIGHT - LEFT) * (1 - abs(hit % 8 - 4) / 4)
    flash = math.exp(-since / 0.12)

    drop = y - (FLOOR + RADIUS)
    scene = _blend(room, torch.tensor(RING), 0.45 * flash * torch.exp(-(((x - hit_x) / 80) ** 2) - (drop / 60) ** 2))
    line = (1 - drop.abs() / 3).clamp(0, 1)
    scene = _blend(scene, torch.tensor(GLOW), line * (0.15 + 0.85 * flash * torch.exp(-(((x - hit_x) / 70) ** 2))))
    for delay, strength in ((0.0, 1.0), (0.08, 0.6)):  # two rings, one behind the other
        reach = 330 * max(since - delay, 0.0)
        ring = (1 - (torch.hypot(x - hit_x, drop * 2.2) - reach).abs() / 6).clamp(0, 1) * (drop > 0)
        scene = _blend(scene, torch.tensor(RING), ring * strength * math.exp(-since / 0.22))
    shadow = torch.exp(-(((x - ball_x) / 26) ** 2) - ((y - (FLOOR + RADIUS + 6)) / 5) ** 2)
    scene = _blend(scene, torch.zeros(3), shadow * (0.2 + 0.5 * ball_y / FLOOR))
    wide, tall = RADIUS * (1 + squash), RADIUS * (1 - squash)
    inside = torch.hypot((x - ball_x) / wide, (y - ball_y - RADIUS * squash) / tall)
    scene = _blend(scene, torch.tensor(BALL), ((1 - inside) * RADIUS).clamp(0, 1))
    light = torch.hypot((x - ball_x + 7) / wide, (y - ball_y + 7) / tall)
    scene = _blend(scene, torch.tensor(GLOW), (1 - light / 0.55).clamp(0, 1) * (inside < 1) * 0.8)
    return scene / 255


def _blend(under: Tensor, over: Tensor, share: Tensor) -> Tensor:
    """`under` where share (height, width) is 0, `over` where it is 1."""
    return under + (over - under) * share[..., None]
