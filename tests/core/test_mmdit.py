"""The modulated transformer: golden answers, its context, and what is computed when."""

from __future__ import annotations

from functools import lru_cache

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from audiox_core.errors import InputError
from audiox_core.networks.layers import rotary_table, turn
from audiox_core.networks.mmdit import SLICED, MMDiTConfig, ModulatedTransformer, dead_shapes
from audiox_core.sampling.guidance import guide
from tests.core.family import BOUND, MMDITS, error, fill, golden_set, randomise, shapes_of

ORDER = ("text", "video", "audio")
SMALL = MMDiTConfig(4, embed_dim=32, depth=2, num_heads=8, cond_token_dim=16, order=ORDER, latents=9, tokens=7)
RELEASED = MMDiTConfig(64, embed_dim=1536, depth=24, num_heads=24, cond_token_dim=768, order=ORDER)
BEFORE = "model.model."


@lru_cache(maxsize=4)
def tiny(name: str, dtype: torch.dtype = torch.float32) -> ModulatedTransformer:
    golden = golden_set(name)
    c = golden.config["diffusion"]["config"]
    config = MMDiTConfig(c["io_channels"], c["embed_dim"], c["depth"], c["num_heads"], c["cond_token_dim"], ORDER)
    return fill(ModulatedTransformer(config, dtype=dtype), BEFORE, golden.shapes(BEFORE), SLICED)


def small_inputs(batch: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, 4, 9, generator=generator)
    return x, torch.linspace(0.2, 0.9, batch), torch.randn(batch, 7, 16, generator=generator)


def answers(net: ModulatedTransformer, name: str, hold: bool = True) -> dict[str, Tensor]:
    g = golden_set(name).inputs("network")
    t = torch.tensor(g["t"])
    c, u, n = (
        net(g["x"], t, context)
        for context in (
            net.prepare_context(g["cond"], hold=hold),
            net.prepare(None, hold=hold),
            net.prepare_context(g["negative"], hold=hold),
        )
    )
    scale = g["scale"]
    return {
        "plain": c,
        "guided": guide(c, u, scale)[..., ::4],
        "rescaled": guide(c, u, scale, g["phi"])[..., ::4],
        "against": guide(c, n, scale)[..., ::4],
    }


@torch.inference_mode()
@pytest.mark.parametrize("output", ["plain", "guided", "rescaled", "against"])
@pytest.mark.parametrize("name", MMDITS)
def test_golden(name: str, output: str) -> None:
    assert error(answers(tiny(name), name)[output], golden_set(name).stored("network")[output]) <= BOUND


@torch.inference_mode()
@pytest.mark.parametrize("name", MMDITS)
def test_golden_in_half_precision(name: str) -> None:
    ours, expected = answers(tiny(name, torch.float16), name), golden_set(name).stored("network")
    assert max(error(ours[output], expected[output]) for output in ours) <= 1e-2


@torch.inference_mode()
@pytest.mark.parametrize("steps", [4, 2, 1])
def test_golden_distilled_steps(steps: int) -> None:
    """Four steps of AudioX-Turbo: denoise, then noise again."""
    golden, net = golden_set("audiox_turbo"), tiny("audiox_turbo")
    g, expected = golden.inputs("sampler"), golden.stored("sampler")
    context, draws = net.prepare_context(g["cond"]), expected["draws"]
    times = [1 - i / steps for i in range(steps)]
    x = clean = draws[0]
    for i, t in enumerate(times):
        clean = x - t * net(x, torch.tensor([t]), context)
        if i + 1 < steps:
            x = times[i + 1] * draws[i + 1] + (1 - times[i + 1]) * clean
    latents = clean if steps == 4 else clean[..., ::4]
    assert error(latents, expected[f"latents_{steps}"]) <= BOUND


@torch.inference_mode()
def test_golden_flow() -> None:
    """Guided Euler steps, for the undistilled rectified flow."""
    golden, net = golden_set("audiox_turbo"), tiny("audiox_turbo")
    g = golden.inputs("flow")
    both = net.prepare_context(g["cond"]).cat(net.prepare(None))
    x, steps = g["noise"], g["steps"]
    for i in range(steps):
        t = torch.full((2,), 1 - i / steps)
        c, u = net(torch.cat([x, x]), t, both).chunk(2)
        x = x - guide(c, u, g["scale"]) / steps
    assert error(x, golden.stored("flow")["latents"]) <= BOUND


@pytest.mark.parametrize("file", ["keys.tiny.json", "keys.full.json"])
@pytest.mark.parametrize("name", MMDITS)
def test_names_are_the_released_ones(name: str, file: str) -> None:
    golden = golden_set(name)
    c = golden.json(file.replace("keys", "config").replace(".tiny", ""))["model"]["diffusion"]["config"]
    config = MMDiTConfig(c["io_channels"], c["embed_dim"], c["depth"], c["num_heads"], c["cond_token_dim"], ORDER)
    ours = shapes_of(ModulatedTransformer(config, device="meta"))
    for key, shape in ours.items():
        if key.endswith(tuple(SLICED)):
            ours[key] = (2 * shape[0], *shape[1:])
    assert ours | dead_shapes(config, c["global_cond_dim"]) == golden.shapes(BEFORE, file)


@torch.inference_mode()
def test_held_modulation_changes_nothing() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    assert torch.equal(
        net(x, t, net.prepare_context(tokens)),
        net(x, t, net.prepare_context(tokens, hold=False)),
    )


@torch.inference_mode()
def test_no_context_is_the_null_condition() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    null = net(x, t)
    assert torch.equal(null, net(x, t, net.prepare(None)))
    assert error(null, net(x, t, net.prepare_context(torch.zeros_like(tokens)))) <= 1e-6
    assert error(null, net(x, t, net.prepare_context(tokens))) > 1e-2


@torch.inference_mode()
@pytest.mark.parametrize("hold", [True, False])
def test_rows_are_independent(hold: bool) -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs(3)
    one, two = net.prepare_context(tokens[:1], hold=hold), net.prepare_context(tokens[1:], hold=hold)
    both = one.expand(2).cat(two)
    assert both.rows == 4
    rows = torch.tensor([0, 1, 0, 1])
    together = net(x[rows], t[rows], both)
    alone = torch.cat([net(x[:2], t[:2], one.expand(2)), net(x[:2], t[:2], two)])
    assert error(together, alone) <= 1e-5
    with pytest.raises(InputError, match="can't serve"):
        two.expand(3)


def test_contexts_of_two_kinds_do_not_mix() -> None:
    net, (_, _, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    with pytest.raises(InputError, match="alike"):
        net.prepare_context(tokens).cat(net.prepare_context(tokens, hold=False))


@torch.inference_mode()
def test_windows_are_rows() -> None:
    """Text said once for two windows of video and audio; each window is a run of its own."""
    net = randomise(ModulatedTransformer(SMALL))
    generator = torch.Generator().manual_seed(2)
    counts = {"text": (1, 1, 2), "video": (2, 2, 2), "audio": (1, 2, 3)}
    tokens = {name: torch.randn(*shape, 16, generator=generator) for name, shape in counts.items()}
    x, t = torch.randn(4, 4, 9, generator=generator), torch.full((4,), 0.5)
    together = net(x, t, net.prepare(tokens))
    for row in range(4):
        item, window = divmod(row, 2)
        parts = {name: v[item % v.shape[0], window % v.shape[1]][None, None] for name, v in tokens.items()}
        assert error(net(x[row : row + 1], t[:1], net.prepare(parts)), together[row : row + 1]) <= 1e-5


def test_lengths_are_fixed() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    with pytest.raises(InputError, match="exactly 9"):
        net(x[..., :-1], t)
    with pytest.raises(InputError, match="exactly 7"):
        net.prepare_context(tokens[:, :-1])
    with pytest.raises(InputError, match="no tokens for video, audio"):
        net.prepare({"text": tokens[:, None]})
    with pytest.raises(InputError, match="do not fit"):
        net.prepare({"text": tokens[:, None], "video": tokens[:, None, :, :3], "audio": tokens[:, None]})


@torch.inference_mode()
def test_large_queries_do_not_overflow_in_half_precision() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL, dtype=torch.float16)), small_inputs()
    for block in net.blocks:
        block.attn.qkv.weight.mul_(2000)
        block.cross_attn.to_kv.weight.mul_(2000)
    assert torch.isfinite(net(x, t, net.prepare_context(tokens))).all()


@torch.inference_mode()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kept", [torch.float32, torch.float16])
def test_answer_has_the_latents_dtype(kept: torch.dtype, dtype: torch.dtype) -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL, dtype=kept)), small_inputs()
    out = net(x.to(dtype), t, net.prepare_context(tokens.to(dtype)))
    assert out.dtype == dtype
    plain = randomise(ModulatedTransformer(SMALL))
    assert error(out.float(), plain(x, t, plain.prepare_context(tokens))) <= (
        1e-6 if kept == dtype == x.dtype else 0.05
    )


@torch.inference_mode()
def test_an_attention_for_one_call() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    seen = []
    net(x, t, net.prepare_context(tokens), lambda q, k, v: seen.append(q.shape) or v)
    assert seen == [(2, 4, 10, 8)] * 2  # 32 / 8 heads as wide as the config's "num_heads"


def test_pairs_are_turned_by_their_position() -> None:
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(3))
    turned = x.clone()
    turn(turned.unflatten(-1, (4, 2)), rotary_table(5, 8, x.device))
    as_complex = torch.view_as_complex(x.unflatten(-1, (4, 2)))
    angles = torch.outer(torch.arange(5.0), 10000.0 ** -(torch.arange(4.0) / 4))
    expected = torch.view_as_real(as_complex * torch.polar(torch.ones_like(angles), angles)).flatten(-2)
    assert torch.allclose(turned, expected, atol=1e-6)


def test_compiles_in_one_graph() -> None:
    net, (x, t, tokens) = randomise(ModulatedTransformer(SMALL)), small_inputs()
    context = net.prepare_context(tokens)
    compiled = torch.compile(net, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert error(compiled(x, t, context), net(x, t, context)) <= 1e-6


def test_held_modulation_saves_a_sixth_of_a_step() -> None:
    """Multiplications at the released sizes: a step with the modulation held, and one that makes it again."""
    net = ModulatedTransformer(RELEASED, device="meta", dtype=torch.float16)
    x, t, tokens = (torch.zeros(shape, device="meta") for shape in ((1, 64, 236), (1,), (1, 384, 768)))
    counts = {}
    for hold in (True, False):
        context = net.prepare_context(tokens, hold=hold)
        with FlopCounterMode(display=False) as counter:
            net(x, t, context)
        counts[hold] = counter.get_total_flops() / 2
    again = 24 * 237 * 1536 * 9216
    assert counts[False] - counts[True] == again
    assert 0.16 < again / counts[False] < 0.17
