"""A small model in a pipeline, made once for all tests of the core."""

from __future__ import annotations

import pytest

from audiox_core.models import demo
from audiox_core.networks.t5 import ByteTokenizer
from audiox_core.pipeline import Pipeline
from audiox_core.weights.load import expected_keys
from audiox_core.weights.open import assemble
from tests.core.small import small_config, small_text_tensors


@pytest.fixture(scope="session")
def pipe() -> Pipeline:
    """The architecture with very few weights, but its real lengths: 50 frames, 471 tokens, 236 latents."""
    config = small_config()
    tensors = {key: demo.random_weight(key, shape) for key, shape in expected_keys(config).items()}
    text = small_text_tensors()
    return assemble(config, tensors, text, ByteTokenizer(), device="cpu", dtype="fp32", notice=demo.NOTICE)
