"""Samplers at their limits: crowded noise levels, the largest seeds, gradients, precision, progress."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from audiox_core.sampling import (
    OBJECTIVES,
    SAMPLERS,
    FlowDenoiser,
    VDenoiser,
    draw_entropy,
    generator_from,
    get_sigmas_polyexponential,
    get_times_linear,
    sample,
)
from audiox_core.sampling.noise import brownian_from_seed, gaussian_from_seed

S = 0.7
ALL = [(objective, name) for objective in OBJECTIVES.values() for name in objective.samplers]
IDS = [name for _, name in ALL]
V_SAMPLERS = OBJECTIVES["v"].samplers
LARGEST = 2**64 - 1  # of ComfyUI's seeds


def model(x: Tensor, sigma: Tensor, **extra: object) -> Tensor:
    """The exact denoised latents of data that is normal with standard deviation S."""
    return x * (S**2 / (S**2 + sigma.to(x.dtype) ** 2)).reshape(-1, 1, 1)


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """The exact v-prediction."""
    a = (t * math.pi / 2).reshape(-1, 1, 1)
    return x * a.cos() * a.sin() * (1 - S**2) / (a.cos() ** 2 * S**2 + a.sin() ** 2)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("rho", [2.0, 5.0, 10.0])
@pytest.mark.parametrize("name", ["dpmpp-3m-sde", "dpmpp-2m-sde", "k-lms"])
def test_crowded_levels_give_the_right_answer(name: str, rho: float) -> None:
    """At rho 5 the last of 250 levels are equal in float32; at 2, k-lms would magnify rounding errors 1e10 times."""
    sigmas = get_sigmas_polyexponential(250, 0.3, 500.0, rho)
    assert (sigmas[-2] == sigmas[-3]) == (rho > 2)
    latents = sample(velocity, normal(1, 64, 256), steps=250, sampler=name, rho=rho, generator=seeded())
    expected = S if (name, rho) == ("k-lms", 2.0) else S**2 / math.hypot(S, 0.3)  # is its last step of high order?
    assert latents.std().item() == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("name", V_SAMPLERS)
@pytest.mark.parametrize("steps", [3, 20])
@pytest.mark.parametrize(
    "levels", [{"rho": 100.0}, {"rho": 0.01}, {"sigma_max": 0.3004}, {"sigma_min": 1e-6, "sigma_max": 1e6}]
)
def test_the_ends_of_the_range_run(name: str, steps: int, levels: dict) -> None:
    told = []
    latents = sample(
        velocity, normal(1, 4, 8), steps=steps, sampler=name, generator=seeded(), callback=told.append, **levels
    )
    assert latents.isfinite().all()
    if name not in ("k-dpm-fast", "k-dpm-adaptive"):
        assert len(told) == steps  # a step that leads nowhere is told of, too


@pytest.mark.parametrize("name", V_SAMPLERS[:6])
def test_a_host_may_give_a_level_twice(name: str) -> None:
    x = normal(1, 4, 8) * 80
    options = {"eta": 0.0} if "dpmpp" in name else {}
    twice, once = (
        SAMPLERS[name](model, x, torch.tensor(levels), **options)
        for levels in ([80.0, 80.0, 20.0, 5.0, 5.0, 5.0, 1.0, 0.0], [80.0, 20.0, 5.0, 1.0, 0.0])
    )
    torch.testing.assert_close(twice, once)


def test_the_largest_seeds_give_noise() -> None:
    x = torch.zeros(1, 8, 64)
    sigmas = get_sigmas_polyexponential(4, 0.3, 80.0)
    draws = []
    for seed in (0, LARGEST - 1, LARGEST):
        draws.append(gaussian_from_seed(x, [], {"seed": seed}, "k-dpmpp-2s-ancestral")(3.0, 1.0))
        draws.append(brownian_from_seed(x, sigmas.tolist(), {"seed": seed}, "dpmpp-3m-sde")(3.0, 1.0))
    assert all(draw.std().item() == pytest.approx(1.0, rel=0.15) for draw in draws)
    assert all(not torch.equal(a, b) for a, b in itertools.combinations(draws, 2))


@pytest.mark.parametrize("name", ["dpmpp-3m-sde", "dpmpp-2m-sde", "k-dpmpp-2s-ancestral", "dmd"])
def test_the_largest_seed_of_a_host(name: str) -> None:
    sigmas = get_times_linear(4) if name == "dmd" else get_sigmas_polyexponential(4, 0.3, 80.0)
    x = normal(1, 2, 3) * sigmas[0]
    first, again, other = (SAMPLERS[name](model, x, sigmas, {"seed": s}) for s in (LARGEST, LARGEST, LARGEST - 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("seed", [0, 7, 2**31, 2**32 - 1])
def test_small_seeds_are_torchs_own(seed: int) -> None:
    assert torch.equal(torch.randn(4, generator=generator_from(seed)), normal(4, seed=seed))


@pytest.mark.parametrize("seed", [2**32, 2**32 + 7, 2**40, 2**63 - 1, LARGEST])
def test_large_seeds_are_not_cut_to_32_bits(seed: int) -> None:
    draw = torch.randn(4, generator=generator_from(seed))
    assert not torch.equal(draw, normal(4, seed=seed % 2**32))
    assert torch.equal(draw, torch.randn(4, generator=generator_from(seed)))


def test_drawn_seeds_are_those_of_the_global_generator_over_the_whole_range() -> None:
    ours, theirs = [], []
    for seed in range(40):
        ours.append(draw_entropy(seeded(seed)))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            theirs.append(torch.randint(0, 2**63 - 1, []).item())
    assert ours == theirs
    assert max(ours) > 2**62


@pytest.mark.parametrize(("objective", "name"), ALL, ids=IDS)
def test_no_graph_is_kept(objective: object, name: str) -> None:
    weight = torch.ones(1, requires_grad=True)
    modes = []

    def learning(x: Tensor, t: Tensor, **extra: object) -> Tensor:
        modes.append(torch.is_grad_enabled())
        return velocity(x, t.clamp(max=1)) * weight

    with torch.enable_grad():
        latents = sample(
            learning, normal(1, 2, 3), objective=objective, steps=4, sampler=name, sigma_max=80.0, generator=seeded()
        )
        assert not latents.requires_grad
        sigmas = objective.schedule(4, 0.3, 80.0)
        hosts = SAMPLERS[name](objective.denoiser(learning), normal(1, 2, 3) * sigmas[0], sigmas, {"seed": 0})
        assert not hosts.requires_grad
        assert torch.is_grad_enabled()
    assert modes and not any(modes)


@pytest.mark.parametrize("denoiser", [VDenoiser, FlowDenoiser])
@pytest.mark.parametrize(
    ("given", "answered"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_answers_are_as_precise_as_the_latents(denoiser: type, given: torch.dtype, answered: torch.dtype) -> None:
    for network in (torch.float16, torch.float32, torch.float64):  # what the network answers in
        denoised = denoiser(lambda x, t, to=network: x.tanh().to(to))(
            normal(2, 3, 4).to(given), torch.tensor([0.3, 0.9])
        )
        assert denoised.dtype == (torch.float64 if network == torch.float64 else answered)


@pytest.mark.parametrize(("objective", "name"), ALL, ids=IDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_samples_are_float32_whatever_the_noise_is(objective: object, name: str, dtype: torch.dtype) -> None:
    given = {"objective": objective, "steps": 4, "sampler": name, "sigma_max": 80.0}
    seen = []

    def spy(x: Tensor, t: Tensor) -> Tensor:
        seen.append((x.dtype, t.dtype))
        return velocity(x, t)

    noise = normal(1, 2, 3).to(dtype)
    latents = sample(spy, noise, generator=seeded(), **given)
    assert latents.dtype == torch.float32
    assert set(seen) == {(torch.float32, torch.float32)}
    torch.testing.assert_close(latents, sample(velocity, noise.float(), generator=seeded(), **given))


@pytest.mark.parametrize(("objective", "name"), ALL, ids=IDS)
@pytest.mark.parametrize("steps", [1, 2, 4, 9, 30])
def test_progress_rises_to_one_and_never_beyond(objective: object, name: str, steps: int) -> None:
    told: list[float] = []
    sample(
        velocity,
        normal(1, 4, 8),
        objective=objective,
        steps=steps,
        sampler=name,
        generator=seeded(),
        callback=lambda info: told.append(info["done"]),
    )
    assert told == sorted(told)
    assert told[0] > 0
    assert told[-1] == 1
    if name not in ("k-dpm-fast", "k-dpm-adaptive"):
        assert told == pytest.approx([(i + 1) / steps for i in range(steps)])


def test_progress_of_adaptive_steps_follows_the_noise_level() -> None:
    """Its steps outnumber the 2 that were asked for, so they can't be counted against them."""
    told: list[tuple[float, float]] = []
    sample(
        velocity,
        normal(1, 4, 8),
        steps=2,
        sampler="k-dpm-adaptive",
        callback=lambda info: told.append((info["sigma"], info["done"])),
    )
    assert len(told) > 5
    passed = [math.log(500 / sigma) / math.log(500 / 0.3) for sigma, _ in told]
    for (_, done), before, after in zip(told, passed, [*passed[1:], 1.0], strict=True):
        assert before < done
        assert done >= after - 1e-4
    assert len({done for _, done in told}) > 5
