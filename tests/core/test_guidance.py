"""Classifier-free guidance: the formula, conditions prepared once, batches, rescale, denoised latents."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.models.settings import Settings
from audiox_core.networks.dit import DiffusionTransformer
from audiox_core.sampling import VDenoiser
from audiox_core.sampling.guidance import GuidedVelocity, guide, guide_denoised
from tests.core.dits import by_modality, close, inputs, random_network


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("with_negative", [False, True])
def test_guidance_is_the_formula(scale: float, with_negative: bool) -> None:
    network = random_network()
    x, t, tokens = inputs()
    negative = tokens.flip(1) if with_negative else None
    c = network(x, t, network.prepare_context(tokens))
    u = network(x, t, None if negative is None else network.prepare_context(negative))
    given = None if negative is None else by_modality(negative)
    ours = GuidedVelocity(network, by_modality(tokens), given, scale=scale)(x, t)
    assert close(ours, u + scale * (c - u))


@pytest.mark.parametrize("swap", [False, True])
def test_nothing_may_stand_on_either_side(swap: bool) -> None:
    """The null condition as the positive one: what a host's "zero out" asks for."""
    network = random_network()
    x, t, tokens = inputs()
    c, u = network(x, t, network.prepare_context(tokens)), network(x, t)
    sides = (None, by_modality(tokens)) if swap else (by_modality(tokens), None)
    first, second = (u, c) if swap else (c, u)
    assert close(GuidedVelocity(network, *sides, scale=7.0)(x, t), second + 7.0 * (first - second))
    assert close(GuidedVelocity(network, sides[0], sides[1], scale=1.0)(x, t), first)
    assert close(GuidedVelocity(network, None, None, scale=7.0)(x, t), u)


def test_guidance_between_two_levels_only() -> None:
    """There it is the same; elsewhere the positive branch alone, in half the rows."""
    network, rows = random_network(), []
    x, t, tokens = inputs()
    network.register_forward_pre_hook(lambda _, given: rows.append(given[0].shape[0]))
    always = GuidedVelocity(network, by_modality(tokens), scale=7.0)
    alone = GuidedVelocity(network, by_modality(tokens), scale=1.0)
    model = parse_config(BASE_CONFIG)
    between = Settings(guidance_interval=(0.5, 20)).guided_between(model)
    bounded = GuidedVelocity(network, by_modality(tokens), scale=7.0, between=between)
    for sigma, inside in ((0.3, False), (0.5, True), (3.0, True), (20.0, True), (20.1, False), (500.0, False)):
        times = torch.atan(torch.full_like(t, sigma)) * (2 / math.pi)
        assert torch.equal(bounded(x, times), (always if inside else alone)(x, times))
        assert rows[-2] == (4 if inside else 2)
    assert Settings().guided_between(model) is None
    flow = replace(model, recipe=replace(model.recipe, objective="rectified_flow"))
    assert Settings(guidance_interval=(0.25, 0.5)).guided_between(flow) == pytest.approx((0.25, 0.5), abs=2e-7)


def test_guidance_prepares_each_condition_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network()
    x, t, tokens = inputs()
    calls: list[bool] = []
    inner = DiffusionTransformer.prepare

    def counted(self: DiffusionTransformer, tokens: Any, **given: Any) -> Any:
        calls.append(tokens is not None)
        return inner(self, tokens, **given)

    monkeypatch.setattr(DiffusionTransformer, "prepare", counted)
    velocity = GuidedVelocity(network, by_modality(tokens), scale=7.0)
    for _ in range(3):
        velocity(x, t)
    assert calls == [True, False]
    GuidedVelocity(network, by_modality(tokens), scale=1.0)(x, t)
    assert calls == [True, False, True], "without guidance there is no second condition"


def test_one_call_of_the_network_makes_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network()
    x, t, tokens = inputs()
    rows: list[int] = []
    inner = DiffusionTransformer.forward

    def counted(self: DiffusionTransformer, x: Tensor, *given: Any) -> Tensor:
        rows.append(x.shape[0])
        return inner(self, x, *given)

    monkeypatch.setattr(DiffusionTransformer, "forward", counted)
    GuidedVelocity(network, by_modality(tokens), scale=7.0)(x, t)
    GuidedVelocity(network, by_modality(tokens), scale=1.0)(x, t)
    assert rows == [4, 2]


@pytest.mark.parametrize("with_negative", [False, True])
def test_a_joined_condition_is_renewed_when_the_batch_changes(with_negative: bool) -> None:
    """Adaptive samplers and hosts may ask for other batches with the same conditions."""
    network = random_network()
    x, t, tokens = inputs(batch=3)
    negative = by_modality(tokens[1:2]) if with_negative else None
    velocity = GuidedVelocity(network, by_modality(tokens[:1]), negative, scale=7.0)
    alone = torch.cat(
        [GuidedVelocity(network, by_modality(tokens[:1]), negative)(x[i : i + 1], t[:1]) for i in (0, 1, 2)]
    )
    for rows in (1, 3, 3, 2, 1):
        assert close(velocity(x[:rows], t[:rows]), alone[:rows])


def test_rescale_one_takes_the_positive_deviation() -> None:
    generator = torch.Generator().manual_seed(4)
    c, u = torch.randn(2, 2, 8, 5, generator=generator)
    assert torch.allclose(guide(c, u, 7.0, 1.0).std(dim=1), c.std(dim=1), atol=1e-5)
    assert torch.equal(guide(c, u, 7.0, 0.0), u + 7.0 * (c - u))
    half = 0.5 * guide(c, u, 7.0, 1.0) + 0.5 * guide(c, u, 7.0)
    assert torch.allclose(guide(c, u, 7.0, 0.5), half, atol=1e-6)


def test_rescale_reaches_the_velocity() -> None:
    network = random_network()
    x, t, tokens = inputs()
    c, u = network(x, t, network.prepare_context(tokens)), network(x, t)
    ours = GuidedVelocity(network, by_modality(tokens), scale=7.0, rescale=0.7)(x, t)
    assert close(ours, guide(c, u, 7.0, 0.7))
    assert not close(ours, guide(c, u, 7.0), 1e-2)


@pytest.mark.parametrize("rescale", [0.0, 0.7])
def test_denoised_latents_are_guided_as_velocities_are(rescale: float) -> None:
    """With a level of its own for each item of a batch."""
    network = random_network()
    x, _, tokens = inputs(batch=3)
    sigma = torch.tensor([0.3, 5.0, 80.0])
    x = x * (sigma**2 + 1).sqrt()[:, None, None]
    context = network.prepare_context(tokens)
    positive = VDenoiser(lambda x, t: network(x, t, context))(x, sigma)
    negative = VDenoiser(lambda x, t: network(x, t))(x, sigma)
    ours = guide_denoised(positive, negative, x, sigma, 7.0, rescale)
    velocity = GuidedVelocity(network, by_modality(tokens), scale=7.0, rescale=rescale)
    expected = VDenoiser(velocity)(x, sigma)
    for a, b in zip(ours, expected, strict=True):
        assert close(a, b, 1e-4)


def test_without_rescale_denoised_latents_follow_the_plain_formula() -> None:
    generator = torch.Generator().manual_seed(5)
    positive, negative, x = torch.randn(3, 2, 8, 5, generator=generator)
    ours = guide_denoised(positive, negative, x, torch.tensor([0.5, 2.0]), 7.0, 0.0)
    assert torch.allclose(ours, negative + 7.0 * (positive - negative), atol=1e-4)
