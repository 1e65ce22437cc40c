"""Streaming blocks of the transformer: the answers do not change, and little of the device is held.

The CPU plays the device; what is packed for streaming lies in RAM, so the fake allocator does not count it.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.errors import AudioXError, InputError
from audiox_core.memory import streaming
from audiox_core.memory.formats import Format
from audiox_core.memory.residence import Residence, Step
from tests.core.card import MODEL, all_parts, changed, network, plan_for, sample
from tests.core.fake_allocator import Allocator, host_memory

REAL_HOST_MEMORY = streaming.host_memory


@pytest.fixture(autouse=True)
def ram(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "host_memory", host_memory)


@pytest.fixture(scope="module")
def parts() -> dict[str, nn.Module]:
    return all_parts()


@pytest.fixture
def dit_only(parts: dict[str, nn.Module]) -> dict[str, nn.Module]:
    """A transformer of its own: streaming packs its weights anew."""
    return {**parts, "dit": network("dit")}


@pytest.mark.parametrize("count", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_streaming_changes_no_bit(dit_only: dict[str, nn.Module], count: int, mode: Callable[[], Any]) -> None:
    with mode():
        expected = sample(dit_only["dit"], None)
        residence = Residence(dit_only, changed(plan_for(), "stage", count), device="cpu")
        for _ in range(2):
            with Allocator() as allocator:
                assert torch.equal(residence.run("dit", sample), expected)
    weights = sum(p.nbytes for p in dit_only["dit"].parameters())
    block = sum(p.nbytes for p in dit_only["dit"].transformer.layers[0].parameters())
    assert allocator.peak < weights - (count - 2) * 0.9 * block + 4e6
    assert not any(p.is_inference() for p in dit_only["dit"].parameters())


def test_streaming_eight_bit_weights(parts: dict[str, nn.Module]) -> None:
    state = parts["dit"].state_dict()
    net = MODEL.backbone.build(**Format("fp8", "fp32").options()).eval().requires_grad_(False)
    net.load_state_dict(state)
    own = {**parts, "dit": net}
    with torch.no_grad():
        expected = sample(net, None)
        assert torch.equal(Residence(own, changed(plan_for(), "stage", 8), device="cpu").run("dit", sample), expected)


def test_the_next_block_is_read_while_one_computes(dit_only: dict[str, nn.Module], monkeypatch: Any) -> None:
    seen: list[tuple[int, tuple[int | None, ...]]] = []
    after = streaming.Stream.after

    def spy(stream: streaming.Stream, number: int) -> None:
        seen.append((number, tuple(stream.holds)))
        after(stream, number)

    monkeypatch.setattr(streaming.Stream, "after", spy)
    with torch.no_grad():
        Residence(dit_only, changed(plan_for(), "stage", 5), device="cpu").run("dit", sample)
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
        residence = Residence(dit_only, changed(plan_for(), "stage", 3), device="cpu")
        assert torch.equal(residence.run("dit", sample), expected)
    assert log[0] == ("copy waits", "compute") and log[-1] == ("copy ends", None)
    copies = [event for what, event in log if what == "copy records"]
    used = [event for what, event in log if what == "compute waits"]
    freed = [event for what, event in log if what == "compute records"]
    awaited = [event for what, event in log[1:] if what == "copy waits"]
    assert used == copies[:9] and len(copies) == 10  # each block waits for its own copy; one is read ahead in vain
    assert awaited == freed[:8]  # from the third copy on, each waits until its slot's last block has computed


def test_sampling_falls_back_to_streaming(dit_only: dict[str, nn.Module], caplog: Any) -> None:
    residence = Residence(dit_only, changed(plan_for(), "stage"), device="cpu")
    with torch.no_grad():
        expected = sample(dit_only["dit"], None)
        with Allocator() as whole:
            residence.run("dit", sample)
        streams = []

        def seen(net: Any, step: Step) -> Tensor:
            streams.append(step.streamed)
            return sample(net, step)

        for count in (4, 8):
            block = sum(p.nbytes for p in dit_only["dit"].transformer.layers[0].parameters())
            with Allocator(whole.peak - (count - 3) * block * 9 // 10 + block // 2):
                assert torch.equal(residence.run("dit", seen), expected)
            assert streams[-1] == count
    assert "4 of 8 blocks are read from RAM" in caplog.text


@pytest.mark.parametrize("error", [KeyboardInterrupt, InputError, GeneratorExit, ZeroDivisionError])
def test_interruptions_leave_nothing_behind(dit_only: dict[str, nn.Module], error: type[BaseException]) -> None:
    before = {k: v.clone() for k, v in dit_only["dit"].named_parameters()}
    residence = Residence(dit_only, changed(plan_for(), "stage", 5), device="cpu")
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


def test_a_real_plan_keeps_its_word(dit_only: dict[str, nn.Module]) -> None:
    """Budgets below the weights: planned, applied, and counted."""
    weights = sum(p.nbytes for p in dit_only["dit"].parameters())
    plan = plan_for(vram=int(weights * 1.3))
    assert plan.streamed_blocks and not plan.problems
    with torch.no_grad(), Allocator(plan.budget):
        Residence(dit_only, plan, device="cpu").run("dit", sample)


class Refusing:
    """torch.empty where the system allows no page-locked memory at all, or only for so many blocks."""

    def __init__(self, allowed: int):
        self.allowed, self.asked, self.real = allowed, 0, torch.empty

    def __call__(self, *size: Any, pin_memory: bool = False, **options: Any) -> Tensor:
        if not pin_memory:
            return self.real(*size, **options)
        self.asked += 1
        if self.asked > self.allowed:
            raise RuntimeError("CUDA error: out of memory\nmore that nobody needs")
        memory: Any = self.real(*size, **options)
        memory.is_pinned = lambda: True
        return memory


@pytest.mark.parametrize("allowed", [0, 2])
def test_page_locked_memory_may_be_refused(
    allowed: int, dit_only: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked for until it is refused once, which is told once; then streaming continues in ordinary memory."""
    monkeypatch.setattr(streaming, "host_memory", REAL_HOST_MEMORY)
    refusing = Refusing(allowed)
    monkeypatch.setattr(torch, "empty", refusing)
    plan = replace(changed(plan_for(), "stage", 8), pinned=True)
    residence = Residence(dit_only, plan, device="cpu")
    assert not residence._pin, "only CUDA profits from it"
    residence._pin = True  # the CPU plays the card
    with torch.no_grad():
        expected = sample(dit_only["dit"], None)
        assert torch.equal(residence.run("dit", sample), expected)
        assert torch.equal(residence.run("dit", sample), expected)
    assert refusing.asked == allowed + 1
    warnings = [record.getMessage() for record in caplog.records if record.name == "audiox"]
    assert len(warnings) == 1
    assert "page-locked memory is not available (CUDA error: out of memory); streaming continues" in warnings[0]


def test_accelerate_is_named_when_it_is_missing(dit_only: dict[str, nn.Module], monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    residence = Residence(dit_only, changed(plan_for(), "stage", 4), device="cpu")
    with pytest.raises(AudioXError, match="pip install accelerate"):
        residence.run("dit", sample)
    assert residence.held == ()
