"""Weights files changed at random for as long as wanted: each is read as the official readers do, or refused.

    python tests/benchmarks/fuzz_tensors.py [--seconds 600] [--seed 0] [--kind archive] [--keep DIR]

The same changes as in tests/core/test_tensors_fuzz.py, one seed after the other, so that a finding can be repeated with
its seed. Ends with 1 at the first file that is read wrongly, raises anything but CheckpointError or takes longer than
HANG seconds; --keep is where that file stays.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))  # so that the script also runs from elsewhere

HANG = 60


def main() -> int:
    from tests.core.test_tensors_fuzz import CONTENTS, check, mutant

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=list(CONTENTS), action="append")
    parser.add_argument("--keep", type=Path, default=Path("."))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of the libraries that are compared with
    end, seed, results = time.monotonic() + options.seconds, options.seed, Counter[tuple[str, str]]()
    with tempfile.TemporaryDirectory() as folder:
        while time.monotonic() < end:
            for kind in options.kind or CONTENTS:
                faulthandler.dump_traceback_later(HANG, exit=True)
                content = mutant(kind, random.Random(seed))
                try:
                    results[kind, check(content, Path(folder) / "file")] += 1
                except BaseException as error:
                    if not isinstance(error, KeyboardInterrupt):
                        kept = options.keep / f"fuzz-{kind}-{seed}.bin"
                        kept.write_bytes(content)
                        print(f"{kind}, seed {seed}: {type(error).__name__}; see {kept}")
                    raise
            seed += 1
    faulthandler.cancel_dump_traceback_later()
    for (kind, result), count in sorted(results.items()):
        print(f"{kind:12} {result:10} {count}")
    print(f"{results.total()} files, seeds {options.seed} to {seed - 1}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
