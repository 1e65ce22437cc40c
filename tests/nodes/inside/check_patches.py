"""The host's patches on our MODEL: which of them work, and how far what is prepared once follows them."""

from __future__ import annotations

from typing import Any

from by_hand import STEPS, Given, by_hand, by_host, counted, differ, lora, null, prompt, tokens_of
from pack import demo, near


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
