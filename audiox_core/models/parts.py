"""A model as rows of a table: its parts, what each needs and how it lies in a file, its clock and its recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ..errors import ConfigError
from .timing import Timing

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from ..memory.formats import Format
    from ..weights.download import Released


@dataclass(frozen=True)
class Slot:
    """One tensor of a released file, and where it goes."""

    key: str
    shape: tuple[int, ...]
    name: (
        str | None
    )  # in the part's module; None for dead weights; a weight-normed convolution's two keys have the same
    take: Callable[[Tensor], Tensor] | None = None  # what of it is kept, where half of it is dead


@dataclass(frozen=True)
class Companion:
    """A weights file of its own that a part needs beside the checkpoint, such as a public text encoder."""

    label: str  # in words, for messages
    prefix: str  # what its keys begin with in the model's layout, so that all files share one table of keys
    released: Released
    weights: str  # which of the released files holds the tensors
    # A file's tensors -> which of them are wanted, (our name: the file's own); files of others hold more.
    select: Callable[[Mapping[str, Tensor]], Mapping[str, str]]
    names: tuple[str, ...] = ()  # under which its file is known beside the published one, without ending
    fills: bool = False  # its tensors belong into the checkpoint: the file is only for one that came without them


@dataclass(frozen=True)
class Words:
    """A conditioner of text: token ids, at most so many."""

    max_length: int


@dataclass(frozen=True)
class Sight:
    """A conditioner of pictures: square ones of a size, chosen by time at one or several (rate a second, count)."""

    size: int
    rates: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Hearing:
    """A conditioner of sound: so many stereo samples at a rate."""

    sample_rate: int
    samples: int


def _no_draws(generator: torch.Generator, hidden: float | None = None) -> None:
    return None


@dataclass(frozen=True)
class Condition:
    """What a conditioner reads, and how its network is asked for tokens (B, tokens, width)."""

    reads: Words | Sight | Hearing
    tokens: int
    width: int
    # (network, what was read, what was drawn, tile, told (done, total)) -> tokens (B, tokens, width), float32
    encode: Callable[..., Tensor]
    # Name in the network of the learned tokens (1, tokens, width) of "nothing given"; None: nothing is encoded like
    # anything else (an empty prompt, black pictures, silence).
    nothing: str | None = None
    # (generator, hidden) -> all chance of one generation, drawn in the config's order whether or not there is an input.
    # hidden is the share of the prompt to be hidden, 0 for none of it; None is the model's own.
    draw: Callable[..., Any] = _no_draws
    hides: tuple[float, float] | None = None  # the share of a prompt that the model's own draws hide, least and most


@dataclass(frozen=True, eq=False)
class Part:
    """One row of a model: a conditioner, the backbone or the autoencoder."""

    name: str  # a conditioner's is its modality
    label: str  # in words, for reports
    # (dtype, compute_dtype, device, operations) -> the network; on the meta device it costs nothing
    build: Callable[..., nn.Module]
    layout: Callable[[nn.Module], Iterable[Slot]]  # the released keys of a network, dead weights included
    format: Callable[..., Format]  # (precision, on_cpu=) -> what its weights are kept and multiply in
    work: Callable[[Format, int, int, int | None], int]  # (format, latents, batch, tile) -> bytes beside its weights
    # (format, batch) -> bytes of that work which only spare time: they can be made anew in each step.
    held: Callable[[Format, int], int] | None = None
    tiled: bool = False  # long sounds pass through it in exact tiles
    whole: bool = False  # holds layers of another library that don't cast: it is loaded whole or not at all
    companions: tuple[Companion, ...] = ()
    condition: Condition | None = None


@dataclass(frozen=True)
class Recipe:
    """How a model is sampled when nobody says otherwise."""

    objective: str = "v"  # a name of sampling.OBJECTIVES
    sampler: str = "dpmpp-3m-sde"
    steps: int = 250
    guidance: float = 7.0
    sigma_min: float = 0.3
    sigma_max: float = 500.0
    rho: float = 1.0


@dataclass(frozen=True, eq=False)
class Model:
    """What a model is, as its config.json describes it."""

    timing: Timing
    channels: int  # of its latents
    conditioners: tuple[Part, ...]  # in the config's order, which is the order of their draws
    backbone: Part
    autoencoder: Part
    recipe: Recipe
    length: int | None = None  # latents of its only window; None: free
    parts: Mapping[str, Part] = field(init=False)  # all of them by name, in the order in which they work

    def __post_init__(self) -> None:
        rows = (*self.conditioners, self.backbone, self.autoencoder)
        parts = {part.name: part for part in rows}
        if len(parts) != len(rows):
            raise ConfigError(f"config: two parts have the same name: {', '.join(part.name for part in rows)}")
        object.__setattr__(self, "parts", MappingProxyType(parts))

    @property
    def kind(self) -> tuple[Any, ...]:
        """Equal for models that may share conditions: alike are what is read, hidden and given, and what is learned."""
        conditions = [(p.name, p.condition) for p in self.conditioners if p.condition is not None]
        given = [(name, c.reads, c.tokens, c.width, c.nothing, c.hides) for name, c in conditions]
        return (self.recipe.objective, self.length, *given)

    def condition(self, modality: str) -> Condition:
        """What the conditioner of a modality reads and gives. Raises ConfigError where the model has none."""
        part = self.parts.get(modality)
        if part is None or part.condition is None:
            known = ", ".join(p.name for p in self.conditioners)
            raise ConfigError(f"{modality}: this model has no such conditioner; it has {known}. Leave {modality} out.")
        return part.condition

    def reader(self, kind: type) -> str:
        """The modality of the conditioner that reads Words, Sight or Hearing. Raises ConfigError where none does."""
        for part in self.conditioners:
            if part.condition is not None and isinstance(part.condition.reads, kind):
                return part.name
        raise ConfigError(f"config: this model has no conditioner that reads {kind.__name__.lower()}")

    @property
    def companions(self) -> tuple[Companion, ...]:
        """The weights files that the parts need beside the checkpoint."""
        return tuple(companion for part in self.parts.values() for companion in part.companions)


def slots(
    module: nn.Module, before: str, *, norms: bool = False, weight_norm: bool = False, inside: str = ""
) -> Iterator[Slot]:
    """The released keys of a module's parameters: its own names with something before them.

    norms: LayerNorms have gamma and beta. weight_norm: convolutions hold a direction weight_v and a length
    weight_g over all dimensions but the first (arXiv:1602.07868). inside: the module's place in the part's network.
    """
    from torch import nn

    for path, part in module.named_modules():
        for own, parameter in part.named_parameters(recurse=False):
            name, shape = f"{path}.{own}" if path else own, tuple(parameter.shape)
            stem = before + name.removesuffix(own)
            name = inside + name
            if norms and isinstance(part, nn.LayerNorm):
                yield Slot(stem + {"weight": "gamma", "bias": "beta"}[own], shape, name)
            elif weight_norm and own == "weight" and isinstance(part, nn.Conv1d | nn.ConvTranspose1d):
                yield Slot(stem + "weight_g", (shape[0], 1, 1), name)
                yield Slot(stem + "weight_v", shape, name)
            else:
                yield Slot(stem + own, shape, name)
