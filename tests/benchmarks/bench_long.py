"""Time and memory of long sounds: from 10 seconds to 10 minutes, both ways, with the demo model.

Run it alone: python -m pytest -s tests/benchmarks/bench_long.py, or python -m tests.benchmarks.bench_long
Each length is made in a process of its own, so that its memory can be told from the others'. What the released size
takes is counted from its plan, which is for one window whatever the length.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from audiox_core.models import members
from audiox_core.models.config import parse_config
from audiox_core.models.timing import Timing
from audiox_core.sampling.windows import LONG

ROOT = Path(__file__).parents[2]
LENGTHS = (10, 30, 120, 600)
CHANNELS = 64

MEASURE = """
import json, resource, sys, time
from audiox_core import load_pipeline
seconds, way = float(sys.argv[1]), sys.argv[2]
pipe = load_pipeline("demo", device="cpu")
pipe("rain", seconds=10.0, steps=1, guidance=1.0)
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
begin, sampled = time.perf_counter(), []
sound = pipe(
    "rain",
    **{"seconds": seconds, "steps": 1, "guidance": 1.0, "long": way},
    on_step=lambda done, total: sampled.append(time.perf_counter()),
)
whole = time.perf_counter() - begin
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"sampling": sampled[-1] - begin, "whole": whole, "extra": peak - base, "seconds": sound.seconds}))
"""


def measured(seconds: float, way: str) -> dict[str, float]:
    """What one sound takes: seconds of sampling and in all, and bytes beyond those of a sound of one window."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(seconds), way], cwd=ROOT, capture_output=True, text=True, check=True
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def sound_bytes(seconds: float) -> float:
    """What the answer itself takes: the waveform while it is trimmed and scaled, and the latents with their noise."""
    timing = Timing()
    return 4 * (4 * 2 * seconds * timing.sample_rate + 4 * CHANNELS * timing.to_latents(seconds))


def measure() -> dict[str, list[dict[str, float]]]:
    """Prints the table; rows by way."""
    timing = Timing()
    print("\ntime of each window beside the first row of several; memory beyond 10 s (beyond the sound itself)")
    rows: dict[str, list[dict[str, float]]] = {}
    for way in LONG:
        rows[way] = []
        for seconds in LENGTHS:
            row = measured(seconds, way)
            row["windows"] = len(timing.windows(max(timing.latents, timing.to_latents(seconds))))
            row["beyond"] = max(row["extra"] - sound_bytes(seconds), 0.0)
            rows[way].append(row)
            each, first = (own["whole"] / own["windows"] for own in (row, rows[way][min(1, len(rows[way]) - 1)]))
            print(
                f"  {way:9} {seconds:4} s  {int(row['windows']):4} windows  {each / first:5.2f} each  "
                f"{row['extra'] / 1e6:7.1f} MB more ({row['beyond'] / 1e6:.1f})"
            )
    model = parse_config(members()["AudioX"].config(), "AudioX")
    part = model.backbone
    work = part.work(part.format("fp16", on_cpu=False), timing.latents, 1, None)
    print(f"  released size, fp16: {work / 1e6:.0f} MB beside the weights for the window at work, at any length")
    return rows


def test_memory_is_flat_and_time_is_linear() -> None:
    for rows in measure().values():
        several = rows[1]
        for row in rows[2:]:
            each, first = row["whole"] / row["windows"], several["whole"] / several["windows"]
            assert each < 1.5 * first, "time grows faster than the length"
            assert row["beyond"] < 400e6, "memory grows with the length, beyond the sound itself"


if __name__ == "__main__":
    measure()
