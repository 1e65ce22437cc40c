"""ComfyUI's compile node takes our network whole: one graph, the same numbers, also where models load dynamically."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from by_hand import Given, by_hand, by_host, differ, lora, null, prompt, tokens_of
from pack import Lacking, demo, module, near

BOUND = 1e-5


@contextmanager
def compiling() -> Iterator[Any]:
    """Counters of the compiler, and the attention of GPUs: no compiler sees into the one ComfyUI takes on the CPU."""
    import comfy.ldm.modules.attention as attention
    import torch._dynamo

    before, attention.optimized_attention = attention.optimized_attention, attention.attention_pytorch
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    try:
        yield torch._dynamo.utils.counters
    finally:
        torch._dynamo.reset()
        attention.optimized_attention = before


def one_graph(counters: Any) -> None:
    assert not counters["graph_break"], dict(counters["graph_break"])
    assert counters["stats"]["unique_graphs"] == 1, dict(counters["stats"])


def compiled(model: Any) -> Any:
    """The model with the compile node's patch, its graph kept as it is: compiling takes minutes on few cores."""
    from comfy_api.torch_helpers import set_torch_compile_wrapper

    patched = model.clone()
    set_torch_compile_wrapper(model=patched, backend="eager", fullgraph=True)
    return patched


def check_the_compile_node_keeps_the_network_whole() -> None:
    from comfy_extras.nodes_torch_compile import TorchCompileModel

    wanted = by_host(prompt("rain"), null())
    with compiling() as counters:
        if shutil.which("g++") or shutil.which("clang++"):
            patched = TorchCompileModel.execute(demo()[0], "inductor")[0]
        else:
            patched = compiled(demo()[0])
        found = by_host(prompt("rain"), null(), model=patched)
        one_graph(counters)
        near(found, wanted, BOUND)
        assert by_host(prompt("rain"), null(), model=patched).equal(found)
        one_graph(counters)  # the next run finds the graph again


def check_every_batch_compiles_whole() -> None:
    """Also with a real negative, which rearranges nothing, and where hooks have conditions prepared in each step."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora(), 0.8, 0.0)
    for batch, positive, negative in (
        (1, prompt("rain"), prompt("hail")),
        (2, null(), prompt("hail")),
        (1, *(comfy.hooks.set_hooks_for_conditioning(one, hooks) for one in (prompt("rain"), null()))),
    ):
        wanted = by_host(positive, negative, batch=batch)
        with compiling() as counters:
            near(by_host(positive, negative, batch=batch, model=compiled(demo()[0])), wanted, BOUND)
            one_graph(counters)


def check_a_wrapper_compiles_too() -> None:
    """What other nodes put around the network (caches, for one) is traced with it."""
    from comfy.patcher_extension import WrappersMP

    def wrapper(executor: Any, *args: Any, **kw: Any) -> Any:
        return executor(*args, **kw) * 0.9

    model = demo()[0].clone()
    model.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "test", wrapper)
    wanted = by_host(prompt("rain"), null(), model=model)
    assert differ(wanted, by_host(prompt("rain"), null()))
    with compiling() as counters:
        near(by_host(prompt("rain"), null(), model=compiled(model)), wanted, BOUND)
        one_graph(counters)


def check_models_that_load_dynamically_are_loaded_anew_without() -> None:
    """Newer versions, on their favourite devices: compiling and hooks ask for such a copy of the model."""
    import comfy.hooks
    import comfy.model_patcher

    model = demo()[0].clone()
    if not hasattr(model, "is_dynamic"):
        raise Lacking("dynamic loading")
    model.is_dynamic = lambda: True
    copy = model.clone(disable_dynamic=True)
    assert copy.model is not model.model
    assert type(copy) is comfy.model_patcher.ModelPatcher
    plain = by_host(prompt("rain"), null())
    near(by_host(prompt("rain"), null(), model=copy), plain, BOUND)
    with compiling() as counters:
        from comfy_extras.nodes_torch_compile import TorchCompileModel

        patched = TorchCompileModel.execute(model, "inductor")[0]
        assert patched.model is not model.model
        near(by_host(prompt("rain"), null(), model=compiled(patched)), plain, BOUND)
        one_graph(counters)
    delegate = comfy.model_patcher.ModelPatcherDynamic.get_non_dynamic_delegate
    model.non_dynamic_delegate_model, model.get_non_dynamic_delegate = None, partial(delegate, model)
    hooks = comfy.hooks.create_hook_lora(lora(), 0.8, 0.0)
    hooked = comfy.hooks.set_hooks_for_conditioning(prompt("rain"), hooks)
    rain, none = tokens_of(prompt("rain")), tokens_of(null())
    near(by_host(hooked, null(), model=model), by_hand([Given(rain, weights=lambda _: 0.8)], [Given(none)]))


def check_models_of_a_budget_are_loaded_anew_with_it() -> None:
    model = demo("fp32", "off")[0]
    made, arguments = model.cached_patcher_init
    assert made is module("nodes.load").reload_model
    again = made(*arguments, disable_dynamic=True)
    assert type(again).__name__ == "Budgeted"
    assert again.model.audiox_budget == model.model.audiox_budget
