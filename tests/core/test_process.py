"""What loading and running a model leaves as it was in a process: warnings filters, environment, signals."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from audiox_core.networks.libraries import unchanged_process

ROOT = Path(__file__).parents[2]
# torch's and numpy's own filters come with the import of torch, which a name of this package needs when it is used.
CODE = """
import os, signal, sys, warnings
from audiox_core import load_pipeline
filters, environment = list(warnings.filters), dict(os.environ)
signals = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
assert "transformers.models" not in sys.modules and "accelerate" not in sys.modules
pipe = load_pipeline("demo", device="cpu")
pipe(text="rain", video=sys.argv[1], steps=1, seconds=1)
from audiox_core.memory.streaming import load_accelerate
load_accelerate()
assert "transformers" in sys.modules and "accelerate" in sys.modules
new = [entry for entry in warnings.filters if entry not in filters]
assert warnings.filters == filters, new
assert dict(os.environ) == environment, set(os.environ.items()) ^ set(environment.items())
assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == signals
"""


def test_loading_and_running_change_nothing_for_others() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    sample = str(ROOT / "audiox_core" / "media" / "assets" / "sample.mp4")
    done = subprocess.run([sys.executable, "-c", CODE, sample], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_block_changes_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOX_A", "1")
    monkeypatch.setenv("AUDIOX_B", "1")
    monkeypatch.delenv("AUDIOX_C", raising=False)
    filters = list(warnings.filters)

    @unchanged_process()
    def imported() -> None:
        os.environ["AUDIOX_A"] = "2"
        del os.environ["AUDIOX_B"]
        os.environ["AUDIOX_C"] = "3"
        warnings.simplefilter("ignore")
        raise ImportError

    with pytest.raises(ImportError):
        imported()
    assert (os.environ["AUDIOX_A"], os.environ["AUDIOX_B"]) == ("1", "1") and "AUDIOX_C" not in os.environ
    assert warnings.filters == filters
