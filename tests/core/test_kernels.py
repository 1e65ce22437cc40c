"""How many kernels one guided step of the full-size network starts, and that a compiler takes the step as one graph.

On a GPU such a step is bound by starting kernels, not by their work: 845 at 59215b6, counted as here.
"""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.models.mmdit import MMDIT_CONFIG
from audiox_core.models.parts import Model
from audiox_core.networks.layers import rotary_table, torch_attention, turn
from audiox_core.sampling.guidance import GuidedVelocity
from tests.core.dits import SMALL, close, inputs, random_network

LATENTS, DEPTH = 236, 24
# Kernels and gigabytes of a guided step, counted with torch 2.11; the bounds leave a few more to other versions, but
# not one more a layer. The modulated transformer's norms of queries and keys are one kernel on a GPU, five here.
BOUNDS = {
    ("audiox", torch.float16): (535, 540, 5.22),
    ("audiox", torch.float32): (463, 468, 8.9),
    ("audiox-maf-mmdit", torch.float16): (944, 950, 9.32),
}

COMPILER = shutil.which("g++") or shutil.which("clang++")
# What starts no kernel, beside views.
FREE = {torch.ops.aten.empty, torch.ops.aten.new_empty, torch.ops.aten.empty_like, torch.ops.aten._unsafe_view}


class Kernels(TorchDispatchMode):
    """Counts what is computed within, by operation, and the bytes that are read and written."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()
        self.bytes = 0

    def count(self, name: str, *tensors: Any) -> None:
        self.counts[name] += 1
        self.bytes += sum(x.nbytes for x in tree_leaves(tensors) if isinstance(x, Tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **kwargs or {})
        if not func.is_view and func.overloadpacket not in FREE:
            self.count(str(func), args, kwargs, out)
        return out


def guided_step(
    monkeypatch: pytest.MonkeyPatch, model: Model, dtype: torch.dtype, *, negative: bool = False
) -> Kernels:
    """The kernels of one step, its conditions prepared; fused attention counts as one."""
    kernels = Kernels()

    def fused(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        out = torch.ops.aten.empty_like(q)
        kernels.count("attention", q, k, v, out)
        return out

    monkeypatch.setattr(F, "scaled_dot_product_attention", fused)
    network: Any = model.backbone.build(device="meta", dtype=dtype)
    assert len(network.blocks) == DEPTH
    conditions = {part.name: part.condition for part in model.conditioners}
    tokens = {
        name: torch.empty(1, 1, c.tokens, c.width, device="meta") for name, c in conditions.items() if c is not None
    }
    velocity = GuidedVelocity(network, tokens, tokens if negative else None, scale=7.0)
    x, t = torch.empty(1, 64, LATENTS, device="meta"), torch.empty(1, device="meta")
    velocity(x, t)  # joins the conditions, for all steps
    kernels.counts.clear()
    kernels.bytes = 0
    with kernels:
        assert velocity(x, t).shape == x.shape
    return kernels


@torch.no_grad()  # not inference mode, in which composite operations are not taken apart
@pytest.mark.parametrize("negative", [False, True], ids=["null", "text"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_kernels_of_a_guided_step(monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, negative: bool) -> None:
    counts = guided_step(monkeypatch, parse_config(BASE_CONFIG), dtype, negative=negative).counts
    assert counts["attention"] == 2 * DEPTH
    assert counts["aten.mm.default"] == 4 * DEPTH + 3, "nothing of the conditions is multiplied again"
    _, most, _ = BOUNDS["audiox", dtype]
    assert sum(counts.values()) <= most, counts.most_common()


@torch.no_grad()
@pytest.mark.parametrize(("name", "dtype"), BOUNDS, ids=str)
def test_what_a_guided_step_starts_and_moves(monkeypatch: pytest.MonkeyPatch, name: str, dtype: torch.dtype) -> None:
    model = parse_config({"audiox": BASE_CONFIG, "audiox-maf-mmdit": MMDIT_CONFIG}[name])
    counted, most, gigabytes = BOUNDS[name, dtype]
    kernels = guided_step(monkeypatch, model, dtype)
    total = sum(kernels.counts.values())
    assert total <= most, kernels.counts.most_common()
    assert kernels.bytes <= gigabytes * 1e9
    if torch.__version__.startswith("2.11."):
        assert total == counted, "fewer: say so above"


@torch.no_grad()
def test_views_and_allocations_are_not_counted() -> None:
    x = torch.empty(4, 6, device="meta")
    with Kernels() as kernels:
        x.view(2, 12).T.unflatten(0, (3, 4))[None].expand(2, -1, -1, -1)
        torch.empty_like(x)
        assert not kernels.counts
        x.T.reshape(24)
        (x + 1).to(torch.float16)
    assert kernels.counts == {"aten.clone.default": 1, "aten.add.Tensor": 1, "aten._to_copy.default": 1}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("grad", [False, True], ids=["plain", "grad"])
def test_turning_is_to_the_bit_what_it_spells_out(dtype: torch.dtype, grad: bool) -> None:
    cos, sin = angles_of(20, 8)
    x = torch.randn(3, 20, 8, generator=torch.Generator().manual_seed(0)).to(dtype)
    a, b = x[..., 0::2].float(), x[..., 1::2].float()
    expected = torch.stack([a * cos - b * sin, b * cos + a * sin], dim=-1).to(dtype)
    pairs = x.clone().requires_grad_(grad).unflatten(-1, (-1, 2)).clone()
    turn(pairs, rotary_table(20, 8, torch.device("cpu")))
    assert torch.equal(pairs, expected)
    assert pairs.requires_grad == grad


def angles_of(length: int, dims: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of rotary positions, (length, dims / 2) each."""
    angles = torch.outer(torch.arange(length).float(), 10000.0 ** -(torch.arange(0, dims, 2).float() / dims))
    return angles.cos(), angles.sin()


@torch.no_grad()
@pytest.mark.parametrize("null", [False, True], ids=["text", "null"])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_step_is_one_graph_with_any_attention(backend: str, null: bool) -> None:
    """A host gives its own attention for each call, options and all."""
    network = random_network()
    x, t, tokens = inputs()
    one = network.prepare_context(tokens[:1])
    context = one.cat(network.prepare(None)) if null else one.expand(2)
    given = (x, t, context, partial(host_attention, options={"some": "thing"}))
    torch._dynamo.reset()
    try:
        explained: Any = torch._dynamo.explain(network)(*given)
        assert explained.graph_break_count == 0, explained.break_reasons
        assert explained.graph_count == 1
        torch._dynamo.reset()
        assert close(torch.compile(network, fullgraph=True, backend=backend)(*given), network(*given), 1e-5)
    finally:
        torch._dynamo.reset()


def host_attention(q: Tensor, k: Tensor, v: Tensor, *, options: dict[str, str]) -> Tensor:
    assert options
    return torch_attention(q, k, v)


@torch.no_grad()
@pytest.mark.skipif(COMPILER is None, reason="torch's compiler needs a C++ compiler")
def test_the_compiler_gives_the_same_numbers() -> None:
    """Of one block: what it compiles for a second one is the same, and takes as long again."""
    network = random_network(replace(SMALL, depth=1))
    x, t, tokens = inputs()
    context = network.prepare_context(tokens[:1]).cat(network.prepare(None))
    torch._dynamo.reset()
    try:
        compiled = torch.compile(network, fullgraph=True)
        for shift in (0.0, 1.0):
            assert close(compiled(x + shift, t, context), network(x + shift, t, context), 1e-5)
    finally:
        torch._dynamo.reset()
