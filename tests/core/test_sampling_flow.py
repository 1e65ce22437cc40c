"""Rectified flows: Euler's method and DMD, on data that is normal with standard deviation S."""

import itertools
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError, SamplingError
from audiox_core.sampling import (
    OBJECTIVES,
    SAMPLERS,
    FlowDenoiser,
    GaussianNoise,
    get_times_linear,
    sample,
)

S = 0.7
FLOW = OBJECTIVES["rectified_flow"]
SHAPE = (2, 3, 5)


def exact(x: Tensor, t: Tensor) -> Tensor:
    """The exact velocity of the rectified flow: mean of noise - data."""
    t = t.reshape(-1, 1, 1)
    return x * (t - (1 - t) * S**2) / ((1 - t) ** 2 * S**2 + t**2)


def curved(x: Tensor, t: Tensor, **extra: object) -> Tensor:
    """Any velocity that depends on both."""
    return torch.tanh(x.roll(1, -1) * 2 - t.reshape(-1, 1, 1)) + 0.3 * x.roll(1, 1)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed))


def run(velocity: Callable[..., Tensor] = curved, noise: Tensor | None = None, **options: object) -> Tensor:
    given = {"objective": "rectified_flow", "steps": 4, "generator": seeded(), **options}
    return sample(velocity, normal(*SHAPE) if noise is None else noise, **given)


def test_euler_gives_the_deviation_of_the_data() -> None:
    latents = run(exact, normal(4, 64, 64), steps=100)
    assert latents.std().item() == pytest.approx(S, rel=0.03)
    assert latents.dtype == torch.float32


@pytest.mark.parametrize("steps", [1, 2, 6])
def test_euler_is_the_naive_loop(steps: int) -> None:
    z = normal(*SHAPE)
    for t, t_next in itertools.pairwise(torch.linspace(1, 0, steps + 1)):
        z = z + (t_next - t) * curved(z, t.expand(2))
    torch.testing.assert_close(run(steps=steps, sampler="rectified-flow"), z)
    assert torch.equal(run(steps=steps), run(steps=steps, sampler="rectified-flow", generator=None))


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
def test_dmd_is_the_naive_loop(steps: int) -> None:
    """As the authors write it, on one generator: the initial noise, then what each step but the first adds."""
    generator = seeded(5040)
    z, seen = torch.randn(SHAPE, generator=generator), []
    for i in range(steps):
        t, t_next = 1 - i / steps, 1 - (i + 1) / steps
        seen.append(t)
        clean = z - t * curved(z, torch.full((2,), t))
        z = clean
        if i < steps - 1:
            z = t_next * torch.randn(SHAPE, generator=generator) + (1 - t_next) * clean

    times, draws = [], seeded(5040)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        times.append(t[0].item())
        return curved(x, t)

    ours = run(velocity, torch.randn(SHAPE, generator=draws), steps=steps, sampler="dmd", generator=draws)
    torch.testing.assert_close(ours, z)
    assert times == pytest.approx(seen)
    assert torch.equal(torch.rand(3, generator=draws), torch.rand(3, generator=generator))  # nothing else was drawn


def test_dmd_passes_through_the_mixed_latents() -> None:
    """Closed form: for data that is always c, each step's x is t noise + (1 - t) c, and the answer is c."""
    c, told = torch.full(SHAPE, 0.4), []
    draws = [normal(*SHAPE, seed=seed) for seed in range(4)]
    rest = iter(draws[1:])
    latents = SAMPLERS["dmd"](
        FlowDenoiser(lambda x, t: (x - c) / t.reshape(-1, 1, 1)),
        draws[0],
        get_times_linear(4),
        callback=told.append,
        noise_sampler=lambda t, t_next: next(rest),
    )
    torch.testing.assert_close(latents, c)
    for info, noise, t in zip(told, draws, (1.0, 0.75, 0.5, 0.25), strict=True):
        assert info["sigma"] == t
        torch.testing.assert_close(info["x"], t * noise + (1 - t) * c)
        torch.testing.assert_close(info["denoised"], c)


def test_dmd_in_a_host_draws_from_its_seed_and_may_stop_above_zero() -> None:
    model, x, times = FlowDenoiser(curved), normal(*SHAPE, seed=3), torch.tensor([1.0, 0.5, 0.25])
    drawn = GaussianNoise(x, seeded(4))  # one more than the host's seed, from which x was drawn
    expected = SAMPLERS["dmd"](model, x, times, noise_sampler=drawn)
    assert torch.equal(SAMPLERS["dmd"](model, x, times, {"seed": 3}), expected)
    further = SAMPLERS["dmd"](model, expected, torch.tensor([0.25, 0.0]), {"seed": 9})
    torch.testing.assert_close(further, model(expected, torch.full((2,), 0.25)))


def test_dmd_without_a_source_of_noise_is_an_error() -> None:
    with pytest.raises(InputError, match=r"dmd needs noise.*seed"):
        SAMPLERS["dmd"](FlowDenoiser(curved), normal(*SHAPE), get_times_linear(4))
    with pytest.raises(InputError, match=r"'dmd' needs noise.*generator"):
        run(sampler="dmd", generator=None)


@pytest.mark.parametrize("name", FLOW.samplers)
def test_a_variation_starts_between_source_and_noise(name: str) -> None:
    noise, source, told = normal(*SHAPE), normal(1, 3, 5, seed=1), []
    run(noise=noise, sampler=name, sigma_max=0.4, init=source, callback=lambda info: told.append(info["x"].clone()))
    torch.testing.assert_close(told[0], source * 0.6 + noise * 0.4)
    assert len(told) == 4


@pytest.mark.parametrize("name", FLOW.samplers)
def test_sigmas_of_the_other_objective_may_stay_in_place(name: str) -> None:
    plain = run(sampler=name)
    assert torch.equal(run(sampler=name, sigma_min=0.3, sigma_max=500.0, rho=7.0), plain)
    assert torch.equal(run(sampler=name, sigma_min=0.0, sigma_max=1), plain)


@pytest.mark.parametrize("name", FLOW.samplers)
def test_a_callback_that_overwrites_x_leaves_the_noise_alone(name: str) -> None:
    noise = normal(*SHAPE)
    run(noise=noise, sampler=name, callback=lambda info: info["x"].zero_())
    assert torch.equal(noise, normal(*SHAPE))


@pytest.mark.parametrize("name", FLOW.samplers)
def test_a_broken_flow_network_is_an_error(name: str) -> None:
    with pytest.raises(SamplingError, match=rf"sampling with {name}.*float32"):
        run(lambda x, t: x * float("nan"), sampler=name)
