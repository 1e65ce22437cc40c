"""docs/patch_nodes.md says the truth: each of the host's patch nodes in it is tried on our MODEL."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path
from typing import Any

import check_compile
import check_patches
from by_hand import by_host, null, prompt
from pack import demo

TABLE = Path(__file__).parents[3] / "docs" / "patch_nodes.md"
LAYERS = {"double_layers": "0, 1", "single_layers": "0, 1", "start_percent": 0.0, "end_percent": 1.0}
# Node: its file (comfy_extras/nodes_*.py), its inputs.
TRIED: dict[str, tuple[str, dict[str, Any]]] = {
    "PerturbedAttentionGuidance": ("pag", {"scale": 3.0}),
    "SkipLayerGuidanceDiT": ("slg", {"scale": 3.0, "rescaling_scale": 0.0, **LAYERS}),
    "SkipLayerGuidanceDiTSimple": ("slg", LAYERS),
    "NAGuidance": ("nag", {"nag_scale": 5.0, "nag_alpha": 0.5, "nag_tau": 1.5}),
    "FreeU": ("freelunch", {"b1": 1.1, "b2": 1.2, "s1": 0.9, "s2": 0.2}),
    "FreeU_V2": ("freelunch", {"b1": 1.3, "b2": 1.4, "s1": 0.9, "s2": 0.2}),
    "RescaleCFG": ("model_advanced", {"multiplier": 0.7}),
    "SelfAttentionGuidance": ("sag", {"scale": 0.5, "blur_sigma": 2.0}),
    "RenormCFG": ("lumina2", {"cfg_trunc": 100.0, "renorm_cfg": 1.0}),
    "CFGZeroStar": ("cfg", {}),
    "CFGNorm": ("cfg", {"strength": 1.0}),
    "TCFG": ("tcfg", {}),
    "EpsilonScaling": ("eps", {"scaling_factor": 1.005}),
    "TomePatchModel": ("tomesd", {"ratio": 0.3}),
    "HyperTile": ("hypertile", {"tile_size": 256, "swap_size": 2, "max_depth": 0, "scale_depth": False}),
}
# Nodes whose numbers other checks compare: node -> (the check, what it has shown).
SHOWN = {
    "LoraLoaderModelOnly": (check_patches.check_loras_reach_what_is_prepared, "works"),
    "ModelMergeSimple": (check_patches.check_merged_models, "works"),
    "TorchCompileModel": (check_compile, "works"),
    "EasyCache": (check_patches.check_easycache_skips_steps, "works"),
    "LazyCache": (check_patches.check_easycache_skips_steps, "works"),
    "CFGOverride": (check_patches.check_guidance_by_other_nodes, "works"),
    "APG": (check_patches.check_guidance_by_other_nodes, "works"),
    "PerpNeg": (check_patches.check_guidance_by_other_nodes, "works"),
    "ContextWindowsManual": (check_patches.check_context_windows, "works"),
    "ModelComputeDtype": (check_patches.check_another_type_around_the_network_is_ignored, "no effect"),
}


def told() -> dict[str, str]:
    """Node -> what the table says of it."""
    rows = re.findall(r"^\| (\w+) \| ([a-z ]+?) \|", TABLE.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: state for name, state in rows if name != "node"}


def found(name: str) -> str | None:
    """What a node of the host does to a short run; None where this version has no such node."""
    file, inputs = TRIED[name]
    try:
        kind: Any = getattr(import_module(f"comfy_extras.nodes_{file}"), name)
    except (ImportError, AttributeError):
        return None
    run = getattr(kind, "execute", None) or getattr(kind(), kind.FUNCTION)
    plain = by_host(prompt("rain"), null())
    try:
        made = by_host(prompt("rain"), null(), model=run(demo()[0], **inputs)[0])
    except Exception:
        return "fails"
    return "works" if float((made - plain).abs().max() / plain.abs().max()) > 1e-4 else "no effect"


def check_the_table_of_patch_nodes_is_true() -> None:
    assert set(told()) == set(TRIED) | set(SHOWN)
    assert {name: told()[name] for name in SHOWN} == {name: state for name, (_, state) in SHOWN.items()}
    states = {name: found(name) for name in TRIED}
    wrong = {name: (state, told()[name]) for name, state in states.items() if state not in (None, told()[name])}
    assert not wrong, wrong
    assert sum(state is not None for state in states.values()) > len(TRIED) / 2
    assert not by_host(prompt("rain"), null()).isnan().any()  # none of them has left anything behind
