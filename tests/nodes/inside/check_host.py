"""What ComfyUI manages: attention, precision, memory, interruption, previews, messages."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from pack import DEMO, Lacking, demo, encode_video, module, near, node, prompt, raises, sample

GOLDEN_CONFIG = Path(__file__).parents[2] / "golden" / "audiox" / "config.json"


def check_attention_is_the_core_s() -> None:
    import torch

    attention = module("nodes.network").host_attention
    own = module("audiox_core.networks.layers").torch_attention
    q, k = torch.randn(2, 4, 9, 32), torch.randn(2, 2, 5, 32)
    near(attention(q, k, k, options={}), own(q, k, k), 1e-5)
    near(attention(q, q, q, options={}), own(q, q, q), 1e-5)


def check_attention_can_be_replaced() -> None:
    import torch

    calls = []

    def replaced(func: Any, *args: Any, **kw: Any) -> Any:
        calls.append(1)
        return func(*args, **kw)

    model = demo()[0].clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = replaced
    with torch.inference_mode():
        near(sample(model=model, steps=2), sample(steps=2))
    assert len(calls) == 2 * 2 * 2  # steps, blocks, self- and cross-attention


def check_precisions() -> None:
    exact = sample(steps=3)
    for precision, bound in (("fp16", 0.01), ("bf16", 0.01), ("fp8", 0.05)):
        model = demo(precision)[0]
        types = {p.dtype for p in model.model.diffusion_model.parameters()}
        assert len(types) == 2, types  # the norms and what is around the blocks stay float32
        near(sample(model=model, steps=3), exact, bound)


def check_layers_that_are_made_when_loaded() -> None:
    """Newer versions, on their favourite devices, make Linear layers only when weights come."""
    memory_management = sys.modules.get("comfy.memory_management")
    if not hasattr(memory_management, "aimdo_enabled"):
        raise Lacking("layers that are made when loaded")
    exact = sample(steps=2)
    assert memory_management is not None
    before, memory_management.aimdo_enabled = memory_management.aimdo_enabled, True
    try:
        load = node("AudioXLoad")
        options = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
        near(sample(model=load(checkpoint=DEMO, **options)[0], steps=2), exact)
        model = load(checkpoint=DEMO, **options | {"precision": "fp8"})[0]
        near(sample(model=model, steps=2), exact, 0.1)
    finally:
        memory_management.aimdo_enabled = before


def check_budgets_cap_what_is_loaded() -> None:
    import comfy.model_management
    import torch

    meta = torch.device("meta")
    for options, low, high in (
        ({"offload": "on"}, 0.0, 0.05),
        ({"max_vram_gb": 0.1}, 0.1, 0.8),
        ({"offload": "off"}, 1, 1),
    ):
        patcher = node("AudioXLoad")(
            **{"checkpoint": DEMO, "text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
            | options
        )[0].clone()
        assert type(patcher).__name__ == "Budgeted"
        patcher.partially_load(meta, 1 << 20 if options == {"offload": "off"} else 1 << 40)
        share = patcher.loaded_size() / comfy.model_management.module_size(patcher.model)
        assert low <= share <= high, (options, share)
    assert type(demo()[0]).__name__ != "Budgeted"


def check_others_leave_only_for_what_is_capped() -> None:
    """ComfyUI makes room for what a model asks before it loads it; a capped one asks for its cap, a clone of it too."""
    import comfy.model_management as mm
    import torch

    meta = torch.device("meta")
    whole = mm.module_size(demo()[0].model)
    for cap, asked in ((0.1, None), (1.0, whole)):
        options = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": cap}
        patcher = node("AudioXLoad")(checkpoint=DEMO, **options)[0]
        budget = int(patcher.model.audiox_budget)
        for one in (patcher, patcher.clone(), patcher.clone().clone()):
            loaded = mm.LoadedModel(one)
            assert loaded.model_memory_required(meta) == (asked or budget)
        patcher.load_device = meta
        loaded = mm.LoadedModel(patcher)
        room: list[Any] = []
        before = mm.free_memory, mm.get_free_memory, mm.current_loaded_models
        mm.free_memory = lambda memory, *_, room=room, **__: room.append(memory) or []
        mm.get_free_memory = lambda *_, torch_free_too=False, **__: (1 << 40, 1 << 40) if torch_free_too else 1 << 40
        mm.current_loaded_models = []
        try:
            mm.load_models_gpu([patcher])
            assert patcher.current_loaded_device() == meta
            held = patcher.loaded_size()
            assert 0 < held <= min(budget, whole), (held, budget, whole)
            assert loaded.model_memory_required(meta) == (asked or budget) - held
            assert asked is None or held == whole
        finally:
            mm.free_memory, mm.get_free_memory, mm.current_loaded_models = before
        extra = max(mm.minimum_inference_memory(), mm.extra_reserved_memory())
        assert abs(room[0] - (asked or budget) * 1.1 - extra) < 2


def check_clones_share_the_model() -> None:
    model = demo()[0]
    copy = model.clone()
    assert copy.model is model.model
    assert type(copy) is type(model)


def check_memory_estimate_grows() -> None:
    model = demo()[0].model
    one, four = (model.memory_required([rows, 64, 236]) for rows in (2, 8))
    assert 0 < one < four


def check_interruption_passes_through() -> None:
    import comfy.model_management as mm

    interruptions: list[Any] = [
        lambda: sample(),
        lambda: encode_video(images=__import__("torch").rand(3, 32, 32, 3), fps=1.0),
        lambda: prompt("something new"),
        lambda: module("nodes.host").progress()(1, 2),
        lambda: module("nodes.host").download_progress()("model.ckpt", 1, 2),
    ]
    demo(), prompt()
    for action in interruptions:
        mm.interrupt_current_processing(True)
        try:
            action()
        except mm.InterruptProcessingException:
            continue
        finally:
            mm.interrupt_current_processing(False)
        raise AssertionError("not interrupted")


def check_previews_are_pictures() -> None:
    import torch
    from PIL import Image

    shown: list[Any] = []
    import comfy.utils

    previous = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: shown.append((value, total, preview)))
    try:
        from comfy.cli_args import LatentPreviewMethod, args

        args.preview_method = LatentPreviewMethod.Auto
        callback = module("nodes.host").step_callback(3, module("audiox_core.media.picture").latent_picture)
        callback(0, torch.randn(2, 64, 236), None, 3)
    finally:
        comfy.utils.set_progress_bar_global_hook(previous)
    value, total, (kind, picture, _) = shown[-1]
    assert (value, total, kind) == (1, 3, "JPEG")
    assert isinstance(picture, Image.Image)
    assert picture.size == (236, 64)


def check_the_host_s_previewer_paints_the_same() -> None:
    import latent_preview
    import torch
    from comfy.cli_args import LatentPreviewMethod, args

    args.preview_method = LatentPreviewMethod.Auto
    previewer = latent_preview.get_previewer(torch.device("cpu"), demo()[0].model.latent_format)
    if previewer is None:
        assert not hasattr(latent_preview.Latent2RGBPreviewer, "latent_rgb_factors_reshape")
        raise Lacking("previewer for what is no picture")
    x = torch.randn(1, 64, 236)
    picture = torch.from_numpy(__import__("numpy").asarray(previewer.decode_latent_to_preview(x))).float()
    own = module("audiox_core.media.picture").latent_picture(x)[0].permute(1, 2, 0) * 255
    assert (picture - own).abs().max() <= 1.5


def check_loading_says_what_is_wrong() -> None:
    import nodes

    load = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"]
    assert load.validate_inputs(checkpoint=DEMO) is True
    assert load.validate_inputs(checkpoint="AudioX") is True
    text = load.validate_inputs(checkpoint="demu")
    assert text.startswith("AudioX Load: checkpoint 'demu' is not")
    assert DEMO in text
    given = {"precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
    error = module("audiox_core.errors").InputError
    missing = {"checkpoint": DEMO, "text_encoder": "t5.safetensors", **given}
    raises(error, "AudioX Load: text encoder 't5.safetensors' is not", lambda: node("AudioXLoad")(**missing))
    assert "the sound is noise" in demo()[3]
    assert "precision" in demo()[3]


def check_links_are_checked_when_they_are_known() -> None:
    """For a linked widget ComfyUI asks with None."""
    import nodes

    load = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"]
    assert load.validate_inputs(checkpoint=None) is True
    assert load.fingerprint_inputs(checkpoint=None, text_encoder=None) == []


def check_model_folders_are_listed_once() -> None:
    """ComfyUI's own listing is used, which it repeats only where a folder has changed; a folder that is shut hides
    no node."""
    import folder_paths

    import nodes

    load, walked, walk = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"], [], folder_paths.recursive_search

    def counted(folder: str, *given: Any, **named: Any) -> Any:
        walked.append(folder)
        return walk(folder, *given, **named)

    def checkpoints() -> Any:
        return next(entry for entry in load.define_schema().inputs if entry.id == "checkpoint")

    checkpoints()
    shut = Path(folder_paths.get_folder_paths("audiox")[0])
    listdir = os.listdir

    def refusing(folder: Any = ".") -> list[str]:
        if Path(folder) == shut:
            raise PermissionError(13, "Permission denied", str(folder))
        return listdir(folder)

    folder_paths.recursive_search, os.listdir = counted, refusing
    try:
        assert "AudioX: not here yet" in checkpoints().tooltip
        assert not walked
    finally:
        folder_paths.recursive_search, os.listdir = walk, listdir


def check_checkpoints_in_the_model_folders() -> None:
    import folder_paths

    import nodes

    weights = demo()[1].opened.weights
    folder = Path(folder_paths.get_folder_paths("audiox")[0]) / "Mini"
    write = module("audiox_core.weights.tensors").write_tensors
    write({key: t for key, t in weights.items() if not key.startswith("t5.")}, folder / "model.safetensors")
    shutil.copy(GOLDEN_CONFIG, folder / "config.json")
    texts = Path(folder_paths.get_folder_paths("text_encoders")[0])
    words = {key.removeprefix("t5."): t for key, t in weights.items() if key.startswith("t5.")}
    write(words, texts / "mini.safetensors")
    (texts / "of mine").mkdir()
    os.link(texts / "mini.safetensors", texts / "of mine" / "mini.safetensors")
    load = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"]
    options = next(entry for entry in load.define_schema().inputs if entry.id == "checkpoint").options
    assert DEMO in options
    assert os.path.join("Mini", "model.safetensors") in options
    given = {"precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
    for name in ("Mini/model.safetensors", "Mini\\model.safetensors"):
        assert load.validate_inputs(checkpoint=name) is True
    choices = next(entry for entry in load.define_schema().inputs if entry.id == "text_encoder").options
    for named_so in ("of mine/mini.safetensors", "of mine\\mini.safetensors"):
        assert named_so in choices and f"not {named_so}" not in choices
        assert node("AudioXLoad")(checkpoint=DEMO, text_encoder=named_so, **given)
    model, encoders, _, text = node("AudioXLoad")(checkpoint=name, text_encoder="auto", **given)
    near(sample(model=model), sample())
    assert text.startswith("Mini") or text.startswith("model")
    missing = module("audiox_core.errors").ModelNotFound
    raises(missing, "AudioX Encode Text: t5-base: ", lambda: node("AudioXEncodeText")(encoders=encoders, text="rain"))
    with_text = node("AudioXLoad")(checkpoint=name, text_encoder="mini.safetensors", **given)[1]
    if module("nodes.host").tokenizer_folder() is not None:
        with_text.runner.patcher("text")
        write(words, texts / "t5_base.safetensors")
        encoders.runner.patcher("text")  # put there later: found without loading the model again
        (texts / "t5_base.safetensors").unlink()
    before = load.fingerprint_inputs(checkpoint=name, text_encoder="auto", **given)
    os.utime(folder / "model.safetensors", (1, 1))
    assert load.fingerprint_inputs(checkpoint=name, text_encoder="auto", **given) != before
