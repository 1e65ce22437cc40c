"""What the table of the GPU tests measures: a step, encoders, the decoder, whole generations, each with its peak."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from audiox_core.pipeline import Pipeline
from audiox_core.sampling.guidance import GuidedVelocity
from tests.benchmarks.bench_step import straightforward
from tests.gpu.cards import Card
from tests.gpu.models import inputs, tokens_of
from tests.gpu.record import timed

Row = dict[str, Any]


def effort(card: Card, full: int) -> int:
    """So many calls on a real card; one is enough of the played one."""
    return 1 if card.small else full


def on_network(card: Card, pipe: Pipeline, make: Callable[[Any, Any], Callable[[], Tensor]]) -> tuple[Row, Tensor]:
    """The time and the peak of what make(network, step) gives, and its answer."""

    def work(net: Any, step: Any) -> tuple[Row, Tensor]:
        stepping = pipe.stepping.ready(net, step.device, streamed=step.streamed, stays=True)
        with torch.inference_mode(), stepping as ready, card.counted() as count:
            call = make(ready, step)
            answer = call().float().cpu()
            time = timed(call, card.sync, calls=effort(card, 20), rounds=effort(card, 5), warm_up=effort(card, 3))
        row = {"step, ms": 1e3 * time.median, "least": 1e3 * time.least, "most": 1e3 * time.most}
        return {**row, "beside the weights, GB": count.peak / 1e9}, answer

    return pipe.residence.run(pipe.model.backbone.name, work)


def at(pipe: Pipeline, device: torch.device) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Latents, a time and condition tokens for one step."""
    tokens = {name: tokens.to(device) for name, tokens in tokens_of(pipe.model).items()}
    return pipe.draw(1).noise.to(device), torch.full((1,), 0.7, device=device), tokens


def step(card: Card, pipe: Pipeline) -> Row:
    """One step of the model's own recipe: guided, unless its guidance is 1."""
    return answered_step(card, pipe)[0]


def answered_step(card: Card, pipe: Pipeline) -> tuple[Row, Tensor]:
    """step(), and its velocity."""

    def make(net: Any, place: Any) -> Callable[[], Tensor]:
        x, t, tokens = at(pipe, place.device)
        velocity = GuidedVelocity(net, tokens, scale=pipe.model.recipe.guidance)
        return lambda: velocity(x, t)

    return on_network(card, pipe, make)


def straightforward_step(card: Card, pipe: Pipeline) -> tuple[Row, Tensor]:
    """The same step of a plain transformer with nothing remembered or skipped; half precision as autocast does it."""

    def make(net: Any, place: Any) -> Callable[[], Tensor]:
        x, t, tokens = at(pipe, place.device)
        joined = torch.cat([tokens[name][:, 0] for name in net.config.order], dim=1)

        def call() -> Tensor:
            half = torch.autocast(place.device.type, torch.float16) if place.dtype == torch.float16 else nullcontext()
            with half:
                return straightforward(net, x, t, joined, pipe.model.recipe.guidance)

        return call

    return on_network(card, pipe, make)


def encoders(card: Card, pipe: Pipeline) -> list[Row]:
    """Each conditioner, from what it reads in RAM to tokens in RAM."""
    rows, draws = [], pipe.draw(1).conditions
    for name, given in inputs(pipe.model).items():

        def work(name: str = name, given: Any = given) -> Tensor:
            with torch.inference_mode():
                return pipe.conditioner.encode(name, given, draws[name])

        rows.append({"part": name, **call_row(card, work)})
    return rows


def decoder(card: Card, pipe: Pipeline) -> Row:
    """A window's latents in RAM to its waveform in RAM."""
    noise = pipe.draw(1).noise
    return {"part": "decode", **call_row(card, lambda: pipe.decode(noise))}


def call_row(card: Card, work: Callable[[], Any]) -> Row:
    work()
    with card.counted() as count:
        time = timed(work, card.sync, rounds=effort(card, 5), warm_up=0)
    row = {"ms": 1e3 * time.median, "least": 1e3 * time.least, "most": 1e3 * time.most}
    return {**row, "beside the weights, GB": count.peak / 1e9}


def sampler_of(pipe: Pipeline) -> str:
    """The model's own sampler; another one of as many calls where the package is missing that its noise needs."""
    own = pipe.model.recipe.sampler
    return own if "sde" not in own or importlib.util.find_spec("torchsde") else "k-lms"


def generation(card: Card, pipe: Pipeline, steps: int | None = None) -> Row:
    """A whole sound from a text, by the model's own recipe, in seconds; its peak is that of all that is resident."""
    steps, name = steps or pipe.model.recipe.steps, sampler_of(pipe)
    given: dict[str, Any] = {"text": "rain on a tin roof", "sampler": name, "seed": 3}
    pipe(**given, steps=2)  # what is compiled, recorded or kept of the first call
    pipe.residence.release()
    with card.counted() as count:
        pipe(**given, steps=2)
        time = timed(lambda: pipe(**given, steps=steps), card.sync, rounds=effort(card, 2), warm_up=0)
    row = {"sampler": name, "steps": steps, "seconds": time.least, "peak, GB": count.peak / 1e9}
    return {**row, "seconds of sound": pipe.timing.prompt_seconds}
