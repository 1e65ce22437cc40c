"""Every golden set on the card: float32 with TF32 off, float16, bfloat16, and eight bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.memory.plan import make_plan
from audiox_core.memory.residence import Residence
from audiox_core.pipeline import Pipeline
from audiox_core.weights.load import load_part
from audiox_core.weights.open import Opened
from tests.golden import cases, cases_edit
from tests.golden.reader import GoldenSet
from tests.golden.test_precision import BOUNDS, GUIDED, GUIDED_BF16, errors
from tests.gpu import placed
from tests.gpu.cards import Card
from tests.gpu.record import Record

# Other kernels sum in another order than those of the stored answers, and sampling with guidance multiplies that.
EXACT = 1e-4
# Adaptive step control multiplies rounding by a hundred.
EXACT_BY_CASE = {"sample_k-dpm-adaptive": 1e-2}
# Cases that have no network: they say nothing about a card.
ELSEWHERE = ("resize", "prepare", "sigmas", "masks")
# Cases whose whole sampling runs on the card; in the others only networks do. Pipelines always run there.
ON_CARD = ("sample_*", "trace_*", "variation", "flow", "sampler")
FEWER_BITS = {
    "fp16": ("dit*", "vae", "text", "network", "fusion", "audio", "video"),
    "bf16": ("dit*", "vae", "network"),
    "fp8": ("dit*", "network"),
}
makers: dict[int, Callable[[Opened], Pipeline]] = {}
# What the played card is tried with.
SMALL = ("dit", "text", "sample_k-heun", "generate_text", "network", "fusion")


@pytest.fixture(autouse=True, scope="module")
def nothing_kept() -> Iterator[None]:
    yield
    placed.forget()


def chosen(case: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(case, pattern) for pattern in patterns)


def whole(card: Card, opened: Opened) -> Pipeline:
    """A golden set's model whose parts all stay on the card."""
    plan = make_plan(card.machine(), opened.model, precision="fp32", offload="off")
    parts = opened.model.parts.items()
    networks = {name: load_part(part, opened.weights, **plan.places[name].format.options()) for name, part in parts}
    return Pipeline(opened, Residence(networks, plan, device=card.device), machine=card.machine())


def answers(
    golden: GoldenSet, case: str, precision: str, card: Card, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """The case's answers from networks on the card. A missing torchsde skips what needs it."""

    make = makers.setdefault(id(card), partial(whole, card))  # one, so that pipelines are kept from case to case

    def network(of: GoldenSet, own: str | None = None) -> Any:
        return placed.network(of, golden.model.backbone.name, own, precision, card.device)

    monkeypatch.setattr(cases, "network", network)
    monkeypatch.setattr(cases, "part", lambda of, name: placed.network(of, name, None, precision, card.device))
    if case.startswith("generate_"):
        for module in (cases, cases_edit):
            monkeypatch.setattr(module, "pipeline", lambda of: placed.pipeline(of, make))
    monkeypatch.setattr(cases_edit, "part", cases.part)
    if chosen(case, ON_CARD):
        inputs = GoldenSet.inputs
        monkeypatch.setattr(GoldenSet, "inputs", lambda of, name: placed.moved(inputs(of, name), card.device))
    try:
        found = cases.run(golden, case)
    except Exception as error:
        if "torchsde" in str(error):
            pytest.skip("no torchsde, whose noise this case was made with")
        raise
    return {name: value.cpu() for name, value in found.items()}


def test_golden_answers(
    golden: GoldenSet,
    case: str,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
    report_row: Callable[..., None],
    record: Record,
) -> None:
    if case in ELSEWHERE or (card.small and case not in SMALL):
        pytest.skip("nothing of this case runs on a card" if case in ELSEWHERE else "not tried on the played card")
    ours, bound = answers(golden, case, "fp32", card, monkeypatch), EXACT_BY_CASE.get(case, EXACT)
    worst = {}
    for name, expected in golden.stored(case).items():
        assert ours[name].shape == expected.shape and torch.isfinite(ours[name].float()).all()
        difference = (ours[name].double() - expected.double()).abs().max()
        worst[name] = (difference / expected.double().abs().max()).item()
        report_row(f"{case} on the card", name, worst[name], bound)
    record.add(
        "golden answers", set=golden.folder.name, case=case, format="fp32", error=max(worst.values()), bound=bound
    )
    assert max(worst.values()) <= bound, worst


@pytest.mark.parametrize("precision", FEWER_BITS)
def test_golden_answers_in_fewer_bits(
    golden: GoldenSet,
    case: str,
    precision: str,
    card: Card,
    monkeypatch: pytest.MonkeyPatch,
    report_row: Callable[..., None],
    record: Record,
) -> None:
    if not chosen(case, FEWER_BITS[precision]) or (card.small and case not in SMALL):
        pytest.skip("not a case of this format")
    found = errors(golden, case, answers(golden, case, precision, card, monkeypatch))
    bounds = {
        name: GUIDED_BF16 if precision == "bf16" and name.startswith(GUIDED) else BOUNDS[precision] for name in found
    }
    for name, error in found.items():
        report_row(f"{case} {precision} on the card", name, error, bounds[name])
    worst = max(found, key=lambda name: found[name] / bounds[name])
    row = {"format": precision, "error": found[worst], "bound": bounds[worst]}
    record.add("golden answers", set=golden.folder.name, case=case, **row)
    assert found[worst] <= bounds[worst], found
