"""Weights in 8 bits, as the host's layers keep them: what README says of them, and that patches see them rightly."""

from __future__ import annotations

from typing import Any

from by_hand import by_host, differ, lora, null, prompt
from pack import demo, module, near


def error(found: Any, wanted: Any) -> float:
    """The root mean square of the differences, relative to that of the values."""
    return float((found.float() - wanted.float()).norm() / wanted.float().norm())


def check_weights_are_rounded_as_they_are() -> None:
    """Without a scale, so that every patch of the host means the weights themselves; biases and norms stay exact."""
    import torch

    exact = demo()[0].model.diffusion_model.state_dict()
    kept = demo("fp8")[0].model.diffusion_model.state_dict()
    small = {name for name, weight in kept.items() if weight.dtype == torch.float8_e4m3fn}
    assert small, sorted(kept)
    assert not [name for name in small if name.endswith("bias") or exact[name].ndim < 2]
    for name in small:
        assert kept[name].view(torch.uint8).equal(exact[name].to(torch.float8_e4m3fn).view(torch.uint8)), name
    seen = demo("fp8")[0].get_key_patches("diffusion_model.")
    for name in small:
        weight, convert = seen[f"diffusion_model.{name}"][0]
        assert convert(weight).float().equal(kept[name].float()), name


def check_the_figures_of_the_readme() -> None:
    """Weights around 0.01 are 5.7 % off instead of 2.6 %, larger ones the same."""
    import torch

    quantize, fp8 = module("audiox_core.networks.ops").quantize, torch.float8_e4m3fn
    for size, host, core in ((0.01, 0.057, 0.0265), (0.1, 0.0265, 0.0265)):
        weight = size * torch.randn(1024, 1024, generator=torch.Generator().manual_seed(0))
        rounded, scale = quantize(weight, fp8)
        assert abs(error(weight.to(fp8), weight) - host) < 5e-4
        assert abs(error(rounded.float() * scale, weight) - core) < 5e-4


def check_loras_mean_the_same_in_eight_bits() -> None:
    import comfy.sd

    found = {}
    for precision in ("fp32", "fp8"):
        patched = comfy.sd.load_lora_for_models(demo(precision)[0], None, lora(), 0.8, 0.0)[0]
        found[precision] = by_host(prompt("rain"), null(), model=patched)
    plain = by_host(prompt("rain"), null())
    near(found["fp8"], found["fp32"], 0.08)
    assert differ(found["fp32"], plain)
    assert error(plain, found["fp32"]) > 3 * error(found["fp8"], found["fp32"])
