"""Memory of the card: plans against real peaks, small cards, running out of it, and nothing that stays."""

from __future__ import annotations

import gc
import logging

import pytest
import torch
from torch import Tensor

from audiox_core.errors import OutOfMemory
from audiox_core.pipeline import Pipeline
from tests.gpu.cards import CARD, PLAYED, Card
from tests.gpu.models import BASE, NAMES, conditions, inputs, pipeline, planned, resident
from tests.gpu.record import Record
from tests.gpu.test_streaming import latents

SIZES = (2, 4, 8, None)  # GB that cards are sold as; None: the whole of this one


def everything(pipe: Pipeline) -> Tensor:
    """All parts at work one after the other: encoders, network, autoencoder."""
    conditions(pipe)
    with torch.inference_mode():
        sound = pipe.decode(latents(pipe))
    assert torch.isfinite(sound).all()
    return sound


@pytest.mark.parametrize("size", SIZES, ids=["2 GB", "4 GB", "8 GB", "all"])
@pytest.mark.parametrize("name", NAMES)
def test_a_plan_keeps_its_word(
    card: Card, name: str, size: float | None, record: Record, caplog: pytest.LogCaptureFixture
) -> None:
    """On a card that gives no more than it has, without a remedy, and with no more than the plan expects."""
    machine = card.machine(size)
    if size and not card.small and machine.vram_free < size * CARD * 0.6:
        pytest.skip(f"this card has less than {size} GB free")
    plan = planned(card, name, size)
    pipe = pipeline(card, name, plan)
    inputs(pipe.model)
    limit = machine.vram_free + (card.slack if card.small else 0) if size else None
    with caplog.at_level(logging.WARNING, logger="audiox"), card.counted(limit) as count:
        everything(pipe)
        pipe.residence.release()
        del pipe
        gc.collect()
    row = {"sold as, GB": size, "streamed blocks": len(plan.streamed_blocks), "offload": plan.offload}
    sizes = {"budget, GB": plan.budget / 1e9, "planned, GB": plan.peak / 1e9, "peak, GB": count.peak / 1e9}
    record.add("memory", model=name, **row, **sizes, **{"peak / planned": count.peak / plan.peak})
    assert "out of memory" not in caplog.text
    assert count.peak <= plan.budget + (card.slack if card.small else 0)
    assert count.peak <= 1.1 * plan.peak + card.slack
    if not card.small:  # where what comes back to RAM counts, too
        assert count.held <= card.slack


def test_sampling_that_runs_out_of_memory_streams(card: Card, caplog: pytest.LogCaptureFixture) -> None:
    """With a third of the weights too little room; the latents are the same."""
    pipe = resident(card, BASE)
    with card.counted() as whole:
        expected = latents(pipe)
    pipe.residence.release()
    short = pipe.plan.places[pipe.plan.backbone].bytes // 3
    with caplog.at_level(logging.WARNING, logger="audiox"), card.counted(whole.peak - short):
        assert torch.equal(latents(pipe), expected)
    assert "blocks are read from RAM in each step" in caplog.text
    pipe.residence.release()


def test_decoding_that_runs_out_of_memory_is_tiled(card: Card, caplog: pytest.LogCaptureFixture) -> None:
    pipe = resident(card, BASE)
    name, noise = pipe.model.autoencoder.name, pipe.draw(1).noise
    with card.counted() as whole:
        expected = pipe.decode(noise)
        pipe.residence.release()
    weights = pipe.plan.places[name].bytes
    limit = weights + (whole.peak - weights) * 6 // 10
    with caplog.at_level(logging.WARNING, logger="audiox"), card.counted(limit):
        found = pipe.decode(noise)
        pipe.residence.release()
    assert "continuing in tiles" in caplog.text
    # Convolutions of other lengths are other kernels.
    assert (found - expected).norm() <= (1e-5 if card.small else 1e-2) * expected.norm()


def test_a_card_that_is_never_satisfied_says_what_helps(card: Card) -> None:
    """And is as good as new when there is memory again."""
    pipe = resident(card, BASE)
    expected = latents(pipe)
    pipe.residence.release()
    with card.counted(PLAYED // 8 if card.small else CARD // 64):
        with pytest.raises(OutOfMemory, match="out of memory on"):
            latents(pipe)
        assert pipe.residence.held == ()
    assert torch.equal(latents(pipe), expected)


@pytest.mark.parametrize("offload", ["on", "off"])
def test_nothing_is_kept(card: Card, offload: str) -> None:
    """Two whole runs, and one that ends in the middle."""
    pipe = pipeline(card, BASE, planned(card, BASE, offload=offload))
    with card.counted() as count:
        for _ in range(2):
            everything(pipe)

        def stop(done: int, total: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            pipe(text="rain", steps=3, sampler="k-lms", on_step=stop)
        assert (pipe.residence.held == ()) is (offload == "on")
        pipe.residence.release()
        del pipe
        gc.collect()
    if offload == "on" or not card.small:  # where what comes back to RAM counts, too
        assert count.held <= card.slack


@pytest.mark.parametrize("name", NAMES)
def test_one_sound_after_the_other_takes_no_more(card: Card, name: str) -> None:
    pipe = pipeline(card, name, planned(card, name, 8))
    peaks = []
    for _ in range(3):
        with card.counted() as count:
            everything(pipe)
        peaks.append(count.peak)
    assert max(peaks[1:]) <= peaks[0] + card.slack
    pipe.residence.release()
