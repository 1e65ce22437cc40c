"""What a run of the tests says at its end: the golden table, and how many tests were not tried in ComfyUI or on a GPU.

Told from the tests' reports, which also come back from other processes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator
from dataclasses import dataclass

import pytest

ROW = "golden row"
MENDS = {
    "no ComfyUI": "Set COMFYUI_PATH to a ComfyUI checkout (COMFYUI_PYTHON: its interpreter, if it is not this one; "
    "COMFYUI_PYTHONPATH: further package folders)",
    "no browser": "Install the Python package playwright, and a Chromium on PATH",
}

NO_CARD = ("no CUDA", "no card")
GPU = "Run `make gpu` on a machine with an NVIDIA GPU"


@dataclass(frozen=True)
class Row:
    """A line of the golden table."""

    case: str
    output: str
    error: float
    bound: float


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None, None, None]:
    """The golden table, and in the very last lines what was skipped for want of a GPU, a ComfyUI or a browser."""
    write = terminalreporter.write_line
    reports = [report for some in terminalreporter.stats.values() for report in some]
    told = [report.user_properties for report in reports if getattr(report, "when", None) == "call"]
    rows = [Row(*row) for properties in told for name, row in properties if name == ROW]
    if rows:
        terminalreporter.section("golden answers: relative error and bound")
    for row in rows:
        mark = "" if row.error <= row.bound else "  <-- over"
        write(f"{row.case:28s} {row.output:22s} {row.error:9.1e} {row.bound:9.0e}{mark}")
    yield
    for reason, count in reasons(terminalreporter, "tests/gpu/").items():
        if reason.startswith(NO_CARD):  # other reasons are a test's own
            write(f"NOT TRIED ON A GPU: {count} tests skipped, {reason}. {GPU}.", yellow=True, bold=True)
    for reason, count in reasons(terminalreporter, "tests/comfyui/").items():
        mend = next((MENDS[kind] for kind in MENDS if reason.startswith(kind)), None)
        if mend is not None:
            write(f"NOT TRIED IN COMFYUI: {count} tests skipped, {reason}. {mend}.", yellow=True, bold=True)


def reasons(reporter: pytest.TerminalReporter, folder: str) -> Counter[str]:
    """Why tests of a folder were skipped, and how many for each reason."""
    skipped = [r.longrepr[2] for r in reporter.stats.get("skipped", ()) if folder in r.nodeid]
    return Counter(text.removeprefix("Skipped: ") for text in skipped)
