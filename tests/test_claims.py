"""What texts say to users, all of them alike: one unit of memory, one folder for files, no more than was measured."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from audiox_core.memory.machine import Machine
from audiox_core.memory.plan import GB, make_plan
from audiox_core.memory.report import report
from audiox_core.models import member
from audiox_core.models.config import parse_config
from tests.benchmarks.fuzz import command
from tests.examples import FUZZ

ROOT = Path(__file__).parents[1]
TEXTS = (
    "README.md",
    "docs/*.md",
    "audiox_core/**/*.py",
    "nodes/*.py",
    "locales/**/*.json",
    "web/docs/**/*.md",
    "workflows/*.json",
)
MEMORY = (ROOT / "docs" / "memory.md").read_text(encoding="utf-8")


def texts() -> Iterator[tuple[str, str]]:
    for pattern in TEXTS:
        for path in sorted(ROOT.glob(pattern)):
            yield str(path.relative_to(ROOT)), path.read_text(encoding="utf-8")


def base_plan(precision: str, ram: float = 64) -> tuple[Machine, float]:
    known = member("AudioX")
    assert known is not None
    machine = Machine("cpu", "CPU", 0, 0, int(ram * GB), int(0.8 * ram * GB))
    plan = make_plan(machine, parse_config(known.config()), precision=precision)
    assert f"{plan.ram / 1e9:.2f} GB expected at most" in report(plan, machine)
    return machine, plan.ram / 1e9


def test_a_gigabyte_is_the_same_everywhere() -> None:
    """The README said 7.80 and the report 7.27, both of the same plan and both in "GB"."""
    assert GB == 10**9
    assert not [name for name, text in texts() if "GiB" in text or "MiB" in text]
    for row, precision in (("fp32", "fp32"), ("fp16 storage", "fp16"), ("fp8 storage", "fp8")):
        found = re.search(rf"\| CPU only, {row} \| ([\d.]+) GB \|", MEMORY)
        assert found is not None
        assert float(found.group(1)) == pytest.approx(base_plan(precision)[1], abs=0.011)


def test_one_folder_is_named_for_the_models_files() -> None:
    """By hand, by download, in every text: one folder a model under ComfyUI's models/audiox."""
    named = [(name, text) for name, text in texts() if "config.json` " in text and "huggingface.co/HKUSTAudio" in text]
    assert {"docs/models.md", "web/docs/AudioXLoad/en.md", "workflows/text_to_audio.json"} <= {
        name for name, _ in named
    }
    for name, text in named:
        for model in set(re.findall(r"huggingface\.co/HKUSTAudio/([\w-]+)", text)):
            assert f"models/audiox/{model}/`" in text, f"{name}: {model}"
        if "google-t5/t5-base" in text:
            assert "models/audiox/t5-base/`" in text, name


@pytest.mark.parametrize(
    "claim",
    [
        r"little loss",
        r"same sound,? on (every|any) device",
        r"means? the same on every device",
        r"任何设备上都得到同样的声音",
        r"Quicker: 100",
        r"is a quick one",
    ],
)
def test_nothing_is_claimed_that_was_not_measured(claim: str) -> None:
    assert not [name for name, text in texts() if re.search(claim, re.sub(r"\s+", " ", text))]


def test_what_make_offers() -> None:
    """Each target has its line of help; the demo may run again; fuzzing is bounded."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    listed = set(re.findall(r"make ([a-z-]+)  ", makefile))
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)) - {"help"}
    assert targets == listed
    commands = re.findall(r"audiox_core generate .*", makefile)
    assert commands and all("--overwrite" in command for command in commands)
    assert "tests.benchmarks.fuzz --seconds 600" in makefile


def test_fuzzing_runs_the_property_tests_and_ends_in_time() -> None:
    options: dict[str, Any] = {"cwd": ROOT, "capture_output": True, "text": True}
    fuzz = [sys.executable, "-m", "tests.benchmarks.fuzz", "--seconds"]
    done = subprocess.run([*fuzz, "0"], **options)
    assert done.returncode == 0 and done.stdout == "the time is over: 0 whole rounds\n"
    # One file's properties, of which there are too many to end in time: the whole suite would be collected first.
    endless = ["--times", "1000", "tests/core/test_settings.py"]
    done = subprocess.run([*fuzz, "3", *endless], **options)
    assert done.returncode == 0 and "0 whole rounds, and one cut short" in done.stdout
    assert command([])[-1] == "tests"
    done = subprocess.run(command(["--collect-only", "tests/core/test_settings.py", "tests/test_claims.py"]), **options)
    assert "test_any_value_is_an_input_error_or_fine" in done.stdout
    assert "test_claims.py" not in done.stdout, "only property tests"


def test_fuzzing_draws_more_and_new_examples() -> None:
    code = "from tests.examples import examples; s = examples(7)(lambda: 0)._hypothesis_internal_use_settings\n"
    code += "print(s.max_examples, s.derandomize)"
    for times, said in (("1", "7 True"), ("5", "35 False")):
        environment = {**os.environ, "AUDIOX_FUZZ": times}
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.stdout.strip() == said, done.stderr
    assert FUZZ >= 1
