"""Schedules, objectives and noise sources."""

import math
import sys

import pytest
import torch
import torchsde

from audiox_core.errors import AudioXError, InputError
from audiox_core.sampling import (
    BrownianNoise,
    FlowDenoiser,
    GaussianNoise,
    VDenoiser,
    draw_entropy,
    get_sigmas_polyexponential,
    get_times_linear,
    randn_like_from,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_sigmas_are_a_geometric_series_then_zero() -> None:
    sigmas = get_sigmas_polyexponential(5, 0.5, 8.0)
    torch.testing.assert_close(sigmas, torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5, 0.0]))
    assert sigmas.dtype == torch.float32


def test_rho_bends_the_series() -> None:
    sigmas = get_sigmas_polyexponential(3, 0.5, 8.0, rho=2.0)
    torch.testing.assert_close(sigmas, torch.tensor([8.0, 1.0, 0.5, 0.0]))


def test_one_step_starts_at_the_top() -> None:
    torch.testing.assert_close(get_sigmas_polyexponential(1, 0.3, 500.0), torch.tensor([500.0, 0.0]))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ((0, 0.3, 500.0), "steps"),
        ((-3, 0.3, 500.0), "steps"),
        ((8, 0.0, 500.0), "sigma_min"),
        ((8, -1.0, 500.0), "sigma_min"),
        ((8, math.nan, 500.0), "sigma_min"),
        ((8, 0.3, 0.3), "sigma_max"),
        ((8, 0.3, 0.1), "sigma_max"),
        ((8, 0.3, math.inf), "sigma_max"),
        ((8, 0.3, 500.0, 0.0), "rho"),
    ],
)
def test_sigmas_out_of_range(arguments: tuple, named: str) -> None:
    with pytest.raises(InputError, match=f"^{named} must"):
        get_sigmas_polyexponential(*arguments)


def test_times_fall_evenly_and_never_start_above_one() -> None:
    torch.testing.assert_close(get_times_linear(4), torch.tensor([1.0, 0.75, 0.5, 0.25, 0.0]))
    torch.testing.assert_close(get_times_linear(2, 0.6), torch.tensor([0.6, 0.3, 0.0]))
    assert torch.equal(get_times_linear(4, 500.0), get_times_linear(4))


@pytest.mark.parametrize(
    ("n", "t_max", "named"), [(0, 1.0, "steps"), (4, 0.0, "sigma_max"), (4, math.nan, "sigma_max")]
)
def test_times_out_of_range(n: int, t_max: float, named: str) -> None:
    with pytest.raises(InputError, match=f"^{named} must"):
        get_times_linear(n, t_max)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 1.0, 80.0])
def test_v_denoiser_undoes_the_mixing(sigma: float) -> None:
    data, noise = torch.randn(2, 2, 3, 4, generator=seeded())
    angle = math.atan(sigma)

    def velocity(z: torch.Tensor, t: torch.Tensor, *, sign: int) -> torch.Tensor:
        torch.testing.assert_close(z, math.cos(angle) * data + math.sin(angle) * noise, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(t, torch.full((2,), 2 * angle / math.pi))
        return sign * (math.cos(angle) * noise - math.sin(angle) * data)

    denoised = VDenoiser(velocity)(data + sigma * noise, torch.full((2,), sigma), sign=1)
    torch.testing.assert_close(denoised, data, rtol=1e-4, atol=1e-5)


def test_denoisers_take_a_level_for_each_item() -> None:
    x, sigma = torch.randn(2, 3, 4, generator=seeded()), torch.tensor([0.2, 0.9])
    for denoiser in (VDenoiser(lambda x, t: x.tanh()), FlowDenoiser(lambda x, t: x.tanh())):
        alone = torch.cat([denoiser(x[i : i + 1], sigma[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(denoiser(x, sigma), alone)


def test_flow_denoiser_undoes_the_mixing() -> None:
    data, noise = torch.randn(2, 2, 3, 4, generator=seeded())
    denoised = FlowDenoiser(lambda x, t: noise - data)(0.3 * data + 0.7 * noise, torch.full((2,), 0.7))
    torch.testing.assert_close(denoised, data)


def test_brownian_noise_is_minus_the_forward_increment() -> None:
    x = torch.zeros(2, 3, 4)
    noise = BrownianNoise(x, 0.3, 80.0, entropy=7)
    tree = torchsde.BrownianTree(t0=0.3, w0=torch.zeros(2, 3, 4), t1=80.0, entropy=7)
    forward = tree(2.0, 10.0) / math.sqrt(8)
    torch.testing.assert_close(noise(10.0, 2.0), -forward)
    torch.testing.assert_close(noise(2.0, 10.0), forward)


def test_brownian_noise_of_parts_adds_up() -> None:
    noise = BrownianNoise(torch.zeros(1, 2, 3), 0.3, 80.0, entropy=7)
    parts = noise(80.0, 10.0) * math.sqrt(70) + noise(10.0, 2.0) * math.sqrt(8)
    torch.testing.assert_close(noise(80.0, 2.0) * math.sqrt(78), parts)


@pytest.mark.filterwarnings("error")
def test_brownian_noise_at_its_ends_in_float32() -> None:
    levels = get_sigmas_polyexponential(3, 0.3, 500.0).tolist()  # 500.00006 .. 0.29999998
    noise = BrownianNoise(torch.zeros(4, 16, 16), levels[2], levels[0], entropy=0)
    for sigma, sigma_next in [(levels[0], levels[1]), (levels[1], levels[2])]:
        assert noise(sigma, sigma_next).std().item() == pytest.approx(1.0, rel=0.1)


def test_brownian_noise_takes_the_kind_of_its_latents() -> None:
    noise = BrownianNoise(torch.zeros(1, 2, 3, dtype=torch.float64), 0.3, 80.0, entropy=0)
    assert noise(80.0, 1.0).dtype == torch.float64


def test_brownian_noise_needs_a_seed_from_zero_up() -> None:
    with pytest.raises(InputError, match="-1"):
        BrownianNoise(torch.zeros(1, 2, 3), 0.3, 80.0, entropy=-1)


def test_without_torchsde_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchsde", None)
    with pytest.raises(AudioXError, match="pip install torchsde"):
        BrownianNoise(torch.zeros(1, 2, 3), 0.3, 80.0, entropy=0)


def test_draws_come_from_the_generator_alone() -> None:
    x = torch.zeros(2, 3, 4)
    state = torch.get_rng_state()
    expected = torch.randn(2, 3, 4, generator=seeded(5))
    assert torch.equal(GaussianNoise(x, seeded(5))(3.0, 1.0), expected)
    assert torch.equal(randn_like_from(seeded(5))(x), expected)
    assert draw_entropy(seeded(42)) == 6909045637428952499  # what torch's global generator gives after this seed
    BrownianNoise(x, 0.3, 80.0, entropy=0)(80.0, 1.0)
    assert torch.equal(torch.get_rng_state(), state)
