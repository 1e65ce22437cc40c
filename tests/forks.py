"""Short programs in processes of their own, which are copies of one that has imported what they all need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SERVE = """
import json, os, sys, traceback
exec(sys.argv[1])
for number, code in enumerate(json.loads(sys.stdin.read())):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            for stream, ending in ((1, "out"), (2, "err")):
                os.dup2(os.open(f"{sys.argv[2]}/{number}.{ending}", os.O_WRONLY | os.O_CREAT), stream)
            exec(code, {"__name__": "__main__"})
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def forked(folder: Path, imports: str, programs: Sequence[str]) -> list[subprocess.CompletedProcess[str]]:
    """How programs ended, and what they printed, each in a process that has run `imports`. folder: an empty one.

    Where processes cannot be copied, as on Windows, each program is started by itself.
    """
    # One thread: a copy of a process has none of the threads that its libraries count on.
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    options = {"cwd": ROOT, "env": environment, "capture_output": True, "text": True}
    if not hasattr(os, "fork"):
        return [subprocess.run([sys.executable, "-c", f"{imports}\n{code}"], **options) for code in programs]  # type: ignore[call-overload]
    command = [sys.executable, "-c", SERVE, imports, str(folder)]
    served = subprocess.run(command, input=json.dumps(list(programs)), **options)  # type: ignore[call-overload]
    assert served.returncode == 0, served.stderr
    said = [[(folder / f"{i}.{ending}").read_text() for ending in ("out", "err")] for i in range(len(programs))]
    codes = [int(line) for line in served.stdout.split()]
    return [
        subprocess.CompletedProcess(code, status, out, err)
        for code, status, (out, err) in zip(programs, codes, said, strict=True)
    ]
