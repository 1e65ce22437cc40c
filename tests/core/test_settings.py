"""The settings of a generation: every argument checked, in the same words from a pipeline, before anything works."""

from __future__ import annotations

import math
import os
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiox_core.errors import AudioXError, InputError, MediaError
from audiox_core.media.given import check_output, check_picture
from audiox_core.models.config import parse_config
from audiox_core.models.settings import Settings
from audiox_core.pipeline import Pipeline
from tests.core.small import small_data, small_model
from tests.examples import examples

MODEL = small_model()
NAN, INF, HUGE = math.nan, math.inf, 10**5000

# What no setting takes, and words of the answer.
WRONG: list[tuple[str, Any, str]] = [
    *[("text", value, "text: expected a text, got") for value in (5, b"rain", {"rain"}, torch.zeros(1))],
    ("text", "\udcff", "text: contains bytes that are not UTF-8 text"),
    ("negative_text", 5, "negative_text: expected a text, got int"),
    ("negative_text", "\udcff", "negative_text: contains bytes"),
    ("video", 5, r"video: expected a file or \(frames, fps\), got int"),
    ("video", torch.zeros(2, 4, 4, 3), "video: frames need a rate. Give "),
    ("video", (torch.zeros(2, 4, 4, 3), 0), "video: fps=0. Give a rate from"),
    ("video", (torch.zeros(2, 3, 5, 5), 25), r"the video in memory: a picture is \(3, 5, 5\). Give"),
    ("video", (["a.png", "b.png"], 25), "video: expected a file or a picture, got str"),
    ("video", ("a.mp4", 25), r"video: expected a file or \(frames, fps\), got tuple"),
    ("video", ([np.zeros((4, 4, 3)), np.zeros((4, 6, 3))], 25), "video: the frames differ in size"),
    ("image", np.zeros((4, 4)), r"the image in memory: a picture is \(4, 4\). Give"),
    ("image", np.zeros((2, 4, 4, 3)), r"the image in memory: a picture is \(2, 4, 4, 3\). Give"),
    ("image", np.zeros((4, 4, 3), np.int16), "the image in memory: torch.int16. Give floating point"),
    ("image", ["a.png"], "image: expected a file or a picture, got list"),
    ("audio", 5, "audio: expected a file or a sound, got int"),
    ("audio", [0.1, 0.2], "audio: expected a file or a sound, got list"),
    ("audio", (44100, torch.zeros(2, 9)), r"audio: the rate comes first. Give \(waveform, rate\)"),
    ("audio", (torch.zeros(2, 9), 44100.5), "audio: sample rate 44100.5. Give a whole number"),
    ("audio", (torch.zeros(2, 0), 44100), "the sound is empty"),
    ("audio", torch.zeros(9), r"waveform has shape \(9,\)"),
    ("audio", torch.zeros(2, 0), "the sound is empty"),
    ("audio", torch.zeros(2, 9, dtype=torch.int16), "waveform is torch.int16"),
    ("audio", np.array([["a"]]), "not a number type of torch"),
    *[("seconds", value, "seconds: expected a number, got") for value in ("10", NAN, INF, True, [1], HUGE)],
    *[("seconds", value, r"out of range\. Choose more than 0 and at most 3600 s") for value in (-1, 3601, 1e300)],
    ("seconds", 0, "0 means as long as the video, and there is none"),
    *[("kept", value, "kept: expected a number, got") for value in ("5", NAN, True)],
    *[("kept", value, r"kept: .* s is out of range\. Choose more than 0") for value in (0, -1, 10.97, 60)],
    ("seconds", 1e-5, r"seconds: 1e-05 is less than one sample"),
    *[("steps", value, "steps must be a whole number from 1 to 10000, got") for value in (0, -3, 2.5, "8", True, NAN)],
    *[("steps", value, "steps must be a whole number") for value in (10_001, HUGE)],
    *[("guidance", value, "guidance: expected a number, got") for value in ("7", NAN, -INF, False, HUGE)],
    *[("guidance", value, "guidance: .* is out of range; 7 is usual") for value in (1000, -1e9)],
    *[("seed", value, "seed: expected a whole number, got") for value in ("5", 5.0, NAN, True, None)],
    *[("seed", value, r"seed: .* is out of range; choose 0 to 2\*\*63 - 1") for value in (-1, 2**63, HUGE)],
    ("sampler", "dpmpp-3m-sdd", "Unknown sampler 'dpmpp-3m-sdd'.*dpmpp-3m-sde"),
    ("sampler", "rectified-flow", "'rectified-flow' cannot run this model"),
    ("sampler", 3, "sampler must be a name, got 3"),
    *[("sigma_min", value, "sigma_min must be a number from") for value in (0, -1, NAN, "0.3", True, 1e-9, HUGE)],
    *[("sigma_max", value, "sigma_max must be a number from") for value in (0, NAN, INF, [500], 1e9)],
    ("sigma_min", 600, "sigma_max must be above sigma_min"),
    *[("rho", value, "rho must be a number from") for value in (0, NAN, "1", 1e3)],
    *[("rescale", value, "rescale: expected a number, got") for value in ("0", NAN, None, True)],
    *[("rescale", value, "rescale: .* is out of range; choose 0 to 1") for value in (-0.1, 1.1)],
    *[("guidance_interval", v, "guidance_interval: expected two noise levels") for v in (3, (1,), "ab", (1, 2, 3))],
    *[("guidance_interval", v, "guidance_interval: .* is empty") for v in ((2, 1), (1, 1), (-1, 2))],
    ("guidance_interval", (0, "a"), "guidance_interval: expected a number, got"),
    *[("start", value, "start: expected a number, got") for value in ("0", NAN, INF, None)],
    *[("start", value, "start: .* is out of range. Give seconds") for value in (-1, 1e20)],
    *[("audio_start", value, "audio_start: expected a number, got") for value in ("0", NAN, INF, None)],
    *[("audio_start", value, "audio_start: .* is out of range") for value in (-0.5, 1e20)],
    *[("normalize", value, "normalize: expected peak, loudness or off .*, got") for value in (1, "no", None)],
    *[("prompt_hidden", value, "prompt_hidden: expected a number, got") for value in ("0", NAN, False)],
    *[("prompt_hidden", value, "prompt_hidden: .* is out of range; choose 0") for value in (-0.1, 1.5)],
]


def label(value: Any) -> str:
    return f"{type(value).__name__}-{str(value)[:12]}" if value is not HUGE else "huge"


@pytest.mark.parametrize(("name", "value", "words"), WRONG, ids=[f"{n}-{label(v)}" for n, v, _ in WRONG])
def test_wrong_settings(name: str, value: Any, words: str, pipe: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    """By themselves and in a pipeline, whose networks never begin to work: the same words."""
    arguments = {"text": "rain", name: value} if name != "image" else {name: value}
    with pytest.raises(AudioXError, match=words) as alone:
        Settings(**arguments).resolved(MODEL)
    assert isinstance(alone.value, InputError)
    assert len(str(alone.value)) < 400

    def work(*_: Any) -> Any:
        pytest.fail("a network worked before the settings were checked")

    monkeypatch.setattr(pipe.residence, "run", work)
    with pytest.raises(InputError) as called:
        pipe(**arguments)
    assert str(called.value) == str(alone.value)


@pytest.mark.parametrize("name", ["seconds", "steps", "guidance", "sampler", "sigma_min", "sigma_max", "rho"])
def test_none_is_the_models_own(name: str) -> None:
    found = getattr(Settings(text="x").resolved(MODEL), name)
    own = MODEL.timing.prompt_seconds if name == "seconds" else getattr(MODEL.recipe, name)
    assert found == own
    chosen = {"seconds": 2.5, "steps": 9, "guidance": 3.0, "sampler": "k-heun", "sigma_min": 0.1}
    chosen |= {"sigma_max": 80.0, "rho": 7.0}
    assert getattr(Settings(text="x", **{name: chosen[name]}).resolved(MODEL), name) == chosen[name] != own  # type: ignore[arg-type]


def test_another_models_own() -> None:
    data = small_data()
    data["model"]["diffusion"]["diffusion_objective"] = "rectified_flow"
    flow = parse_config(data)
    found = Settings(text="x").resolved(flow)
    assert (found.sampler, found.sigma_max) == (flow.recipe.sampler, flow.recipe.sigma_max)
    with pytest.raises(InputError, match="'dpmpp-3m-sde' cannot run this model"):
        Settings(text="x", sampler="dpmpp-3m-sde").resolved(flow)


def test_a_short_window_is_the_default_length() -> None:
    data = {**small_data(), "sample_size": 2048 * 100}
    short = parse_config(data)
    assert Settings(text="x").resolved(short).seconds == short.timing.max_seconds < 10
    assert Settings(text="x", seconds=10).resolved(short).seconds == 10  # two windows and a half


def test_limits_belong_to_the_range() -> None:
    for given_settings in (
        {"seed": 0},
        {"seed": 2**63 - 1},
        {"rescale": 0},
        {"rescale": 1},
        {"guidance_interval": (0.5, 20)},
        {"prompt_hidden": 0},
        {"prompt_hidden": 1},
        {"steps": 1},
        {"guidance": 0},
        {"guidance": -999.0},
        {"start": 0},
        {"seconds": MODEL.timing.max_seconds},
        {"normalize": False},
        {"text": ""},
        {"text": "x" * 100_000},
        {"text": "zero \0 byte"},
        {"audio": torch.zeros(1, 9)},
        {"audio": np.zeros((2, 9), np.float32)},
    ):
        Settings(**{"text": "rain", **given_settings}).resolved(MODEL)  # type: ignore[arg-type]


def test_nothing_to_follow() -> None:
    with pytest.raises(InputError, match="nothing to follow: give text, a video, an image or audio"):
        Settings(negative_text="noise").resolved(MODEL)
    with pytest.raises(InputError, match="an image is treated as a motionless video, so give only one of them"):
        Settings(video="a.mp4", image="b.png").resolved(MODEL)


@pytest.mark.parametrize("name", ["video", "image", "audio"])
def test_files_must_be_there(name: str, tmp_path: Path) -> None:
    there = tmp_path / "a.bin"
    there.write_bytes(b"")
    for given_path in (there, str(there)):
        assert getattr(Settings(**{name: given_path}).resolved(MODEL), name) == given_path
    Settings(**{name: there.open("rb")}).resolved(MODEL)
    for absent in (tmp_path / "no.bin", "no/such.bin", "", "null\0byte", "n" * 5000, tmp_path, there / "inside"):
        with pytest.raises(MediaError, match=f"^{name}: ") as error:
            Settings(**{name: absent}).resolved(MODEL)
        assert len(str(error.value)) < 600
    with pytest.raises(MediaError, match=r"nowhere\.bin: no such file\. Check the path\."):
        Settings(**{name: "nowhere.bin"}).resolved(MODEL)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_pipes_are_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(MediaError, match=r"audio: .*pipe\.wav is a pipe or device"):
        Settings(audio=tmp_path / "pipe.wav").resolved(MODEL)


@pytest.mark.parametrize("name", ["text", "negative_text", "video", "image", "audio"])
def test_what_a_model_does_not_follow_is_said(name: str) -> None:
    """Before it is loaded, not when a conditioner is looked for in vain."""
    data = small_data()
    kept = {"text": 2, "negative_text": 2, "video": 1, "image": 1, "audio": 1}[name]
    conditioning = data["model"]["conditioning"]
    conditioning["configs"] = conditioning["configs"][kept : kept + 1]
    (entry,) = conditioning["configs"]
    data["model"]["diffusion"]["cross_attention_cond_ids"] = [entry["id"]]
    model = parse_config(data)
    follows = {"audio": torch.zeros(2, 9)} if kept == 2 else {"text": "rain"}
    Settings(**follows).resolved(model)  # type: ignore[arg-type]
    value = "rain" if "text" in name else __file__
    with pytest.raises(InputError, match=f"^{name}: this model cannot follow it. Leave {name} out.$"):
        Settings(**{**follows, name: value}).resolved(model)  # type: ignore[arg-type]


def test_unknown_settings_are_named(pipe: Pipeline) -> None:
    with pytest.raises(InputError, match=r"guidence: unknown setting\. Did you mean 'guidance'"):
        pipe("rain", guidence=5)
    with pytest.raises(InputError, match=r"cfg: unknown setting\..*guidance"):
        pipe("rain", cfg=5)


def test_doubts() -> None:
    assert Settings(text="x").resolved(MODEL).doubts(MODEL) == ()
    (said,) = Settings(text="x", prompt_hidden=0.5).resolved(MODEL).doubts(MODEL)
    assert "was not trained with a part of its prompt hidden" in said


ANY = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.binary(max_size=4)
    | st.lists(st.integers(), max_size=2)
    | st.just(HUGE)
)


@examples(200)
@given(name=st.sampled_from([f.name for f in fields(Settings)]), value=ANY)
def test_any_value_is_an_input_error_or_fine(name: str, value: Any) -> None:
    try:
        Settings(**{"text": "rain", name: value}).resolved(MODEL)
    except (InputError, MediaError) as error:
        assert name in str(error) or "nothing to follow" in str(error) or "sigma_m" in str(error)


def test_outputs(tmp_path: Path) -> None:
    video = tmp_path / "in.mp4"
    video.write_bytes(b"kept")
    assert check_output(tmp_path / "a.WAV") is False
    assert check_output(tmp_path / "new folder" / "a.flac") is False
    assert check_output(tmp_path / "a.mkv", video=video) is True
    assert check_output(str(tmp_path / "a.webm"), video=str(video)) is True
    check_picture(tmp_path / "s.PNG", inputs=[None, video])
    with pytest.raises(MediaError, match="is the file being read"):
        check_output(video, video=video)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path != video], "nothing is left behind"
