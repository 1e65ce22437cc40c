"""Options for the whole suite."""

from pathlib import Path

import pytest

AUDIOX = Path(__file__).parent / "golden" / "audiox"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        default=str(AUDIOX),
        help="a set of golden numbers in the format of tests/golden/audiox, which is the default",
    )
