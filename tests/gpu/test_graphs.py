"""Steps that are recorded as CUDA graphs: equal to eager ones bit for bit, and given up where memory is short."""

from __future__ import annotations

import gc
import logging
from typing import Any

import pytest
import torch

from audiox_core.pipeline import Pipeline
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.sampling.stepping import Graphed, record_on_cuda
from tests.gpu.cards import Card
from tests.gpu.models import BASE, NAMES, pipeline, planned, resident, tokens_of
from tests.gpu.test_streaming import latents


def recorder_of(card: Card) -> Any:
    return card.recorder or record_on_cuda


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("precision", ["usual", "fp8"])
def test_a_replayed_generation_is_the_eager_one(card: Card, name: str, precision: str) -> None:
    if card.small and precision == "fp8":
        pytest.skip("half precision is slow on the played card")
    asked = {} if precision == "usual" else {"precision": precision}
    plan = planned(card, name, offload="off", **asked)
    eager = pipeline(card, name, plan)
    expected = {seed: latents(eager, seed) for seed in (1, 2)}
    graphed = pipeline(card, name, plan, graph="on")
    for seed in (1, 1, 2):
        assert torch.equal(latents(graphed, seed), expected[seed])
    assert graphed.stepping._graphed is not None, "the records stay with what is resident"
    graphed.residence.release()
    assert graphed.stepping._graphed is None


@torch.inference_mode()
@pytest.mark.parametrize("name", NAMES)
def test_other_conditions_and_other_rows(card: Card, name: str) -> None:
    """One record serves all conditions of a shape; another batch is another record."""
    pipe = resident(card, name)

    def work(net: Any, step: Any) -> None:
        graphed = Graphed(net, recorder_of(card))
        for seed, rows in ((4, 1), (5, 1), (4, 2), (5, 1)):
            tokens = {key: t.to(step.device) for key, t in tokens_of(pipe.model, seed).items()}
            plain, replayed = (GuidedVelocity(one, tokens, scale=pipe.model.recipe.guidance) for one in (net, graphed))
            x = torch.cat([pipe.draw(seed).noise] * rows).to(step.device)
            for level in (0.9, 0.3):
                t = torch.full((rows,), level, device=step.device)
                assert torch.equal(replayed(x, t), plain(x, t))
        assert len(graphed._records) == 2

    pipe.residence.run(pipe.model.backbone.name, work)
    pipe.residence.release()


def test_auto_records_nothing_that_is_streamed(card: Card, caplog: pytest.LogCaptureFixture) -> None:
    expected = latents(resident(card, BASE))
    plan = planned(card, BASE, 2)
    assert plan.streamed_blocks
    pipe = pipeline(card, BASE, plan, graph="auto" if not card.small else "on")
    with caplog.at_level(logging.WARNING, logger="audiox"):
        assert torch.equal(latents(pipe), expected)
    assert "because blocks are read from RAM in each step" in caplog.text
    assert pipe.stepping._graphed is None


def test_a_record_that_does_not_fit_is_given_up(card: Card) -> None:
    """With room for an eager run and little more; the sound is the same, however it came about."""
    pipe = resident(card, BASE)
    with card.counted() as count:
        expected = latents(pipe)
        pipe.residence.release()
    graphed = resident(card, BASE, graph="on")
    with card.counted(count.peak + card.slack // 8):
        assert torch.equal(latents(graphed), expected)
        graphed.residence.release()
    assert torch.equal(latents(graphed), expected)
    graphed.residence.release()


def records(card: Card, pipe: Pipeline, times: int) -> int:
    """Bytes that are kept after so many recordings, each of which is let go."""
    with card.counted() as count:
        for _ in range(times):
            latents(pipe)
            pipe.stepping.clear()
        pipe.residence.release()
        gc.collect()
    return count.held


def test_recording_again_and_again_keeps_nothing(card: Card) -> None:
    """Not even the workspaces of a stream for each: those of two streams at most, the usual one's and a record's."""
    pipe = resident(card, BASE, graph="on")
    few = records(card, pipe, 2)
    assert records(card, pipe, 6) <= few + card.slack // 4
