"""Time of one guided full-size sampling step: ours beside a straightforward one, alternating, on the CPU.

python tests/benchmarks/bench_step.py [--depth 24] [--rounds 5] [--compile]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config
from audiox_core.networks.dit import DiffusionTransformer
from audiox_core.networks.layers import rotary_table
from audiox_core.sampling.guidance import GuidedVelocity
from audiox_core.sampling.stepping import Compiled

LATENTS, TOKENS = 236, {"video": 128, "text": 128, "audio": 215}


def build(depth: int) -> tuple[DiffusionTransformer, DiffusionTransformer]:
    """A full-size network with random weights of order one through every layer; the same on torch.nn's layers."""
    config = replace(parse_config(BASE_CONFIG).backbone.build(device="meta").config, depth=depth)
    plain = DiffusionTransformer(config, device="meta", operations=torch.nn).eval().requires_grad_(False)
    network = DiffusionTransformer(config, device="meta").to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        else:
            weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    plain.load_state_dict(network.state_dict(), assign=True)
    return network, plain


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention spelled out: repeated key heads, all scores, softmax, weighted sum."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(dim=-1), v)


def heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def turn(x: Tensor) -> Tensor:
    """Rotary positions, angles made anew for each call."""
    cos, sin = rotary_table(x.shape[-2], 32, x.device)[..., 0].unbind(-1)
    a, b, rest = x[..., :16], x[..., 16:32], x[..., 32:]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], dim=-1)


def straightforward(network: DiffusionTransformer, x: Tensor, t: Tensor, tokens: Tensor, scale: float) -> Tensor:
    """Guidance on a doubled batch in which nothing is remembered from step to step and nothing skipped."""
    x, t = torch.cat([x, x]), torch.cat([t, t])
    context = network.to_cond_embed(torch.cat([tokens, torch.zeros_like(tokens)]))
    x = x + network.preprocess_conv(x)
    time_token = network.to_timestep_embed(network.timestep_features(t))[:, None]
    h = torch.cat([time_token, network.transformer.project_in(x.transpose(1, 2))], dim=1)
    n = network.config.num_heads
    for block in network.transformer.layers:
        q, k, v = (heads(z, n) for z in block.self_attn.to_qkv(block.pre_norm(h)).chunk(3, dim=-1))
        h = h + block.self_attn.to_out(attend(turn(q), turn(k), v).transpose(1, 2).flatten(2))
        cross = block.cross_attn
        q = heads(cross.to_q(block.cross_attend_norm(h)), n)
        k, v = (heads(z, z.shape[-1] // q.shape[-1]) for z in cross.to_kv(context).chunk(2, dim=-1))
        h = h + cross.to_out(attend(q, k, v).transpose(1, 2).flatten(2))
        h = h + block.ff(block.ff_norm(h))
    out = network.transformer.project_out(h)[:, 1:].transpose(1, 2)
    out = out + network.postprocess_conv(out)
    positive, negative = out.chunk(2)
    return negative + scale * (positive - negative)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="also compiled, which takes minutes before the first")
    args = parser.parse_args()
    network, plain = build(args.depth)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 64, LATENTS, generator=generator)
    tokens = torch.randn(1, sum(TOKENS.values()), 768, generator=generator)
    condition = dict(zip(TOKENS, tokens[:, None].split(list(TOKENS.values()), dim=2), strict=True))
    t = torch.tensor([0.7])
    guided, guided_plain = (GuidedVelocity(net, condition, scale=7.0) for net in (network, plain))
    ways: dict[str, Callable[[], Tensor]] = {
        "straightforward": lambda: straightforward(plain, x, t, tokens, 7.0),
        "ours": lambda: guided(x, t),
        "ours on torch.nn.Linear": lambda: guided_plain(x, t),
    }
    if args.compile:
        ways["ours, compiled"] = partial(GuidedVelocity(Compiled(network), condition, scale=7.0), x, t)
        began = time.perf_counter()
        ways["ours, compiled"]()
        print(f"first compiled call: {time.perf_counter() - began:.0f} s")
    reference = ways["straightforward"]()
    differences = {name: ((step() - reference).norm() / reference.norm()).item() for name, step in ways.items()}
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(args.rounds):
        for name, step in ways.items():
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    print(f"{args.depth} layers, {LATENTS} latents, guidance 7, float32, {torch.get_num_threads()} threads")
    print(
        f"{'way':24s} {'seconds':>8s} {'ratio of each pair: median':>27s} {'min':>6s} {'max':>6s} {'difference':>11s}"
    )
    for name, values in times.items():
        ratios = [a / b for a, b in zip(values, times["straightforward"], strict=True)]
        middle = statistics.median(ratios)
        print(
            f"{name:24s} {statistics.median(values):8.2f} {middle:27.3f} {min(ratios):6.3f} {max(ratios):6.3f} "
            f"{differences[name]:11.1e}"
        )


if __name__ == "__main__":
    main()
