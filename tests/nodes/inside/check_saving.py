"""Models saved by ComfyUI's own nodes: files that AudioX Load reads again, or a clear refusal."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from by_hand import by_host, lora, null, prompt
from check_host import GOLDEN_CONFIG
from pack import demo, module, near, node, raises


def saved(model: Any, name: str) -> Path:
    """What Save Model writes of a MODEL, in a model folder beside the demo's config."""
    import folder_paths
    from comfy_extras.nodes_model_merging import ModelSave

    ModelSave().save(model, f"{name}/model")
    (written,) = (Path(folder_paths.get_output_directory()) / name).glob("*.safetensors")
    folder = Path(folder_paths.get_folder_paths("audiox")[0]) / name
    folder.mkdir(parents=True)
    shutil.copy(GOLDEN_CONFIG, folder / "config.json")
    return Path(shutil.move(written, folder / f"{name}.safetensors"))


def loaded(path: Path) -> Any:
    options = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
    return node("AudioXLoad")(checkpoint=f"{path.parent.name}/{path.name}", **options)


def check_a_saved_model_is_loaded_again() -> None:
    import comfy.sd

    patched = comfy.sd.load_lora_for_models(demo()[0], None, lora(), 0.8, 0.0)[0]
    model, _, vae, _ = loaded(saved(patched, "with_lora"))
    near(by_host(prompt("rain"), null(), model=model), by_host(prompt("rain"), null(), model=patched), 1e-4)
    sound = __import__("torch").rand(1, 2048 * 8, 2) - 0.5
    near(vae.encode(sound), demo()[2].encode(sound), 1e-5)


def check_a_model_in_eight_bits_is_saved_in_sixteen() -> None:
    import torch

    path = saved(demo("fp8")[0], "eight_bits")
    tensors = module("audiox_core.weights.tensors").read_tensors(path)
    assert {tensors[key].dtype for key in tensors} <= {torch.float16, torch.float32}
    near(
        by_host(prompt("rain"), null(), model=loaded(path)[0]),
        by_host(prompt("rain"), null(), model=demo("fp8")[0]),
        0.01,
    )


def check_the_vae_alone_is_refused() -> None:
    from comfy_extras.nodes_model_merging import VAESave

    error = module("audiox_core.errors").InputError
    raises(error, "AudioX's VAE is not saved on its own", lambda: VAESave().save(demo()[2], "vae/alone"))
