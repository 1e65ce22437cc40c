"""How many examples a property test draws: few and always the same in the suite, many new ones under `make fuzz`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

# How many times as many, and new ones each run; nothing or 1: the suite's own.
FUZZ = int(os.environ.get("AUDIOX_FUZZ", "1"))


def examples(count: int) -> Any:
    """The decorator of a property test with `count` examples in the suite."""
    quiet = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=count * FUZZ, deadline=None, derandomize=FUZZ == 1, suppress_health_check=quiet)
