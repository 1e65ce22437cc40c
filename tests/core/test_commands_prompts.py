"""Prompts with their times: what a file or an option says, and what is refused with its line."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.commands.asked import prompts_of
from audiox_core.errors import InputError, MediaError
from audiox_core.models.timed import parse_prompts, parse_time
from tests.examples import examples


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "0:00 rain\n0:12 thunder\n\n1:02.5  birds and bees \n",
            [(0, "rain"), (12, "thunder"), (62.5, "birds and bees")],
        ),
        ("12 thunder", [(12, "thunder")]),
        ("\ufeff1:00:02\twind\r\n.5 rain", [(0.5, "rain"), (3602, "wind")]),
        ("0:05\u3000雷", [(5, "雷")]),
        ("rain on a roof\nat 12 o'clock", [(0, "rain on a roof at 12 o'clock")]),
        ("1.2.3 go", [(0, "1.2.3 go")]),
        ("90 s of rain", [(90, "s of rain")]),
    ],
)
def test_what_is_written_down(text: str, found: list[tuple[float, str]]) -> None:
    assert parse_prompts(text) == found


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "text: is empty"),
        (" \n ", "text: is empty"),
        ("0 rain\nthunder", r"text, line 2: 'thunder' has no time"),
        ("0 rain\n\n0:12", r"text, line 3: '0:12' has no prompt"),
        ("0 rain\n0:75 thunder", r"text, line 2: 0:75 is not a time: what follows a colon must be below 60"),
        ("0 rain\n1:75:00 thunder", r"line 2: 1:75:00 is not a time"),
        ("0 rain\n0:00 thunder", r"text, line 2: 0 s already has a prompt"),
        (b"0 rain", "text: expected a text, got bytes"),
    ],
)
def test_what_is_no_list_of_prompts(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_prompts(text)


@examples(200)
@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.text(min_size=1).filter(str.strip))
def test_a_time_is_read_as_it_is_written(hours: int, minutes: int, seconds: int, prompt: str) -> None:
    whole = hours * 3600 + minutes * 60 + seconds
    assert parse_time(f"{hours}:{minutes:02}:{seconds:02}") == parse_time(str(whole)) == whole
    words = " ".join(prompt.split())
    if len(words.splitlines()) == 1:
        assert parse_prompts(f"{whole} {words}") == [(whole, words.strip())]


def test_prompts_come_from_a_file_and_from_moments(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0:00 rain\n0:12 thunder", encoding="utf-8")
    (tmp_path / "b.txt").write_text("just rain", encoding="utf-8")
    (tmp_path / "c.txt").write_text("3 rain", encoding="utf-8")
    assert prompts_of("@a.txt", [("0:20", "birds")], tmp_path) == ("rain", [(12, "thunder"), (20, "birds")])
    assert prompts_of("@b.txt", (), tmp_path) == ("just rain", [])
    assert prompts_of("@c.txt", (), tmp_path) == (None, [(3, "rain")])
    assert prompts_of("rain @ home", (), tmp_path) == ("rain @ home", [])
    assert prompts_of(None, "3 rain\n5 hail", tmp_path) == (None, [(3, "rain"), (5, "hail")])


def test_prompts_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("0 rain\n\nthunder", encoding="utf-8")
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe0")
    (tmp_path / "c.txt").write_bytes(b"x" * 1_000_001)
    for text, error, words in (
        ("@a.txt", InputError, r"--text @a\.txt, line 3: 'thunder' has no time"),
        ("@b.txt", InputError, r"b\.txt is not UTF-8 text"),
        ("@c.txt", InputError, r"c\.txt is too large"),
        ("@d.txt", MediaError, r"--text: .*d\.txt: no such file"),
        ("@.", MediaError, "is a folder"),
    ):
        with pytest.raises(error, match=words):
            prompts_of(text, (), tmp_path)
    for at, words in (
        ([("noon", "x")], "--at: 'noon' is not a time"),
        ([("12", "x"), (12, "y")], "--at: two prompts start at 12"),
        (["ab", "cd", 3], "--at: give pairs of a time and a prompt"),
    ):
        with pytest.raises(InputError, match=words):
            prompts_of("rain", at)
