"""A plan applied: what is where, what happens when memory runs out, and that answers do not depend on it.

The CPU plays the device: weights brought to it are copies, and a fake allocator counts them and all activations.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes

from audiox_core import offload, streaming
from audiox_core.conditioning.text import TextEncoder
from audiox_core.config import TextConfig
from audiox_core.dit import DiffusionTransformer
from audiox_core.errors import AudioXError, InputError, OutOfMemory
from audiox_core.estimate import Dimensions
from audiox_core.guidance import GuidedVelocity
from audiox_core.keys import build
from audiox_core.memory import GB, Machine, Plan, make_plan
from audiox_core.offload import Residence, Step
from audiox_core.plan import COMPONENTS, spread
from audiox_core.precision import Format
from tests.core.fake_allocator import Allocator
from tests.core.small import small_config

CONFIG = small_config()
# Wide and deep enough for weights to outweigh activations.
CONFIG = replace(CONFIG, dit=replace(CONFIG.dit, embed_dim=128, num_heads=4, depth=8))
DIMS = Dimensions.from_config(CONFIG)


def fill(net: nn.Module) -> nn.Module:
    """Random weights of order one through every layer."""
    generator = torch.Generator().manual_seed(0)
    for name, p in net.named_parameters():
        gain = 0.5 if p.ndim == 3 else 1.0  # convolutions stand around a residual, too
        scale = 0.1 if name.endswith(("alpha", "beta", "bias")) else gain * max(p[0].numel(), 4) ** -0.5
        p.data = torch.randn(p.shape, generator=generator) * scale
    return net.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def parts() -> dict[str, nn.Module]:
    nets = {name: build(name, CONFIG).to_empty(device="cpu") for name in COMPONENTS if name != "text"}
    text = TextEncoder(CONFIG.conditioner(TextConfig))
    return {name: fill(net) for name, net in {**nets, "text": text}.items()}


def plan_for(parts: dict[str, nn.Module], vram: int = GB, **options: Any) -> Plan:
    machine = Machine("cuda:0", "a fake card", vram, vram, 32 * GB, 32 * GB)
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in parts.items()}
    return make_plan(machine, sizes, dims=DIMS, seconds=4.0, precision="fp32", **options)


def changed(plan: Plan, where: str, streamed: int = 0, tile: int | None = None) -> Plan:
    places = {name: replace(p, where=where, tile=tile) for name, p in plan.places.items()}
    return replace(plan, places=places, streamed_blocks=spread(streamed, plan.depth))


def sample(net: DiffusionTransformer, step: Step) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    x, tokens = torch.randn(1, 64, 40, generator=generator), torch.randn(1, 9, 32, generator=generator)
    velocity = GuidedVelocity(net, tokens, scale=7.0)
    for i in range(3):
        x = x - 0.1 * velocity(x, torch.full((1,), 0.9 - 0.2 * i))
    return x


def decode(net: Any, step: Step) -> Tensor:
    return net.decode(torch.ones(1, 64, 150).cumsum(-1).sin(), tile=step.tile)


@pytest.fixture(autouse=True)
def ram(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is packed for streaming lies in RAM, so the fake device does not count it."""
    make = streaming.host_memory

    def uncounted(size: int, *, pin: bool) -> Tensor:
        with _disable_current_modes():
            return make(size, pin=pin)

    monkeypatch.setattr(streaming, "host_memory", uncounted)


@pytest.fixture
def ids(parts: dict[str, nn.Module]) -> Iterator[None]:
    """Afterwards every weight is the very one that it was before."""
    before = {(n, k): id(p) for n, net in parts.items() for k, p in net.named_parameters()}
    yield
    assert before == {(n, k): id(p) for n, net in parts.items() for k, p in net.named_parameters()}
    assert not any(hasattr(m, "_hf_hook") for m in parts["dit"].modules())


@pytest.fixture
def dit_only(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """A transformer of its own: streaming packs its weights anew."""
    return {**parts, "dit": fill(build("dit", CONFIG).to_empty(device="cpu"))}


@pytest.mark.usefixtures("ids")
def test_moved_components_answer_the_same_and_leave(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(parts), "stage"), device="cpu")
    with torch.no_grad():
        expected = (
            sample(parts["dit"], None),
            decode(parts["autoencoder"], Step(torch.device("cpu"), torch.float32, None, 0)),
        )
        with Allocator() as allocator:
            own = {id(p) for p in parts["dit"].parameters()}

            def inside(net: Any, step: Step) -> Tensor:
                assert residence.held == ("dit",) and not own & {id(p) for p in net.parameters()}
                return sample(net, step)

            answers = residence.run("dit", inside), residence.run("autoencoder", decode)
            assert residence.held == () and allocator.held == sum(a.nbytes for a in answers)
    assert all(torch.equal(a, b) for a, b in zip(answers, expected, strict=True))


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_streaming_changes_no_bit(dit_only: dict[str, nn.Module], count: int, mode: Callable[[], Any]) -> None:
    with mode():
        expected = sample(dit_only["dit"], None)
        residence = Residence(dit_only, changed(plan_for(dit_only), "stage", count), device="cpu")
        for _ in range(2):
            with Allocator() as allocator:
                assert torch.equal(residence.run("dit", sample), expected)
    weights = sum(p.nbytes for p in dit_only["dit"].parameters())
    block = sum(p.nbytes for p in dit_only["dit"].transformer.layers[0].parameters())
    assert allocator.peak < weights - (count - 2) * 0.9 * block + 4e6
    assert not any(p.is_inference() for p in dit_only["dit"].parameters())


def test_streaming_eight_bit_weights(parts: dict[str, nn.Module]) -> None:
    state = parts["dit"].state_dict()
    net = DiffusionTransformer(CONFIG.dit, **Format("fp8", "fp32").options("dit")).eval().requires_grad_(False)
    net.load_state_dict(state)
    own = {**parts, "dit": net}
    with torch.no_grad():
        expected = sample(net, None)
        assert torch.equal(
            Residence(own, changed(plan_for(own), "stage", 8), device="cpu").run("dit", sample), expected
        )


def test_the_next_block_is_read_while_one_computes(dit_only: dict[str, nn.Module], monkeypatch: Any) -> None:
    seen: list[tuple[int, tuple[int | None, ...]]] = []
    after = streaming.Stream.after

    def spy(stream: streaming.Stream, number: int) -> None:
        seen.append((number, tuple(stream.holds)))
        after(stream, number)

    monkeypatch.setattr(streaming.Stream, "after", spy)
    with torch.no_grad():
        Residence(dit_only, changed(plan_for(dit_only), "stage", 5), device="cpu").run("dit", sample)
    assert [n for n, _ in seen] == [0, 1, 2, 3, 4] * 3
    assert all({n, (n + 1) % 5} == set(holds) for n, holds in seen)


def test_slots_are_reused_only_after_the_device_is_done(dit_only: dict[str, nn.Module], monkeypatch: Any) -> None:
    """The order of events on a copying stream, with streams that only write down what is asked of them."""
    log: list[tuple[str, Any]] = []

    class FakeStream:
        def __init__(self, name: str):
            self.name = name

        def wait_event(self, event: Any) -> None:
            log.append((f"{self.name} waits", event))

        def wait_stream(self, other: Any) -> None:
            log.append((f"{self.name} waits", other.name))

        def record_event(self) -> Any:
            log.append((f"{self.name} records", event := (self.name, len(log))))
            return event

        def synchronize(self) -> None:
            log.append((f"{self.name} ends", None))

    computing = FakeStream("compute")
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: computing)
    monkeypatch.setattr(torch.cuda, "stream", lambda _: nullcontext())
    make = streaming.Stream.__init__

    def with_stream(stream: streaming.Stream, *args: Any) -> None:
        make(stream, *args)
        stream.copying = FakeStream("copy")

    monkeypatch.setattr(streaming.Stream, "__init__", with_stream)
    with torch.no_grad():
        expected = sample(dit_only["dit"], None)
        residence = Residence(dit_only, changed(plan_for(dit_only), "stage", 3), device="cpu")
        assert torch.equal(residence.run("dit", sample), expected)
    assert log[0] == ("copy waits", "compute") and log[-1] == ("copy ends", None)
    copies = [event for what, event in log if what == "copy records"]
    used = [event for what, event in log if what == "compute waits"]
    freed = [event for what, event in log if what == "compute records"]
    awaited = [event for what, event in log[1:] if what == "copy waits"]
    assert used == copies[:9] and len(copies) == 10  # each block waits for its own copy; one is read ahead in vain
    assert awaited == freed[:8]  # from the third copy on, each waits until its slot's last block has computed


@pytest.mark.usefixtures("ids")
def test_what_is_resident_stays_until_it_is_in_the_way(parts: dict[str, nn.Module], caplog: Any) -> None:
    parts = {**parts}  # resident weights are not kept in RAM: work on copies of these two
    for name in ("text", "audio"):
        twin = (
            TextEncoder(CONFIG.conditioner(TextConfig))
            if name == "text"
            else build(name, CONFIG).to_empty(device="cpu")
        )
        twin.load_state_dict(parts[name].state_dict())
        parts[name] = twin.eval().requires_grad_(False)
    plan = changed(plan_for(parts), "stage")
    plan = replace(
        plan, places={**plan.places, **{n: replace(plan.places[n], where="device") for n in ("text", "audio")}}
    )
    residence = Residence(parts, plan, device="cpu")
    with torch.no_grad():
        text = residence.run("text", lambda net, step: net([[5, 1]]))
        residence.run("audio", lambda net, step: None)
        assert residence.held == ("text", "audio")
        shared = parts["text"].t5
        assert shared.shared.weight is shared.encoder.embed_tokens.weight
        calls = []

        def greedy(net: Any, step: Step) -> int:
            calls.append(residence.held)
            if len(calls) == 1:
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return 7

        assert residence.run("dit", greedy) == 7
        assert calls == [("text", "audio", "dit"), ("dit",)] and residence.held == ()
        assert torch.equal(residence.run("text", lambda net, step: net([[5, 1]])), text)
    assert residence.held == ()  # from now on only for its stage
    assert shared.shared.weight is shared.encoder.embed_tokens.weight
    assert "text, audio left the device" in caplog.text


@pytest.mark.usefixtures("ids")
def test_decoding_falls_back_to_tiles(parts: dict[str, nn.Module], caplog: Any) -> None:
    residence = Residence(parts, changed(plan_for(parts), "stage"), device="cpu")
    with torch.no_grad():
        expected = decode(parts["autoencoder"], Step(torch.device("cpu"), torch.float32, None, 0))
        with Allocator() as whole:
            residence.run("autoencoder", decode)
        with Allocator(whole.peak * 6 // 10) as allocator:
            before = allocator.held
            answer = residence.run("autoencoder", decode)
            assert allocator.held == before + answer.nbytes
    assert (answer - expected).norm() / expected.norm() <= 5e-6
    assert "going on in tiles of 128 latents" in caplog.text
    tiles: list[int | None] = []
    residence.run("autoencoder", lambda net, step: tiles.append(step.tile))
    assert tiles[0] is not None and tiles[0] <= 128  # remembered


def test_sampling_falls_back_to_streaming(dit_only: dict[str, nn.Module], caplog: Any) -> None:
    residence = Residence(dit_only, changed(plan_for(dit_only), "stage"), device="cpu")
    with torch.no_grad():
        expected = sample(dit_only["dit"], None)
        with Allocator() as whole:
            residence.run("dit", sample)
        streams = []

        def seen(net: Any, step: Step) -> Tensor:
            streams.append(step.streamed)
            return sample(net, step)

        torch.ones(1)
        for count in (4, 8):
            block = sum(p.nbytes for p in dit_only["dit"].transformer.layers[0].parameters())
            with Allocator(whole.peak - (count - 3) * block * 9 // 10 + block // 2):
                assert torch.equal(residence.run("dit", seen), expected)
            assert streams[-1] == count
    assert "4 of 8 blocks are read from RAM" in caplog.text


@pytest.mark.usefixtures("ids")
def test_nothing_helps(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(parts), "stage"), device="cpu")
    with torch.no_grad(), Allocator(200_000) as allocator:
        for name, work in (("autoencoder", decode), ("text", lambda net, step: net([[5] * 100 + [1]] * 64))):
            with pytest.raises(OutOfMemory) as caught:
                residence.run(name, work)
            message = str(caught.value)
            assert message.startswith(f"{name}: out of memory") and "GB were planned" in message
            assert "--max-vram" in message and "--no-half" in message and "Tried to allocate" in message
            del caught
            gc.collect()
            assert allocator.held == 0 and residence.held == ()


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, GeneratorExit, ZeroDivisionError])
def test_interruptions_leave_nothing_behind(dit_only: dict[str, nn.Module], error: type[BaseException]) -> None:
    before = {k: v.clone() for k, v in dit_only["dit"].named_parameters()}
    residence = Residence(dit_only, changed(plan_for(dit_only), "stage", 5), device="cpu")
    block = dit_only["dit"].transformer.layers[1]

    def work(net: Any, step: Step) -> Tensor:
        handle = block.ff.register_forward_hook(lambda *_: (_ for _ in ()).throw(error("stop")))
        try:
            return sample(net, step)
        finally:
            handle.remove()

    with torch.no_grad(), Allocator() as allocator:
        with pytest.raises(error, match="stop"):
            residence.run("dit", work)
        gc.collect()
        assert allocator.held == 0
        assert residence.held == ()
        assert not any(hasattr(m, "_hf_hook") for m in dit_only["dit"].modules())
        assert all(torch.equal(v, before[k]) for k, v in dit_only["dit"].named_parameters())
        residence.run("dit", sample)


def test_an_interrupted_resident_leaves_again(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(parts), "device"), device="cpu")

    def stop(net: Any, step: Step) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        residence.run("video", stop)
    assert residence.held == ()
    residence.run("video", lambda net, step: None)
    with pytest.raises(KeyboardInterrupt):
        residence.run("video", stop)
    assert residence.held == ("video",)  # as before the call
    residence.release()
    assert residence.held == ()


@pytest.mark.usefixtures("ids")
def test_without_a_gpu_nothing_moves(parts: dict[str, nn.Module]) -> None:
    sizes = {name: sum(p.numel() for p in net.parameters()) for name, net in parts.items()}
    plan = make_plan(Machine("cpu", "CPU", 0, 0, 32 * GB, 16 * GB), sizes, dims=DIMS)
    residence, own = Residence(parts, plan), {id(p) for p in parts["dit"].parameters()}
    with torch.no_grad():
        residence.run("dit", lambda net, step: own.difference_update(id(p) for p in net.parameters()))
        assert not own and residence.held == ()
        tiles: list[int | None] = []

        def short_of_ram(net: Any, step: Step) -> Tensor:
            tiles.append(step.tile)
            if step.tile is None:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            return decode(net, step)

        residence.run("autoencoder", short_of_ram)
    assert tiles == [None, 128]


def test_a_component_may_stay_on_the_cpu(parts: dict[str, nn.Module]) -> None:
    plan = changed(plan_for(parts), "stage")
    plan = replace(plan, places={**plan.places, "text": replace(plan.places["text"], where="cpu")})
    residence, own = Residence(parts, plan, device="meta"), {id(p) for p in parts["text"].parameters()}
    text = residence.run("text", lambda net, step: (step.device.type, {id(p) for p in net.parameters()}))
    assert text == ("cpu", own)
    assert residence.run("video", lambda net, step: (step.device.type, net.proj.weight.is_meta)) == ("meta", True)


def test_an_impossible_plan_is_refused_at_once(parts: dict[str, nn.Module]) -> None:
    with pytest.raises(OutOfMemory, match="are needed on a fake card"):
        Residence(parts, plan_for(parts, vram=1_000_000))


def test_a_real_plan_keeps_its_word(dit_only: dict[str, nn.Module]) -> None:
    """Budgets below the weights: planned, applied, and counted."""
    weights = sum(p.nbytes for p in dit_only["dit"].parameters())
    plan = plan_for(dit_only, vram=int(weights * 1.3))
    assert plan.streamed_blocks and not plan.problems
    with torch.no_grad(), Allocator(plan.budget):
        Residence(dit_only, plan, device="cpu").run("dit", sample)


def test_accelerate_is_named_when_it_is_missing(dit_only: dict[str, nn.Module], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    residence = Residence(dit_only, changed(plan_for(dit_only), "stage", 4), device="cpu")
    with pytest.raises(AudioXError, match="pip install accelerate"):
        residence.run("dit", sample)
    assert residence.held == ()


def test_how_running_out_of_memory_is_told() -> None:
    told = offload._out_of_memory
    assert (
        told(torch.cuda.OutOfMemoryError("x"))
        and told(MemoryError())
        and told(RuntimeError("MPS backend out of memory"))
    )
    assert not told(RuntimeError("shapes differ")) and not told(OutOfMemory("ours"))
