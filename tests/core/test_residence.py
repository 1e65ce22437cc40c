"""A plan applied: what is where, and what happens when memory runs out. The CPU plays the device."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from time import sleep
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.errors import OutOfMemory
from audiox_core.memory import residence as module
from audiox_core.memory.formats import Format
from audiox_core.memory.machine import Machine
from audiox_core.memory.plan import GB, make_plan
from audiox_core.memory.residence import Residence, Step
from tests.core.card import MODEL, all_parts, changed, decode, network, plan_for, sample
from tests.core.fake_allocator import Allocator


@pytest.fixture(scope="module")
def parts() -> dict[str, nn.Module]:
    return all_parts()


@pytest.fixture
def ids(parts: dict[str, nn.Module]) -> Iterator[None]:
    """Afterwards every weight is the very one that it was before."""
    before = {(n, k): id(p) for n, net in parts.items() for k, p in net.named_parameters()}
    yield
    assert before == {(n, k): id(p) for n, net in parts.items() for k, p in net.named_parameters()}
    assert not any(hasattr(m, "_hf_hook") for m in parts["dit"].modules())


@pytest.mark.usefixtures("ids")
def test_moved_parts_answer_the_same_and_leave(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(), "stage"), device="cpu")
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


@pytest.mark.usefixtures("ids")
def test_what_is_resident_stays_until_it_is_in_the_way(parts: dict[str, nn.Module], caplog: Any) -> None:
    parts = {**parts}  # resident weights are not kept in RAM: work on copies of these two
    for name in ("text", "audio"):
        twin = network(name)
        twin.load_state_dict(parts[name].state_dict())
        parts[name] = twin
    plan = changed(plan_for(), "stage")
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
    residence = Residence(parts, changed(plan_for(), "stage"), device="cpu")
    with torch.no_grad():
        expected = decode(parts["autoencoder"], Step(torch.device("cpu"), torch.float32, None, 0))
        with Allocator() as whole:
            residence.run("autoencoder", decode)
        with Allocator(whole.peak * 9 // 10) as allocator:
            before = allocator.held
            answer = residence.run("autoencoder", decode)
            assert allocator.held == before + answer.nbytes
    assert (answer - expected).norm() / expected.norm() <= 5e-6
    assert "continuing in tiles of 128 latents" in caplog.text
    tiles: list[int | None] = []
    residence.run("autoencoder", lambda net, step: tiles.append(step.tile))
    assert tiles[0] is not None and tiles[0] <= 128  # remembered


@pytest.mark.usefixtures("ids")
def test_nothing_helps(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(), "stage"), device="cpu")
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


@pytest.mark.parametrize("where", ["stage", "cpu"])
@pytest.mark.parametrize("compute", ["fp32", "fp16"])
def test_the_mends_fit_the_place(
    where: str, compute: str, parts: dict[str, nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is free is read from the card, or for a part that stays in RAM, from there; with its own mends."""
    card = Machine("cuda:0", "a fake card", 8 * GB, 3 * GB, 32 * GB, 5 * GB)
    asked: list[str] = []

    def measured(device: str) -> Machine:
        asked.append(device)
        return card if where == "stage" else replace(card, device="cpu", name="CPU")

    monkeypatch.setattr(module, "measure", measured)
    plan = changed(plan_for(), where)
    place = replace(plan.places["text"], format=Format(compute, compute), device_bytes=GB, activations=GB // 2)
    plan = replace(plan, places={**plan.places, "text": place}, budget=7 * GB)

    def fail(net: Any, step: Step) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory, it says\nand more")

    residence = Residence(parts, plan, device="cpu")
    residence.device = torch.device("cuda:0")
    monkeypatch.setattr(residence, "_in_place", lambda *_: nullcontext())
    monkeypatch.setattr(residence, "_empty_cache", lambda: None)
    with pytest.raises(OutOfMemory) as caught:
        residence.run("text", fail)
    assert asked == ["cuda:0" if where == "stage" else "cpu"]
    free = "a fake card. 1.50 GB were planned for it, 3.00 of 8.00 GB are free"
    if where == "cpu":
        free = "CPU. 1.50 GB were planned for it, 5.00 of 32.00 GB are free"
    half = "; run without --no-half" if (where, compute) == ("stage", "fp32") else ""
    card_s = "; set --max-vram to less than the 7.0 GB planned with; run with --device cpu" if where == "stage" else ""
    assert str(caught.value) == (
        f"text: out of memory on {free}; everything else has left, and smaller steps did not help "
        "(CUDA out of memory, it says). To fix it: close other programs that use it; take a shorter sound or a "
        f"smaller batch{half}{card_s}."
    )


def test_an_interrupted_resident_leaves_again(parts: dict[str, nn.Module]) -> None:
    residence = Residence(parts, changed(plan_for(), "device"), device="cpu")

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
def test_threads_take_turns(parts: dict[str, nn.Module]) -> None:
    """One works at a time, whatever part it asks for, and each answer is as if it were alone."""
    residence = Residence(parts, changed(plan_for(), "stage"), device="cpu")
    working: list[str] = []
    most: list[int] = []

    def turn(name: str) -> Tensor:
        def work(net: Any, step: Step) -> Tensor:
            working.append(name)
            sleep(0.05)
            most.append(len(working))
            answer = sample(net, step) if name == "dit" else decode(net, step)
            working.remove(name)
            return answer

        with torch.no_grad():
            return residence.run(name, work)

    names = ["dit", "autoencoder", "dit", "autoencoder"]
    alone = {name: turn(name) for name in set(names)}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(turn, names))
    assert set(most) == {1} and residence.held == ()
    assert all(torch.equal(answer, alone[name]) for name, answer in zip(names, answers, strict=True))


@pytest.mark.usefixtures("ids")
def test_without_a_gpu_nothing_moves(parts: dict[str, nn.Module]) -> None:
    plan = make_plan(Machine("cpu", "CPU", 0, 0, 32 * GB, 16 * GB), MODEL)
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


def test_a_part_may_stay_on_the_cpu(parts: dict[str, nn.Module]) -> None:
    plan = changed(plan_for(), "stage")
    plan = replace(plan, places={**plan.places, "text": replace(plan.places["text"], where="cpu")})
    residence, own = Residence(parts, plan, device="meta"), {id(p) for p in parts["text"].parameters()}
    text = residence.run("text", lambda net, step: (step.device.type, {id(p) for p in net.parameters()}))
    assert text == ("cpu", own)
    assert residence.run("video", lambda net, step: (step.device.type, net.proj.weight.is_meta)) == ("meta", True)


def test_an_impossible_plan_is_refused_at_once(parts: dict[str, nn.Module]) -> None:
    with pytest.raises(OutOfMemory, match="are needed on a fake card"):
        Residence(parts, plan_for(vram=1_000_000))


def test_how_running_out_of_memory_is_told() -> None:
    told = module._out_of_memory
    assert (
        told(torch.cuda.OutOfMemoryError("x"))
        and told(MemoryError())
        and told(RuntimeError("MPS backend out of memory"))
    )
    assert not told(RuntimeError("shapes differ")) and not told(OutOfMemory("ours"))
