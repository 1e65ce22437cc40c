"""The inputs of the nodes as the contract has them: names in their order, defaults and limits, read from the source.

Shared workflows hold widgets by place: a node may only get more of them, behind these.
"""

from __future__ import annotations

import ast

import pytest

from tests.nodes.test_source import schemas

# ruff: noqa: E501
# Name ("?": optional), "=default", "lowest..highest"; names of constants as in the source.
INPUTS = {
    "AudioXLoad": "checkpoint; text_encoder=AUTO; precision=auto; offload=auto; max_vram_gb=0.0 0.0..1024.0",
    "AudioXEncodeText": "encoders; text",
    "AudioXEncodeVideo": "encoders; video?; images?; fps=25.0 0.01..1000.0; start=0.0 0.0..100000.0; seconds=PROMPT_SECONDS 0.0..LONGEST; kept?=0.0 0.0..10.9",
    "AudioXEncodeAudio": "encoders; audio; start=0.0 0.0..100000.0; seconds=PROMPT_SECONDS 0.1..PROMPT_SECONDS; prompt_hidden?=-1.0 -1.0..1.0; hidden_seed?=0 0..18446744073709551615",
    "AudioXCombine": "text?; video?; audio?",
    "AudioXNull": "",
    "AudioXEmptyLatent": "seconds=10.0 0.1..LONGEST; batch_size=1 1..64; loop?=False",
    "AudioXSampler": "model; positive; latent; seed=0 0..18446744073709551615; steps=0 0..1000; guidance=0.0 -20.0..100.0; sampler=AUTO; sigma_min=0.0 0.0..100.0; sigma_max=0.0 0.0..5000.0; rho=0.0 0.0..10.0; rescale=0.0 0.0..1.0; denoise=1.0 0.0..1.0; negative?; long?=LONG[0]; kept?=0.0 0.0..10.9",
    "AudioXDecode": "vae; latent; seconds=0.0 0.0..LONGEST; normalize=peak",
    "AudioXSetSoundtrack": "video; audio; mode=replace; offset=0.0 -100000.0..100000.0; gain=1.0 0.0..10.0; fade_in?=0.0 0.0..600.0; fade_out?=0.0 0.0..600.0; keep?=; duck?=0.0 0.0..60.0; keep_rest?=False",
    "AudioXSpectrogram": "audio; width=1024 64..8192; height=384 64..4096; axes?=True; scale?=log; show_waveform?=False; regions?=; windows?=",
    "AudioXEdit": "vae; audio; regions=; extend_before=0.0 0.0..LONGEST; extend_after=0.0 0.0..LONGEST; feather=0.05 0.0..10.0",
    "AudioXTimedText": "encoders; lines=0:00 rain\\n0:12 thunder; seconds=30.0 0.1..LONGEST; kept?=0.0 0.0..10.9",
    "AudioXWindows": "model; kept=0.0 0.0..10.9; loop=False; at_once=1 1..64",
    "AudioXGuider": "model; positive; text_guidance=7.0 -20.0..100.0; video_guidance=7.0 -20.0..100.0; audio_guidance=7.0 -20.0..100.0; negative?",
    "AudioXTake": "audio; take=1 1..64",
}


def said(entry: ast.Call) -> str:
    """An input's line in the table."""
    given = {keyword.arg: ast.unparse(keyword.value).replace("'", "") for keyword in entry.keywords}
    name = ast.literal_eval(entry.args[0]) + ("?" if given.get("optional") == "True" else "")
    default = f"={given['default']}" if "default" in given else ""
    return name + default + (f" {given['min']}..{given['max']}" if "min" in given else "")


@pytest.mark.parametrize("node_id", INPUTS)
def test_inputs_are_the_contract_s(node_id: str) -> None:
    inputs = next(keyword.value for keyword in schemas()[node_id].keywords if keyword.arg == "inputs")
    assert isinstance(inputs, ast.List)
    lines = [said(entry) for entry in inputs.elts if isinstance(entry, ast.Call)]
    pinned = [line for line in INPUTS[node_id].split("; ") if line]
    assert lines[: len(pinned)] == pinned


@pytest.mark.parametrize("node_id", INPUTS)
def test_later_inputs_are_optional(node_id: str) -> None:
    """A workflow saved before they came has no value for them."""
    inputs = next(keyword.value for keyword in schemas()[node_id].keywords if keyword.arg == "inputs")
    assert isinstance(inputs, ast.List)
    later = inputs.elts[len([line for line in INPUTS[node_id].split("; ") if line]) :]
    assert all(said(entry).partition("=")[0].endswith("?") for entry in later if isinstance(entry, ast.Call))
