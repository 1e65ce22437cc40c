"""Checks that need ComfyUI's own modules. Run by its interpreter in its folder: each check_ function is one test.

Arguments: the pack's folder, a folder to work in, and the names of checks (none: all). Prints one JSON object,
check name -> "", "LACKING: " and what this ComfyUI has not, or a traceback, as its last line.
"""

from __future__ import annotations

import importlib
import json
import sys
import traceback
from pathlib import Path

import pack


def main() -> None:
    """Runs the checks one after the other in this process."""
    folder, base, *wanted = sys.argv[1:]
    pack.start(folder, base)
    import torch

    report = {}
    for path in sorted(Path(__file__).parent.glob("check_*.py")):
        for name, check in list(vars(importlib.import_module(path.stem)).items()):
            if not name.startswith("check_") or not callable(check) or (wanted and name not in wanted):
                continue
            try:
                with torch.inference_mode():  # as ComfyUI runs nodes
                    check()
                report[name] = ""
            except pack.Lacking as what:
                report[name] = f"LACKING: {what}"
            except Exception:
                report[name] = traceback.format_exc()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
