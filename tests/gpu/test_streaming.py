"""Streamed blocks and parts that leave the card: the same latents as with everything resident, bit for bit."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.memory.plan import Plan
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline
from tests.core.card import changed
from tests.gpu.cards import Card
from tests.gpu.models import BASE, NAMES, model_of, pipeline, planned, resident, tokens_of

STEPS = 3


@torch.inference_mode()
def latents(pipe: Pipeline, seed: int = 1) -> Tensor:
    """A few steps after random conditions, by a sampler that adds no noise of a package that may be missing."""
    sampler = {"sampler": "k-lms"} if pipe.model.recipe.objective == "v" else {}
    settings = Settings(text="", steps=STEPS, **sampler).resolved(pipe.model)
    found = pipe.sample(tokens_of(pipe.model), None, pipe.draw(seed), settings)
    assert torch.isfinite(found).all() and found.std() > 0
    return found


def streamed(card: Card, name: str, count: int, **asked: Any) -> Plan:
    """The backbone with so many blocks in RAM, page-locked, and everything else there as well."""
    plan = changed(planned(card, name, offload="on", **asked), "stage", count)
    return replace(plan, pinned=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0, 0.3, 0.6, 1], ids=["offload", "some", "most", "all"])
def test_streaming_and_offload_change_no_bit(card: Card, name: str, share: float) -> None:
    expected = latents(resident(card, name))
    depth = planned(card, name).depth
    count = round(share * depth)
    pipe = pipeline(card, name, streamed(card, name, max(count, 3) if share else 0))
    for _ in range(2):
        assert torch.equal(latents(pipe), expected)
    assert pipe.residence.held == ()


def test_streaming_eight_bits_changes_no_bit(card: Card) -> None:
    plans = [planned(card, BASE, precision="fp8", offload="off")]
    plans.append(streamed(card, BASE, plans[0].depth, precision="fp8"))
    whole, streaming = (latents(pipeline(card, BASE, plan)) for plan in plans)
    assert torch.equal(whole, streaming)


@pytest.mark.parametrize("allowed", [0, 2])
def test_page_locked_memory_may_be_refused(
    card: Card, allowed: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As on systems that lock none, or little of it: told once, and the sound is the same."""
    expected, asked, make = latents(resident(card, BASE)), [], torch.empty

    def refusing(*size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        if pin_memory:
            asked.append(size)
            if len(asked) > allowed:
                raise RuntimeError("CUDA error: out of memory\nmore that nobody needs")
        memory: Any = make(*size, pin_memory=pin_memory and not card.small, **options)
        if pin_memory and card.small:
            memory.is_pinned = lambda: True
        return memory

    if card.small:  # whose own RAM is not the one that is refused
        monkeypatch.undo()
    pipe = pipeline(card, BASE, streamed(card, BASE, planned(card, BASE).depth))
    pipe.residence._pin = True  # the CPU plays the card
    monkeypatch.setattr(torch, "empty", refusing)
    with caplog.at_level(logging.WARNING, logger="audiox"):
        assert torch.equal(latents(pipe), expected)
    assert len(asked) == allowed + 1
    assert [r.getMessage() for r in caplog.records].count(caplog.messages[0]) == 1
    assert "page-locked memory is not available" in caplog.text


def test_blocks_really_lie_in_page_locked_memory(card: Card) -> None:
    if card.small:
        pytest.skip("the played card has none")
    plan = planned(card, BASE, 2)
    assert plan.pinned and plan.streamed_blocks
    pipe = pipeline(card, BASE, plan)
    latents(pipe)
    packed = pipe.residence._packed
    assert len(packed) == len(plan.streamed_blocks) and all(block.host.is_pinned() for block in packed.values())


def test_the_models_are_what_they_say() -> None:
    """Of the full sizes, without a card."""
    sizes = {name: model_of(name, False).timing.latents for name in NAMES}
    assert sizes == dict.fromkeys(NAMES, 236)
