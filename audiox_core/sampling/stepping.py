"""How the network of a step is run: as it is, compiled, or replayed as one CUDA graph."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import AudioXError, InputError

log = logging.getLogger("audiox")

GRAPHS = ("off", "auto", "on")
WARM_UP = 3  # calls before a graph is recorded: libraries choose kernels and take workspaces in the first ones
MOST_SHAPES = 64  # that are compiled for one network; the compiler's own limit of eight is for accidents

# Records fn() -> the tensor that it makes, and what repeats it into the same tensor.
Recorder = Callable[[Callable[[], Tensor]], tuple[Tensor, Callable[[], None]]]


def check_stepping(compile: Any, graph: Any, device: torch.device | str) -> None:
    """Raises InputError for choices that are none, or that this device or each other rule out."""
    if not isinstance(compile, bool):
        raise InputError(f"compile: expected True or False, got {compile!r}")
    if graph not in GRAPHS:
        raise InputError(f"graph: {graph!r} is not one of {', '.join(GRAPHS)}")
    if graph == "on" and torch.device(device).type != "cuda":
        raise InputError(f"graph: CUDA graphs need an NVIDIA GPU, and this runs on {device}. Choose off or auto.")
    if graph == "on" and compile:
        raise InputError("graph: a compiled network is not recorded as well. Choose either compile or graph.")


class Stepping:
    """What a pipeline makes of its backbone while it samples.

    compile: torch compiles the whole network, once for each shape. graph: "on" and, on CUDA, "auto" replay a recorded
    step; not beside compile, nor where blocks are streamed or the network has hooks, which a replay would pass over.
    """

    def __init__(self, *, compile: bool = False, graph: str = "off", recorder: Recorder | None = None):
        self.compile, self.graph = compile, graph
        self.recorder = recorder or record_on_cuda
        self._compiled: Compiled | None = None
        self._graphed: Graphed | None = None

    @contextmanager
    def ready(self, network: Any, device: torch.device, *, streamed: int, stays: bool) -> Iterator[Any]:
        """The network as it is to be called. stays: it keeps its place on the device after this."""
        if streamed:
            self.clear()
        if self.compile and not streamed:
            if self._compiled is None or self._compiled.network is not network:
                self._compiled = Compiled(network)
            yield self._compiled
            return
        wanted = self.graph == "on" or (self.graph == "auto" and device.type == "cuda")
        reason = "blocks are read from RAM in each step" if streamed else "it has hooks" if hooked(network) else None
        if (self.compile or wanted) and reason is not None:
            log.warning("the transformer runs step by step, neither compiled nor recorded, because %s", reason)
        if not wanted or reason is not None:
            yield network
            return
        if self._graphed is None or not self._graphed.serves(network):
            self._graphed = Graphed(network, self.recorder)
        done = False
        try:
            yield self._graphed
            done = True
        finally:
            if not (stays and done):  # also where memory ran out
                self.clear()

    def clear(self) -> None:
        """Gives back the memory of recorded steps."""
        self._graphed = None


class Compiled:
    """A backbone whose forward the compiler takes as one graph, once for each shape of what it is called with."""

    def __init__(self, network: nn.Module):
        self.network: Any = network
        self.prepare = self.network.prepare
        self._call = torch.compile(network, fullgraph=True, dynamic=False)
        self._known: set[Any] = set()

    def __call__(self, x: Tensor, t: Tensor, context: Any) -> Tensor:
        shape = signature((x, t, context))
        if shape in self._known:
            return self._call(x, t, context)
        log.info("compiling the transformer for latents of shape %s: minutes, once for each shape", tuple(x.shape))
        began = time.monotonic()
        try:
            with torch._dynamo.config.patch(recompile_limit=MOST_SHAPES):
                out = self._call(x, t, context)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            said = str(error).strip().split("\n")[0]
            raise AudioXError(
                f"compile: torch's compiler failed ({said:.200}). It needs a C++ compiler on the CPU (g++ or clang++) "
                "and Triton on a GPU. Install what is missing, or run without compile."
            ) from error
        log.info("compiled in %.0f s", time.monotonic() - began)
        self._known.add(shape)
        return out


class Graphed:
    """A backbone whose step is recorded once for each shape, and then replayed.

    Key: shapes, strides and types of latents, times and context. Ownership: inputs are copied into buffers of the
    record's own, the context only when another comes; the answer is a copy, which later calls leave alone. Weights are
    read where they lay when the step was recorded: serves() says whether they still lie there. Records hold their
    memory until this object goes. Not thread-safe: one call at a time, as a Residence gives them.
    """

    def __init__(self, network: nn.Module, recorder: Recorder):
        self.network: Any = network
        self.prepare = self.network.prepare
        self._recorder = recorder
        self._places = _places(network)
        self._records: dict[Any, _Record] = {}

    def serves(self, network: nn.Module) -> bool:
        """Whether this is the network of the records, with its weights where they were."""
        return network is self.network and _places(network) == self._places

    def __call__(self, x: Tensor, t: Tensor, context: Any) -> Tensor:
        key = signature((x, t, context))
        if key not in self._records:
            self._records[key] = _Record(self.network, self._recorder, x, t, context)
        return self._records[key](x, t, context)


class _Record:
    """One recorded step, with the buffers that it reads and writes."""

    def __init__(self, network: Any, recorder: Recorder, x: Tensor, t: Tensor, context: Any):
        self.x, self.t, self.context = x.clone(), t.clone(), _copied(context)
        self.given = weakref.ref(context)  # whose numbers lie in the buffers
        with torch.cuda.device(x.device) if x.is_cuda else nullcontext():
            self.out, self.replay = recorder(lambda: network(self.x, self.t, self.context))

    def __call__(self, x: Tensor, t: Tensor, context: Any) -> Tensor:
        self.x.copy_(x)
        self.t.copy_(t)
        if self.given() is not context:
            for mine, new in zip(tensors_of(self.context), tensors_of(context), strict=True):
                _core(mine).copy_(_core(new))
            self.given = weakref.ref(context)
        self.replay()
        return self.out.clone()


def record_on_cuda(fn: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
    """fn's kernels on the current device as a CUDA graph: its output's buffer, and the replay that fills it again."""
    aside = _aside(torch.cuda.current_device())
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM_UP):
            fn()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    try:
        with torch.cuda.graph(graph, stream=aside):
            out = fn()
    except RuntimeError as error:
        # What ended the recording, and not that its end then failed as well.
        if isinstance(error.__context__, torch.cuda.OutOfMemoryError):
            raise error.__context__ from None
        raise
    return out, graph.replay


@cache
def _aside(device: int) -> torch.cuda.Stream:
    """The stream beside the current one on which all steps are recorded: libraries keep a workspace for each stream."""
    return torch.cuda.Stream(device)


def hooked(network: nn.Module) -> bool:
    """Whether something is called before or after a module of the network."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in network.modules())


def signature(value: Any) -> Any:
    """What two calls share if one record or one compiled network serves both: all but the numbers of the tensors."""
    if isinstance(value, Tensor):
        return tuple(value.shape), value.stride(), value.dtype, value.device
    if is_dataclass(value):
        return type(value), tuple(signature(getattr(value, f.name)) for f in fields(value))
    return tuple(map(signature, value)) if isinstance(value, tuple) else value


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors in a context, in the order of its fields."""
    if isinstance(value, Tensor):
        return [value]
    parts: Sequence[Any] = [getattr(value, f.name) for f in fields(value)] if is_dataclass(value) else ()
    return [tensor for part in (value if isinstance(value, tuple | list) else parts) for tensor in tensors_of(part)]


def _copied(value: Any) -> Any:
    """A context with tensors of its own; what serves several rows without being copied does so in it, too."""
    if isinstance(value, Tensor):
        return _core(value).clone().expand(value.shape)
    if is_dataclass(value) and not isinstance(value, type):
        return type(value)(**{f.name: _copied(getattr(value, f.name)) for f in fields(value)})
    return tuple(map(_copied, value)) if isinstance(value, tuple) else value


def _core(x: Tensor) -> Tensor:
    """A tensor without the axes along which it's the same memory."""
    for axis, stride in enumerate(x.stride()):
        if stride == 0 and x.shape[axis] > 1:
            x = x.narrow(axis, 0, 1)
    return x


def _places(network: nn.Module) -> tuple[int, ...]:
    return tuple(p.data_ptr() for p in network.parameters())
