"""Layers that keep their weights in fewer bits than they compute in."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.errors import InputError
from audiox_core.memory.formats import Format
from audiox_core.networks import ops
from audiox_core.networks.ops import linear, operations, quantize, storage_operations
from tests.core.small import small_model

FP8 = torch.float8_e4m3fn


def noise(*shape: int, scale: float = 1.0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0)) * scale


def relative(a: Tensor, b: Tensor) -> float:
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 0.03, 1.0, 3e4])
def test_eight_bits_at_any_scale(scale: float) -> None:
    weight = noise(300, 300, scale=scale)
    rounded, factor = quantize(weight, FP8)
    assert rounded.dtype == FP8
    assert torch.tensor(factor).log2().frac() == 0
    assert relative(rounded.float() * factor, weight) < 0.03


def test_scales_of_odd_weights() -> None:
    for weight in (torch.zeros(4, 4), torch.empty(0, 4), torch.empty(4, 4, device="meta")):
        assert quantize(weight, FP8)[1] == 1.0
    assert quantize(noise(4, 4), torch.bfloat16)[1] == 1.0
    rounded, factor = quantize(torch.tensor([4.0, -1.0]), FP8)
    assert torch.equal(rounded.float() * factor, torch.tensor([4.0, -1.0]))


LAYERS: dict[str, tuple[tuple[int, ...], dict[str, Any], tuple[int, ...]]] = {
    "Linear": ((300, 256), {}, (2, 5, 300)),
    "Conv1d": ((128, 128, 7), {"padding": 9, "dilation": 3}, (2, 128, 40)),
    "ConvTranspose1d": ((128, 128, 8), {"stride": 4, "padding": 2}, (2, 128, 9)),
}


@pytest.mark.parametrize("name", list(LAYERS))
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("storage", "bound"), [(FP8, 0.04), (torch.bfloat16, 3e-3), (torch.float16, 4e-4)])
@torch.no_grad()
def test_layers(name: str, bias: bool, storage: torch.dtype, bound: float) -> None:
    arguments, options, shape = LAYERS[name]
    exact = getattr(nn, name)(*arguments, bias=bias, **options)
    layer = getattr(storage_operations(storage, torch.float32), name)(*arguments, bias=bias, **options)
    assert isinstance(layer, getattr(nn, name))
    for assign in (False, True):
        layer.load_state_dict(exact.state_dict(), assign=assign)
        assert layer.weight.dtype == storage
        assert layer.bias is None or layer.bias.dtype == torch.float32
        x = noise(*shape)
        assert relative(layer(x), exact(x)) < bound
        assert layer(x.bfloat16()).dtype == torch.bfloat16


@torch.no_grad()
def test_a_saved_state_is_the_weight_itself() -> None:
    stored = storage_operations(FP8, torch.float32)
    layer, other = (stored.Linear(300, 256) for _ in range(2))
    layer.load_state_dict({"weight": noise(256, 300, scale=0.01), "bias": noise(256)})
    state = layer.state_dict()
    assert state["weight"].dtype == torch.float32
    assert relative(state["weight"], noise(256, 300, scale=0.01)) < 0.03
    other.load_state_dict(state)
    assert torch.equal(other(noise(3, 300)), layer(noise(3, 300)))


def test_what_stays_as_it_is() -> None:
    kept = storage_operations(FP8, torch.float16)
    assert kept.Linear(8, 8).weight.dtype == torch.float16  # too small to matter
    assert kept.Linear(300, 300, dtype=torch.float32).weight.dtype == torch.float32  # asked for
    stored = kept.Linear(300, 300, dtype=FP8, device="meta")
    assert (stored.weight.dtype, stored.bias.dtype) == (FP8, torch.float16)
    assert kept.LayerNorm(8).weight.dtype == kept.LayerNorm(8, dtype=FP8).weight.dtype == torch.float16
    with pytest.raises(InputError, match="output_size"):
        kept.ConvTranspose1d(2, 2, 4)(noise(1, 2, 8).half(), output_size=[16])


def test_a_file_in_eight_bits_is_taken_as_it_is() -> None:
    layer = storage_operations(FP8, torch.float32).Linear(300, 256, bias=False)
    layer.load_state_dict({"weight": noise(256, 300)})
    assert layer.scale != 1.0
    layer.load_state_dict({"weight": noise(256, 300).to(FP8)})
    assert layer.scale == 1.0
    assert relative(layer.weight.float(), noise(256, 300)) < 0.03


@torch.no_grad()
def test_the_residual_stream_does_not_overflow() -> None:
    """Sums beyond float16's 65504 pass through the transformer in float16."""
    net = small_model().backbone.build(**Format("fp16", "fp16").options())
    for parameter in net.parameters():
        parameter.copy_(noise(*parameter.shape, scale=0.1))
    net.transformer.project_in.weight.fill_(3e3)
    answer = net(noise(1, 64, 6), torch.tensor([0.5]))
    assert torch.isfinite(answer).all()
    assert answer.dtype == torch.float32


@pytest.mark.parametrize("bias", [True, False])
def test_the_faster_product_is_the_same_product(bias: bool) -> None:
    """Only in float32 on a CPU without gradients does another library multiply."""
    layer = operations.Linear(300, 256, bias=bias).requires_grad_(False)
    plain = nn.Linear(300, 256, bias=bias).requires_grad_(False)
    plain.load_state_dict(layer.state_dict())
    for shape in ((300,), (3, 300), (2, 5, 300)):
        with torch.no_grad():
            assert relative(layer(noise(*shape)), plain(noise(*shape))) < 1e-6
    x = noise(3, 300).requires_grad_()
    layer(x).sum().backward()
    assert relative(x.grad, plain.weight.sum(0).expand(3, -1)) < 1e-5


@torch.no_grad()
def test_without_that_library_torch_multiplies(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, x = noise(8, 16), noise(2, 16)
    expected = linear(x, weight, None)
    monkeypatch.setattr(ops, "_ONEDNN", None)
    assert relative(linear(x, weight, None), expected) < 1e-6
    monkeypatch.setattr(ops, "_ONEDNN", lambda *_: pytest.fail("asked for a type it is not for"))
    assert linear(x.double(), weight.double(), None).dtype == torch.float64
    assert linear(x.bfloat16(), weight.bfloat16(), None).dtype == torch.bfloat16
