"""Regions made anew, seconds added, variations, takes, loops, timed prompts and guidance by modality: the Pipeline."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from audiox_core.errors import InputError, MediaError
from audiox_core.media import read_audio, write_audio
from audiox_core.media.sound import Sound
from audiox_core.media.splicing import Piece, splice
from audiox_core.models.parts import Words
from audiox_core.models.settings import Settings
from audiox_core.models.timing import Timing
from audiox_core.pipeline import Pipeline
from audiox_core.sampling import sample
from audiox_core.sampling.edits import Edit
from audiox_core.sampling.guidance import guide, guide_in_steps
from audiox_core.sampling.run import sampler_of_takes
from tests.examples import examples

RATE = 44100
SAMPLE = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"
QUICK: dict[str, Any] = {"steps": 2}


def noise(seconds: float, seed: int = 0) -> Tensor:
    return torch.randn(2, round(seconds * RATE), generator=torch.Generator().manual_seed(seed)).clamp(-3, 3) / 6


def changed(a: Tensor, b: Tensor) -> tuple[int, int]:
    """The first sample in which two sounds differ, and the one after the last."""
    where = (a != b).any(dim=0).nonzero()[:, 0]
    return int(where.min()), int(where.max()) + 1


@pytest.mark.parametrize("seconds", [3.0, 16.0])
def test_outside_its_regions_an_edit_is_the_source_bit_for_bit(pipe: Pipeline, seconds: float) -> None:
    source = noise(seconds)
    edited = pipe.edit(source, "1-1.5, 2.25-2.5", text="a door", **QUICK)
    assert edited.waveform.shape == source.shape
    kept = torch.ones(source.shape[1], dtype=torch.bool)
    kept[RATE : RATE * 3 // 2] = kept[RATE * 9 // 4 : RATE * 5 // 2] = False
    assert torch.equal(edited.waveform[:, kept], source[:, kept])
    assert (edited.waveform != source)[:, RATE + 100 : RATE * 3 // 2 - 100].float().mean() > 0.99
    assert torch.equal(pipe.edit(source, [(1, 1.5), (2.25, 2.5)], text="a door", **QUICK).waveform, edited.waveform)
    assert not torch.equal(
        pipe.edit(source, "1-1.5, 2.25-2.5", text="a door", seed=1, **QUICK).waveform, edited.waveform
    )


@pytest.mark.parametrize(("suffix", "subtype"), [(".wav", "int16"), (".wav", "float32"), (".flac", "int24")])
def test_sources_of_any_depth_are_kept(pipe: Pipeline, tmp_path: Path, suffix: str, subtype: str) -> None:
    path = tmp_path / f"source{suffix}"
    write_audio(path, noise(2.0), RATE, subtype=subtype)
    source = read_audio(path)
    edited = pipe.edit(path, [(0.5, 1.0)], **QUICK)
    assert torch.equal(edited.waveform[:, : RATE // 2], source[:, : RATE // 2])
    assert torch.equal(edited.waveform[:, RATE:], source[:, RATE:])
    assert changed(edited.waveform, source)[0] >= RATE // 2
    with pytest.raises(MediaError, match="source"):
        edited.save(path)
    assert torch.equal(read_audio(path), source)


def test_a_source_at_another_rate_is_kept_as_it_is_resampled(pipe: Pipeline) -> None:
    from audiox_core.media import resample

    low = noise(2.0)[:1, : 2 * 22050]
    source = resample(low.expand(2, -1).contiguous(), 22050, RATE)
    for sound in ((low, 22050), Sound(low.expand(2, -1), 22050)):
        edited = pipe.edit(sound, [(0.5, 1.0)], **QUICK).waveform
        assert torch.equal(edited[:, :22050], source[:, :22050]) and torch.equal(edited[:, RATE:], source[:, RATE:])


@pytest.mark.parametrize("kept", [1.0, 14.0])
def test_extending_keeps_the_source_bit_for_bit(pipe: Pipeline, kept: float) -> None:
    source = noise(kept)
    longer = pipe.extend(source, before=1.5, after=2.0, text="more", **QUICK).waveform
    assert longer.shape[1] == round((kept + 3.5) * RATE)
    first = round(1.5 * RATE)
    assert torch.equal(longer[:, first : first + source.shape[1]], source)
    assert longer[:, : first // 2].std() > 0.01 and longer[:, -RATE:].std() > 0.01
    # No step where the source begins and ends: as small as those inside of what was made.
    for join in (first, first + source.shape[1]):
        step = (longer[:, join] - longer[:, join - 1]).abs().max()
        assert step < 4 * source.std()


def test_only_windows_that_reach_a_region_are_sampled(pipe: Pipeline) -> None:
    calls: list[tuple[int, ...]] = []
    hook = pipe.residence.networks[pipe.model.backbone.name].register_forward_pre_hook(
        lambda module, args: calls.append(tuple(args[0].shape))
    )
    try:
        pipe.edit(noise(40.0), "20-21", steps=3)
        assert calls == [(2, 64, 236)] * 3
        calls.clear()
        pipe.extend(noise(40.0), after=4.0, steps=2)
        assert calls == [(2, 64, 236)] * 2
    finally:
        hook.remove()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.edit(noise(2), "1-3"), r"regions: 1-3 s reaches past the end of the sound, which lasts 2\.00 s"),
        (lambda p: p.edit(noise(2), []), "there is nothing to regenerate"),
        (lambda p: p.edit(noise(2), "3"), "regions: '3' is not a start and an end"),
        (lambda p: p.edit(noise(2), "0-1", feather=-1.0), "feather: -1 s is out of range"),
        (lambda p: p.edit(noise(2), "0-1", loop=True), "loop: an edited sound keeps its ends"),
        (lambda p: p.edit(7, "0-1"), "source: expected a file or a sound, got int"),
        (lambda p: p.extend(noise(2)), "before and after are both 0"),
        (lambda p: p.extend(noise(2), after=-3.0), "after: -3.0 is out of range"),
        (lambda p: p.extend(noise(2), after=5000.0), "after: 5000.0 is out of range"),
        (lambda p: p.vary(noise(2), 1.5), "strength: 1.5 is out of range"),
        (lambda p: p.vary(noise(2), "much"), "strength: expected a number"),
        (
            lambda p: p.vary(noise(2), 1e-5),
            "strength: 1e-05 is too little to change anything; choose 0, or at least 0.001",
        ),
        (lambda p: p.vary(noise(2), 0.5, seconds=30), "seconds: the source determines how long the sound is, 2 s here"),
        (lambda p: p.edit(noise(2), "0-1", seconds=1), "seconds: the source determines how long the sound is"),
        (
            lambda p: p.extend(noise(2), after=1, seconds=2),
            "seconds: the source determines how long the sound is, 3 s here",
        ),
        (lambda p: p.vary(noise(2), loop=True), "loop: a variation keeps the length of its source"),
        (lambda p: p.takes(0, "rain"), "takes: 0 is out of range"),
        (
            lambda p: p("rain", long="sideways"),
            "long: 'sideways' is not a way to make windows. Valid: continue, together",
        ),
        (lambda p: p("rain", loop="yes"), "loop: expected True or False"),
        (lambda p: p("rain", at=[(12, "thunder")]), "at: 12 s is outside the sound, which lasts 10 s"),
        (lambda p: p("rain", at="thunder"), "at: give pairs of seconds and a prompt"),
        (lambda p: p("rain", video_guidance=3.0), "video_guidance: there is no video to follow"),
        (lambda p: p("rain", text_guidance=2000.0), "text_guidance: 2000.0 is out of range"),
    ],
)
def test_edits_that_cannot_be_are_refused(pipe: Pipeline, call: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        call(pipe)


def test_the_ends_of_strength(pipe: Pipeline) -> None:
    source = noise(2.0)
    assert torch.equal(pipe.vary(source, 0).waveform, source)
    assert torch.equal(pipe.vary(source, 1, text="a", **QUICK).waveform, pipe("a", seconds=2.0, **QUICK).waveform)
    assert pipe.vary(source, 0.001, seconds=None, text="a", **QUICK).waveform.shape == source.shape
    near, far = (pipe.vary(source, s, text="a", guidance=1.0, steps=4).waveform for s in (0.05, 0.95))
    assert near.shape == far.shape == source.shape and not torch.equal(near, far)


def test_strength_is_a_noise_level(pipe: Pipeline) -> None:
    from audiox_core.sampling import find_objective

    v, flow = find_objective("v"), find_objective("rectified_flow")
    assert v.variation(0, 0.3, 500) == pytest.approx(0.3) and v.variation(1, 0.3, 500) == pytest.approx(500)
    assert v.variation(0.5, 0.3, 500) == pytest.approx(math.sqrt(0.3 * 500))
    assert (flow.variation(0.25, 0.0, 1.0), flow.variation(1, 0.3, 500)) == (0.25, 1.0)


def test_takes_are_what_their_seeds_make(pipe: Pipeline) -> None:
    given: dict[str, Any] = {"seconds": 1.0, "prompt_hidden": None, **QUICK}
    takes = pipe.takes(3, "rain", seed=5, **given)
    for i, take in enumerate(takes):
        assert torch.equal(take.waveform, pipe("rain", seed=5 + i, **given).waveform)


@pytest.mark.parametrize("name", ["dpmpp-3m-sde", "dpmpp-2m-sde", "k-dpmpp-2s-ancestral", "k-heun"])
def test_a_batch_of_takes_sees_the_noise_of_each_alone(name: str) -> None:
    from audiox_core.sampling import VDenoiser, find_objective

    seeds = [3, 2**64 - 1, 0]
    x = torch.randn(3, 4, 20, generator=torch.Generator().manual_seed(0)) * 500
    sigmas = find_objective("v").schedule(6, 0.3, 500)
    model = VDenoiser(lambda x, t: torch.tanh(x))
    batch = sampler_of_takes(name, seeds)(model, x, sigmas, {})
    for i, seed in enumerate(seeds):
        alone = sampler_of_takes(name, [seed])(_without_seed(model), x[i : i + 1], sigmas, {"seed": seed})
        assert torch.equal(batch[i : i + 1], alone)


def _without_seed(model: Any) -> Any:
    return lambda x, sigma, **extra: model(x, sigma)


def test_the_joint_ways_at_one_window_are_the_ordinary_one(pipe: Pipeline) -> None:
    plain = pipe("rain", seconds=8.0, **QUICK).waveform
    assert torch.equal(pipe("rain", seconds=8.0, long="together", **QUICK).waveform, plain)


@pytest.mark.parametrize("long", ["continue", "together"])
@pytest.mark.parametrize("seconds", [2.0, 14.0])
def test_a_loop_runs_into_its_beginning(pipe: Pipeline, long: str, seconds: float) -> None:
    loop = pipe("rain", seconds=seconds, loop=True, long=long, normalize=False, **QUICK)
    assert loop.seconds == pytest.approx(seconds, abs=0.1) and loop.waveform.shape[1] % 2048 == 0
    twice = torch.cat([loop.waveform, loop.waveform], dim=1)
    join = loop.waveform.shape[1]
    steps = (twice[:, 1:] - twice[:, :-1]).abs()
    assert steps[:, join - 1].max() <= steps.max()  # the join is a place like any other
    latents = torch.randn(1, 64, 60, generator=torch.Generator().manual_seed(0))
    turned = pipe.decode(latents.roll(17, dims=-1), loop=True)
    torch.testing.assert_close(turned, pipe.decode(latents, loop=True).roll(17 * 2048, dims=-1), atol=1e-5, rtol=1e-5)


def test_timed_prompts_reach_their_windows(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(text="rain", seconds=25.0, at=[(12, "thunder"), (19, "birds")]).resolved(pipe.model)
    windows = pipe.windows(settings)
    assert [settings.prompt_at(s) for s in (0, 11.9, 12, 18, 19, 24)] == ["rain"] * 2 + ["thunder"] * 2 + ["birds"] * 2
    guidance = pipe.conditioner.guidance(settings, {}, windows)
    words = guidance.positive[pipe.model.reader(Words)]
    said = [settings.prompt_at(pipe.timing.to_seconds(1) * m) for m in windows.middles()]
    assert len(said) == 4 and said[0] == "rain" and said[-1] == "birds"
    for number, prompt in enumerate(said):
        assert torch.equal(words[:, number], pipe.conditioner.text(prompt))
    only = Settings(seconds=25.0, at=[(3, "thunder")]).resolved(pipe.model)
    assert only.prompt_at(0) is None and only.prompt_at(3) == "thunder"


def test_guidance_by_modality(pipe: Pipeline) -> None:
    given: dict[str, Any] = {"text": "rain", "video": SAMPLE, "seconds": 2.0, "sampler": "k-heun", **QUICK}
    plain = pipe(**given, guidance=4.0).waveform
    assert torch.equal(pipe(**given, text_guidance=4.0, video_guidance=4.0).waveform, plain)
    other = pipe(**given, guidance=4.0, text_guidance=2.0).waveform
    assert not torch.equal(other, plain)


@examples(100)
@given(st.integers(1, 3), st.floats(-3, 9), st.floats(0, 1))
def test_equal_scales_are_ordinary_guidance(parts: int, scale: float, rescale: float) -> None:
    generator = torch.Generator().manual_seed(parts)
    answers = [torch.randn(2, 8, 6, generator=generator) for _ in range(parts + 1)]
    expected = guide(answers[0], answers[-1], scale, rescale)
    torch.testing.assert_close(guide_in_steps(answers, [scale] * parts, rescale), expected, atol=1e-4, rtol=1e-5)


def test_each_scale_multiplies_what_its_modality_adds() -> None:
    whole, part, negative = (torch.randn(1, 4, 5) for _ in range(3))
    expected = negative + 2 * (part - negative) + 5 * (whole - part)
    torch.testing.assert_close(guide_in_steps([whole, part, negative], [5, 2]), expected)


def test_what_is_finished_is_heard_early_and_kept(pipe: Pipeline) -> None:
    heard: list[Sound] = []
    whole = pipe("rain", seconds=25.0, on_sound=heard.append, normalize=False, **QUICK)
    assert [sound.seconds for sound in heard][-1] == 25.0 and len(heard) == 4
    for sound in heard:
        end = sound.waveform.shape[1] - 10 * 2048
        torch.testing.assert_close(sound.waveform[:, :end], whole.waveform[:, :end], atol=1e-5, rtol=1e-4)

    def stop(done: int, total: int) -> None:
        if done == 5:  # in the third window
            raise KeyboardInterrupt

    kept = pipe("rain", seconds=25.0, on_step=stop, keep_finished=True, normalize=False, **QUICK)
    assert 11 < kept.seconds < 25
    end = kept.waveform.shape[1] - 10 * 2048
    torch.testing.assert_close(kept.waveform[:, :end], whole.waveform[:, :end], atol=1e-5, rtol=1e-4)
    with pytest.raises(KeyboardInterrupt):
        pipe("rain", seconds=25.0, on_step=stop, **QUICK)
    with pytest.raises(KeyboardInterrupt):  # a part of a loop is none
        pipe("rain", seconds=25.0, loop=True, on_step=stop, keep_finished=True, **QUICK)


def test_a_piece_comes_in_with_equal_power_and_the_right_sign() -> None:
    """A sine replaced by itself stays one: the sign and the place are right; replaced by nothing it fades away."""
    t = torch.arange(RATE) / RATE
    sine = torch.stack([torch.sin(2 * math.pi * 440 * t)] * 2) * 0.5
    start, end, feather = 10000, 30000, 2000
    same = splice(sine, [Piece(start, end, sine[:, start - 1 : end + 1])], inside=(0, RATE), feather=feather)
    assert torch.equal(same[:, :start], sine[:, :start]) and torch.equal(same[:, end:], sine[:, end:])
    assert torch.equal(same[:, start + feather : end - feather], sine[:, start + feather : end - feather])
    assert (same[:, start:end] * sine[:, start:end]).sum() > (sine[:, start:end] ** 2).sum()  # in phase throughout
    silence = torch.zeros(2, end - start + 2)
    faded = splice(sine, [Piece(start, end, silence)], inside=(0, RATE), feather=feather)
    half = start + feather // 2
    assert faded[:, half : half + 1] == pytest.approx(sine[:, half : half + 1] * math.cos(math.pi / 4), abs=1e-3)
    assert not faded[:, start + feather : end - feather].any()


def test_the_step_to_a_continuation_dies_away() -> None:
    sound = torch.cat([torch.full((2, 1000), 0.5), torch.zeros(2, 1000)], dim=1)
    made = Piece(1000, 2000, torch.full((2, 1002), 0.1))
    longer = splice(sound, [made], inside=(0, 1000), feather=200)
    assert torch.equal(longer[:, :1000], sound[:, :1000])
    assert (longer[:, 1000] - 0.5).abs().max() < 0.01
    assert (longer[:, 1:] - longer[:, :-1]).abs().max() < 0.01
    torch.testing.assert_close(longer[:, 1200:], torch.full((2, 800), 0.1))


@examples(100)
@given(st.integers(1, 20 * RATE), st.floats(0, 3), st.floats(0, 3), st.data())
def test_an_edit_knows_its_samples(source: int, before: float, after: float, data: st.DataObject) -> None:
    length = source / RATE
    start = data.draw(st.floats(0, length * 0.9))
    end = data.draw(st.floats(start, length))
    try:
        edit = Edit.of(Timing(), source, [(start, end)], before, after)
    except InputError as error:
        assert "there is nothing to regenerate" in str(error)
        return
    assert edit.inside[1] - edit.inside[0] == source and edit.samples >= source
    mask = edit.mask()
    for first, last in edit.spans:
        assert 0 <= first < last <= edit.samples
        assert mask[first // 2048 : -(-last // 2048)].all()
    windows = edit.windows(118)
    seen = torch.zeros(edit.latents)
    for low, high in edit.reached(windows):
        seen[low:high] = 1
    for low, high in edit.anew:
        assert seen[low:high].all()


def test_held_and_varied_sources_stay_apart() -> None:
    """init is where a run starts, source what it keeps."""
    x = torch.randn(1, 4, 20)
    made = sample(lambda x, t: x * 0, x, steps=2, sampler="k-heun", sigma_max=1.0, init=torch.ones(1, 4, 20))
    assert made.isfinite().all()
