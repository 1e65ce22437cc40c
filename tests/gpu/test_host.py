"""The pack in a real ComfyUI on the card: with its dynamic memory management and without, the same sound."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tests.gpu.cards import Card
from tests.gpu.record import Record

ENABLED = "DynamicVRAM support detected and enabled"
WAYS = {"dynamic": [], "static": ["--disable-dynamic-vram"]}


def made(comfyui: Path, card: Card, arguments: list[str]) -> tuple[np.ndarray, str, float]:
    """The sound of a graph through all parts of the demo model, the server's log, and the second run's seconds."""
    from tests.comfyui.server import ComfyServer
    from tests.comfyui.test_lowvram import everything, sound_of

    with ComfyServer(comfyui, arguments=arguments, device=["--cpu"] if card.small else []) as server:
        graph, save = everything(server.object_info())
        sound = sound_of(server.run(graph.prompt), save)
        for node in graph.prompt.values():
            if node["class_type"] == "AudioXSampler":
                node["inputs"]["seed"] += 1
        began = time.monotonic()
        server.run(graph.prompt).check()
        return sound, server.log, time.monotonic() - began


def test_a_host_with_dynamic_memory(card: Card, record: Record) -> None:
    for package in ("aiohttp", "av"):  # which ComfyUI needs, and tests of nothing else on a card
        pytest.importorskip(package)
    from tests.comfyui.server import find_comfyui

    comfyui = find_comfyui()
    if comfyui is None:
        pytest.skip("no ComfyUI: set COMFYUI_PATH to a checkout")
    found = {}
    for way, arguments in WAYS.items():
        if arguments and arguments[0] not in (comfyui / "comfy" / "cli_args.py").read_text(encoding="utf-8"):
            continue  # an older one, which has nothing to switch off
        found[way], log, seconds = made(comfyui, card, arguments)
        enabled = ENABLED in log
        record.add("ComfyUI, demo model", way=way, **{"dynamic VRAM": enabled, "second run, s": seconds})
        assert "Traceback" not in log
        assert not (way == "static" and enabled)
    assert all(np.abs(sound).max() > 0.1 for sound in found.values())
    if len(found) == 2:
        np.testing.assert_allclose(found["dynamic"], found["static"], atol=2e-3)  # files hold 16 bits
