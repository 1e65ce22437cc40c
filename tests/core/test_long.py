"""Sounds longer than a window: where windows start, what they keep and see, what is drawn, and what is refused."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.__main__ import main
from audiox_core.errors import InputError
from audiox_core.media import probe, read_audio
from audiox_core.memory.machine import measure
from audiox_core.models.parts import Sight
from audiox_core.models.settings import Settings
from audiox_core.models.timing import Timing
from audiox_core.pipeline import Pipeline, assemble
from audiox_core.sampling import OBJECTIVES, sample
from audiox_core.sampling.in_turn import InTurn
from audiox_core.sampling.windows import Windows
from tests.core.media_clips import numbers, write_clip
from tests.core.small_family import small_opened
from tests.examples import examples

WINDOW, CHANNELS = 24, 64


@examples(200)
@given(st.integers(1, 20_000), st.integers(1, 235))
def test_windows_cover_the_sound_and_share_what_they_keep(latents: int, kept: int) -> None:
    starts, window = Timing().windows(latents, kept), Timing().latents
    assert starts[0] == 0
    if latents <= window:
        assert starts == (0,)
        return
    assert starts[-1] == latents - window
    hops = [b - a for a, b in pairwise(starts)]
    assert all(1 <= hop <= window - kept for hop in hops) and max(hops) - min(hops) <= 1
    assert len(starts) == 1 + math.ceil((latents - window) / (window - kept))


def test_half_a_window_is_kept_of_its_own_accord() -> None:
    assert Timing().windows(236 + 118 + 1) == Timing().windows(236 + 118 + 1, 118) == (0, 59, 119)
    for kept in (0, -1, 236):
        with pytest.raises(InputError, match=r"kept: .* in a window"):
            Timing().windows(500, kept)


def unknown_level(x: Tensor, t: Tensor) -> Tensor:
    """The velocity of sounds that are a constant, normally distributed, in each channel: its posterior mean."""
    sigma = torch.tan(t * math.pi / 2)[:, None, None]
    data = x * (1 + sigma**2).sqrt()  # the network is given its input scaled
    clean = data.mean(dim=-1, keepdim=True) * (x.shape[-1] / (x.shape[-1] + sigma**2))
    return ((data / (1 + sigma**2) - clean) * (1 + sigma**2).sqrt() / sigma).expand_as(x)


def by(velocity: Any, generator: torch.Generator, **options: Any) -> Any:
    """What makes one window, as InTurn wants it."""
    return lambda number, noise, held: sample(velocity, noise, generator=generator, **options, **held)


def in_turn(velocity: Any, latents: int, kept: int, **options: Any) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, CHANNELS, latents, generator=generator)
    count = math.ceil(max(latents - WINDOW, 0) / (WINDOW - kept))
    starts = [i * (latents - WINDOW) // max(count, 1) for i in range(count + 1)] if latents > WINDOW else [0]
    run = InTurn(noise, Windows(latents, min(WINDOW, latents), tuple(starts)), generator=generator)
    return run(by(velocity, generator, **options))


@pytest.mark.parametrize(("sampler", "drift"), [("dpmpp-3m-sde", 0.2), ("k-heun", 0.6)])
def test_a_window_carries_on_what_it_keeps(sampler: str, drift: float) -> None:
    """The level of a sound that could have any is the same at its end, six windows on; exactly so with fresh noise."""
    carried = in_turn(unknown_level, 6 * WINDOW, WINDOW // 2, steps=60, sampler=sampler, sigma_min=0.03)
    first, last = (carried[0, :, part].mean(dim=-1) for part in (slice(0, WINDOW), slice(-WINDOW, None)))
    assert 0.7 < first.std() < 1.4
    assert (first - last).std() < drift


@pytest.mark.parametrize(("objective", "sampler"), [(o.name, s) for o in OBJECTIVES.values() for s in o.samplers])
def test_what_is_kept_is_the_source_bit_for_bit(objective: str, sampler: str) -> None:
    noise, source = torch.randn(2, CHANNELS, WINDOW), torch.randn(1, CHANNELS, WINDOW)
    mask = torch.ones(WINDOW)
    mask[:10] = mask[20:] = 0
    found = sample(
        lambda x, t: x * 0.3 + 0.1,
        noise,
        objective=objective,
        sampler=sampler,
        steps=4,
        generator=torch.Generator().manual_seed(0),
        source=source,
        mask=mask,
    )
    assert torch.equal(found[..., mask == 0], source[..., mask == 0].expand(2, -1, -1))
    assert (found[..., 10:20] - source[..., 10:20]).abs().max() > 0.1


def test_nothing_kept_is_the_ordinary_run() -> None:
    noise = torch.randn(1, CHANNELS, WINDOW)
    plain = sample(unknown_level, noise, steps=5, sampler="k-heun")
    free = sample(
        unknown_level, noise, steps=5, sampler="k-heun", source=torch.zeros_like(noise), mask=torch.ones(1, 1, WINDOW)
    )
    torch.testing.assert_close(free, plain)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"source": torch.zeros(1, CHANNELS, 5), "mask": torch.ones(WINDOW)}, "source latents have shape"),
        ({"source": torch.zeros(1, CHANNELS, WINDOW)}, "mask has shape None"),
        ({"source": torch.zeros(1, CHANNELS, WINDOW), "mask": torch.ones(5)}, r"mask has shape \(5,\)"),
    ],
)
def test_sources_and_masks_that_do_not_fit_are_refused(given: dict[str, Tensor], words: str) -> None:
    with pytest.raises(InputError, match=words):
        sample(unknown_level, torch.zeros(1, CHANNELS, WINDOW), steps=1, sampler="k-heun", **given)


def test_one_window_is_the_ordinary_run_bit_for_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, CHANNELS, WINDOW, generator=generator)
    plain = sample(unknown_level, noise, steps=4, generator=generator)
    assert torch.equal(in_turn(unknown_level, WINDOW, 12, steps=4), plain)


def test_a_failed_window_is_taken_up_and_draws_the_same() -> None:
    calls: list[int] = []

    def breaks(x: Tensor, t: Tensor) -> Tensor:
        calls.append(x.shape[-1])
        if len(calls) == 7:  # in the second window
            raise RuntimeError("out of memory")
        return unknown_level(x, t)

    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(1, CHANNELS, 3 * WINDOW, generator=generator)
    run = InTurn(noise, Windows(3 * WINDOW, WINDOW, (0, 12, 24, 36, 48)), generator=generator)
    with pytest.raises(RuntimeError):
        run(by(breaks, generator, steps=4))
    assert calls == [WINDOW] * 7
    resumed = run(by(breaks, generator, steps=4))
    assert len(calls) == 7 + 4 * 4
    assert torch.equal(resumed, in_turn(unknown_level, 3 * WINDOW, 12, steps=4))


@pytest.fixture
def tiles(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> list[int | None]:
    """Decoding takes no time; how many latents it was to take at once."""
    found: list[int | None] = []

    def decode(latents: Tensor, *, tile: int | None, **options: Any) -> Tensor:
        found.append(tile)
        return latents[:, :2].repeat_interleave(2048, dim=-1)

    monkeypatch.setattr(pipe.residence.networks[pipe.model.autoencoder.name], "decode", decode)
    return found


def test_a_long_sound_is_made_window_by_window(pipe: Pipeline, tiles: list[int | None]) -> None:
    network: Any = pipe.residence.networks[pipe.model.backbone.name]
    shapes: list[tuple[int, ...]] = []
    hook = network.register_forward_hook(lambda module, given, answer: shapes.append(tuple(answer.shape)))
    steps: list[tuple[int, int]] = []
    options: dict[str, Any] = {"seconds": 17.0, "steps": 2, "normalize": False}
    try:
        sound = pipe("rain", on_step=lambda done, total: steps.append((done, total)), **options)
    finally:
        hook.remove()
    assert sound.waveform.shape == (2, 17 * 44100)
    assert shapes == [(2, 64, 236)] * (3 * 2)
    assert steps == [(done, 6) for done in range(7)] or steps == [(done, 6) for done in range(1, 7)]
    assert tiles[0] is not None and tiles[0] <= 236
    assert torch.equal(pipe("rain", **options).waveform, sound.waveform)
    assert not torch.equal(pipe("rain", seed=1, **options).waveform, sound.waveform)
    assert pipe("rain", **options | {"seconds": 10.95}).waveform.shape == (2, 482895)
    assert tiles[-1] is None


def test_each_window_sees_its_own_stretch_of_the_video(
    pipe: Pipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the sound outlasts the video: the last picture stays."""
    clip = write_clip(tmp_path / "a.mp4", 500, 25)
    seen: list[list[int]] = []
    encode = pipe.conditioner.encode

    def spy(modality: str, given: Any, *rest: Any) -> Tensor:
        if modality == pipe.model.reader(Sight):
            seen.append(numbers(given[0][0]))
        return encode(modality, given, *rest)

    monkeypatch.setattr(pipe.conditioner, "encode", spy)
    settings = Settings(video=clip, start=1.0, seconds=31.0).resolved(pipe.model)
    starts = pipe.windows(settings).starts
    tokens = pipe.encode(settings, {}, starts)
    assert [t.shape[1] for t in tokens.values()].count(len(starts)) == 1
    assert len(seen) == len(starts) == 5
    for start, found in zip(starts, seen, strict=True):
        first = 1.0 + start * 2048 / 44100
        wanted = [round((first + k / 5) * 25) for k in range(50)]
        there = [number for number in wanted if number < 500] or [499]  # the last choice again, past the end
        assert found == there + there[-1:] * (50 - len(there))
    assert seen[-1] == [499] * 50


def test_the_whole_video(pipe: Pipeline, tmp_path: Path) -> None:
    clip, still = write_clip(tmp_path / "a.mp4", 330, 25), write_clip(tmp_path / "b.mp4", 25, 25)
    assert Settings(video=clip, seconds=0).resolved(pipe.model).seconds == pytest.approx(13.2, abs=1e-3)
    assert Settings(video=clip, seconds=0, start=1.2).resolved(pipe.model).seconds == pytest.approx(12.0, abs=1e-3)
    for asked, words in [
        ({"text": "rain"}, "there is none. Give seconds"),
        ({"video": still, "start": 2.0}, "start is 2 s, the video lasts 1.00 s"),
    ]:
        with pytest.raises(InputError, match=words):
            Settings(seconds=0, **asked).resolved(pipe.model)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"seconds": 3601.0}, "at most 3600 s"),
        ({"kept": 0.0}, r"kept: 0 s is out of range\. Choose more than 0 and less than 10\.96"),
        ({"kept": 10.96}, "kept: 10.96 s is out of range"),
        ({"kept": "much"}, "kept: expected a number"),
    ],
)
def test_lengths_out_of_range_are_refused(pipe: Pipeline, given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        pipe("rain", **given)


@pytest.mark.parametrize("name", ["maf", "mmdit", "turbo"])
def test_members_of_one_length_make_any(name: str) -> None:
    pipe = assemble(small_opened(name), measure("cpu"), dtype="fp32")
    given = Settings(text="rain", seconds=13.0, steps=1, kept=2.0).resolved(pipe.model)
    draws = pipe.draw(0, pipe.timing.to_latents(13.0))
    latents = pipe.sample(pipe.encode(given, draws.conditions), None, draws, given)
    assert latents.shape == (1, 64, 280) and latents.isfinite().all()
    if pipe.model.length is not None:
        with pytest.raises(InputError, match=r"exactly 236, not 100"):
            pipe.draw(0, 100)


@pytest.mark.usefixtures("loads")
def test_a_video_gets_a_soundtrack_of_its_length(tmp_path: Path) -> None:
    clip, target = write_clip(tmp_path / "a.mp4", 295, 25), tmp_path / "out.mp4"
    options = ["--model", "demo", "--seconds", "0", "--kept", "2", "--steps", "1", "--quiet"]
    assert main(["generate", "--video", str(clip), "-o", str(target), *options]) == 0
    info = probe(target)
    assert info.has_audio and float(info.duration or 0) == pytest.approx(11.8, abs=0.05)
    sound = read_audio(target)
    assert sound.shape[1] / 44100 == pytest.approx(11.8, abs=0.05)
    assert sound[:, -22050:].std() > 0.01
