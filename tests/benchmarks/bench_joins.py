"""What windows agree on: two processes whose exact denoiser is known, and the demo model, made in both ways.

Run it: python -m pytest -s tests/benchmarks/bench_joins.py, or python -m tests.benchmarks.bench_joins
A pulse of unknown phase shows whether the end of a long sound still knows of its beginning (90 degrees is chance); a
texture whether joins are as loud and as bright as other places.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from audiox_core import load_pipeline
from audiox_core.models.timing import Timing
from audiox_core.sampling.guidance import Guidance
from audiox_core.sampling.task import Task
from audiox_core.sampling.windows import LONG, Windows

TIMING = Timing()
PERIOD, NOISE, PHASES, ENDS = 41, 0.3, 48, 82
SAMPLES, STEPS = 208, 100
SCHEDULE = {"steps": STEPS, "sampler": "dpmpp-3m-sde", "sigma_min": 0.03, "sigma_max": 500.0, "objective": "v"}
MOST_DEGREES = 35.0

Denoiser = Callable[[Tensor, Tensor], Tensor]  # (x (B, 1, L), sigma (B, 1, 1)) -> like x


class Exact:
    """A network whose answer is the exact denoiser's, as Task wants it."""

    def __init__(self, denoiser: Denoiser):
        self.denoiser = denoiser

    def prepare(self, tokens: object, device: object = None) -> Exact:
        return self

    def expand(self, rows: int) -> Exact:
        return self

    def __call__(self, x: Tensor, t: Tensor, context: object) -> Tensor:
        sigma = torch.tan(t * math.pi / 2)[:, None, None]
        data = x * (1 + sigma**2).sqrt()
        return (data / (1 + sigma**2) - self.denoiser(data, sigma)) * (1 + sigma**2).sqrt() / sigma


def pulse(x: Tensor, sigma: Tensor) -> Tensor:
    """Of cos(2 pi t / 41 + phase) + 0.3 white noise, the phase uniform: the posterior mean over 48 phases."""
    t, phases = torch.arange(x.shape[-1]), torch.arange(PHASES) * (2 * math.pi / PHASES)
    means = torch.cos(2 * math.pi * t / PERIOD + phases[:, None])  # (P, L)
    variance = NOISE**2 + sigma**2
    weights = ((x @ means.T - means.square().sum(dim=-1) / 2) / variance).softmax(dim=-1)  # (B, 1, P)
    mean = weights @ means
    return mean + NOISE**2 / variance * (x - mean)


def texture(correlation: Callable[[Tensor], Tensor], length: int) -> Denoiser:
    """Of stationary Gaussian noise with these correlations: C (C + sigma^2)^-1 x."""
    lags = (torch.arange(length)[:, None] - torch.arange(length)).abs().float()
    values, vectors = torch.linalg.eigh(correlation(lags).double())
    values, vectors = values.clamp(min=0).float(), vectors.float()
    return lambda x, sigma: ((x @ vectors) * (values / (values + sigma**2))) @ vectors.T


def make(denoiser: Denoiser, latents: int, way: str, kept: int = 118) -> tuple[Tensor, Windows]:
    """Sounds (SAMPLES, 1, latents), and their windows."""
    windows = Windows(latents, TIMING.latents, TIMING.windows(latents, kept))
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(SAMPLES, 1, latents, generator=generator)
    task = Task(noise, windows, Guidance({}, scale=1.0), generator, SCHEDULE, together=way == "together")
    return task.run(Exact(denoiser), device=torch.device("cpu")), windows


def drift(sounds: Tensor) -> float:
    """The median error, in degrees, of the phase at the end seen from the beginning; 90 is chance."""
    t = torch.arange(sounds.shape[-1])
    turned = sounds[:, 0] * torch.exp(-2j * math.pi * t / PERIOD)
    ends = turned[:, :ENDS].sum(dim=-1) * turned[:, -ENDS:].sum(dim=-1).conj()
    return float(ends.angle().abs().median()) * 180 / math.pi


def at_joins(sounds: Tensor, windows: Windows) -> tuple[float, float]:
    """Level and brightness (of differences) in the middle of what windows share, beside everywhere else."""
    joins = torch.zeros(windows.latents, dtype=torch.bool)
    for before, start in zip(windows.starts, windows.starts[1:], strict=False):
        middle = (start + before + windows.length) // 2
        joins[middle - 15 : middle + 15] = True
    steps = torch.nn.functional.pad(sounds.diff(dim=-1), (1, 0))
    return tuple(float(x[..., joins].std() / x[..., ~joins].std()) for x in (sounds, steps))  # type: ignore[return-value]


def measure() -> dict[str, float]:
    """Prints the tables; the pulse's error by way and length."""
    found: dict[str, float] = {}
    print(f"\npulse: error of the phase between the ends, degrees (median of {SAMPLES}, {STEPS} steps; chance is 90)")
    for latents, kept in ((560, 118), (1290, 118), (1290, 177)):
        row = []
        for way in LONG:
            error = drift(make(pulse, latents, way, kept)[0])
            found[f"{way} {latents} {kept}"] = error
            row.append(f"{way} {error:5.1f}")
        print(f"  {TIMING.to_seconds(latents):5.1f} s, {TIMING.to_seconds(kept):.1f} s kept: {'   '.join(row)}")
    print("texture: at joins beside elsewhere (level, brightness)")
    kinds = {
        "0.9^k": lambda k: 0.9**k,
        "0.7 exp(-(k/60)^2) + 0.3 0.5^k": lambda k: 0.7 * torch.exp(-((k / 60) ** 2)) + 0.3 * 0.5**k,
        "0.6 0.995^k cos(2 pi k/7.3) + 0.4 0.8^k": lambda k: (
            0.6 * 0.995**k * torch.cos(2 * math.pi * k / 7.3) + 0.4 * 0.8**k
        ),
    }
    for name, correlation in kinds.items():
        row = []
        for way in LONG:
            level, bright = at_joins(*make(texture(correlation, TIMING.latents), 560, way))
            found[f"{way} {name}"] = level
            row.append(f"{way} {level:.3f} {bright:.3f}")
        print(f"  {name:40} {'   '.join(row)}")
    return found


def heard(way: str, *, loop: bool = False) -> dict[str, float]:
    """The demo model's sound at joins beside elsewhere: flux of log bands, level, energy above 8 kHz."""
    pipe = load_pipeline("demo", device="cpu")
    given = {"seconds": 24.0, "steps": 6, "long": way, "loop": loop, "normalize": "off"}
    sound = pipe("a steady drum beat", **given)
    waveform = torch.cat([sound.waveform, sound.waveform[:, :44100]], dim=-1) if loop else sound.waveform
    spectrum = torch.stft(waveform.mean(0), 2048, 512, window=torch.hann_window(2048), return_complex=True).abs()
    bands = torch.log(torch.stack([part.square().sum(0) for part in spectrum.chunk(40)]) + 1e-9)  # (40, T)
    measures = {
        "flux": bands.diff(dim=-1).square().mean(0).sqrt(),
        "level": spectrum.square().sum(0).sqrt()[1:],
        "above 8 kHz": spectrum[372:].square().sum(0).sqrt()[1:],
    }
    if loop:
        places = [sound.seconds]
    else:
        latents = TIMING.to_latents(24.0)
        starts = TIMING.windows(latents)
        places = [TIMING.to_seconds(start + TIMING.latents) for start in starts[:-1]]
        places += [TIMING.to_seconds(start) for start in starts[1:]]
    near = torch.zeros(bands.shape[-1] - 1, dtype=torch.bool)
    for place in places:
        middle = round(place * 44100 / 512)
        near[middle - 12 : middle + 12] = True
    return {name: float(x[near].mean() / x[~near].mean()) for name, x in measures.items()}


def measure_sound() -> dict[str, float]:
    """Prints what is heard where windows and loops join, beside elsewhere (1 is no difference)."""
    found = {}
    print("demo model, 24 s: at joins beside elsewhere")
    for name, way, loop in (
        ("continue", "continue", False),
        ("together", "together", False),
        ("loop, continue", "continue", True),
        ("loop, together", "together", True),
    ):
        row = heard(way, loop=loop)
        found |= {f"{name} {measure}": value for measure, value in row.items()}
        print(f"  {name:16} " + "   ".join(f"{measure} {value:.3f}" for measure, value in row.items()))
    return found


def test_the_end_of_a_long_sound_knows_of_its_beginning() -> None:
    found = measure()
    assert found["continue 1290 118"] <= MOST_DEGREES
    assert found["continue 1290 177"] <= MOST_DEGREES
    assert found["together 1290 118"] > 60  # what the option costs
    assert all(0.8 < value < 1.1 for name, value in found.items() if "^k" in name)


def test_joins_sound_like_other_places() -> None:
    assert all(0.7 < value < 1.4 for value in measure_sound().values())


if __name__ == "__main__":
    measure()
    measure_sound()
