"""From inputs to a sound with a small model: tasks, seeds, trimming, level, refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import torch

from audiox_core import load_pipeline
from audiox_core.conditioner import Conditioner
from audiox_core.errors import AudioXError, InputError, MediaError, OutOfMemory
from audiox_core.media import read_audio, write_audio, write_picture
from audiox_core.media.sound import Sound
from audiox_core.memory.machine import measure
from audiox_core.models import demo
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline, assemble

SAMPLE = Path(__file__).parents[2] / "audiox_core" / "media" / "assets" / "sample.mp4"
QUICK: dict[str, Any] = {"steps": 2, "seconds": 1.5}


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "picture.png"
    generator = torch.Generator().manual_seed(0)
    return write_picture(path, torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=generator))


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


def test_draws_come_in_the_released_order(pipe: Pipeline) -> None:
    for latents in (None, 100):
        draws = pipe.draw(7, latents)
        generator = torch.Generator().manual_seed(7)
        assert torch.equal(draws.noise, torch.randn(1, 64, latents or 236, generator=generator))
        assert torch.equal(draws.conditions["audio"], torch.randn(1, 64, 215, generator=generator))
        assert torch.equal(draws.generator.get_state(), generator.get_state())


def test_seeds_differ_in_every_bit_that_torch_reads(pipe: Pipeline) -> None:
    """Of a seed, torch's generator on the CPU reads the lower 32 bits; larger ones work, too."""
    drawn = [pipe.draw(seed).noise for seed in (0, *(1 << bit for bit in range(32)), (1 << 32) - 1)]
    assert len({tuple(noise.flatten()[:8].tolist()) for noise in drawn}) == len(drawn)
    largest = pipe.draw(2**63 - 1).noise
    assert torch.equal(largest, pipe.draw(2**63 - 1).noise) and largest.std() == pytest.approx(1, rel=0.05)


def test_large_seeds_are_seeds_of_their_own(pipe: Pipeline) -> None:
    """torch heeds 32 bits of a seed: seed + 2**32 gave the very same sound. Seeds below keep their numbers."""
    for seed in (0, 5, 2**31, 2**32 - 1):
        torchs = torch.randn(1, 64, 236, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(pipe.draw(seed).noise, torchs)
        for other in (seed + 2**32, seed + 2**40):
            assert not torch.equal(pipe.draw(other).noise, torchs)
    assert torch.equal(pipe.draw(2**32).noise, pipe.draw(2**32).noise)


def test_the_empty_prompt_is_encoded_once(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "conditioner", Conditioner(pipe.opened, pipe.residence))
    encoded: list[str] = []
    run = pipe.residence.run
    monkeypatch.setattr(pipe.residence, "run", lambda name, fn: encoded.append(name) or run(name, fn))
    with torch.inference_mode():
        pipe.encode(Settings())
        pipe.encode(Settings(text=""))
    assert encoded == ["text"]


def test_the_negative_condition_keeps_what_chance_decided(
    pipe: Pipeline, example: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guidance multiplies whatever differs between the two: only the words may."""
    given: list[Any] = []
    follow = Conditioner.follow

    def spy(self: Conditioner, settings: Settings, drawn: Any, *rest: Any, **more: Any) -> Any:
        given.append((settings.text, settings.audio, drawn))
        return follow(self, settings, drawn, *rest, **more)

    monkeypatch.setattr(Conditioner, "follow", spy)
    pipe("rain", audio=example, negative_text="music", **QUICK)
    assert [(text, audio) for text, audio, _ in given] == [("rain", example), ("music", None)]
    assert given[0][2] is given[1][2]


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


@pytest.mark.parametrize("what", ["video", "image", "audio"])
def test_missing_files_are_named(pipe: Pipeline, what: str) -> None:
    with pytest.raises(MediaError, match=r"nowhere\.mp4"):
        pipe(**{what: "nowhere.mp4"}, **QUICK)


def test_silence_survives_normalisation(pipe: Pipeline) -> None:
    sound = pipe.finish(torch.zeros(1, 2, 483328), Settings(seconds=1.0))
    assert sound.waveform.eq(0).all()


def test_nan_is_not_saved(pipe: Pipeline) -> None:
    with pytest.raises(AudioXError, match="--no-half"):
        pipe.finish(torch.full((1, 2, 4096), torch.nan), Settings(seconds=0.05))


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


def test_wrong_options_load_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "open_model", lambda *_, **__: pytest.fail("a model was opened"))
    for options, match in (
        ({"dtype": "fp17"}, "precision: unknown value 'fp17'"),
        ({"offload": "maybe"}, "offload: unknown value 'maybe'"),
        ({"max_vram_gb": -1}, "max_vram_gb: -1 is out of range"),
        ({"device": "tpu"}, "device: 'tpu' is not available here"),
        ({"device": 3}, "device: expected a name"),
    ):
        with pytest.raises(InputError, match=match):
            load_pipeline("demo", **options)


def test_a_device_may_be_torchs(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stopped(Exception):
        pass

    def stop(*_: Any, **__: Any) -> None:
        raise Stopped

    from audiox_core import pipeline

    monkeypatch.setattr(pipeline, "open_model", stop)
    with pytest.raises(Stopped):
        load_pipeline("demo", device=torch.device("cpu"))  # type: ignore[arg-type]


def test_waveforms_of_numpy_are_heard(pipe: Pipeline) -> None:
    wave = 0.1 * torch.randn(2, 50_000, generator=torch.Generator().manual_seed(0))
    ours, theirs = (pipe(audio=given, **QUICK).waveform for given in (wave, wave.numpy()))
    assert torch.equal(ours, theirs)
    assert not torch.equal(ours, pipe(audio=wave, audio_start=0.5, **QUICK).waveform)


def test_two_threads_take_turns(pipe: Pipeline) -> None:
    """Each gets its own right answer, though they share one pipeline."""
    prompts = ["rain", "a door", "rain", "wind"]
    expected = {prompt: pipe(prompt, steps=4, seconds=1.0, seed=3).waveform for prompt in set(prompts)}
    with ThreadPoolExecutor(4) as threads:
        answers = list(threads.map(lambda prompt: pipe(prompt, steps=4, seconds=1.0, seed=3).waveform, prompts))
    for prompt, answer in zip(prompts, answers, strict=True):
        assert torch.equal(answer, expected[prompt])


def test_a_failing_thread_lets_the_other_through(pipe: Pipeline) -> None:
    begun, failed = Event(), Event()

    def fail(done: int, total: int) -> None:
        begun.set()
        failed.set()
        raise KeyError("stop")

    expected = pipe("wind", **QUICK).waveform
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(pipe, "rain", on_step=fail, **QUICK)
        begun.wait(60)
        second = threads.submit(pipe, "wind", **QUICK)
        with pytest.raises(KeyError, match="stop"):
            first.result(60)
        assert torch.equal(second.result(60).waveform, expected)
    assert failed.is_set()


def test_a_second_attempt_draws_the_same(pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """Running out of memory in the middle changes no bit of the answer."""
    from audiox_core.sampling import task

    expected = pipe("rain", steps=3, seconds=1.0).waveform
    real, calls = task.sample, []

    def hungry(*given: Any, **options: Any) -> torch.Tensor:
        answer = real(*given, **options)
        calls.append(1)
        if len(calls) == 1:
            raise MemoryError("out of memory")
        return answer

    monkeypatch.setattr(task, "sample", hungry)
    monkeypatch.setattr(type(pipe.residence), "_remedies", lambda self, name: iter([lambda: True, lambda: True]))
    assert torch.equal(pipe("rain", steps=3, seconds=1.0).waveform, expected)
    assert len(calls) == 2


def test_what_stands_behind_a_pipeline_is_named(pipe: Pipeline) -> None:
    assert pipe.notice == f"small: {demo.NOISE}"
    assert pipe.model is pipe.opened.model and pipe.timing is pipe.model.timing
    assert pipe.plan is pipe.residence.plan
    twin = assemble(pipe.opened, measure("cpu"), dtype="fp8")
    formats = {name: place.format.storage for name, place in twin.plan.places.items()}
    assert formats == {"video": "fp32", "text": "fp32", "audio": "fp16", "dit": "fp8", "autoencoder": "fp16"}
    sound = twin("rain", **QUICK).waveform
    assert sound.isfinite().all() and sound.shape == (2, 66150)


def test_out_of_memory_is_an_error_of_ours() -> None:
    assert issubclass(OutOfMemory, AudioXError)


def test_report_names_the_parts(pipe: Pipeline) -> None:
    for word in ("fp32", "transformer", "autoencoder", "text", "video", "audio", "RAM"):
        assert word in pipe.report
