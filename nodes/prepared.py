"""Conditions that a model's network has prepared once for a sampling run, as ComfyUI batches them."""

from __future__ import annotations

import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import comfy.conds
import torch
from torch import Tensor

from ..audiox_core.sampling.stepping import tensors_of
from ..audiox_core.sampling.windows import Together, Windows
from . import host

Tokens = Mapping[str, Tensor]  # (B, W, M, D) by modality
Pieces = tuple[
    tuple[Tokens | None, int], ...
]  # the tokens of conditions (None: the null condition), each with its rows


@dataclass(eq=False)
class Prepared:
    """One condition of a sampling run: what the network made of it, or its tokens where that may change in the run."""

    tokens: Tokens | None  # None: the null condition
    # The network's context, one for all windows or one each; none where the weights that make it may change in the run.
    contexts: tuple[Any, ...] = ()
    size: tuple[int, ...] = (1,)
    device: torch.device | None = None  # where the contexts are
    windows: Windows | None = None  # None: the latent is one window
    at_once: int = 1
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
    windows: Windows | None = None
    at_once: int = 1
    contexts: tuple[tuple[Any, ...], ...] = ()  # of each piece, those of its windows
    _made: dict[Sequence[int], Batch] = field(default_factory=dict)  # what windows together are given

    def to(self, device: torch.device) -> Batch:
        """ComfyUI asks where a copy of the model works on another device. That one prepares them in each step."""
        if device == self.device:
            return self
        return Batch(self.pieces, windows=self.windows, at_once=self.at_once)

    def ready(self, network: Any, device: torch.device) -> Batch:
        """With a context, made now where none could be made for the whole run. Windows are prepared as they come."""
        if self.context is not None or self.windows is not None:
            return self
        made = [network.prepare(there(tokens, device), device=device).expand(rows) for tokens, rows in self.pieces]
        return _joined(self.pieces, made, device)

    def of(self, numbers: Sequence[int], network: Any, device: torch.device) -> Batch:
        """The conditions of these windows: all pieces of the first, then those of the next."""
        key = tuple(numbers)
        if key in self._made:
            return self._made[key]
        pieces = tuple((_window(tokens, n), rows) for n in numbers for tokens, rows in self.pieces)
        if not self.contexts:
            return Batch(pieces).ready(network, device)
        made = [
            own[n if len(own) > 1 else 0].expand(rows)
            for n in numbers
            for own, (_, rows) in zip(self.contexts, self.pieces, strict=True)
        ]
        self._made[key] = _joined(pieces, made, device)
        return self._made[key]


class PreparedCondition(comfy.conds.CONDRegular):
    """A Prepared among ComfyUI's conditions: it serves any number of rows without being copied."""

    def __init__(self, cond: Prepared, rows: int = 1):
        super().__init__(cond)
        self.rows = rows

    def process_cond(self, batch_size: int, **_: Any) -> PreparedCondition:
        return PreparedCondition(self.cond, batch_size)

    def can_concat(self, other: Any) -> bool:
        if not isinstance(other, PreparedCondition) or self.cond.windows != other.cond.windows:
            return False
        return bool(self.cond.contexts) == bool(other.cond.contexts)

    def concat(self, others: Sequence[PreparedCondition]) -> Batch:
        """What the network is given for these conditions, one after the other."""
        key = (self.rows, *((weakref.ref(other.cond), other.rows) for other in others))
        if self.cond.joined is None or self.cond.joined[0] != key:
            self.cond.joined = key, _join([self, *others])
        return self.cond.joined[1]

    def size(self) -> list[int]:
        return [self.rows, *self.cond.size]


def _join(items: Sequence[PreparedCondition]) -> Batch:
    pieces, first = tuple((item.cond.tokens, item.rows) for item in items), items[0].cond
    if first.windows is not None:
        contexts = tuple(item.cond.contexts for item in items) if first.contexts else ()
        return Batch(pieces, None, (), first.device, first.windows, first.at_once, contexts)
    if not first.contexts:
        return Batch(pieces)
    return _joined(pieces, [item.cond.contexts[0].expand(item.rows) for item in items], first.device)


def _joined(pieces: Pieces, contexts: Sequence[Any], device: torch.device | None) -> Batch:
    # A network may skip the rows of the null condition where they come last; ComfyUI puts the negative one first.
    order = sorted(range(len(pieces)), key=lambda i: pieces[i][0] is None)
    context = contexts[order[0]]
    for i in order[1:]:
        context = context.cat(contexts[i])
    return Batch(pieces, context, () if order == sorted(order) else tuple(order), device)


def run(network: Any, x: Tensor, t: Tensor, batch: Batch, attention: Any) -> Tensor:
    """The network's velocity like x (B, C, L), for the conditions of a whole batch; of windows where there are some."""
    if batch.windows is None:
        return _run(network, x, t, batch.ready(network, x.device), attention)
    one = partial(partial, _windows, network, batch, attention)
    return Together(batch.windows, one, at_once=batch.at_once, kept=0)(x, t)


def _windows(network: Any, batch: Batch, attention: Any, numbers: Sequence[int], x: Tensor, t: Tensor) -> Tensor:
    """The velocity of several windows at once: x (B W, C, length), windows running faster."""
    own, count = batch.of(numbers, network, x.device), len(numbers)
    if count == 1:
        return _run(network, x, t, own, attention)
    # The conditions' pieces come window by window.
    outward = x.unflatten(0, (-1, count)).transpose(0, 1).flatten(0, 1)
    out = _run(network, outward, t.unflatten(0, (-1, count)).transpose(0, 1).flatten(), own, attention)
    return out.unflatten(0, (count, -1)).transpose(0, 1).flatten(0, 1)


def _run(network: Any, x: Tensor, t: Tensor, batch: Batch, attention: Any) -> Tensor:
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


def _window(tokens: Tokens | None, number: int) -> Tokens | None:
    """The tokens (B, 1, M, D) of one window; those that are the same in all windows have only one."""
    if tokens is None:
        return None
    return {name: (t if t.shape[1] == 1 else t[:, number : number + 1]) for name, t in tokens.items()}


def prepare_windows(network: Any, tokens: Tokens | None, count: int, device: torch.device) -> Any:
    """The contexts of so many windows, one if they are the same; none where a quarter of what is free is too little."""
    various = tokens is not None and any(t.shape[1] > 1 for t in tokens.values())
    made = [network.prepare(there(_window(tokens, 0), device), device=device)]
    if not various:
        return tuple(made)
    if count * size_of(made[0]) > host.free_memory(device) / 4:
        return ()
    return (*made, *(network.prepare(there(_window(tokens, n), device), device=device) for n in range(1, count)))


def size_of(value: Any) -> int:
    """Bytes of the tensors in a context."""
    return sum(tensor.nbytes for tensor in tensors_of(value))
