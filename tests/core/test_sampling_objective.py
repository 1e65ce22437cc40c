"""The one door to objectives: who can run what, and settings that are refused before anything is made."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.overrides import TorchFunctionMode

from audiox_core.errors import AudioXError, InputError
from audiox_core.sampling import MAX_STEPS, OBJECTIVES, SAMPLERS, find_objective, sample, sampler
from tests.examples import examples

V, FLOW = OBJECTIVES["v"], OBJECTIVES["rectified_flow"]
SETTINGS = {"steps": 250, "sampler": None, "sigma_min": 0.3, "sigma_max": 500.0, "rho": 1.0}


class NoTensors(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise AssertionError(f"a check called {func}")


def test_every_sampler_runs_one_objective() -> None:
    names = [name for objective in OBJECTIVES.values() for name in objective.samplers]
    assert sorted(names) == sorted(SAMPLERS)
    assert len(V.samplers) == 8
    assert FLOW.samplers == ("rectified-flow", "dmd")
    assert [o.default_sampler for o in (V, FLOW)] == ["dpmpp-3m-sde", "rectified-flow"]
    assert all(name == objective.name for name, objective in OBJECTIVES.items())


def test_objectives_are_found_by_name() -> None:
    assert find_objective("rectified_flow") is FLOW
    assert find_objective(V) is V
    with pytest.raises(InputError, match=r"Unknown objective 'rectified-flow'.*Did you mean 'rectified_flow'"):
        find_objective("rectified-flow")
    with pytest.raises(InputError, match="Unknown objective None"):
        find_objective(None)


def test_unknown_samplers_offer_the_nearest_that_can_run() -> None:
    with pytest.raises(InputError, match=r"'dpmpp_3m_sde'.*Did you mean 'dpmpp-3m-sde'.*k-heun") as error:
        sampler("dpmpp_3m_sde")
    assert "rectified-flow" not in str(error.value)
    assert "dmd" not in str(error.value)
    with pytest.raises(InputError, match=r"'dmd2'.*Did you mean 'dmd'.*Valid: rectified-flow, dmd\.$"):
        sampler("dmd2", "rectified_flow")
    assert sampler("k-heun") is SAMPLERS["k-heun"]
    assert sampler("dmd", FLOW) is SAMPLERS["dmd"]


@pytest.mark.parametrize("name", FLOW.samplers)
def test_samplers_of_flows_are_refused_for_v_models(name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}' cannot.*predicts v: take 'dpmpp-3m-sde'.*Valid: .*k-lms") as error:
        sample(torch.add, torch.zeros(1, 2, 3), steps=4, sampler=name)
    assert name not in str(error.value).split("Valid:")[1]


@pytest.mark.parametrize("name", V.samplers)
def test_samplers_of_v_models_are_refused_for_flows(name: str) -> None:
    with pytest.raises(InputError, match=rf"'{name}'.*a rectified flow: take 'rectified-flow'.*Valid: .*, dmd\.$"):
        FLOW.check(**{**SETTINGS, "sampler": name})


def test_names_are_text_of_any_length() -> None:
    for name in (3, True, b"k-heun", ["k-heun"], float("nan"), 10**5000):
        with pytest.raises(InputError, match=r"sampler must be a name, got .*Valid: dpmpp-3m-sde"):
            V.choose(name)
        with pytest.raises(InputError, match=r"Unknown objective .*Valid: v, rectified_flow"):
            find_objective(name)
    for ask in (V.choose, find_objective):
        with pytest.raises(InputError, match=r"\.\.\..*Valid: ") as error:
            ask("k-heun" * 5000)
        assert len(str(error.value)) < 300


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_denoised_is_linear_in_the_velocity(objective: Any) -> None:
    x, sigma = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)), torch.tensor([0.2, 0.9])
    seen = []
    denoised = objective.denoiser(lambda x, t: seen.append(x.sin()) or seen[-1])(x, sigma)
    origin, factor = objective.parts(x, sigma)
    torch.testing.assert_close(origin - factor * seen[0], denoised)


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_checks_pass_what_runs_and_make_no_tensors(objective: Any) -> None:
    with NoTensors():
        for name in (None, *objective.samplers):
            objective.check(**{**SETTINGS, "sampler": name})
        objective.check(steps=1, sigma_min=1, sigma_max=2)
        objective.check(steps=np.int64(MAX_STEPS), sigma_min=np.float32(1e-5), sigma_max=Fraction(1, 3), rho=0.01)
        with pytest.raises(InputError):
            objective.check(**{**SETTINGS, "steps": 0})


WRONG = [None, True, "3", "", "nan", [3], 1j, math.nan, math.inf, -math.inf, 10**400, -(10**5000), torch.tensor(3.0)]


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_wrong_steps(objective: Any) -> None:
    for value in (*WRONG, 0, -3, 2.5, 4.0, MAX_STEPS + 1):
        with pytest.raises(InputError, match=r"^steps must be a whole number from 1 to 10000, got .{1,60}: .*250"):
            objective.check(**{**SETTINGS, "steps": value})


WRONG_LEVELS = {
    "sigma_min": [*WRONG, 0, -0.3, 1e-46, 9e-7, 1e7],
    "sigma_max": [*WRONG, 0, -500.0, 0.3, 0.1, 0.30001, 1e20, 1e39, 2e6],
    "rho": [*WRONG, 0, -1.0, 1e-300, 0.001, 101, 1e10],
}


@pytest.mark.parametrize("name", WRONG_LEVELS)
def test_wrong_levels(name: str) -> None:
    for value in WRONG_LEVELS[name]:
        with pytest.raises(InputError, match=rf"^{name} must .*got .*: "):
            V.check(**{**SETTINGS, name: value})


@pytest.mark.parametrize("name", ["sigma_min", "sigma_max", "rho"])
def test_wrong_levels_of_a_flow(name: str) -> None:
    for value in WRONG[:10]:
        with pytest.raises(InputError, match=rf"^{name} must be a number.*got .*rectified flow"):
            FLOW.check(**{**SETTINGS, name: value})
    with pytest.raises(InputError, match=r"^sigma_max must be a number from 1e-06.*got 0: 1 starts"):
        FLOW.check(**{**SETTINGS, "sigma_max": 0})


@pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=list(OBJECTIVES))
def test_sample_checks_the_same_before_it_calls_the_network(objective: Any) -> None:
    def never(x: Tensor, t: Tensor) -> Tensor:
        raise AssertionError

    for wrong in ({"steps": 2.5}, {"steps": MAX_STEPS + 1}, {"sigma_max": "500"}, {"rho": math.nan}, {"sampler": "x"}):
        wanted = {**SETTINGS, **wrong}
        with pytest.raises(InputError) as ours:
            sample(never, torch.zeros(1, 2, 3), objective=objective, **wanted)
        with pytest.raises(InputError) as checked:
            objective.check(**wanted)
        assert str(ours.value) == str(checked.value)


anything = st.one_of(
    st.none(),
    st.booleans(),
    st.text(max_size=9),
    st.integers(),
    st.floats(),
    st.binary(max_size=3),
    st.complex_numbers(),
)
sometimes_right = st.one_of(anything, st.floats(1e-6, 1e6), st.integers(1, 12))


@examples(100)
@given(
    objective=st.sampled_from(list(OBJECTIVES.values())),
    asked=st.fixed_dictionaries(
        {
            "steps": st.one_of(anything, st.integers(1, 12)),
            "sampler": st.one_of(anything, st.sampled_from(list(SAMPLERS))),
            "sigma_min": sometimes_right,
            "sigma_max": sometimes_right,
            "rho": sometimes_right,
        }
    ),
)
def test_whatever_is_asked_it_runs_or_the_check_says_why(objective: Any, asked: dict[str, Any]) -> None:
    try:
        objective.check(**asked)
    except InputError as error:
        assert len(str(error)) < 400
        return
    if asked["steps"] <= 12:
        finite_or_explained(objective, asked)


@examples(100)
@given(
    name=st.sampled_from(V.samplers),
    steps=st.integers(1, 40),
    low=st.floats(-6, 6),
    span=st.floats(0.001, 12),
    rho=st.floats(-2, 2),
)
def test_the_whole_range_runs_or_is_explained(name: str, steps: int, low: float, span: float, rho: float) -> None:
    asked = {
        "steps": steps,
        "sampler": name,
        "sigma_min": 10**low,
        "sigma_max": min(10 ** (low + span), 1e6),
        "rho": 10**rho,
    }
    try:
        V.check(**asked)
    except InputError:
        return
    finite_or_explained(V, asked)


def finite_or_explained(objective: Any, asked: dict[str, Any]) -> None:
    try:
        latents = sample(
            lambda x, t: x.tanh() * (1 - t.reshape(-1, 1, 1)),
            torch.randn(1, 2, 4, generator=torch.Generator().manual_seed(0)),
            objective=objective,
            generator=torch.Generator().manual_seed(0),
            **asked,
        )
    except AudioXError as error:
        assert "choose" in str(error)
    else:
        assert latents.isfinite().all()
