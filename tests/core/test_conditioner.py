"""From inputs to tokens by modality: what is absent, what is kept, what chance decides, prompts of other encoders."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch

from audiox_core.conditioner import Conditioner, blank, fitted, join_sequences, moved
from audiox_core.errors import ConfigError, InputError
from audiox_core.models.parts import Hearing, Sight
from audiox_core.pipeline import Pipeline


class Counting:
    """A runner that writes down whose network works."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.names: list[str] = []

    def run(self, name: str, fn: Callable[[Any, Any], Any]) -> Any:
        self.names.append(name)
        return self.inner.run(name, fn)


@pytest.fixture
def runner(pipe: Pipeline) -> Counting:
    return Counting(pipe.residence)


@pytest.fixture
def conditioner(pipe: Pipeline, runner: Counting) -> Conditioner:
    """A new one, which has kept nothing yet."""
    return Conditioner(pipe.opened, runner)


@torch.inference_mode()
def test_nothing_given_runs_no_network_but_the_text_encoder_once(conditioner: Conditioner, runner: Counting) -> None:
    first = conditioner.complete({})
    again = conditioner.complete({"video": None})
    assert runner.names == ["text"]
    assert {name: tuple(value.shape) for name, value in first.items()} == {
        "video": (1, 1, 128, 32),
        "text": (1, 1, 128, 32),
        "audio": (1, 1, 215, 32),
    }
    assert all(torch.equal(first[name], again[name]) for name in first)


@torch.inference_mode()
def test_nothing_is_what_the_networks_answer_to_it(pipe: Pipeline, conditioner: Conditioner) -> None:
    """The learned tokens are those of black pictures and silence, and the empty prompt's are its own."""
    nothing = conditioner.complete({})
    for part in pipe.model.conditioners:
        if part.name != "text":
            tokens = conditioner.encode(part.name, blank(part.condition.reads))
            assert torch.equal(tokens[:, None], nothing[part.name])
    assert torch.equal(conditioner.text("")[:, None], nothing["text"])
    assert torch.equal(conditioner.text(None)[:, None], nothing["text"])
    assert nothing["text"][0, 0, 0].any() and not nothing["text"][0, 0, 1:].any(), "one end token"


@torch.inference_mode()
def test_the_empty_prompt_is_kept(conditioner: Conditioner, runner: Counting) -> None:
    first = conditioner.text("")
    assert all(torch.equal(first, conditioner.text(empty)) for empty in (None, ""))
    assert torch.equal(conditioner.nothing("text"), first)
    assert runner.names == ["text"]


@torch.inference_mode()
def test_prompts_are_encoded_each_time(conditioner: Conditioner, runner: Counting) -> None:
    rain, wind = conditioner.text("rain"), conditioner.text("wind")
    assert runner.names == ["text", "text"]
    assert not torch.allclose(rain, wind, atol=1e-2)
    assert rain.dtype == torch.float32 and rain.device.type == "cpu"


@torch.inference_mode()
def test_given_tokens_pass_unchanged(conditioner: Conditioner) -> None:
    tokens = torch.randn(2, 128, 32, generator=torch.Generator().manual_seed(0))
    windows = torch.randn(2, 3, 215, 32, generator=torch.Generator().manual_seed(1))
    found = conditioner.complete({"text": tokens, "audio": windows})
    assert torch.equal(found["text"], tokens[:, None])
    assert torch.equal(found["audio"], windows)
    assert list(found) == ["video", "text", "audio"]


def test_unknown_modalities_are_named(conditioner: Conditioner) -> None:
    with pytest.raises(InputError, match="smell, touch: this model has no such conditioner; it has video, text, audio"):
        conditioner.complete({"touch": None, "smell": torch.zeros(1)})
    with pytest.raises(ConfigError, match="smell: this model has no such conditioner"):
        conditioner.encode("smell", None)


def test_chance_is_drawn_whether_or_not_there_is_an_input(conditioner: Conditioner) -> None:
    generator = torch.Generator().manual_seed(3)
    drawn = conditioner.draw(generator)
    own = torch.Generator().manual_seed(3)
    assert drawn["video"] is None and drawn["text"] is None
    assert torch.equal(drawn["audio"], torch.randn(1, 64, 215, generator=own))
    assert torch.equal(generator.get_state(), own.get_state())


@torch.inference_mode()
def test_chance_reaches_the_network(conditioner: Conditioner) -> None:
    waveform = 0.1 * torch.randn(1, 2, 441000, generator=torch.Generator().manual_seed(0))
    drawn = conditioner.draw(torch.Generator().manual_seed(3))["audio"]
    told: list[tuple[int, int]] = []
    sampled = conditioner.encode("audio", waveform, drawn)
    mean = conditioner.encode("audio", waveform, tell=lambda done, total: told.append((done, total)))
    assert not torch.allclose(sampled, mean, atol=1e-4)
    net = conditioner.runner.inner.networks["audio"]
    assert torch.equal(sampled, net(waveform, drawn))
    assert all(0 < done <= total for done, total in told)


@torch.inference_mode()
def test_pictures_are_told_one_by_one_and_may_be_stopped(conditioner: Conditioner) -> None:
    class Cancelled(Exception):
        pass

    told: list[tuple[int, int]] = []

    def stop(done: int, total: int) -> None:
        told.append((done, total))
        if done >= 20:
            raise Cancelled

    frames = [torch.ones(1, 50, 3, 64, 64, dtype=torch.uint8)]
    with pytest.raises(Cancelled):
        conditioner.encode("video", frames, tell=stop)
    assert told == [(10, 50), (20, 50)]


def test_blank_inputs() -> None:
    (pictures, more) = blank(Sight(32, ((5.0, 50), (25.0, 250))))
    assert (pictures.shape, more.shape) == ((1, 50, 3, 32, 32), (1, 250, 3, 32, 32))
    assert pictures.dtype == torch.uint8 and not pictures.any() and not more.any()
    silence = blank(Hearing(44100, 441000))
    assert silence.shape == (1, 2, 441000) and not silence.any()


def test_whatever_is_given_moves() -> None:
    meta, here = torch.device("meta"), torch.zeros(2)
    assert moved(here, meta).is_meta
    nested = moved([here, (here, None), 3], meta)
    assert nested[0].is_meta and nested[1][0].is_meta and nested[1][1] is None and nested[2] == 3
    assert isinstance(nested[1], tuple)
    assert moved([[5, 1]], meta) == [[5, 1]]


def test_tokens_of_another_encoder_are_cut_or_padded(caplog: pytest.LogCaptureFixture) -> None:
    tokens = torch.ones(2, 5, 4)
    padded = fitted(tokens, 8, 4)
    assert padded.shape == (2, 8, 4)
    assert torch.equal(padded[:, :5], tokens) and not padded[:, 5:].any()
    assert torch.equal(fitted(tokens, 5, 4), tokens)
    with_padding = torch.nn.functional.pad(tokens, (0, 0, 0, 3))
    assert torch.equal(fitted(with_padding, 5, 4), tokens)
    assert not caplog.text, "only padding was cut off"
    with caplog.at_level(logging.WARNING, "audiox"):
        assert torch.equal(fitted(with_padding, 3, 4, "negative"), tokens[:, :3])
    assert "negative: 5 tokens are given, the model reads 3; the last 2 are lost" in caplog.text


@pytest.mark.parametrize("shape", [(1, 5, 5), (5, 4), (1, 1, 5, 4)])
def test_tokens_of_another_width_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="this model takes tokens 4 wide"):
        fitted(torch.ones(shape), 5, 4)


def test_prompts_are_joined_without_the_padding_between_them() -> None:
    first, second = torch.zeros(1, 6, 4), torch.zeros(1, 6, 4)
    first[:, :2], second[:, :3] = 1, 2
    joined = join_sequences([first, second])
    assert torch.equal(joined[0, :, 0], torch.tensor([1.0, 1, 2, 2, 2]))
    assert join_sequences([torch.zeros(1, 6, 4), second]).shape == (1, 3, 4)
    assert join_sequences([torch.zeros(1, 6, 4)]).shape == (1, 0, 4)
