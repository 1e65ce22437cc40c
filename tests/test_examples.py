"""Property tests draw the same examples in each run, and as slowly as the machine happens to be."""

from __future__ import annotations

import ast
from pathlib import Path

from tests.examples import examples

TESTS = Path(__file__).parent


def test_every_property_test_says_how_many_examples_it_draws() -> None:
    """Without, hypothesis draws others in each run, and fails where one takes more than a fifth of a second."""
    found = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        for part in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(part, ast.FunctionDef):
                names = [ast.unparse(mark).split("(")[0] for mark in part.decorator_list]
                if "given" in names:
                    found[f"{path.name}: {part.name}"] = "examples" in names
    assert len(found) > 10
    assert [name for name, said in found.items() if not said] == []


def test_time_is_no_reason_to_fail() -> None:
    chosen = examples(7)
    assert chosen.max_examples % 7 == 0 and chosen.deadline is None
