"""Equal weights of different networks become one tensor; types reach as far as their largest number."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from audiox_core.errors import CheckpointError
from audiox_core.weights.load import SHARED_FROM, cast, share_equal


def network(*weights: torch.Tensor) -> nn.Module:
    module = nn.Module()
    for number, weight in enumerate(weights):
        module.register_parameter(f"w{number}", nn.Parameter(weight.clone(), requires_grad=False))
    return module


def test_large_equal_weights_are_kept_once() -> None:
    large, small = torch.arange(float(SHARED_FROM)), torch.arange(float(SHARED_FROM - 1))
    early, late = large.clone(), large.clone()
    early[0], late[-1] = -1, -1
    one, two = network(large, small, early), network(large, small, late, large.half(), large.view(2, -1))
    assert share_equal([one, two]) == large.nbytes
    assert two.w0 is one.w0 and two.w1 is not one.w1 and two.w2 is not one.w2
    for found, wanted in ((two.w0, large), (two.w2, late), (one.w2, early), (two.w3, large.half())):
        assert torch.equal(found, wanted)
    assert share_equal([one, two]) == 0, "what is one already saves nothing"


def test_equal_weights_of_one_network_stay_two() -> None:
    """It may mean to change one of them."""
    large = torch.arange(float(SHARED_FROM))
    one = network(large, large)
    assert share_equal([one]) == 0 and one.w0 is not one.w1


@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_number_of_a_type_is_within_it(sign: int) -> None:
    largest = torch.tensor([0.0, sign * 65504.0])
    assert cast(largest, torch.float16, "w").tolist() == [0.0, sign * 65504.0]
    with pytest.raises(CheckpointError, match=f"w: holds {'-' if sign < 0 else ''}6.552e"):
        cast(largest * 1.0002, torch.float16, "w")
