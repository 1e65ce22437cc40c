"""Time of one guided full-size sampling step: ours beside a straightforward one, alternating, on the CPU.

python tests/benchmarks/bench_step.py [--depth 24] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))

from audiox_core.base_config import BASE_CONFIG
from audiox_core.config import parse_config
from audiox_core.dit import DiffusionTransformer
from audiox_core.guidance import GuidedVelocity
from audiox_core.layers import rotary_table

LATENTS, TOKENS = 236, 471


def build(depth: int) -> DiffusionTransformer:
    """Full-size network with random weights of order one through every layer."""
    config = replace(parse_config(BASE_CONFIG).dit, depth=depth)
    network = DiffusionTransformer(config, device="meta").to_empty(device="cpu").eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(0)
    for name, weight in network.named_parameters():
        if weight.ndim > 1:
            weight.normal_(0, weight[0].numel() ** -0.5, generator=generator)
        else:
            weight.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)
    return network


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention spelled out: repeated key heads, all scores, softmax, weighted sum."""
    k, v = (x.repeat_interleave(q.shape[1] // x.shape[1], dim=1) for x in (k, v))
    scores = torch.einsum("bhid,bhjd->bhij", q, k) * q.shape[-1] ** -0.5
    return torch.einsum("bhij,bhjd->bhid", scores.softmax(dim=-1), v)


def heads(x: Tensor, n: int) -> Tensor:
    return x.unflatten(-1, (n, -1)).transpose(1, 2)


def turn(x: Tensor) -> Tensor:
    """Rotary positions, angles made anew for each call."""
    cos, sin = rotary_table(x.shape[-2], 32, x.device)
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
    args = parser.parse_args()
    network = build(args.depth)
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(1, 64, LATENTS, generator=generator)
    tokens = torch.randn(1, TOKENS, 768, generator=generator)
    t = torch.tensor([0.7])
    ours = GuidedVelocity(network, tokens, scale=7.0)
    a, b = ours(x, t), straightforward(network, x, t, tokens, 7.0)
    difference = ((a - b).norm() / b.norm()).item()
    times: dict[str, list[float]] = {"ours": [], "straightforward": []}
    for _ in range(args.rounds):
        for name, step in (
            ("ours", lambda: ours(x, t)),
            ("straightforward", lambda: straightforward(network, x, t, tokens, 7.0)),
        ):
            start = time.perf_counter()
            step()
            times[name].append(time.perf_counter() - start)
    ratios = [p / q for p, q in zip(times["ours"], times["straightforward"], strict=True)]
    print(f"{args.depth} layers, {LATENTS} latents, guidance 7, float32, {torch.get_num_threads()} threads")
    for name, values in times.items():
        print(f"  {name:16s} median {statistics.median(values):7.2f} s  (min {min(values):.2f}, max {max(values):.2f})")
    print(
        f"  ratio of each pair: median {statistics.median(ratios):.3f} (min {min(ratios):.3f}, max {max(ratios):.3f})"
    )
    print(f"  relative difference {difference:.1e}")


if __name__ == "__main__":
    main()
