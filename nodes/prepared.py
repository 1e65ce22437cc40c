"""Conditions that a model's network has prepared once for a sampling run, as ComfyUI batches them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.conds
import torch
from torch import Tensor

Tokens = Mapping[str, Tensor]  # (B, W, M, D) by modality
Pieces = tuple[
    tuple[Tokens | None, int], ...
]  # the tokens of conditions (None: the null condition), each with its rows


@dataclass(eq=False)
class Prepared:
    """One condition of a sampling run: what the network made of it, or its tokens where that may change in the run."""

    tokens: Tokens | None  # None: the null condition
    context: Any = None  # the network's context; None where the weights that make it may change in the run
    size: tuple[int, ...] = (1,)
    device: torch.device | None = None  # where the context is
    # The last batch that began with this condition: kept, because the steps of a run ask for the same again and again.
    # Its key names the others weakly. A condition that held itself would hold its memory after the run.
    joined: tuple[Any, Batch] | None = None


@dataclass(frozen=True)
class Batch:
    """The conditions of a whole batch, as the network is given them."""

    pieces: Pieces  # in the batch's order
    context: Any = None  # of all rows; None: to be prepared from the pieces in each step
    order: tuple[int, ...] = ()  # the pieces in the order in which the context has them; empty: as they are
    device: torch.device | None = None

    def to(self, device: torch.device) -> Batch:
        """ComfyUI asks where a copy of the model works on another device. That one prepares them in each step."""
        return self if device == self.device else Batch(self.pieces)

    def ready(self, network: Any, device: torch.device) -> Batch:
        """With a context, made now where none could be made for the whole run."""
        if self.context is not None:
            return self
        made = [network.prepare(there(tokens, device), device=device).expand(rows) for tokens, rows in self.pieces]
        return _joined(self.pieces, made, device)


class PreparedCondition(comfy.conds.CONDRegular):
    """A Prepared among ComfyUI's conditions: it serves any number of rows without being copied."""

    def __init__(self, cond: Prepared, rows: int = 1):
        super().__init__(cond)
        self.rows = rows

    def process_cond(self, batch_size: int, **_: Any) -> PreparedCondition:
        return PreparedCondition(self.cond, batch_size)

    def can_concat(self, other: Any) -> bool:
        return isinstance(other, PreparedCondition) and (self.cond.context is None) == (other.cond.context is None)

    def concat(self, others: Sequence[PreparedCondition]) -> Batch:
        """What the network is given for these conditions, one after the other."""
        key = (self.rows, *((weakref.ref(other.cond), other.rows) for other in others))
        if self.cond.joined is None or self.cond.joined[0] != key:
            self.cond.joined = key, _join([self, *others])
        return self.cond.joined[1]

    def size(self) -> list[int]:
        return [self.rows, *self.cond.size]


def _join(items: Sequence[PreparedCondition]) -> Batch:
    pieces = tuple((item.cond.tokens, item.rows) for item in items)
    if items[0].cond.context is None:
        return Batch(pieces)
    return _joined(pieces, [item.cond.context.expand(item.rows) for item in items], items[0].cond.device)


def _joined(pieces: Pieces, contexts: Sequence[Any], device: torch.device | None) -> Batch:
    # A network may skip the rows of the null condition where they come last; ComfyUI puts the negative one first.
    order = sorted(range(len(pieces)), key=lambda i: pieces[i][0] is None)
    context = contexts[order[0]]
    for i in order[1:]:
        context = context.cat(contexts[i])
    return Batch(pieces, context, () if order == sorted(order) else tuple(order), device)


def run(network: Any, x: Tensor, t: Tensor, batch: Batch, attention: Any) -> Tensor:
    """The network's velocity like x (B, C, L), for the conditions of a whole batch."""
    batch = batch.ready(network, x.device)
    if not batch.order:
        return network.velocity(x, t, batch.context, attention)
    sizes, order = [rows for _, rows in batch.pieces], batch.order
    out = network.velocity(_arranged(x, sizes, order), _arranged(t, sizes, order), batch.context, attention)
    back = sorted(range(len(order)), key=order.__getitem__)
    return _arranged(out, [sizes[i] for i in order], back)


def _arranged(x: Tensor, sizes: list[int], order: Sequence[int]) -> Tensor:
    """x (B, ...), parts of so many rows, with its parts in another order."""
    parts = x.split(sizes)
    return torch.cat([parts[i] for i in order])


def there(tokens: Tokens | None, device: torch.device) -> dict[str, Tensor] | None:
    """Tokens on a device; the null condition has none."""
    return None if tokens is None else {name: value.to(device) for name, value in tokens.items()}
