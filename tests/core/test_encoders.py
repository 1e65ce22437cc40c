"""Encoders' edges: what counts as absent, what shapes are refused, how prompts are cut."""

from __future__ import annotations

import logging

import pytest
import torch

from audiox_core.errors import InputError
from audiox_core.networks.t5 import ByteTokenizer, truncate
from audiox_core.pipeline import Pipeline


def test_black_video_is_no_video(pipe: Pipeline) -> None:
    net = pipe.residence.networks["video"]
    frames = torch.zeros(2, 50, 3, 64, 64, dtype=torch.uint8)
    frames[1, 20, 0, 5, 5] = 1  # one pixel is enough to be a video
    told: list[tuple[int, int]] = []
    with torch.inference_mode():
        tokens = net(frames, on_frames=lambda done, total: told.append((done, total)))
    assert torch.equal(tokens[:1], net.empty_visual_feat)
    assert not torch.allclose(tokens[1:], net.empty_visual_feat, atol=0.1)
    assert told[-1] == (100, 100)


@pytest.mark.parametrize("shape", [(1, 40, 3, 64, 64), (1, 50, 3, 112, 112), (1, 50, 1, 64, 64)])
def test_other_frames_are_refused(pipe: Pipeline, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"\(B, 50, 3, 64, 64\) is needed"):
        pipe.residence.networks["video"](torch.zeros(shape, dtype=torch.uint8))


def test_digital_silence_is_no_prompt(pipe: Pipeline) -> None:
    net = pipe.residence.networks["audio"]
    waveform = torch.zeros(2, 2, 441000)
    waveform[1, 0, 1000] = 0.5
    with torch.inference_mode():
        tokens = net(waveform)
    assert tokens.shape == (2, 215, 32)
    assert torch.equal(tokens[:1], net.empty_audio_feat)
    assert not torch.equal(tokens[1:], net.empty_audio_feat)


@pytest.mark.parametrize("shape", [(1, 2, 440319), (1, 2, 442368), (1, 1, 441000), (2, 441000)])
def test_other_waveforms_are_refused(pipe: Pipeline, shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="ten seconds of stereo"):
        pipe.residence.networks["audio"](torch.zeros(shape))


def test_prompts_of_a_batch_do_not_touch_each_other(pipe: Pipeline) -> None:
    net = pipe.residence.networks["text"]
    with torch.inference_mode():
        both, alone = net([[5, 6, 7, 1], [9, 1]]), net([[9, 1]])
    assert both.shape == (2, 128, 32)
    assert torch.allclose(both[1:], alone, atol=1e-5)
    assert (both[0, 4:] == 0).all()
    assert (both[0, :4] != 0).any(dim=1).all()


@pytest.mark.parametrize("ids", [[[]], [[3] * 129]])
def test_ids_of_a_wrong_length_are_refused(pipe: Pipeline, ids: list[list[int]]) -> None:
    with pytest.raises(InputError, match="1 to 128"):
        pipe.residence.networks["text"](ids)


def test_long_prompts_warn_with_what_was_cut_off(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="audiox"):
        ids = truncate("a" * 120 + "WOULD BE LOST", ByteTokenizer(), 128)
    assert len(ids) == 128
    assert ids[-1] == 1
    assert "OULD BE LOST'" not in caplog.text
    assert "'E LOST'" in caplog.text
    assert "128 are read" in caplog.text


def test_short_prompts_pass_silently(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = ByteTokenizer()
    assert truncate("naïve", tokenizer, 128) == tokenizer.encode("naïve")
    assert tokenizer.decode(tokenizer.encode("naïve")) == "naïve"
    assert not caplog.text
