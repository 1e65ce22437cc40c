"""Conditions are prepared once a sampling run, and every run is as if each step had made them anew."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from by_hand import (
    LATENTS,
    STEPS,
    Given,
    by_hand,
    by_host,
    core_network,
    differ,
    null,
    picture,
    prompt,
    same,
    scaled,
    sound,
    stepping,
    tokens_of,
)
from pack import demo, latent, module, near, node, values


def check_multiplications_equal_the_core() -> None:
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    import nodes

    sampling, guided = module("audiox_core.sampling"), module("audiox_core.sampling.guidance").GuidedVelocity
    repeat_heads = module("audiox_core.networks.layers").repeat_heads

    def attention(q: Any, k: Any, v: Any) -> Any:
        k, v = repeat_heads(q, k, v)
        return (q @ k.mT * q.shape[-1] ** -0.5).softmax(dim=-1) @ v

    # Of torch's own layers and with attention spelled out: the counter knows no fused ones of the CPU.
    network = core_network(operations=torch.nn, attention=attention)

    def count(action: Callable[[], Any]) -> int:
        with FlopCounterMode(display=False) as counter:
            action()
        return counter.get_total_flops()

    def in_host(positive: Any, negative: Any) -> int:
        given = (demo()[0], 7, STEPS, 7.0, "dpmpp_3m_sde", "exponential", positive, negative, latent(LATENTS))
        return count(lambda: nodes.KSampler().sample(*given, denoise=1.0))

    def in_core(positive: Any, negative: Any) -> int:
        def action() -> None:
            generator = torch.Generator().manual_seed(7)
            noise = torch.randn(1, 64, LATENTS, generator=generator)
            sampling.sample(guided(network, positive, negative, scale=7.0), noise, steps=STEPS, generator=generator)

        return count(action)

    text = tokens_of(prompt("rain"))
    least = in_core(text, None)
    for negative, core in ((null(), least), (prompt("hail"), in_core(text, tokens_of(prompt("hail"))))):
        ratio = in_host(prompt("rain"), negative) / core
        assert abs(ratio - 1) <= 0.01, ratio
    # What it would be otherwise: a null row that attends to zeros, and keys and values of each step.
    assert in_core(text, tokens_of(null())) > 1.05 * least
    with torch.inference_mode(False), torch.enable_grad():
        assert in_host(prompt("rain"), null()) > 1.05 * least


def check_runs_equal_those_that_prepare_in_each_step() -> None:
    import nodes

    rain, hail, none = Given(tokens_of(prompt("rain"))), Given(tokens_of(prompt("hail"))), Given(tokens_of(null()))
    same(prompt("rain"), null(), [rain], [none], batch=3)
    same(prompt("rain"), prompt("hail"), [rain], [hail], batch=3)
    same(null(), prompt("hail"), [none], [hail])
    same(picture(), sound(), [Given(tokens_of(picture()))], [Given(tokens_of(sound()))])
    tokens = {name: tokens_of(source())[name] for name, source in (("video", picture), ("audio", sound))}
    mixed = node("AudioXCombine")(text=prompt("rain"), video=picture(), audio=sound())[0]
    same(mixed, null(), [Given(rain.tokens | tokens)], [none])
    average = nodes.ConditioningAverage().addWeighted(prompt("rain"), prompt("hail"), 0.3)[0]
    tokens = {"text": 0.3 * prompt("rain")[0][0][:, None] + 0.7 * prompt("hail")[0][0][:, None]}
    same(average, null(), [Given(rain.tokens | tokens)], [none])


def check_a_prompt_for_each_of_a_batch() -> None:
    two = sound(2)
    tokens = tokens_of(two)
    assert tokens["audio"].shape[0] == 2
    assert not tokens["audio"][0].equal(tokens["audio"][1])
    for negative in (null(), prompt("hail")):
        same(two, negative, [Given(tokens)], [Given(tokens_of(negative))], batch=2)


def check_ranges_and_strengths() -> None:
    import node_helpers

    import nodes

    def part(condition: Any, start: float, end: float) -> Any:
        return nodes.ConditioningSetTimestepRange().set_range(condition, start, end)[0]

    combine = nodes.ConditioningCombine().combine
    rain, hail, drums, none = (tokens_of(c) for c in (prompt("rain"), prompt("hail"), prompt("drums"), null()))
    positive = combine(part(prompt("rain"), 0.0, 0.4), part(prompt("hail"), 0.4, 1.0))[0]
    given = [Given(rain, end=0.4), Given(hail, start=0.4)]
    same(positive, null(), given, [Given(none)])
    assert differ(by_hand(given, [Given(none)]), by_hand([Given(rain)], [Given(none)])), "both parts count"
    # The null condition in a part of the run, among others.
    strong = node_helpers.conditioning_set_values(prompt("drums"), {"strength": 2.5})
    positive = combine(combine(part(null(), 0.3, 0.7), strong)[0], prompt("rain"))[0]
    given = [Given(none, start=0.3, end=0.7), Given(drums, strength=2.5), Given(rain)]
    same(positive, prompt("hail"), given, [Given(hail)], batch=2)
    negative = combine(part(prompt("hail"), 0.0, 0.6), null())[0]
    same(prompt("rain"), negative, [Given(rain)], [Given(hail, end=0.6), Given(none)])


def check_conditions_that_do_not_fit_into_one_batch() -> None:
    model = demo()[0].model
    model.memory_required = lambda shape, **_: 1e20 if shape[0] > 1 else 0.0
    try:
        for negative in (null(), prompt("hail")):
            given, against = [Given(tokens_of(prompt("rain")))], [Given(tokens_of(negative))]
            with stepping(demo()[0]) as rows:
                same(prompt("rain"), negative, given, against)
            assert rows == [1] * (2 * STEPS)
    finally:
        del model.memory_required


def check_nothing_outlives_its_run() -> None:
    """The same conditions again, with another model and back: each run as if it were the only one."""
    positive, negative = prompt("rain"), prompt("hail")
    other = scaled(1.1)
    first, second = by_host(positive, negative), by_host(positive, negative, model=other)
    assert differ(first, second)
    assert by_host(positive, negative).equal(first)
    assert by_host(positive, negative, model=other).equal(second)
    near(first, by_hand([Given(tokens_of(positive))], [Given(tokens_of(negative))]))


def check_memory_is_freed_after_the_run() -> None:
    import torch

    held, prepared = [], module("nodes.prepared")
    inner = prepared._join

    def joining(items: Any) -> Any:
        batch = inner(items)
        held.extend(weakref.ref(k) for k, _ in batch.context.layers)
        held.extend(weakref.ref(k) for item in items for own in item.cond.contexts for k, _ in own.layers)
        held.append(weakref.ref(batch))
        return batch

    prepared._join = joining
    gc.collect()
    gc.disable()  # when nothing holds them, they go at once
    try:
        by_host(prompt("rain"), prompt("hail"))
        assert len(held) == 2 + 2 * 2 + 1, "joined once"
        assert [one for one in held if one() is not None] == []
        given = {"device": torch.device("cpu"), "noise": torch.zeros(1, 64, LATENTS)}
        conditions = [demo()[0].model.extra_conds(**given, **values(one))["audiox"] for one in (null(), prompt("rain"))]
        held = [weakref.ref(conditions[i].concat([conditions[k]])) for i, k in ((0, 0), (0, 1), (1, 0))]
        assert [one() is None for one in held] == [True, False, False]  # the last of each first one is kept
        del conditions
        assert [one for one in held if one() is not None] == []
    finally:
        gc.enable()
        prepared._join = inner


def check_other_devices_and_training_prepare_for_themselves() -> None:
    import torch

    given = {"device": torch.device("cpu"), "noise": torch.zeros(2, 64, LATENTS)}
    conditions = [demo()[0].model.extra_conds(**given, **values(one))["audiox"] for one in (prompt("rain"), null())]
    batch = conditions[1].process_cond(2).concat([conditions[0].process_cond(2)])
    assert batch.context.null == 2
    assert batch.order == (1, 0)
    assert batch.to(torch.device("cpu")) is batch
    assert batch.to(torch.device("meta")).context is None
    x, t = torch.randn(4, 64, LATENTS), torch.rand(4)
    network, attention = demo()[0].model.diffusion_model, module("audiox_core.networks.layers").torch_attention
    run = module("nodes.prepared").run
    near(run(network, x, t, batch.to(torch.device("meta")), attention), run(network, x, t, batch, attention), 1e-5)
    with torch.inference_mode(False), torch.enable_grad():
        assert demo()[0].model.extra_conds(**given, **values(prompt("rain")))["audiox"].cond.contexts == ()
