"""The samplers on a problem with a known answer: data that is normal with standard deviation S."""

import math

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError, SamplingError
from audiox_core.sampling import (
    OBJECTIVES,
    SAMPLERS,
    BrownianNoise,
    GaussianNoise,
    get_sigmas_polyexponential,
    sample,
)

S = 0.7
V_SAMPLERS = OBJECTIVES["v"].samplers
STOCHASTIC = ["dpmpp-3m-sde", "dpmpp-2m-sde", "k-dpmpp-2s-ancestral"]
END_NOISY = ["k-dpm-fast", "k-dpm-adaptive"]


def model(x: Tensor, sigma: Tensor, **extra: object) -> Tensor:
    """The exact denoised latents."""
    return x * (S**2 / (S**2 + sigma.to(x.dtype) ** 2)).reshape(-1, 1, 1)


def velocity(x: Tensor, t: Tensor) -> Tensor:
    """The exact v-prediction."""
    a = (t * math.pi / 2).reshape(-1, 1, 1)
    return x * a.cos() * a.sin() * (1 - S**2) / (a.cos() ** 2 * S**2 + a.sin() ** 2)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def recipe(name: str, steps: int = 6) -> dict:
    return {"steps": steps, "sigma_min": 0.3, "sigma_max": 80.0, "sampler": name, "generator": seeded()}


class Counted:
    """A model that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, x: Tensor, sigma: Tensor, **extra: object) -> Tensor:
        assert sigma.shape == x.shape[:1]
        self.calls += 1
        return model(x, sigma)


@pytest.mark.parametrize("name", SAMPLERS)
def test_one_signature_and_no_global_rng(name: str) -> None:
    x, sigmas = normal(2, 3, 5) * 80, get_sigmas_polyexponential(6, 0.3, 80.0)
    told = []
    state = torch.get_rng_state()
    given = {"seed": 5, "model_options": {}}
    first = SAMPLERS[name](model, x.clone(), sigmas, extra_args=given, callback=told.append, disable=True)
    again = SAMPLERS[name](model, x.clone(), sigmas, given, None, None)
    assert torch.equal(first, again)
    assert first.shape == x.shape
    assert torch.equal(torch.get_rng_state(), state)
    assert given == {"seed": 5, "model_options": {}}
    assert [info["i"] for info in told] == list(range(len(told)))
    assert told[0]["sigma"] == pytest.approx(80.0)
    assert all({"x", "i", "sigma", "sigma_hat", "denoised"} <= info.keys() for info in told)


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_number_of_calls(name: str, steps: int) -> None:
    counted = Counted()
    sigmas = get_sigmas_polyexponential(steps, 0.3, 80.0)
    options = {"sigma_min": 0.3} if name in END_NOISY else {}
    SAMPLERS[name](counted, normal(1, 2, 3) * 80, sigmas, {"seed": 0}, **options)
    twice = name in ("k-heun", "k-dpm-2", "k-dpmpp-2s-ancestral")
    if name != "k-dpm-adaptive":
        assert counted.calls == (2 * steps - 1 if twice else steps)
    else:
        assert counted.calls > 8


@pytest.mark.parametrize(
    ("name", "order"),
    [
        ("dpmpp-3m-sde", 2),  # the recipe's halved third term
        ("dpmpp-2m-sde", 2),
        ("k-heun", 2),
        ("k-dpm-2", 2),
        ("k-lms", 3),  # the fourth order's start is a lower order
        ("k-dpmpp-2s-ancestral", 2),
        ("k-dpm-fast", 3),
        ("rectified-flow", 1),
    ],
)
def test_order_of_convergence(name: str, order: int) -> None:
    x = normal(1, 4, 8, dtype=torch.float64) * 10
    exact = x * math.sqrt((S**2 + 0.1**2) / (S**2 + 10**2))
    options = {"eta": 0.0} if name in STOCHASTIC else {}

    def error(steps: int) -> float:
        sigmas = torch.logspace(1, -1, steps + 1, dtype=torch.float64)
        return ((SAMPLERS[name](model, x, sigmas, **options) - exact).abs().max() / exact.abs().max()).item()

    coarse, fine = error(23), error(47)
    assert fine < 0.03
    assert order - 0.3 < math.log2(coarse / fine) < order + 0.8


def test_adaptive_steps_follow_the_tolerance() -> None:
    x, sigmas = normal(1, 4, 8) * 10, torch.tensor([10.0, 0.1, 0.0])
    exact = x * math.sqrt((S**2 + 0.1**2) / (S**2 + 10**2))
    errors, calls = [], []
    for tolerance in (0.05, 0.001):
        counted = Counted()
        y = SAMPLERS["k-dpm-adaptive"](counted, x, sigmas, rtol=tolerance, atol=tolerance)
        errors.append((y - exact).abs().max().item())
        calls.append(counted.calls)
    assert errors[1] < errors[0] / 10
    assert calls[1] > calls[0]


@pytest.mark.parametrize("name", V_SAMPLERS)
def test_samples_have_the_deviation_of_the_data(name: str) -> None:
    latents = sample(velocity, normal(4, 64, 64), **recipe(name, steps=40))
    if name in END_NOISY:
        expected = math.hypot(S, 0.3)  # noise of sigma_min stays
    elif name == "k-lms":
        expected = S  # its last step is of high order
    else:
        expected = S**2 / math.hypot(S, 0.3)  # the last step takes the mean of the data, given noise of sigma_min
    assert latents.std().item() == pytest.approx(expected, rel=0.04)
    assert latents.dtype == torch.float32


@pytest.mark.parametrize("name", V_SAMPLERS)
def test_a_seed_means_the_same_again_and_another_doesnt(name: str) -> None:
    noise = normal(2, 3, 5)
    state = torch.get_rng_state()
    first, again = (sample(velocity, noise, **recipe(name)) for _ in range(2))
    other = sample(velocity, noise, **{**recipe(name), "generator": seeded(1)})
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name not in STOCHASTIC)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", V_SAMPLERS)
def test_one_step(name: str) -> None:
    noise = normal(2, 3, 5)
    latents = sample(velocity, noise, **recipe(name, steps=1))
    if name not in END_NOISY:
        torch.testing.assert_close(latents, model(noise * 80, torch.full((2,), 80.0)), rtol=1e-4, atol=1e-4)
    assert latents.abs().max() < 10


# The noise of the stochastic ones and the step size of k-dpm-adaptive belong to the whole batch.
@pytest.mark.parametrize("name", ["k-heun", "k-dpm-2", "k-lms", "k-dpm-fast", "rectified-flow"])
def test_items_of_a_batch_dont_mix(name: str) -> None:
    noise = normal(3, 2, 4)
    sigmas = get_sigmas_polyexponential(5, 0.3, 80.0)
    together = SAMPLERS[name](model, noise * 80, sigmas)
    alone = SAMPLERS[name](model, noise[1:2] * 80, sigmas)
    torch.testing.assert_close(together[1:2], alone)


@pytest.mark.parametrize("name", ["dpmpp-3m-sde", "dpmpp-2m-sde"])
def test_brownian_noise_without_sampler_comes_from_the_hosts_seed(name: str) -> None:
    x, sigmas = normal(1, 2, 3) * 80, get_sigmas_polyexponential(4, 0.3, 80.0)
    levels = sigmas.tolist()
    given = BrownianNoise(x, levels[-2], levels[0], entropy=9)
    expected = SAMPLERS[name](model, x, sigmas, noise_sampler=given)
    assert torch.equal(SAMPLERS[name](model, x, sigmas, extra_args={"seed": 9}), expected)


def test_ancestral_noise_from_the_hosts_seed_is_not_the_initial_noise_again() -> None:
    drawn = []

    class Spy(GaussianNoise):
        def __call__(self, sigma: float, sigma_next: float) -> Tensor:
            drawn.append(super().__call__(sigma, sigma_next))
            return drawn[-1]

    x, sigmas = normal(1, 8, 64, seed=3) * 80, get_sigmas_polyexponential(4, 0.3, 80.0)
    spied = SAMPLERS["k-dpmpp-2s-ancestral"](model, x, sigmas, noise_sampler=Spy(x, seeded(4)))
    assert len(drawn) == 3  # none for the last step
    assert torch.equal(SAMPLERS["k-dpmpp-2s-ancestral"](model, x, sigmas, {"seed": 3}), spied)
    assert torch.corrcoef(torch.stack([drawn[0].flatten(), x.flatten()]))[0, 1].abs() < 0.2


@pytest.mark.parametrize("name", STOCHASTIC)
@pytest.mark.parametrize("extra_args", [None, {}, {"seed": None}])
def test_no_source_of_noise_is_an_error(name: str, extra_args: dict | None) -> None:
    sigmas = get_sigmas_polyexponential(4, 0.3, 80.0)
    with pytest.raises(InputError, match=rf"{name} needs noise.*seed"):
        SAMPLERS[name](model, normal(1, 2, 3), sigmas, extra_args)
    with pytest.raises(InputError, match=rf"{name}.*generator"):
        sample(velocity, normal(1, 2, 3), **{**recipe(name), "generator": None})


@pytest.mark.parametrize("name", END_NOISY)
def test_a_level_to_end_at_is_needed(name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} needs a sigma.*2 steps or more"):
        SAMPLERS[name](model, normal(1, 2, 3), torch.tensor([80.0, 0.0]))
    with pytest.raises(InputError, match="sigma_min"):
        SAMPLERS[name](model, normal(1, 2, 3), torch.tensor([80.0, 1.0, 0.0]), sigma_min=80.0)


def test_variation_starts_at_the_source() -> None:
    noise, source = normal(2, 3, 5), normal(1, 3, 5, seed=1)
    told = []
    sample(velocity, noise, init=source, callback=told.append, **{**recipe("k-heun"), "sigma_max": 2.0})
    torch.testing.assert_close(told[0]["x"], source + noise * 2.0)


@pytest.mark.parametrize("shape", [(1, 3, 6), (3, 3, 5), (1, 2, 5)])
def test_source_must_fit_the_noise(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"init latents.*\(2, 3, 5\)"):
        sample(velocity, normal(2, 3, 5), init=normal(*shape), **recipe("k-heun"))


@pytest.mark.parametrize("name", V_SAMPLERS)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_broken_network_is_an_error(name: str, bad: float) -> None:
    with pytest.raises(SamplingError, match="float32"):
        sample(lambda x, t: x * bad, normal(1, 2, 3), **recipe(name))


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_callback_can_stop_a_run(name: str) -> None:
    class Cancelled(BaseException):
        pass

    def stop(info: dict) -> None:
        if info["i"] == 1:
            raise Cancelled

    with pytest.raises(Cancelled):
        SAMPLERS[name](model, normal(1, 2, 3) * 80, get_sigmas_polyexponential(9, 0.3, 80.0), {"seed": 0}, stop)


@pytest.mark.parametrize("name", V_SAMPLERS)
def test_arithmetic_stays_float32_around_a_half_network(name: str) -> None:
    noise = normal(1, 2, 3).half()
    latents = sample(lambda x, t: velocity(x, t).half(), noise, **recipe(name))
    assert latents.dtype == torch.float32
    exact = sample(velocity, noise, **recipe(name))
    torch.testing.assert_close(latents, exact, rtol=0.02, atol=0.02)


def test_the_network_sees_its_own_arguments() -> None:
    seen = []

    def spy(x: Tensor, t: Tensor, *, cond: str) -> Tensor:
        seen.append((t.shape, cond))
        return velocity(x, t)

    sample(spy, normal(2, 3, 5), extra_args={"cond": "rain"}, **recipe("k-lms", steps=2))
    assert seen == [((2,), "rain")] * 2
