"""The newer members at work: chance and its order, hidden prompts, two rates in one pass, one length, the demos."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core import __main__ as cli
from audiox_core import load_pipeline
from audiox_core.errors import InputError
from audiox_core.media import read_audio
from audiox_core.memory.machine import measure
from audiox_core.models.settings import Settings
from audiox_core.networks.hidden_span import draw_spans
from audiox_core.pipeline import Pipeline, assemble
from tests.core.small_family import pixels, small_opened

SAMPLE = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"
NAMES = ("maf", "mmdit", "turbo")


@pytest.fixture(scope="module", params=NAMES)
def pipe(request: pytest.FixtureRequest) -> Pipeline:
    return assemble(small_opened(request.param), measure("cpu"), dtype="fp32")


@pytest.fixture(scope="module")
def turbo() -> Pipeline:
    return assemble(small_opened("turbo"), measure("cpu"), dtype="fp32")


@pytest.fixture(scope="module")
def maf() -> Pipeline:
    return assemble(small_opened("maf"), measure("cpu"), dtype="fp32")


def made(pipe: Pipeline, **settings: Any) -> Tensor:
    settings = {"text": "rain", "steps": 2, "seconds": 1.0, "normalize": False} | settings
    return pipe(**settings).waveform


def test_text_becomes_sound(pipe: Pipeline) -> None:
    sound = made(pipe)
    assert sound.shape == (2, 44100) and sound.isfinite().all() and sound.std() > 1e-3
    assert torch.equal(sound, made(pipe))
    assert not torch.allclose(sound, made(pipe, seed=1), atol=1e-3)
    assert not torch.allclose(sound, made(pipe, text="wind"), atol=1e-5)


def test_draws_come_in_the_released_order() -> None:
    """The sampler's noise, then the conditioners' in the config's order (only sound draws), then the steps'."""
    for name, share in (("mmdit", (0.0, 0.0)), ("turbo", (0.25, 0.75))):
        draws = assemble(small_opened(name), measure("cpu")).draw(7)
        generator = torch.Generator().manual_seed(7)
        noise = torch.randn(1, 64, 236, generator=generator)
        spans = draw_spans(1, 441000, share, generator)
        latent = torch.randn(1, 64, 215, generator=generator)
        assert torch.equal(draws.noise, noise) and torch.equal(draws.conditions["audio"][1], latent)
        assert draws.conditions["text"] is draws.conditions["video"] is None
        assert (spans is None) == (draws.conditions["audio"][0] is None)
        assert torch.equal(draws.generator.get_state(), generator.get_state())


def test_even_text_alone_hears_the_hidden_silence(maf: Pipeline) -> None:
    """Silence is -11.5 in the spectrogram and what is hidden 0, so the seed decides what a text sounds like."""
    first, second = (maf.draw(seed).conditions["audio"] for seed in (0, 1))
    one, other = (maf.conditioner.nothing("audio", drawn) for drawn in (first, second))
    assert one.shape == (1, 1723, 32) and not torch.allclose(one, other)
    silent = maf.conditioner.nothing("audio")
    begin, end = first[0].tolist()
    assert torch.equal(one[:, begin + 1 : end], one[:, begin : end - 1]) and not torch.equal(one, silent)
    assert torch.equal(maf.conditioner.nothing("audio"), silent)
    assert maf.draw(0, hidden=0.0).conditions["audio"] is None


def test_a_prompt_may_be_heard_whole(turbo: Pipeline) -> None:
    """What the release hides of it makes a difference, and how much of it is hidden is a setting."""
    generator = torch.Generator().manual_seed(1)
    prompt = torch.randn(2, 441000, generator=generator) * 0.3
    draws = {hidden: turbo.draw(3, hidden=hidden).conditions["audio"] for hidden in (None, 0.0, 0.25, 1.0)}
    tokens = {hidden: turbo.conditioner.encode("audio", prompt[None], drawn) for hidden, drawn in draws.items()}
    whole = turbo.conditioner.encode("audio", prompt[None], (None, draws[0.0][1]))
    assert torch.equal(tokens[0.0], whole) and not torch.allclose(tokens[None], whole)
    silence = turbo.conditioner.encode("audio", torch.zeros(1, 2, 441000), (None, draws[1.0][1]))
    assert torch.allclose(tokens[1.0], silence, atol=1e-5)
    begin, end = draws[0.25][0][0].tolist()
    assert end - begin == 441000 // 4
    heard, none = (made(turbo, audio=prompt, prompt_hidden=hidden) for hidden in (None, 0.0))
    assert not torch.allclose(heard, none)
    with pytest.raises(InputError, match=r"prompt_hidden: 1\.5 is out of range"):
        made(turbo, prompt_hidden=1.5)


def test_silence_is_encoded_once(turbo: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    network: Any = turbo.residence.networks["audio"]
    made(turbo)
    calls: list[int] = []
    real = network.latents
    monkeypatch.setattr(network, "latents", lambda *a, **kw: calls.append(1) or real(*a, **kw))
    one, two = (turbo.conditioner.nothing("audio", turbo.draw(seed).conditions["audio"]) for seed in (0, 1))
    assert not calls and not torch.allclose(one, two), "its noise is drawn anew"
    noise = turbo.draw(0).conditions["audio"][1]
    mean, deviation = real(torch.zeros(1, 2, 441000))
    assert torch.allclose(one, network.project(mean + deviation * noise), atol=1e-6)


def test_hosts_without_a_seed_hide_nothing(turbo: Pipeline) -> None:
    network: Any = turbo.residence.networks["audio"]
    wave = torch.randn(1, 2, 441000, generator=torch.Generator().manual_seed(2)) * 0.3
    assert torch.allclose(turbo.conditioner.encode("audio", wave), network(wave), atol=1e-6)


def test_a_video_is_seen_at_two_rates_in_one_pass(turbo: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core.media import prompts

    passes: list[Any] = []
    real = prompts.read_frame_sets
    monkeypatch.setattr(prompts, "read_frame_sets", lambda *a, **kw: passes.append(kw["wanted"]) or real(*a, **kw))
    told: list[tuple[int, int]] = []
    sound = made(turbo, text=None, video=SAMPLE)
    assert passes == [((5.0, 50), (25.0, 250))]
    assert not torch.allclose(sound, made(turbo), atol=1e-4)
    frames = [pixels(1, 50, 3, 64, 64), pixels(1, 250, 3, 64, 64)]
    tokens = turbo.conditioner.encode("video", frames, tell=lambda done, total: told.append((done, total)))
    assert tokens.shape == (1, 128, 32)
    assert {total for _, total in told} == {290} and [d for d, _ in told] == sorted({d for d, _ in told})
    assert told[0][0] == 32 and told[-1][0] == 290, "motion first, a few segments at a time, then the pictures"
    other = turbo.conditioner.encode("video", [frames[0], pixels(1, 250, 3, 64, 64, seed=1)])
    assert not torch.allclose(tokens, other), "what moves between the pictures matters"


def test_black_pictures_are_no_video(pipe: Pipeline) -> None:
    black = [torch.zeros(1, count, 3, 64, 64, dtype=torch.uint8) for count in (50, 250)]
    nothing = pipe.conditioner.nothing("video")
    assert torch.equal(pipe.conditioner.encode("video", black), nothing)
    both = [torch.cat([b, pixels(*b.shape)]) for b in black]
    assert torch.equal(pipe.conditioner.encode("video", both)[:1], nothing)


def test_only_one_length(turbo: Pipeline, maf: Pipeline) -> None:
    assert maf.draw(0, 20).noise.shape == (1, 64, 20)
    with pytest.raises(InputError, match="exactly 236, not 20"):
        turbo.draw(0, 20)
    assert turbo.draw(0, 236).noise.shape == turbo.draw(0).noise.shape


def test_a_negative_prompt_hears_what_the_positive_one_does(maf: Pipeline) -> None:
    """The same draws on both sides: with the same words nothing is left for guidance to multiply."""
    plain = made(maf, guidance=1.0)
    assert torch.allclose(made(maf, guidance=4.0, negative_text="rain"), plain, atol=1e-5)
    assert not torch.allclose(made(maf, guidance=4.0, negative_text="wind"), plain, atol=5e-5)


def test_what_was_encoded_before_changes_nothing() -> None:
    """Tokens of silence without chance are kept; they must not take the place of those that chance had a part in."""
    fresh, used = (assemble(small_opened("maf"), measure("cpu"), dtype="fp32") for _ in range(2))
    used.encode(Settings(text="rain"))
    assert torch.equal(used.sample(*conditioned(used)), fresh.sample(*conditioned(fresh)))


def conditioned(pipe: Pipeline) -> tuple[Any, ...]:
    given = Settings(text="rain", steps=1).resolved(pipe.model)
    draws = pipe.draw(0)
    return pipe.encode(given, draws.conditions), None, draws, given


def test_guidance_that_cannot_be_meant_warns(turbo: Pipeline, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "audiox"):
        made(turbo)
        assert not caplog.records
        made(turbo, guidance=7.0)
    assert "made to run without guidance" in caplog.text


@pytest.mark.parametrize("steps", [1, 4, 20])
def test_any_count_of_steps(turbo: Pipeline, steps: int) -> None:
    done: list[tuple[int, int]] = []
    sound = turbo("rain", steps=steps, seconds=1.0, on_step=lambda *step: done.append(step))
    assert done == [(i + 1, steps) for i in range(steps)] and sound.waveform.abs().max() == pytest.approx(1)


def test_the_undistilled_way_is_a_setting(turbo: Pipeline) -> None:
    assert made(turbo, sampler="rectified-flow", guidance=6.0, steps=3).isfinite().all()
    with pytest.raises(InputError, match=r"cannot run this model.*Valid: rectified-flow, dmd"):
        made(turbo, sampler="dpmpp-3m-sde")


@pytest.mark.parametrize(("name", "steps"), [("demo-maf", 2), ("demo-mmdit", 2), ("demo-turbo", None)])
def test_demos(name: str, steps: int | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "x.wav"
    count = ["--steps", str(steps)] if steps else []  # else the recipe's
    assert (
        cli.main(["generate", "--model", name, "--text", "x", "-o", str(target), "--prompt-hidden", "0", *count]) == 0
    )
    sound = read_audio(target)
    assert sound.shape == (2, 441000) and sound.std() > 1e-3
    done = steps or 4
    assert f"{done}/{done}" in capsys.readouterr().err


def test_a_demo_says_what_it_is() -> None:
    pipe = load_pipeline("demo-turbo", device="cpu")
    assert pipe.notice == "demo-turbo: random weights, so the sound is noise; it shows that everything runs."
    assert pipe.model.recipe.steps == 4 and pipe.model.length == 236
