"""The host's patches on our MODEL: which of them work, and how far what is prepared once follows them."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any

from by_hand import (
    LATENTS,
    STEPS,
    Given,
    by_hand,
    by_host,
    counted,
    differ,
    lora,
    null,
    prompt,
    scaled,
    stepping,
    tokens_of,
)
from pack import demo, latent, near, raises

WINDOW = LATENTS // 2


def patched(file: str, name: str, **inputs: Any) -> Any:
    """The demo model behind a node of the host, without inputs that its version doesn't know. None: no such node."""
    kind = getattr(import_module(f"comfy_extras.nodes_{file}"), name, None)
    if kind is None:
        return None
    known = inspect.signature(kind.execute).parameters
    return kind.execute(demo()[0], **{key: value for key, value in inputs.items() if key in known})[0]


def windows(**changed: Any) -> Any:
    """The demo model behind Context Windows (Manual), two halves beside each other."""
    inputs = {"context_length": WINDOW, "context_overlap": 0, "context_schedule": "standard_static", "dim": 2}
    inputs |= {"context_stride": 1, "closed_loop": False, "fuse_method": "pyramid", "freenoise": False}
    inputs |= {"causal_window_fix": False}
    return patched("context_windows", "ContextWindowsManualNode", **inputs | changed)


def check_loras_reach_what_is_prepared() -> None:
    import comfy.sd

    rain, none = tokens_of(prompt("rain")), tokens_of(null())
    wanted = by_hand([Given(rain, weights=lambda _: 0.8)], [Given(none, weights=lambda _: 0.8)])
    patched = comfy.sd.load_lora_for_models(demo()[0], None, lora(), 0.8, 0.0)[0]
    with counted() as calls:
        near(by_host(prompt("rain"), null(), model=patched), wanted)
    assert len(calls) == 2
    plain = by_hand([Given(rain)], [Given(none)])
    assert differ(wanted, plain), "the LoRA is heard"
    near(by_host(prompt("rain"), null()), plain)  # and gone where it is not asked for


def check_hooks_change_weights_from_step_to_step() -> None:
    """Create Hook LoRA with keyframes: such conditions are prepared in each step, others of the run still once."""
    import comfy.hooks

    hooks = comfy.hooks.create_hook_lora(lora(), 1.0, 0.0)
    keyframes = comfy.hooks.HookKeyframeGroup()
    for strength, start in ((0.0, 0.0), (0.8, 0.3), (-0.5, 0.7)):
        keyframes.add(comfy.hooks.HookKeyframe(strength, start, guarantee_steps=0))
    hooks.set_keyframes_on_hooks(keyframes)

    def strength(sigma: float) -> float:
        at = demo()[0].model.model_sampling.percent_to_sigma
        return -0.5 if sigma <= at(0.7) else 0.8 if sigma <= at(0.3) else 0.0

    def hooked(condition: Any) -> Any:
        return comfy.hooks.set_hooks_for_conditioning(condition, hooks)

    rain, none = tokens_of(prompt("rain")), tokens_of(null())
    with counted() as calls:
        near(by_host(hooked(prompt("rain")), null()), by_hand([Given(rain, weights=strength)], [Given(none)]))
    assert len(calls) == 1 + STEPS
    wanted = by_hand([Given(rain, weights=strength)], [Given(none, weights=strength)])
    with counted() as calls:
        near(by_host(hooked(prompt("rain")), hooked(null())), wanted)
        near(by_host(hooked(prompt("rain")), hooked(null())), wanted)  # from the first keyframe again
    assert len(calls) == 2 * 2 * STEPS
    near(by_host(prompt("rain"), null()), by_hand([Given(rain)], [Given(none)]))


def check_easycache_skips_steps() -> None:
    import nodes

    def run(model: Any) -> tuple[Any, int]:
        with stepping(model) as rows:
            given = (model, 7, 30, 7.0, "euler", "exponential", prompt("rain"), null(), latent(LATENTS))
            (out,) = nodes.KSampler().sample(*given, denoise=1.0)
        return out["samples"], len(rows)

    plain, steps = run(demo()[0])
    assert steps == 30
    cache = {"start_percent": 0.15, "end_percent": 0.95, "verbose": True}
    cached, steps = run(patched("easycache", "EasyCacheNode", reuse_threshold=0.05, **cache))
    assert 15 <= steps < 27, steps
    holder = import_module("comfy_extras.nodes_easycache").EasyCacheHolder
    if "output_channels" in inspect.signature(holder).parameters:  # before, it mixed up the rows of a batch
        near(cached, plain, 0.02)
    _, steps = run(patched("easycache", "LazyCacheNode", reuse_threshold=0.05, **cache))
    assert steps < 30  # it runs; what it gives is another matter, see the documentation


def check_guidance_by_other_nodes() -> None:
    rain, hail, none = ([Given(tokens_of(one))] for one in (prompt("rain"), prompt("hail"), null()))
    plain = by_hand(rain, none)
    perpendicular = patched("perpneg", "PerpNeg", empty_conditioning=null(), neg_scale=1.0)
    near(by_host(prompt("rain"), null(), model=perpendicular), plain)
    assert differ(by_host(prompt("rain"), prompt("hail"), model=perpendicular), by_hand(rain, hail))
    # APG adds one to the guidance that it lets pass, here all of it and nearly nothing.
    for threshold, guidance in ((0.0, 8.0), (1e-6, 1.0)):
        projected = patched("apg", "APG", eta=1.0, norm_threshold=threshold, momentum=0.0)
        near(by_host(prompt("rain"), null(), model=projected), by_hand(rain, none, guidance=lambda _, g=guidance: g))
    at = demo()[0].model.model_sampling.percent_to_sigma
    override = patched("custom_sampler", "CFGOverride", cfg=1.0, start_percent=0.3, end_percent=0.7)
    if override is not None:
        with stepping(override) as rows:
            found = by_host(prompt("rain"), null(), model=override)
        near(found, by_hand(rain, none, guidance=lambda sigma: 1.0 if at(0.7) <= sigma <= at(0.3) else 7.0))
        assert rows == [2, 1, 1, 2]


def check_context_windows() -> None:
    """Windows that don't overlap are runs of their own."""
    rain, none = [Given(tokens_of(prompt("rain")))], [Given(tokens_of(null()))]
    model = windows()
    with stepping(model) as rows:
        found = by_host(prompt("rain"), null(), model=model)
    assert len(rows) == 2 * STEPS
    near(found[..., :WINDOW], by_hand(rain, none, latents=WINDOW))
    assert differ(found[..., :WINDOW], by_hand(rain, none)[..., :WINDOW])
    long = windows(context_length=236, context_overlap=40, causal_window_fix=True)
    # As many latents as ComfyUI would take a condition of 768 numbers for.
    out = by_host(prompt("rain"), null(), model=long, latent=latent(768), steps=1)
    assert out.shape == (1, 64, 768)
    for model in (windows(), windows(freenoise=True)):
        raises(
            Exception,
            "AudioX Sampler: ComfyUI's context windows take one latent at a time, but this batch has 2.",
            lambda model=model: by_host(prompt("rain"), null(), model=model, batch=2),
        )
    near(by_host(prompt("rain"), null(), model=windows(context_length=LATENTS), batch=2), by_hand(rain, none, batch=2))


def check_another_type_around_the_network_is_ignored() -> None:
    """ModelComputeDtype: the network computes in its own type, whatever it is given."""
    import torch

    plain = by_host(prompt("rain"), null())
    for dtype in (torch.bfloat16, torch.float16):
        model = demo()[0].clone()
        model.set_model_compute_dtype(dtype)
        near(by_host(prompt("rain"), null(), model=model), plain, 1e-5)
    assert by_host(prompt("rain"), null()).equal(plain)


def check_merged_models() -> None:
    """A merge has the weights of both, also in what is prepared once."""
    from comfy_extras.nodes_model_merging import ModelMergeSimple

    (merged,) = ModelMergeSimple().merge(demo()[0], scaled(1.2), 0.5)
    near(by_host(prompt("rain"), null(), model=merged), by_host(prompt("rain"), null(), model=scaled(1.1)))
