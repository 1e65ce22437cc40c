"""The models to be had by name: what was published of each and where, without the networks behind them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from ..weights.download import Released

LICENCE = "The weights are licensed CC-BY-NC 4.0 (no commercial use), and the model is watermarked."


@dataclass(frozen=True)
class Member:
    """One published model of the family, or a small one with random weights that stands for it."""

    name: str
    config: Callable[[], Mapping[str, Any]]  # its config.json, for checkpoints that come without one
    released: Released | None = None  # None: nothing is on disk, the weights are made on the spot
    weights: str = "model.ckpt"  # which of the released files is the checkpoint


def _told_by(file: str, name: str) -> Callable[[], Mapping[str, Any]]:
    """The config that a member's file tells, which is imported when it is asked for."""
    return lambda: getattr(import_module(f".{file}", __package__), name)


def _made(name: str) -> Member:
    return Member(name, lambda: import_module(".demo", __package__).CONFIGS[name])


MEMBERS = (
    Member(
        "AudioX",
        _told_by("audiox", "BASE_CONFIG"),
        Released(
            name="AudioX",
            repo="HKUSTAudio/AudioX",
            revision="3d49eff6430b739ba5a28357b1a0eedd843e6711",
            files=("config.json", "model.ckpt"),
            licence=LICENCE,
        ),
    ),
    Member(
        "AudioX-MAF",
        _told_by("maf", "MAF_CONFIG"),
        Released(
            name="AudioX-MAF",
            repo="HKUSTAudio/AudioX-MAF",
            revision="0a6575a6fd58039281584ad1c6f9e895233e8ca7",
            files=("config.json", "model.ckpt"),
            licence=LICENCE,
        ),
    ),
    Member(
        "AudioX-MAF-MMDiT",
        _told_by("mmdit", "MMDIT_CONFIG"),
        Released(
            name="AudioX-MAF-MMDiT",
            repo="HKUSTAudio/AudioX-MAF-MMDiT",
            revision="2db085273efb141facde8d15a22a4f7cd9734df4",
            files=("config.json", "model.ckpt"),
            licence=LICENCE,
        ),
    ),
    Member(
        "AudioX-Turbo",
        _told_by("turbo", "TURBO_CONFIG"),
        Released(
            name="AudioX-Turbo",
            repo="HKUSTAudio/AudioX-Turbo",
            revision="67af549c42aabdb666e559cb4993eddf48b62f08",
            files=("config.json", "audiox_turbo/audiox_turbo.ckpt"),
            licence=LICENCE,
        ),
        weights="audiox_turbo/audiox_turbo.ckpt",
    ),
    *map(_made, ("demo", "demo-maf", "demo-mmdit", "demo-turbo")),
)
