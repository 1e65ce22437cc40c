"""The pack in a ComfyUI process, and what checks share: the demo model, a sampler of few steps, the core alone."""

from __future__ import annotations

import asyncio
import os
import sys
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

DEMO = "demo (random weights, noise)"
TOLERANCE = 1e-4

# Set by start().
PACK = ""
BASE = Path()


class Lacking(Exception):
    """Raised by a check of what this ComfyUI doesn't have: it is skipped, and says so."""


def start(pack: str, base: str) -> None:
    """ComfyUI on the CPU, working in a folder, with our pack loaded as it loads packs."""
    global PACK, BASE
    sys.path.insert(0, os.getcwd())
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        os.makedirs(os.path.join(base, name), exist_ok=True)
    sys.argv = ["main.py", "--cpu", "--base-directory", base]
    import comfy.options

    comfy.options.enable_args_parsing()
    import folder_paths

    import nodes

    folder_paths.set_temp_directory(os.path.join(base, "temp"))
    assert asyncio.run(nodes.load_custom_node(pack, module_parent="custom_nodes")), "the pack does not load"
    PACK = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"].__module__.removesuffix(".nodes.load")
    BASE = Path(base)


def module(name: str) -> Any:
    """A module of the pack, such as nodes.load or audiox_core.guidance."""
    from importlib import import_module

    return import_module(f"{PACK}.{name}")


def node(name: str) -> Any:
    """A node of the pack, to be called with its inputs: its outputs as a tuple."""
    import nodes

    return lambda **inputs: nodes.NODE_CLASS_MAPPINGS[name].execute(**inputs).result


@cache
def demo(precision: str = "fp32", offload: str = "auto", max_vram_gb: float = 0.0) -> tuple[Any, ...]:
    """The demo model: MODEL, encoders, VAE, report."""
    return node("AudioXLoad")(
        checkpoint=DEMO, text_encoder="auto", precision=precision, offload=offload, max_vram_gb=max_vram_gb
    )


def prompt(text: str = "rain") -> Any:
    return node("AudioXEncodeText")(encoders=demo()[1], text=text)[0]


def latent(length: int = 40, batch: int = 1) -> dict[str, Any]:
    import torch

    return {"samples": torch.zeros(batch, 64, length), "type": "audio"}


def sample(**changed: Any) -> Any:
    """Latents of AudioXSampler, few steps by default."""
    recipe = {"seed": 7, "steps": 6, "guidance": 7.0, "sampler": "dpmpp-3m-sde", "sigma_min": 0.3, "sigma_max": 500.0}
    recipe |= {"rho": 1.0, "rescale": 0.0, "denoise": 1.0, "model": demo()[0], "positive": prompt(), "latent": latent()}
    return node("AudioXSampler")(**recipe | changed)[0]["samples"]


def core_sample(*, sampler: str = "dpmpp-3m-sde", rescale: float = 0.0, length: int = 40, steps: int = 6) -> Any:
    """The same by the core alone: its own network, guidance, schedule and sampler; noise and entropy as ComfyUI's."""
    import torch

    opened = demo()[1].opened
    network = module("audiox_core.weights.load").load_part(opened.model.backbone, opened.weights, dtype=torch.float32)
    sampling = module("audiox_core.sampling")
    velocity = module("audiox_core.sampling.guidance").GuidedVelocity(
        network, demo()[0].model.audiox_tokens(values(prompt())), scale=7.0, rescale=rescale
    )
    sigmas = sampling.get_sigmas_polyexponential(steps, 0.3, 500.0, 1.0)
    x = torch.randn(1, 64, length, generator=torch.Generator().manual_seed(7)) * sigmas[0]
    options = {}
    if sampler.endswith("-sde"):
        options = {"noise_sampler": sampling.BrownianNoise(x, float(sigmas[-2]), float(sigmas[0]), entropy=7)}
    elif sampler.endswith("ancestral"):
        options = {"noise_sampler": sampling.GaussianNoise(x, torch.Generator().manual_seed(8))}
    with torch.inference_mode():
        return sampling.SAMPLERS[sampler](sampling.VDenoiser(velocity), x, sigmas, **options)


def values(condition: Any) -> dict[str, Any]:
    """A CONDITIONING's first entry as ComfyUI hands it to a model."""
    tensor, given = condition[0]
    return {"cross_attn": tensor, **given}


def tokens(condition: Any) -> Any:
    """All condition tokens of a CONDITIONING's first entry (B, 471, 768), as the network gets them; None for null."""
    import torch

    found = demo()[0].model.audiox_tokens(values(condition))
    return None if found is None else torch.cat([found[name][:, 0] for name in ("video", "text", "audio")], dim=1)


def near(found: Any, wanted: Any, bound: float = TOLERANCE) -> None:
    """The largest difference, relative to the largest value, is within the bound (and there is a value)."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    largest = float(wanted.abs().max())
    assert largest > 0
    error = float((found.float() - wanted.float()).abs().max()) / largest
    assert error <= bound, f"{error:.2e} > {bound:.0e}"


def raises(kind: type[BaseException], start_of_text: str, action: Any) -> None:
    try:
        action()
    except kind as error:
        assert str(error).startswith(start_of_text), str(error)
    else:
        raise AssertionError(f"no {kind.__name__}")


def encode_video(**given: Any) -> Any:
    return node("AudioXEncodeVideo")(**{"encoders": demo()[1], "fps": 25.0, "start": 0.0, "seconds": 10.0} | given)


def clip(seconds: int = 4, fps: int = 10) -> Path:
    """A video whose pictures' brightness tells their time: 20 per second."""
    import av
    import numpy as np

    path = BASE / f"clip{seconds}_{fps}.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "1", "g": str(fps), "bf": "2"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(seconds * fps):
            pixels = np.full((64, 64, 3), min(20 + 20 * i // fps, 240), np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def pictures(source: Any) -> list[bytes]:
    """The bytes of a file's picture packets."""
    import av

    if hasattr(source, "seek"):
        source.seek(0)
    with av.open(source) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]
