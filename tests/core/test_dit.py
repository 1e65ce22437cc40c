"""The diffusion transformer on small random networks: conditions, contexts, windows, heads, types, compilation."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.dit import Context
from audiox_core.networks.layers import SelfAttention, rotary_table, torch_attention, turn
from tests.core.dits import SMALL, by_modality, close, inputs, random_network


def test_skipped_cross_attention_is_zero_tokens() -> None:
    network = random_network()
    x, t, tokens = inputs()
    assert close(network(x, t, None), network(x, t, network.prepare_context(torch.zeros_like(tokens))), 1e-6)


def test_rows_after_a_condition_may_have_none() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=3)
    both = network(x, t, network.prepare_context(tokens[:2]).cat(network.prepare(None)))
    assert close(both[:2], network(x[:2], t[:2], network.prepare_context(tokens[:2])), 1e-6)
    assert close(both[2:], network(x[2:], t[2:], None), 1e-6)


def test_one_condition_serves_a_batch() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=2)
    one = network.prepare_context(tokens[:1])
    assert close(network(x, t, one.expand(2)), network(x, t, network.prepare_context(tokens[:1].expand(2, -1, -1))))
    assert one.expand(2).cat(one).rows == 3
    (k, _), *_ = one.expand(2).layers
    assert k.data_ptr() == one.layers[0][0].data_ptr(), "nothing is copied"


# Rows of a batch by what they are given: a condition's number, or None for the null condition.
ORDERS: list[list[int | None]] = [
    [0, None],
    [None, 0],
    [None, None],
    [0, 1, None],
    [None, 0, 1],
    [0, None, 1],
    [None, 0, None],
    [None, None, 0, None, 1, None, None],
    [2, 2, None, 1],
]


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_conditions_may_come_in_any_order(order: list[int | None]) -> None:
    """Each row is as in a run of its own, however the contexts were put together."""
    network = random_network()
    x, t, _ = inputs(batch=len(order))
    _, _, given = inputs(batch=3)
    parts = [network.prepare(None if i is None else by_modality(given[i : i + 1])) for i in order]
    from_left = parts[0]
    for part in parts[1:]:
        from_left = from_left.cat(part)
    from_right = parts[-1]
    for part in parts[-2::-1]:
        from_right = part.cat(from_right)
    assert from_left.rows == from_right.rows == len(order)
    alone = [network(x[i : i + 1], t[i : i + 1], part) for i, part in enumerate(parts)]
    for context in (from_left, from_right):
        for ours, expected in zip(network(x, t, context), alone, strict=True):
            assert close(ours, expected[0], 1e-6)


def test_the_null_condition_of_many_rows() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=3)
    null = network.prepare(None)
    assert (null.rows, null.expand(3).rows, null.expand(1).rows) == (1, 3, 1)
    one = network.prepare_context(tokens[:1])
    assert null.expand(2).cat(one).rows == one.cat(null.expand(2)).rows == 3
    assert torch.equal(network(x, t, null.expand(3)), network(x, t))
    joined = network(x, t, null.expand(2).cat(one))
    assert close(joined[:2], network(x[:2], t[:2]), 1e-6)
    assert close(joined[2:], network(x[2:], t[2:], one), 1e-6)
    assert null.padded(0) is null


def test_as_many_conditions_as_rows() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=3)
    with pytest.raises(InputError, match="latents have 3 rows, their conditions 2"):
        network(x, t, network.prepare_context(tokens[:2]))
    with pytest.raises(InputError, match="latents have 3 rows, their conditions 1"):
        network(x, t, network.prepare(None))
    with pytest.raises(RuntimeError):
        network.prepare_context(tokens[:2]).expand(3)


def test_tokens_are_taken_in_the_configs_order() -> None:
    x, t, tokens = inputs()
    given = by_modality(tokens)
    network = random_network()
    expected = network(x, t, network.prepare_context(tokens))
    assert torch.equal(network(x, t, network.prepare(dict(reversed(given.items())))), expected)
    other = random_network(replace(SMALL, order=("text", "audio", "video")))
    (k, _), *_ = other.prepare(given).layers
    (k2, _), *_ = network.prepare(given).layers
    assert torch.equal(k, torch.cat([k2[:, :, 4:], k2[:, :, :4]], dim=2))
    with pytest.raises(InputError, match="no tokens for audio"):
        network.prepare({name: given[name] for name in ("video", "text")})


@torch.no_grad()
def test_windows_are_rows() -> None:
    """Two windows of two items are four items, bit for bit; what a modality has only once serves all of them."""
    network = random_network()
    x, t, tokens = inputs(batch=4)
    plain = {name: value.reshape(2, 2, *value.shape[2:]) for name, value in by_modality(tokens).items()}
    shared = {**plain, "text": plain["text"][:1, :1], "audio": plain["audio"][:, :1]}
    for windows in (plain, shared):
        context = network.prepare(windows)
        assert context.rows == 4
        spread = {n: v.expand(2, 2, -1, -1).reshape(4, 1, *v.shape[2:]) for n, v in windows.items()}
        items = network.prepare(spread)
        for ours, expected in zip(context.layers, items.layers, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, expected, strict=True))
        together = network(x, t, context)
        assert torch.equal(together, network(x, t, items))
        for row in range(4):  # and each is a run of its own, but for how products of other sizes are rounded
            alone = network.prepare({name: value[row : row + 1] for name, value in spread.items()})
            assert close(together[row : row + 1], network(x[row : row + 1], t[:1], alone), 1e-6)


def test_condition_changes_the_answer() -> None:
    network = random_network()
    x, t, tokens = inputs()
    assert not close(network(x, t, network.prepare_context(tokens)), network(x, t, None), 1e-2)


def test_grouped_heads_repeat_each_key_head_in_place() -> None:
    generator = torch.Generator().manual_seed(2)
    q = torch.randn(1, 4, 5, 16, generator=generator)
    k, v = torch.randn(2, 1, 2, 7, 16, generator=generator)
    repeated = [x.repeat_interleave(2, dim=1) for x in (k, v)]
    assert close(torch_attention(q, k, v), torch_attention(q, *repeated), 1e-6)
    tiled = [x.repeat(1, 2, 1, 1) for x in (k, v)]
    assert not close(torch_attention(q, k, v), torch_attention(q, *tiled), 1e-2)


def test_turning_keeps_lengths_and_depends_on_distance_only() -> None:
    table = rotary_table(20, 8, torch.device("cpu"))
    q, k = torch.randn(2, 1, 8, generator=torch.Generator().manual_seed(3))
    turned_q, turned_k = (x.expand(20, 8).clone() for x in (q, k))
    for x in (turned_q, turned_k):
        turn(x.unflatten(-1, (-1, 2)), table)
    assert torch.allclose(turned_q.norm(dim=-1), q.norm().expand(20), atol=1e-5)
    products = turned_q @ turned_k.T
    assert torch.allclose(products.diagonal(3), products.diagonal(3)[0].expand(17), atol=1e-4)


def test_only_the_first_dims_of_a_head_are_turned_halves_against_each_other() -> None:
    """To the letter of the published arithmetic, seen in what attention is given."""
    layer = SelfAttention(24, 2, torch.nn, dtype=torch.float32)  # heads of 12, of which 8 are turned
    x = torch.randn(1, 5, 24, generator=torch.Generator().manual_seed(4))
    seen: list[Tensor] = []
    with torch.no_grad():
        layer(x, rotary_table(5, 8, x.device), lambda q, k, v: seen.extend((q, k, v)) or v)
        plain = layer.to_qkv(x).view(1, 5, 3, 2, 12).permute(2, 0, 3, 1, 4)
    angles = torch.outer(torch.arange(5.0), 10000.0 ** -(torch.arange(0, 8, 2) / 8))
    for got, given in zip(seen[:2], plain[:2], strict=True):
        a, b, rest = given[..., :4], given[..., 4:8], given[..., 8:]
        turned = [a * angles.cos() - b * angles.sin(), b * angles.cos() + a * angles.sin()]
        assert torch.allclose(got, torch.cat([*turned, rest], dim=-1), atol=1e-6)
    assert torch.equal(seen[2], plain[2])


def test_keys_may_be_repeated_once_or_in_each_step() -> None:
    network = random_network()
    assert network.config.context_dim < network.config.embed_dim
    x, t, tokens = inputs()
    repeated = network.prepare_context(tokens)
    network.hold = False
    grouped = network.prepare_context(tokens)
    heads, groups = network.config.num_heads, network.config.context_dim // network.config.head_dim
    assert [context.layers[0][0].shape[1] for context in (repeated, grouped)] == [heads, groups]
    assert torch.equal(network(x, t, repeated), network(x, t, grouped))


def test_gradients_reach_every_weight_also_beside_null_rows() -> None:
    """Adapters are trained through the network; what is faster in place must not be where gradients pass."""
    network = random_network().requires_grad_()
    x, t, tokens = inputs()
    for null in (False, True):
        one = network.prepare_context(tokens[:1])
        network.zero_grad()
        network(x, t, one.cat(network.prepare(None)) if null else one.expand(2)).square().sum().backward()
        assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kept", [torch.float32, torch.bfloat16])
def test_answer_has_the_latents_dtype(kept: torch.dtype, dtype: torch.dtype) -> None:
    network = random_network(dtype=kept)
    x, t, tokens = inputs()
    out = network(x.to(dtype), t, network.prepare_context(tokens))
    assert out.dtype == dtype
    plain = random_network()
    assert close(out.float(), plain(x, t, plain.prepare_context(tokens)), 3e-2)


@torch.no_grad()
def test_attention_may_be_a_hosts_own() -> None:
    """For one call, and in the constructor; both kinds of attention ask for it."""
    shapes: list[tuple[int, ...]] = []

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        shapes.append((q.shape[2], k.shape[2]))
        return torch_attention(q, k, v)

    network = random_network()
    x, t, tokens = inputs()
    context = network.prepare_context(tokens)
    assert torch.equal(network(x, t, context, attention), network(x, t, context))
    assert shapes == [(13, 13), (13, 9)] * 2
    network(x, t, context)
    assert len(shapes) == 4
    random_network(attention=attention)(x, t)
    assert shapes[4:] == [(13, 13)] * 2


@torch.no_grad()
@pytest.mark.parametrize("null", [False, True])
def test_a_step_compiles_whole(null: bool) -> None:
    """Hosts may compile the network: one graph, no breaks, the same numbers."""
    network = random_network()
    x, t, tokens = inputs()
    one = network.prepare_context(tokens[:1])
    context = one.cat(network.prepare(None)) if null else one.expand(2)
    torch._dynamo.reset()
    try:
        explained: Any = torch._dynamo.explain(network)(x, t, context)
        assert explained.graph_break_count == 0, explained.break_reasons
        assert explained.graph_count == 1
        compiled = torch.compile(network, fullgraph=True, backend="eager")
        assert close(compiled(x, t, context), network(x, t, context), 1e-6)
        assert close(compiled(x + 1, t, context), network(x + 1, t, context), 1e-6)
    finally:
        torch._dynamo.reset()


def test_context_rows() -> None:
    k = torch.zeros(2, 1, 3, 4)
    assert Context(((k, k),)).rows == 2
    assert Context(((k, k),), null=3).rows == 5
    assert Context().rows == 0
