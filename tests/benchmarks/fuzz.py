"""The suite's property tests with new examples, again and again for as long as wanted: `make fuzz`.

    python -m tests.benchmarks.fuzz [--seconds 600] [--times 5] [pytest's options, such as -k tensors]

Each round runs every property test with --times as many examples as the suite, all new. Damaged weights files, odd
videos and sounds, arguments and configurations of any kind are among them. Ends with 1 at the first round with a
failure, whose example pytest prints and hypothesis keeps (in .hypothesis), or at a test that takes longer than HANG
seconds; a round that time cuts short counts as far as it came.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANG = 300  # for all examples of one test on a busy machine
GRACE = 30  # seconds that pytest has to end after it was asked to


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--times", type=int, default=5, choices=range(2, 1001), metavar="2..1000")
    options, rest = parser.parse_known_args()
    environment = {**os.environ, "AUDIOX_FUZZ": str(options.times)}
    end, rounds = time.monotonic() + options.seconds, 0
    while time.monotonic() < end:
        running = subprocess.Popen(command(rest), cwd=ROOT, env=environment)
        try:
            code = running.wait(max(end - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            if not stopped(running):
                print(f"round {rounds + 1} did not end when it was asked to")
                return 1
            print(f"the time is over: {rounds} whole rounds, and one cut short")
            return 0  # a failure would have ended the round before
        except KeyboardInterrupt:
            stopped(running)
            return 130
        if code != 0:
            print(f"round {rounds + 1} failed (pytest ended with {code})")
            return 1
        rounds += 1
    print(f"the time is over: {rounds} whole rounds")
    return 0


def command(rest: list[str]) -> list[str]:
    """pytest on the property tests, those of a running ComfyUI left out; a test that hangs shows where, and ends it."""
    options = ["-q", "-x", "--no-header", "-m", "hypothesis", "--ignore=tests/comfyui", "-p", "no:cacheprovider"]
    options += ["-o", f"faulthandler_timeout={HANG}", "-o", "faulthandler_exit_on_timeout=true"]
    return [sys.executable, "-m", "pytest", *options, *(rest or ["tests"])]


def stopped(running: subprocess.Popen[bytes]) -> bool:
    """Whether pytest ended when it was asked to; otherwise it is made to."""
    running.send_signal(signal.SIGINT)
    try:
        running.wait(GRACE)
    except subprocess.TimeoutExpired:
        running.kill()
        running.wait()
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())
