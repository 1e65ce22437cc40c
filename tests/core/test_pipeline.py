"""From inputs to a sound with a small model: tasks, seeds, trimming, level, refusals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from audiox_core import load_pipeline
from audiox_core.errors import AudioXError, InputError, MediaError, OutOfMemory
from audiox_core.media import read_audio, write_audio, write_png
from audiox_core.media.sound import Sound
from audiox_core.pipeline import Draws, Pipeline

SAMPLE = Path(__file__).parents[2] / "audiox_core" / "assets" / "sample.mp4"
QUICK: dict[str, Any] = {"steps": 2, "seconds": 1.5}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "picture.png"
    write_png(path, torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)))
    return path


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("audio") / "example.wav"
    write_audio(path, 0.1 * torch.randn(1, 24000, generator=torch.Generator().manual_seed(0)), 48000)
    return path


def test_every_modality_alone_and_together_gives_another_sound(pipe: Pipeline, picture: Path, example: Path) -> None:
    given: list[dict[str, Any]] = [
        {"text": "rain"},
        {"video": SAMPLE},
        {"image": picture},
        {"audio": example},
        {"text": "rain", "video": SAMPLE},
        {"text": "rain", "video": SAMPLE, "audio": example},
        {"text": "rain", "negative_text": "music"},
        {"video": SAMPLE, "start": 3.0},
    ]
    sounds = [pipe(**what, **QUICK) for what in given]
    for sound in sounds:
        assert sound.waveform.shape == (2, 66150)
        assert sound.waveform.dtype == torch.float32
        assert sound.seconds == pytest.approx(1.5)
        assert sound.waveform.abs().max() == pytest.approx(1.0)
    for i, a in enumerate(sounds):
        for b in sounds[:i]:
            assert not torch.allclose(a.waveform, b.waveform, atol=1e-3)


def test_a_seed_reproduces_bit_for_bit(pipe: Pipeline) -> None:
    first, again, other = (pipe("rain", seed=seed, **QUICK).waveform for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other, atol=1e-2)


def test_the_global_generator_is_left_alone(pipe: Pipeline) -> None:
    before = torch.get_rng_state()
    pipe("rain", **QUICK)
    assert torch.equal(before, torch.get_rng_state())


def test_a_short_sound_is_the_start_of_a_long_one(pipe: Pipeline) -> None:
    short, long = (pipe("rain", steps=2, seconds=s, normalize=False).waveform for s in (1.0, 10.0))
    assert long.shape == (2, 441000)
    assert torch.equal(short, long[:, :44100])


def test_draws_come_in_the_released_order() -> None:
    draws = Draws.from_seed(7, 64, 236, 215)
    generator = torch.Generator().manual_seed(7)
    assert torch.equal(draws.noise, torch.randn(1, 64, 236, generator=generator))
    assert torch.equal(draws.prompt_noise, torch.randn(1, 64, 215, generator=generator))
    assert torch.equal(draws.generator.get_state(), generator.get_state())


def test_the_empty_prompt_is_encoded_once(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    pipe._empty_text = None
    encoded: list[str] = []
    run = pipe.residence.run
    monkeypatch.setattr(pipe.residence, "run", lambda name, fn: encoded.append(name) or run(name, fn))
    pipe.encode()
    pipe.encode("", frames=None)
    assert encoded == ["text"]


def test_steps_are_told_and_may_interrupt(pipe: Pipeline) -> None:
    seen: list[tuple[int, int]] = []
    pipe("rain", steps=3, seconds=1, on_step=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipe("rain", steps=3, seconds=1, on_step=stop)
    assert pipe("rain", **QUICK).waveform.isfinite().all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "nothing to follow"),
        ({"text": "x", "seconds": 0}, r"at most 10\.96 seconds"),
        ({"text": "x", "seconds": 60}, r"at most 10\.96 seconds"),
        ({"text": "x", "sampler": "dpmpp-3m-sdd"}, "dpmpp-3m-sde"),
        ({"text": "x", "sampler": "rectified-flow"}, "rectified-flow"),
        ({"text": "x", "steps": 0}, "steps"),
        ({"text": "x", "seed": -1}, "seed"),
        ({"text": "x", "guidance": float("nan")}, "guidance"),
        ({"text": "x", "rescale": 2}, "rescale"),
        ({"text": "x", "sigma_min": 600}, "sigma_min"),
        ({"video": "a.mp4", "image": "b.png"}, "give one of them"),
    ],
)
def test_arguments_out_of_range(pipe: Pipeline, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        pipe(**arguments)


@pytest.mark.parametrize("what", ["video", "image", "audio"])
def test_missing_files_are_named(pipe: Pipeline, what: str) -> None:
    with pytest.raises(MediaError, match=r"nowhere\.mp4"):
        pipe(**{what: "nowhere.mp4"}, **QUICK)


def test_silence_survives_normalisation(pipe: Pipeline) -> None:
    sound = pipe.finish(torch.zeros(1, 2, 483328), 1.0, True)
    assert sound.waveform.eq(0).all()


def test_nan_is_not_saved(pipe: Pipeline) -> None:
    with pytest.raises(AudioXError, match="--no-half"):
        pipe.finish(torch.full((1, 2, 4096), torch.nan), 0.05, True)


def test_sound_is_saved_alone_and_with_a_video(tmp_path: Path) -> None:
    wave = 0.5 * torch.sin(torch.arange(88200) / 20).expand(2, -1).contiguous()
    sound = Sound(wave, 44100)
    read = read_audio(sound.save(tmp_path / "klänge.flac"))
    assert torch.allclose(read, wave, atol=2e-4)
    video = sound.save_with_video(SAMPLE, tmp_path / "out.mp4", offset=1.0)
    heard = read_audio(video)
    assert heard[:, : 44100 - 2000].abs().max() < 1e-2
    assert heard[:, 50000:120000].abs().max() > 0.4


def test_options_of_loading_are_checked() -> None:
    with pytest.raises(InputError, match="precision"):
        load_pipeline("demo", device="cpu", dtype="fp17")
    with pytest.raises(InputError, match="offload"):
        load_pipeline("demo", device="cpu", offload="maybe")


def test_out_of_memory_is_an_error_of_ours() -> None:
    assert issubclass(OutOfMemory, AudioXError)


def test_report_names_the_parts(pipe: Pipeline) -> None:
    for word in ("fp32", "dit", "autoencoder", "text", "video", "audio", "RAM"):
        assert word in pipe.report
