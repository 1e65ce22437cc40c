"""The diffusion transformer and guidance, on small random networks."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import DiTConfig, parse_config
from audiox_core.networks.dit import Context, DiffusionTransformer
from audiox_core.networks.layers import rotary_table, rotate, torch_attention
from audiox_core.sampling.guidance import GuidedVelocity, guide

SMALL = replace(parse_config(BASE_CONFIG).dit, io_channels=8, embed_dim=128, depth=2, num_heads=2, cond_token_dim=64)


def random_network(config: DiTConfig = SMALL, **kw: object) -> DiffusionTransformer:
    generator = torch.Generator().manual_seed(0)
    network = DiffusionTransformer(config, **kw).eval().requires_grad_(False)  # type: ignore[arg-type]
    for parameter in network.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * max(parameter[0].numel(), 4) ** -0.5)
    return network


def inputs(batch: int = 2, length: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 8, length, generator=generator)
    tokens = torch.randn(batch, 9, 64, generator=generator)
    return x, torch.full((batch,), 0.4), tokens


def close(a: Tensor, b: Tensor, bound: float = 1e-5) -> bool:
    return bool((a - b).norm() / b.norm() <= bound)


def test_skipped_cross_attention_is_zero_tokens() -> None:
    network = random_network()
    x, t, tokens = inputs()
    assert close(network(x, t, None), network(x, t, network.prepare(torch.zeros_like(tokens))), 1e-6)


def test_rows_beyond_the_context_get_the_null_condition() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=3)
    both = network(x, t, network.prepare(tokens[:2]))
    assert close(both[:2], network(x[:2], t[:2], network.prepare(tokens[:2])))
    assert close(both[2:], network(x[2:], t[2:], None))


def test_one_condition_serves_a_batch() -> None:
    network = random_network()
    x, t, tokens = inputs(batch=2)
    one = network.prepare(tokens[:1])
    assert close(network(x, t, one.expand(2)), network(x, t, network.prepare(tokens[:1].expand(2, -1, -1))))
    assert one.expand(2).cat(one).rows == 3


def test_condition_changes_the_answer() -> None:
    network = random_network()
    x, t, tokens = inputs()
    assert not close(network(x, t, network.prepare(tokens)), network(x, t, None), 1e-2)


def test_grouped_heads_repeat_each_key_head_in_place() -> None:
    generator = torch.Generator().manual_seed(2)
    q = torch.randn(1, 4, 5, 16, generator=generator)
    k, v = torch.randn(2, 1, 2, 7, 16, generator=generator)
    repeated = [x.repeat_interleave(2, dim=1) for x in (k, v)]
    assert close(torch_attention(q, k, v), torch_attention(q, *repeated), 1e-6)
    tiled = [x.repeat(1, 2, 1, 1) for x in (k, v)]
    assert not close(torch_attention(q, k, v), torch_attention(q, *tiled), 1e-2)


def test_rotation_keeps_lengths_and_depends_on_distance_only() -> None:
    table = rotary_table(20, 8, torch.device("cpu"))
    generator = torch.Generator().manual_seed(3)
    q, k = torch.randn(2, 1, 12, generator=generator)
    turned_q, turned_k = (rotate(x.expand(20, 12), table) for x in (q, k))
    assert torch.allclose(turned_q.norm(dim=-1), q.norm().expand(20), atol=1e-5)
    products = turned_q @ turned_k.T
    assert torch.allclose(products.diagonal(3), products.diagonal(3)[0].expand(17), atol=1e-4)
    assert torch.equal(turned_q[:, 8:], q.expand(20, 12)[:, 8:])


def test_answer_has_the_latents_dtype() -> None:
    network = random_network(dtype=torch.bfloat16)
    x, t, tokens = inputs()
    out = network(x, t, network.prepare(tokens))
    assert out.dtype == torch.float32
    assert close(out, random_network()(x, t, random_network().prepare(tokens)), 3e-2)


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.0])
@pytest.mark.parametrize("with_negative", [False, True])
def test_guidance_is_the_formula(scale: float, with_negative: bool) -> None:
    network = random_network()
    x, t, tokens = inputs()
    negative = tokens.flip(1) if with_negative else None
    c = network(x, t, network.prepare(tokens))
    u = network(x, t, None if negative is None else network.prepare(negative))
    ours = GuidedVelocity(network, tokens, negative, scale=scale)(x, t)
    assert close(ours, u + scale * (c - u))


def test_guidance_prepares_the_condition_once(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network()
    x, t, tokens = inputs()
    calls = []
    inner = DiffusionTransformer.prepare
    monkeypatch.setattr(DiffusionTransformer, "prepare", lambda self, tokens: calls.append(1) or inner(self, tokens))
    velocity = GuidedVelocity(network, tokens, scale=7.0)
    for _ in range(3):
        velocity(x, t)
    assert len(calls) == 1


def test_rescale_one_takes_the_positive_deviation() -> None:
    generator = torch.Generator().manual_seed(4)
    c, u = torch.randn(2, 2, 8, 5, generator=generator)
    assert torch.allclose(guide(c, u, 7.0, 1.0).std(dim=1), c.std(dim=1), atol=1e-5)
    assert torch.equal(guide(c, u, 7.0, 0.0), u + 7.0 * (c - u))


def test_context_rows() -> None:
    k = torch.zeros(2, 1, 3, 4)
    assert Context(((k, k),)).rows == 2
