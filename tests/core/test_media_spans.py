"""Stretches of time as text: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import InputError
from audiox_core.media.checks import LONGEST
from audiox_core.media.spans import check_spans, parse_spans
from tests.examples import examples

# Tenths of a second, which text shows exactly.
TIMES = st.integers(0, 3000).map(lambda tenths: tenths / 10)
PAIRS = st.lists(st.tuples(TIMES, TIMES).filter(lambda pair: pair[0] < pair[1]), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "spans"),
    [
        ("3-5, 8.2-9", [(3.0, 5.0), (8.2, 9.0)]),
        (" 3 - 5 ,8.2\u20139.\n", [(3.0, 5.0), (8.2, 9.0)]),
        ("8-9,3-5", [(3.0, 5.0), (8.0, 9.0)]),
        ("3-5,4-6,6-7,20-21,2-10", [(2.0, 10.0), (20.0, 21.0)]),
        ("0-.5", [(0.0, 0.5)]),
        (f"0-{LONGEST}", [(0.0, float(LONGEST))]),
    ],
)
def test_spans_are_read_in_the_order_of_time(text: str, spans: list[tuple[float, float]]) -> None:
    assert parse_spans(text) == spans


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "keep is empty"),
        (" \n", "keep is empty"),
        ("3", "keep: '3' is not a start and an end"),
        ("3-", "keep: '3-' is not a start and an end"),
        ("3-5, ", "keep: '' is not a start and an end"),
        ("3-5;8-9", "keep: '3-5;8-9' is not a start and an end"),
        ("3,5-4,5", "keep: '3' is not a start and an end"),
        ("a-b", "keep: 'a-b' is not a start and an end"),
        ("nan-5", "keep: 'nan-5' is not a start and an end"),
        ("1e1-20", "keep: '1e1-20' is not a start and an end"),
        ("3-5-6", "keep: '3-5-6' is not a start and an end"),
        ("\u0663-\u0665", "is not a start and an end"),
        ("5-3", "keep: 5-3 does not end after it starts"),
        ("4-4", "keep: 4-4 does not end after it starts"),
        ("-1-4", r"keep: start=-1\.0 s\. Give seconds from the beginning"),
        ("1--4", r"keep: end=-4\.0 s\. Give seconds from the beginning"),
        (f"0-{LONGEST + 1}", "keep: end=100000001"),
        ("9" * 5000 + "-3", "keep: start=inf"),
        (None, "keep: NoneType is not text"),
    ],
)
def test_what_is_no_span_is_refused_and_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        parse_spans(text, "keep")
    assert len(str(caught.value)) < 250


def test_pairs_are_spans_too() -> None:
    assert check_spans([(8, 9.5), [3, 5]]) == [(3.0, 5.0), (8.0, 9.5)]
    assert check_spans("3-5") == [(3.0, 5.0)]
    assert check_spans([]) == []
    for wrong, said in (
        ([(1,)], "regions: .* are not pairs of seconds"),
        (3, "regions: 3 are not pairs"),
        ([("a", 2)], "regions: start='?a'? is not a number"),
        ([(float("nan"), 2)], "regions: start=nan"),
        ([(2, 1)], "regions: 2-1 does not end after it starts"),
    ):
        with pytest.raises(InputError, match=said):
            check_spans(wrong)  # type: ignore[arg-type]


@examples(60)
@given(pairs=PAIRS)
def test_spans_hold_the_moments_that_were_named(pairs: list[tuple[float, float]]) -> None:
    spans = parse_spans(", ".join(f"{start:g}-{end:g}" for start, end in pairs))
    assert all(before[1] < after[0] for before, after in pairwise(spans))
    for tenth in range(3001):
        moment = tenth / 10 + 0.05
        inside = any(start <= moment < end for start, end in pairs)
        assert inside == any(start <= moment < end for start, end in spans)
    assert parse_spans(", ".join(f"{start:g}-{end:g}" for start, end in spans)) == spans


@examples(200)
@given(text=st.text(max_size=12) | st.text("0123456789.-, ", max_size=20))
def test_any_text_is_spans_or_refused(text: str) -> None:
    try:
        spans = parse_spans(text)
    except InputError as error:
        assert str(error).startswith("regions")
    else:
        assert spans
        assert all(0 <= start < end for start, end in spans)
