"""A small model in a pipeline, made once for all tests of the core."""

from __future__ import annotations

from typing import Any

import pytest

from audiox_core.memory.machine import measure
from audiox_core.pipeline import Pipeline, assemble
from tests.core.small import small_opened


@pytest.fixture(scope="session")
def pipe() -> Pipeline:
    """The architecture with very few weights, but its real lengths: 50 frames, 471 tokens, 236 latents."""
    return assemble(small_opened(), measure("cpu"), dtype="fp32")


@pytest.fixture
def loads(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Commands get this small model for the demo; the names of the models that they load."""
    from audiox_core import pipeline

    loaded: list[str] = []

    def load(name: Any, **_: Any) -> Pipeline:
        assert str(name) == "demo"
        loaded.append(str(name))
        return pipe

    monkeypatch.setattr(pipeline, "load_pipeline", load)
    return loaded
