"""Condition tokens by modality to rows: order, what is spread over items and windows, what does not fit."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.rows import rows_of


def test_rows_keep_the_order_and_are_spread_over_the_batch() -> None:
    tokens = {"a": torch.ones(1, 1, 2, 4), "b": torch.full((3, 1, 1, 4), 2.0)}
    rows = rows_of(tokens, ("b", "a"))
    assert list(rows) == ["b", "a"]
    joined = torch.cat(list(rows.values()), dim=1)
    assert joined.shape == (3, 3, 4)
    assert joined[:, 0].eq(2).all()
    assert joined[:, 1:].eq(1).all()


def test_windows_run_faster_than_items() -> None:
    tokens = torch.arange(2 * 3 * 1 * 4.0).view(2, 3, 1, 4)
    once = {"every window": tokens[:, :1], "every item": tokens[:1], "everything": tokens[:1, :1]}
    rows = rows_of({"own": tokens, **once}, ("own", *once))
    assert torch.equal(rows["own"], tokens.flatten(0, 1))
    for item in range(2):
        for window in range(3):
            row = 3 * item + window
            assert torch.equal(rows["every window"][row], tokens[item, 0])
            assert torch.equal(rows["every item"][row], tokens[0, window])
            assert torch.equal(rows["everything"][row], tokens[0, 0])


def test_rows_are_float32_and_leave_others_aside() -> None:
    tokens = {"a": torch.ones(1, 1, 2, 4, dtype=torch.float16), "unread": torch.ones(5)}
    assert {name: value.dtype for name, value in rows_of(tokens, ("a",)).items()} == {"a": torch.float32}


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((2, 1, 2, 4), (3, 1, 2, 4)),
        ((1, 2, 2, 4), (1, 3, 2, 4)),
        ((1, 1, 2, 4), (1, 1, 2, 5)),
        ((1, 1, 2, 4), (1, 2, 4)),
        ((1, 1, 2, 4), (4,)),
        ((1, 1, 2, 4), ()),
    ],
)
def test_what_does_not_fit_is_named_with_its_shapes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    tokens: dict[str, Tensor] = {"a": torch.ones(a), "b": torch.ones(b)}
    with pytest.raises(InputError, match="do not fit together") as error:
        rows_of(tokens, ("a", "b"))
    assert f"a {a}, b {b}" in str(error.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(InputError, match="no tokens for b, c; each of a, b, c is needed"):
        rows_of({"a": torch.ones(1, 1, 2, 4)}, ("a", "b", "c"))
