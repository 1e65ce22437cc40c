"""Options for the whole suite."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--golden-dir",
        help="a set of golden numbers in the format of those in tests/golden, all of which are the default",
    )
