"""What ComfyUI runs again when one input changes: from the changed node on, and nothing before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.comfyui.graphs import downstream, text_to_audio
from tests.comfyui.media_files import read_sound
from tests.comfyui.server import ComfyServer


@pytest.mark.parametrize(
    ("task", "change"),
    [
        ("sample", {"seed": 2}),
        ("encode", {"text": "a door closes"}),
        ("decode", {"seconds": 2.0}),
        ("latent", {"seconds": 5.0}),
    ],
)
def test_only_what_depends_on_the_change_runs_again(
    comfy: ComfyServer, info: dict[str, Any], task: str, change: dict[str, Any]
) -> None:
    graph, ids = text_to_audio(info, text="a kettle")
    comfy.run(graph.prompt).check()
    graph.prompt[ids[task]]["inputs"].update(change)
    result = comfy.run(graph.prompt).check()
    assert set(result.executed) == downstream(graph.prompt, ids[task])
    assert set(result.cached) == set(graph.prompt) - set(result.executed)


def test_the_same_prompt_again_runs_nothing(comfy: ComfyServer, info: dict[str, Any]) -> None:
    graph, _ = text_to_audio(info, text="a gate")
    first = comfy.run(graph.prompt).check()
    again = comfy.run(graph.prompt).check()
    assert set(first.executed) >= {"4", "5", "6"}
    assert again.executed == []


def test_equal_seeds_give_equal_files(comfy: ComfyServer, info: dict[str, Any]) -> None:
    graph, ids = text_to_audio(info, text="a bell")
    first = comfy.run(graph.prompt).check()
    comfy.free()
    graph.prompt[ids["save"]]["inputs"]["filename_prefix"] = "again"
    second = comfy.run(graph.prompt).check()
    assert ids["sample"] in second.executed
    assert np.array_equal(*(read_sound(run.files_of(ids["save"])[0]).samples for run in (first, second)))
