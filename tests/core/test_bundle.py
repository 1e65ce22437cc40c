"""One table of keys over several files: whose tensor it is, copies to write to, what a later file replaces."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from audiox_core.weights.bundle import Bundle, bundle
from audiox_core.weights.tensors import read_tensors, write_tensors


def test_a_bundle_is_a_mapping_over_its_files() -> None:
    first = {"a": torch.ones(2), "b": torch.zeros(3)}
    both = Bundle(first)
    assert both.name == "checkpoint"
    second = {"x": torch.full((1,), 5.0), "unread": torch.ones(9)}
    both.add(second, "t5.safetensors", "t5.", {"shared": "x"})
    assert list(both) == ["a", "b", "t5.shared"] and len(both) == 3
    assert both["a"] is first["a"] and both["t5.shared"] is second["x"]
    assert "t5.x" not in both and "t5.unread" not in both
    with pytest.raises(KeyError):
        both["unread"]
    assert both.source("b") == "checkpoint: b"
    assert both.source("t5.shared") == "t5.safetensors: x", "messages name the file's own key"


def test_all_tensors_are_taken_unless_keys_say_which() -> None:
    tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
    both = Bundle(tensors)
    both.add(tensors, "again", "p.")
    assert list(both) == ["a", "b", "p.a", "p.b"]
    both.add(tensors, "nothing", "q.", {})
    assert len(both) == 4
    assert list(Bundle(tensors, "named", {"ours": "a"})) == ["ours"]


def test_a_later_file_replaces() -> None:
    both = Bundle({"a": torch.ones(2)}, "first")
    both.add({"a": torch.zeros(2)}, "second")
    assert not both["a"].any() and both.source("a") == "second: a" and len(both) == 1


def test_copies_are_private(tmp_path: Path) -> None:
    """Whether mapped from a file or in memory, nobody's tensors are written to."""
    held = {"a": torch.ones(2, 3)}
    mapped = read_tensors(write_tensors({"f": torch.ones(2, 3)}, tmp_path / "w.safetensors"))
    both = Bundle(mapped)
    both.add(held, "held")
    assert both.name == str(tmp_path / "w.safetensors")
    for key in ("f", "a"):
        copy = both.private(key)
        assert torch.equal(copy, both[key]) and copy.dtype == both[key].dtype
        copy.mul_(0)
        assert both[key].eq(1).all() and both.private(key).eq(1).all()
    assert both.seekable("f") and not both.seekable("a")
    assert both.source("f") == f"{tmp_path / 'w.safetensors'}: f"


def test_a_bundle_is_its_own_bundle() -> None:
    both = Bundle({"a": torch.ones(2)})
    assert bundle(both) is both
    assert list(bundle({"a": torch.ones(2)})) == ["a"]
