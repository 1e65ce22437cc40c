"""A toy member of the family: all that a new model brings, for whichever package holds the core.

It hears with its own conditioner (tokens, chance, no learned "nothing", a file of its own), takes modalities in another
order, fuses them inside, has a null condition that is not zero, and is a flow of one short length.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH, LENGTH, STEPS, GUIDANCE = 32, 20, 8, 3.0  # WIDTH is a token's; hosts have the times of steps that divide 1000
RECIPE = ("rectified_flow", "rectified-flow", STEPS, GUIDANCE)
CORE = "models.parts models.config networks.layers networks.ops networks.rows weights.download memory.formats"
CHECKPOINT, EARS = "model.safetensors", "toy_ears.safetensors"


class Ears(nn.Module):
    """The loudness of a few pieces of a sound, and where a wave of random phase is then."""

    def __init__(self, pieces: int, width: int, operations: Any, dtype: Any = None, device: Any = None, **_: Any):
        super().__init__()
        self.pieces, self.proj = pieces, operations.Linear(3, width, dtype=dtype, device=device)

    def forward(self, waveform: Tensor, phase: Tensor | None) -> Tensor:
        loud = waveform.unflatten(-1, (self.pieces, -1)).square().mean(-1).sqrt().mT  # (B, pieces, 2)
        turned = torch.arange(self.pieces, device=loud.device) + (0.0 if phase is None else phase[:, None])
        return self.proj(torch.cat([loud, turned.cos().expand(len(loud), -1)[..., None]], dim=-1))


class Fusion(nn.Module):
    """Adds to each token what all of them have in common, and the place it has in the order."""

    def __init__(self, tokens: int, width: int, operations: Any, **kw: Any):
        super().__init__()
        self.mix = operations.Linear(width, width, **kw)
        self.place = nn.Parameter(torch.empty(tokens, width, **kw))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.mix(x.mean(1, keepdim=True)) + self.place.to(x)


class Block(nn.Module):
    """Attention from the latents to the condition, and a feed-forward."""

    def __init__(self, width: int, heads: int, operations: Any, compute: torch.dtype, **kw: Any):
        super().__init__()
        self.heads, self.compute = heads, compute
        self.norm = operations.LayerNorm(width, **{**kw, "dtype": torch.float32})
        self.to_q, self.to_kv = operations.Linear(width, width, **kw), operations.Linear(WIDTH, 2 * width, **kw)
        self.up, self.down = operations.Linear(width, 4 * width, **kw), operations.Linear(width * 4, width, **kw)

    def forward(self, x: Tensor, known: Tensor, attention: Callable[..., Tensor]) -> Tensor:
        q = self.to_q(self.norm(x).to(self.compute))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (q, *known.chunk(2, dim=-1)))
        x = x + attention(q, k, v).transpose(1, 2).flatten(2)
        return x + self.down(F.gelu(self.up(x.to(self.compute))))


@dataclass(frozen=True)
class Context:
    """What each block knows of the conditions: keys and values (R, M, 2 D)."""

    layers: tuple[Tensor, ...]

    @property
    def rows(self) -> int:
        return len(self.layers[0])

    def expand(self, rows: int) -> Context:
        return Context(tuple(layer.expand(rows, -1, -1) for layer in self.layers))

    def cat(self, other: Context) -> Context:
        return Context(tuple(map(torch.cat, zip(self.layers, other.layers, strict=True))))


def make(module: Callable[[str], Any]) -> Any:
    """The member, for models.register(); module("audiox_core.models.parts") and the like give the core's modules."""
    core = SimpleNamespace(**{name.split(".")[1]: module(f"audiox_core.{name}") for name in CORE.split()})

    class Toy(nn.Module):
        """The backbone: a velocity over exactly LENGTH latents."""

        once = ("to_kv",)

        def __init__(
            self, order: tuple[str, ...], channels: int, width: int, heads: int, depth: int, tokens: int,
            *, operations: Any = core.ops.operations, dtype: Any = None, compute_dtype: Any = None, device: Any = None,
        ):  # fmt: skip
            super().__init__()
            kw: dict[str, Any] = {"dtype": dtype, "device": device}
            small = {**kw, "dtype": torch.float32}
            self.order, self.tokens, self.compute = order, tokens, compute_dtype or dtype or torch.float32
            self.fusion = Fusion(tokens, WIDTH, operations, **small)
            self.nothing = nn.Parameter(torch.empty(1, WIDTH, **small))
            self.project_in = operations.Linear(channels, width, **small)
            self.clock = operations.Linear(1, width, **small)
            self.positions = nn.Parameter(torch.empty(LENGTH, width, **small))
            self.blocks = nn.ModuleList(Block(width, heads, operations, self.compute, **kw) for _ in range(depth))
            self.project_out = operations.Linear(width, channels, **small)

        def prepare(self, tokens: Mapping[str, Tensor] | None, device: torch.device | None = None) -> Context:
            if tokens is None:
                joined = self.nothing.to(device or self.nothing.device).expand(1, self.tokens, -1)
            else:
                joined = self.fusion(torch.cat([*core.rows.rows_of(tokens, self.order).values()], dim=1))
            return Context(tuple(block.to_kv(joined.to(self.compute)) for block in self.blocks))  # type: ignore[operator, union-attr]

        def forward(self, x: Tensor, t: Tensor, context: Context, attention: Any = None) -> Tensor:
            h = self.project_in(x.float().mT) + self.positions.to(x.device) + self.clock(t.float()[:, None, None])
            for block, known in zip(self.blocks, context.layers, strict=True):
                h = block(h, known, attention or core.layers.torch_attention)
            return self.project_out(h).mT.to(x.dtype)

    def read_ears(s: Any, id: str, given: Any) -> Any:
        pieces, samples = s.number("pieces", 1, 64), s.number("seconds", 1, 10) * given.timing.sample_rate
        released = core.download.Released("toy-ears", "nobody/toy-ears", "0" * 40, (EARS,), "The ears are free.")
        return core.parts.Part(
            name="audio",
            label="toy ears",
            build=lambda **options: Ears(pieces, given.width, **{"operations": core.ops.operations, **options}),
            layout=lambda net: core.parts.slots(net, "ears."),
            format=core.formats.exact_format,
            work=lambda format, latents, batch, tile: 24 * samples * batch,
            companions=(core.parts.Companion("ears", "ears.", released, EARS, wanted_ears),),
            condition=core.parts.Condition(
                reads=core.parts.Hearing(given.timing.sample_rate, samples),
                tokens=pieces,
                width=given.width,
                encode=lambda net, waveform, phase, tile, told: net(waveform, phase),
                draw=lambda generator, hidden=None: torch.rand(1, generator=generator) * math.tau,
            ),
        )

    def read_toy(diffusion: Any, conditioners: Any, given: Any) -> Any:
        with diffusion.section("config") as s:
            width, heads, depth = (s.number(name, 1, 1024) for name in ("width", "heads", "depth"))
        order, tokens = tuple(part.name for part in conditioners), sum(p.condition.tokens for p in conditioners)

        def layout(net: Any) -> list[Any]:
            own = [slot for slot in core.parts.slots(net, "model.model.") if not slot.name.startswith("fusion.")]
            return [*own, *core.parts.slots(net.fusion, "toy_fusion.", inside="fusion.")]

        row = core.parts.Part(
            name="toy",
            label="toy network",
            build=lambda **options: Toy(order, given.channels, width, heads, depth, tokens, **options),
            layout=layout,
            format=core.formats.network_format,
            work=partial(module("audiox_core.memory.estimate").network_work, width, heads, width, depth, tokens),
        )
        return core.config.Backbone(row, core.parts.Recipe(*RECIPE, sigma_max=1.0), length=LENGTH)

    return SimpleNamespace(CONDITIONERS={"toy_ears": read_ears}, BACKBONES={"toy": read_toy})


def wanted_ears(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Which tensors of the ears' file are the network's, (our name: the file's own); the file holds more."""
    return {key.removeprefix("net."): key for key in tensors if key.startswith("net.")}


def config(module: Callable[[str], Any]) -> dict[str, Any]:
    """The member's config.json: public encoders of text and pictures at a tiny size, the toy's ears and network."""
    data = module("audiox_core.models.demo").small(module("audiox_core.models.audiox").BASE_CONFIG)
    video, text, _ = data["model"]["conditioning"]["configs"]
    text["config"]["max_length"] = 16
    text["config"]["t5_config"] |= {"d_model": WIDTH, "d_kv": 8, "num_heads": 4, "vocab_size": 32128}
    video["config"]["clip_vision_config"] |= {"hidden_size": WIDTH, "num_attention_heads": 2, "image_size": 64}
    ears = {"id": "ears", "type": "toy_ears", "config": {"pieces": 7, "seconds": 1}}
    ids, sizes = ["ears", text["id"], video["id"]], {"width": 128, "heads": 4, "depth": 8}
    data["sample_size"] = LENGTH * 2048
    data["model"]["conditioning"] = {"configs": [text, ears, video], "cond_dim": WIDTH}
    data["model"]["diffusion"] = {"type": "toy", "cross_attention_cond_ids": ids, "config": sizes}
    return data


def write(module: Callable[[str], Any], folder: Path) -> Path:
    """The registered member's files in a folder: checkpoint, configuration, ears, text encoder. The checkpoint."""
    described, layout = config(module), module("audiox_core.weights.layout")
    model, made = module("audiox_core.models.config").parse_config(described), module("audiox_core.models.demo")
    files = {CHECKPOINT: layout.expected_keys(model), "t5-base.safetensors": layout.companion_keys(model, "t5.")}
    files[EARS] = {f"net.{key}": shape for key, shape in layout.companion_keys(model, "ears.").items()}
    files[EARS]["unrelated.weight"] = (3,)
    for name, shapes in files.items():
        tensors = {key: made.random_weight(key, shape) for key, shape in shapes.items()}
        module("audiox_core.weights.tensors").write_tensors(tensors, folder / name)
    (folder / "config.json").write_text(json.dumps(described), encoding="utf-8")
    return folder / CHECKPOINT
