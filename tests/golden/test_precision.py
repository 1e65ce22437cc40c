"""Golden cases with weights and products in fewer bits: relative to float32, the difference stays in its bound."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor

from audiox_core.models.parts import Model
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.load import load_part
from tests.golden import cases
from tests.golden.reader import GoldenSet

CPU_CASES = {
    "fp16": ("dit", "vae", "network", "fusion", "sampler"),
    "bf16": ("dit", "denoise", "sample_dpmpp-3m-sde", "vae", "audio", "network", "fusion"),
    "fp8": ("dit", "sample_dpmpp-3m-sde", "network"),
}
# Products in float16 are slow on a CPU: of what a GPU does, the tests repeat the small cases.
GPU_CASES = {"fp16": ("dit", "vae", "text", "network", "fusion", "audio"), "bf16": ("dit", "network")}
BOUNDS = {"fp16": 1e-2, "bf16": 1e-2, "fp8": 5e-2}
# Guidance multiplies the difference of two answers, and their rounding with it, by its scale. Products in bfloat16
# (on a GPU, when asked for) are the one format where that shows; it is not chosen automatically.
GUIDED_BF16 = 5e-2
GUIDED = ("guided", "rescaled", "against")


@lru_cache(maxsize=2)
def weights(golden: GoldenSet, case: str | None) -> tuple[Model, Bundle]:
    model = golden.model_of(case) if case else golden.model
    return model, golden.opened(model).weights


@lru_cache(maxsize=4)
def network(golden: GoldenSet, name: str, case: str | None, precision: str, on_cpu: bool) -> Any:
    model, tensors = weights(golden, case)
    part = model.parts[name]
    return load_part(part, tensors, **part.format(precision, on_cpu=on_cpu).options())


def run(
    golden: GoldenSet, case: str, precision: str, on_cpu: bool, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Tensor]:
    """The case's answers in a precision's formats."""
    backbone = golden.model.backbone.name
    monkeypatch.setattr(cases, "network", lambda g, own=None: network(g, backbone, own, precision, on_cpu))
    monkeypatch.setattr(cases, "part", lambda g, name: network(g, name, None, precision, on_cpu))
    return cases.run(golden, case)


def errors(golden: GoldenSet, case: str, answers: dict[str, Tensor]) -> dict[str, float]:
    """The larger of the two common measures for each output: in norm, and of the largest value."""
    found = {}
    for name, expected in golden.stored(case).items():
        difference = (answers[name].double() - expected.double()).flatten()
        whole = expected.double().flatten()
        found[name] = max(
            (difference.norm() / whole.norm()).item(), (difference.abs().max() / whole.abs().max()).item()
        )
    return found


def check(
    golden: GoldenSet, case: str, precision: str, on_cpu: bool, monkeypatch: pytest.MonkeyPatch, report_row: Any
) -> None:
    if case not in golden.cases:
        pytest.skip(f"{golden.folder.name} has no case {case}")
    for output, error in errors(golden, case, run(golden, case, precision, on_cpu, monkeypatch)).items():
        guided = output.startswith(GUIDED) or case.startswith("sample_")
        bound = GUIDED_BF16 if precision == "bf16" and not on_cpu and guided else BOUNDS[precision]
        report_row(f"{case} {precision}{'' if on_cpu else ' (as on a GPU)'}", output, error, bound)
        assert error <= bound


@pytest.mark.parametrize(("precision", "case"), [(p, case) for p, given in CPU_CASES.items() for case in given])
def test_formats_of_the_cpu(
    golden: GoldenSet,
    precision: str,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    report_row: Callable[..., None],
) -> None:
    check(golden, case, precision, True, monkeypatch, report_row)


@pytest.mark.parametrize(("precision", "case"), [(p, case) for p, given in GPU_CASES.items() for case in given])
def test_formats_of_a_gpu(
    golden: GoldenSet,
    precision: str,
    case: str,
    monkeypatch: pytest.MonkeyPatch,
    report_row: Callable[..., None],
) -> None:
    check(golden, case, precision, False, monkeypatch, report_row)


@torch.inference_mode()  # as everything that is cached here
def test_stored_types(golden: GoldenSet) -> None:
    """What the formats say is what the loaded weights are."""
    if golden.fused:
        pytest.skip("tests/core/test_models_family_memory.py looks at these")
    eight = network(golden, "dit", None, "fp8", False)
    block = eight.transformer.layers[0]
    assert block.ff.ff[2].weight.dtype == block.self_attn.to_qkv.weight.dtype == torch.float8_e4m3fn
    assert block.cross_attn.to_kv.weight.dtype == torch.float16
    assert block.ff_norm.weight.dtype == eight.timestep_features.weight.dtype == torch.float32
    wave = network(golden, "autoencoder", None, "bf16", True)
    assert wave.decoder.layers[1].layers[1].weight.dtype == torch.bfloat16
    assert wave.decoder.layers[1].layers[0].alpha.dtype == torch.float32
