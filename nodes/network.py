"""The core's networks as ComfyUI calls its diffusion models: built of its layers, with its attention and wrappers."""

from __future__ import annotations

from functools import cache
from typing import Any

import comfy.ldm.modules.attention
import comfy.patcher_extension
from torch import Tensor, nn

from ..audiox_core.errors import InputError
from ..audiox_core.memory.formats import Format
from ..audiox_core.models.parts import Model
from ..audiox_core.networks.layers import repeat_heads
from .prepared import run


def host_attention(q: Tensor, k: Tensor, v: Tensor, *, options: dict[str, Any]) -> Tensor:
    """ComfyUI's attention for the core's networks: (B, H, L, d), (B, Hkv, M, d) twice -> (B, H, L, d)."""
    k, v = repeat_heads(q, k, v)  # not every kernel of the host knows grouped heads
    # Looked up at each call: patches replace it. Kernels in 8 bits are audible, so they are not wanted.
    return comfy.ldm.modules.attention.optimized_attention(
        *(q, k, v, q.shape[1]),
        skip_reshape=True,
        skip_output_reshape=True,
        transformer_options=options,
        low_precision_attention=False,
    )


class HostNetwork(nn.Module):
    """Called as ComfyUI calls its diffusion models; mixed into the class of any network with prepare and forward."""

    def velocity(self, x: Tensor, t: Tensor, context: Any, attention: Any) -> Tensor:
        return super().forward(x, t, context, attention)

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        context: Any = None,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        audiox: Any = None,
        **_: Any,
    ) -> Tensor:
        options = transformer_options or {}
        wrappers = comfy.patcher_extension.get_all_wrappers(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, options)
        if not wrappers:
            return self.step(x, t, context, control, options, audiox)
        executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(self.step, self, wrappers)
        return executor.execute(x, t, context, control, options, audiox=audiox)

    def step(
        self, x: Tensor, t: Tensor, context: Any, control: Any, transformer_options: dict[str, Any], audiox: Any = None
    ) -> Tensor:
        if audiox is None:
            raise InputError("the network was called without AudioX's conditions. Connect AudioX's MODEL to a sampler.")

        # No partial: a compiler cannot tell whether one counts as true, as networks may ask.
        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return host_attention(q, k, v, options=transformer_options)

        return run(self, x, t, audiox, attention)


@cache
def hosted(kind: type[nn.Module]) -> type[nn.Module]:
    """A network's class as ComfyUI calls it. Names of weights stay the core's."""
    return type(f"Host{kind.__name__}", (HostNetwork, kind), {})


def build_network(model: Model, format: Format, operations: Any, **_: Any) -> nn.Module:
    """The model's backbone on the meta device, without weights, built of ComfyUI's layers."""
    network = model.backbone.build(
        device="meta", dtype=format.storage_dtype, compute_dtype=format.compute_dtype, operations=operations
    )
    network.__class__ = hosted(type(network))
    return network
