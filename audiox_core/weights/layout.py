"""The released layout of a model: every key with its shape; and whether a file fits it, or what else it is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

from torch import Tensor

from ..errors import CheckpointError
from ..models import members
from ..models.config import parse_config
from ..models.family import Member
from ..models.parts import Companion, Model, Part, Slot
from .names import layout_names

SHOWN = 20
SAME_MODEL = "Use the file and the config.json of the same model."
# How many of a model's keys a file must have, in their shapes, to count as one; its nearest kin has 0.7 of the base's.
ALIKE = 0.9
# What hosts add to the files that they write: the noise levels of their sampling.
NOTES = frozenset(("edm_vpred.sigma_max", "edm_vpred.sigma_min"))


@lru_cache(maxsize=64)
def slots_of(part: Part) -> tuple[Slot, ...]:
    """A part's share of the released layout, dead weights included."""
    return tuple(part.layout(part.build(device="meta")))


def expected_keys(model: Model) -> dict[str, tuple[int, ...]]:
    """Every key of a model's checkpoint with its shape; dead weights included, files beside it not."""
    beside = tuple(companion.prefix for companion in model.companions if not companion.fills)
    found = {slot.key: slot.shape for part in model.parts.values() for slot in slots_of(part)}
    return {key: shape for key, shape in found.items() if not key.startswith(beside or ("\0",))}


def companion_keys(model: Model, prefix: str) -> dict[str, tuple[int, ...]]:
    """Every key of a file beside the checkpoint, by the file's own names, with its shape."""
    found = {slot.key: slot.shape for part in model.parts.values() for slot in slots_of(part)}
    return {key.removeprefix(prefix): shape for key, shape in found.items() if key.startswith(prefix)}


@lru_cache(maxsize=16)
def _known(name: str) -> Model:
    return parse_config(members()[name].config(), name)


def lacking(keys: Iterable[str], model: Model) -> list[Companion]:
    """The files that complete a checkpoint which came without whole parts of the model, such as an autoencoder."""
    keys = list(keys)
    return [c for c in model.companions if c.fills and not any(key.startswith(c.prefix) for key in keys)]


def present_keys(keys: Iterable[str], model: Model) -> dict[str, tuple[int, ...]]:
    """expected_keys() of a checkpoint with such keys: without the parts that files beside it complete it by."""
    absent = tuple(companion.prefix for companion in lacking(keys, model))
    return {key: shape for key, shape in expected_keys(model).items() if not key.startswith(absent or ("\0",))}


def recognise(tensors: Mapping[str, Tensor]) -> list[Member]:
    """The published models that the tensors are (nearly), told by keys and shapes; most alike first."""
    alike: list[tuple[float, Member]] = []
    for member in members().values():
        if member.released is not None:
            model = _known(member.name)
            names = layout_names(tensors, expected_keys(model))
            known = present_keys(names, model)
            fitting = sum(key in names and tuple(tensors[names[key]].shape) == known[key] for key in known)
            alike.append((fitting / len(known), member))
    best = max((share for share, _ in alike), default=0.0)
    return [member for share, member in alike if share >= max(ALIKE, best)]


def describe(keys: Iterable[str]) -> str | None:
    """What a file with such keys is, in words, where it is something known that is no model of the family."""
    keys = set(keys)

    def some(*starts: str) -> bool:
        return any(key.startswith(starts) for key in keys)

    if some("encoder.block."):
        return "This is a T5 text encoder, not an AudioX checkpoint."
    if some("encoder.layers.") and some("decoder.layers."):
        return "This is an autoencoder alone (VAE.ckpt), not an AudioX checkpoint."
    if some("vfeat_extractor."):
        return "This is a Synchformer, which AudioX reads beside a checkpoint, not an AudioX checkpoint."
    if some("diffusion.", "diffusion_ema."):
        return "This is a training checkpoint; export the model from it first."
    if some("model.model.") and some("conditioner.conditioners.seconds_total."):
        return "These are the weights of a Stable Audio model, not of AudioX."
    return None


def _another(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, ...]]) -> str | None:
    """A sentence when the file is another published model than the one expected."""
    names = [m.name for m in recognise(tensors) if present_keys(tensors, _known(m.name)) != expected]
    return f"These are the weights of {' or '.join(names)}." if names else None


def check_tensors(tensors: Mapping[str, Tensor], model: Model, source: str | Path = "checkpoint") -> None:
    """Raises CheckpointError unless the tensors are exactly those of a model's released layout.

    Parts that files beside the checkpoint can complete may be absent, but only as a whole.
    """
    weights = {key: tensor for key, tensor in tensors.items() if key not in NOTES}
    require(weights, present_keys(tensors, model), source, whole=True)


def require(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, tuple[int, ...]],
    source: str | Path,
    *,
    mend: str = SAME_MODEL,
    whole: bool = False,
) -> None:
    """Raises CheckpointError if keys are missing, unexpected or misshapen, listing them with both shapes.

    Of a whole checkpoint it adds what the file seems to be instead.
    """
    shapes = {key: tuple(t.shape) for key, t in tensors.items()}
    kinds = {
        "missing": [f"{k}: expected {v}, not in the file" for k, v in expected.items() if k not in shapes],
        "unexpected": [f"{k}: not expected, {v} in the file" for k, v in shapes.items() if k not in expected],
        "misshapen": [
            f"{k}: expected {v}, {shapes[k]} in the file" for k, v in expected.items() if shapes.get(k, v) != v
        ],
        "not floating point": [
            f"{k}: {t.dtype}" for k, t in tensors.items() if k in expected and not t.is_floating_point()
        ],
    }
    if not any(kinds.values()):
        return
    counts = ", ".join(
        f"{len(lines)} {kind}" for kind, lines in kinds.items() if lines or kind in ("missing", "unexpected")
    )
    known = describe(shapes) if whole else None
    another = _another(tensors, expected) if whole and known is None else None
    text = [f"{source}: the weights do not fit ({counts} of {len(expected)} keys). {known or another or ''}".rstrip()]
    if whole and known is None:
        text += _other_sizes(shapes, expected)
    for kind, lines in kinds.items():
        if lines:
            text += [f"{kind}:", *(f"  {line}" for line in lines[:SHOWN])]
        if len(lines) > SHOWN:
            text.append(f"  ... and {len(lines) - SHOWN} more")
    raise CheckpointError("\n".join([*text, "Give the weights of a supported model." if known else mend]))


def _network_size(shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int]:
    """(width, depth) of the network that such keys are of; 0 where they don't tell."""
    start = "model.model.transformer."
    width = shapes.get(f"{start}project_in.weight", (0,))[0]
    depth = len({k.removeprefix(f"{start}layers.").split(".")[0] for k in shapes if k.startswith(f"{start}layers.")})
    return width, depth


def _other_sizes(shapes: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]]) -> list[str]:
    """A sentence when the file's network plainly has other sizes than the configuration's."""
    (width, depth), said = _network_size(shapes), _network_size(expected)
    if not width or (width, depth) == said:
        return []
    return [
        f"The file holds a network of width {width} and depth {depth}, the config says width {said[0]} "
        f"and depth {said[1]}: the config is from another model."
    ]
