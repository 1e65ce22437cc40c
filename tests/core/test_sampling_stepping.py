"""Steps that are compiled, or recorded once and replayed: the same numbers, and when neither happens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import AudioXError, InputError
from audiox_core.memory.machine import measure
from audiox_core.networks.mmdit import MMDiTConfig, ModulatedTransformer
from audiox_core.pipeline import Pipeline, assemble, load_pipeline
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.sampling.stepping import Compiled, Graphed, Stepping, check_stepping, record_on_cuda
from tests.core.dits import by_modality, close, inputs, random_network
from tests.core.small import small_opened

CPU = torch.device("cpu")


class Recorded:
    """A recorder that needs no GPU: a replay computes again from the same buffers into the same one."""

    def __init__(self) -> None:
        self.made = self.replayed = 0

    def __call__(self, fn: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        self.made += 1
        out = fn()

        def replay() -> None:
            self.replayed += 1
            out.copy_(fn())

        out.zero_()  # only a replay fills it
        return out, replay


def small_mmdit() -> ModulatedTransformer:
    network = ModulatedTransformer(MMDiTConfig(8, 32, 2, 8, 16, ("text", "video", "audio"), latents=9, tokens=12))
    generator = torch.Generator().manual_seed(5)
    for p in network.parameters():
        torch.nn.init.normal_(p, 0, 0.2, generator=generator)
    return network.eval().requires_grad_(False)


@torch.inference_mode()
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("guided", [True, False], ids=["guided", "plain"])
def test_a_replayed_step_is_the_step_itself(guided: bool, rows: int) -> None:
    recorder, network = Recorded(), random_network()
    graphed = Graphed(network, recorder)
    x, t, tokens = inputs()
    conditions = [by_modality(tokens[i : i + 1]) for i in (0, 1)]
    kept = []
    for condition in conditions:
        given = {"scale": 3.0} if guided else {"scale": 1.0}
        plain, replayed = (GuidedVelocity(net, condition, **given) for net in (network, graphed))
        for shift in (0.0, 0.5):
            at = (x[:1].expand(rows, -1, -1) + shift, t[:1].expand(rows) / (1 + shift))
            kept.append((replayed(*at), plain(*at)))
    assert all(torch.equal(answer, expected) for answer, expected in kept), "earlier answers stay as they were"
    assert (recorder.made, recorder.replayed) == (1, 4), "recorded once for all conditions of a shape"


@torch.inference_mode()
def test_the_modulated_transformer_is_replayed_too() -> None:
    network, recorder = small_mmdit(), Recorded()
    graphed = Graphed(network, recorder)
    generator = torch.Generator().manual_seed(1)
    x, t = torch.randn(2, 8, 9, generator=generator), torch.tensor([0.3, 0.3])
    for _ in range(2):
        one = network.prepare_context(torch.randn(1, 12, 16, generator=generator))
        context = one.cat(network.prepare(None))
        assert torch.equal(graphed(x, t, context), network(x, t, context))
    assert recorder.made == 1


@torch.inference_mode()
def test_another_shape_is_another_record() -> None:
    network, recorder = random_network(), Recorded()
    graphed = Graphed(network, recorder)
    x, t, tokens = inputs()
    context = network.prepare_context(tokens)
    for length in (x.shape[-1], x.shape[-1] - 2, x.shape[-1]):
        part = x[..., :length]
        assert torch.equal(graphed(part, t, context), network(part, t, context))
    assert recorder.made == 2


def test_weights_that_have_moved_are_not_replayed() -> None:
    network = random_network()
    graphed = Graphed(network, Recorded())
    assert graphed.serves(network)
    assert not graphed.serves(random_network())
    weight = network.transformer.layers[0].ff.ff[2].weight
    weight.data = weight.data.clone()
    assert not graphed.serves(network)


def test_records_are_kept_only_where_the_network_stays() -> None:
    network = random_network()
    stepping = Stepping(graph="on", recorder=Recorded())
    with stepping.ready(network, CPU, streamed=0, stays=True) as first:
        assert isinstance(first, Graphed)
    with stepping.ready(network, CPU, streamed=0, stays=False) as second:
        assert second is first
    with stepping.ready(network, CPU, streamed=0, stays=True) as third:
        assert third is not first
    with pytest.raises(MemoryError), stepping.ready(network, CPU, streamed=0, stays=True):
        raise MemoryError
    with stepping.ready(network, CPU, streamed=0, stays=True) as fourth:
        assert fourth is not third, "what ran out of memory keeps none"


@pytest.mark.parametrize("options", [{"compile": True}, {"graph": "on"}])
def test_streamed_blocks_and_hooks_are_neither_compiled_nor_replayed(
    options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    network = random_network()
    stepping = Stepping(**options, recorder=Recorded())
    with caplog.at_level(logging.WARNING), stepping.ready(network, CPU, streamed=3, stays=False) as ready:
        assert ready is network
    assert "because blocks are read from RAM in each step" in caplog.text
    if stepping.graph == "on":
        handle = network.transformer.register_forward_hook(lambda *_: None)
        with stepping.ready(network, CPU, streamed=0, stays=True) as ready:
            assert ready is network
        assert "because it has hooks" in caplog.text
        handle.remove()


def test_auto_is_for_cuda_only() -> None:
    network = random_network()
    with Stepping(graph="auto").ready(network, CPU, streamed=0, stays=True) as ready:
        assert ready is network
    with Stepping(graph="auto").ready(network, torch.device("cuda:0"), streamed=0, stays=True) as ready:
        assert isinstance(ready, Graphed)
    assert Stepping().recorder is record_on_cuda
    assert Stepping().graph == "off"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"compile": 1}, "compile: expected True or False, got 1"),
        ({"graph": "yes"}, "graph: 'yes' is not one of off, auto, on"),
        ({"graph": "on"}, "graph: CUDA graphs need an NVIDIA GPU, and this runs on cpu. Choose off or auto."),
    ],
)
def test_choices_are_checked_before_anything_is_loaded(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError) as caught:
        load_pipeline("/nowhere/model.safetensors", device="cpu", **given)
    assert str(caught.value).startswith(said)


def test_a_recorded_step_is_not_compiled_as_well() -> None:
    with pytest.raises(InputError, match="not recorded as well"):
        check_stepping(True, "on", "cuda")


def small_pipeline(**options: Any) -> Pipeline:
    return assemble(small_opened(), measure("cpu"), dtype="fp32", stepping=Stepping(**options))


def test_a_pipeline_replays_its_steps_and_lets_the_records_go() -> None:
    recorder = Recorded()
    plain, graphed = small_pipeline(), small_pipeline(graph="on", recorder=recorder)
    given: dict[str, Any] = {"text": "rain", "steps": 3, "seed": 4}
    expected = plain(**given)
    for _ in range(2):
        assert torch.equal(graphed(**given).waveform, expected.waveform)
    assert (recorder.made, recorder.replayed) == (1, 6)
    graphed.residence.release()
    assert torch.equal(graphed(**given).waveform, expected.waveform)
    assert recorder.made == 2


def test_a_failing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def __call__(self, *_: Any) -> Tensor:
            raise torch._dynamo.exc.BackendCompilerFailed(lambda: None, RuntimeError("no compiler is here"), None)

    monkeypatch.setattr(torch, "compile", lambda *_, **__: Broken())
    network = random_network()
    x, t, tokens = inputs()
    with pytest.raises(AudioXError, match=r"compile: torch's compiler failed .*C\+\+ compiler"):
        Compiled(network)(x, t, network.prepare_context(tokens))


def test_a_compiled_pipeline_gives_the_same_sound(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Taken as one graph, but not translated, which takes a minute: test_kernels does that with one block."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    given: dict[str, Any] = {"text": "rain", "steps": 2, "seed": 4}
    with caplog.at_level(logging.INFO, logger="audiox"):
        compiled = small_pipeline(compile=True)
        waveform = compiled(**given).waveform
        assert close(waveform, small_pipeline()(**given).waveform, 1e-5)
        assert caplog.text.count("compiling the transformer for latents of shape") == 1
        compiled(**given)
    assert caplog.text.count("compiling the transformer for latents of shape") == 1
