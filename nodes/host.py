"""The only file that touches ComfyUI's model management, folders, progress and interruption."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import comfy.model_management
import comfy.model_patcher
import comfy.utils
import folder_paths
import torch

from ..audiox_core.errors import nearest

if TYPE_CHECKING:
    from ..audiox_core.memory.formats import Format
    from ..audiox_core.memory.machine import Machine
    from ..audiox_core.memory.plan import Plan
    from ..audiox_core.models.parts import Model

FOLDER = "audiox"
CHECKPOINT_FOLDERS = (FOLDER, "checkpoints", "diffusion_models")
COMPANION_FOLDERS = ("text_encoders", "mmaudio")  # T5-base as Stable Audio has it, Synchformer as MMAudio has it
SUFFIXES = (".safetensors", ".ckpt")
CPU_TILE = 64  # latents
COMPUTE_DTYPES = (torch.float16, torch.bfloat16, torch.float32)

Done = Callable[[int, int], None]


# Folders


def register_folders() -> None:
    """Makes models/audiox a model folder of ComfyUI; entries of extra_model_paths.yaml stay."""
    path = os.path.join(folder_paths.models_dir, FOLDER)
    folder_paths.add_model_folder_path(FOLDER, path)
    paths, suffixes = folder_paths.folder_names_and_paths[FOLDER]
    folder_paths.folder_names_and_paths[FOLDER] = (paths, set(suffixes) | set(SUFFIXES))


def checkpoints() -> list[str]:
    """Names of the checkpoint files in ComfyUI's folders, those in models/audiox first."""
    names = [n for folder in CHECKPOINT_FOLDERS for n in folder_paths.get_filename_list(folder)]
    return list(dict.fromkeys(n for n in names if n.lower().endswith(SUFFIXES)))


def checkpoint_path(name: str) -> Path | None:
    """Where a checkpoint of that name lies; either kind of slash is understood."""
    return _find(name, CHECKPOINT_FOLDERS, checkpoints())


class FileName(str):
    """A choice that equals itself with either kind of slash: ComfyUI looks for what a graph of another system says."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and self.replace("\\", "/") == other.replace("\\", "/")

    def __hash__(self) -> int:
        return hash(self.replace("\\", "/"))


def text_encoders() -> list[str]:
    """Names of the files in models/text_encoders."""
    return list(map(FileName, folder_paths.get_filename_list("text_encoders")))


def text_encoder_path(name: str) -> Path | None:
    """Where a text encoder's file of that name lies."""
    return _find(name, ("text_encoders",), text_encoders())


def model_folders() -> list[str]:
    """The folders in which a model may lie: a download goes into the first."""
    return list(folder_paths.get_folder_paths(FOLDER))


def companion_folders() -> list[str]:
    """Where files that a model needs beside its checkpoint may lie, in folders of others too: a download goes first."""
    others = [folder for name in COMPANION_FOLDERS for folder in folder_paths.folder_names_and_paths.get(name, [[]])[0]]
    usual = [os.path.join(folder_paths.models_dir, name) for name in COMPANION_FOLDERS]
    return list(dict.fromkeys([*folder_paths.get_folder_paths(FOLDER), *others, *usual]))


def tokenizer_folder() -> Path | None:
    """The T5 tokenizer that ComfyUI ships, if this version does."""
    import comfy.text_encoders

    folder = Path(comfy.text_encoders.__path__[0]) / "t5_tokenizer"
    return folder if (folder / "tokenizer.json").is_file() else None


def temp_folder() -> Path:
    """ComfyUI's temp folder, which it empties when it starts and ends."""
    folder = Path(folder_paths.get_temp_directory())
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _find(name: str, folders: tuple[str, ...], names: list[str]) -> Path | None:
    wanted = name.replace("\\", "/")
    for known in names:
        if known.replace("\\", "/") == wanted:
            for folder in folders:
                found = folder_paths.get_full_path(folder, known)
                if found is not None:
                    return Path(found)
    return None


def unknown_file(kind: str, name: str, names: list[str], folder: str) -> str:
    """A sentence for a file that is not there: the names that are, and where to put it."""
    return (
        f"{kind} {name!r} is not in ComfyUI's model folders.{nearest(name, names)} Put the file into models/{folder}."
    )


# Progress and interruption


def check_interrupted() -> None:
    """Raises ComfyUI's own interruption when the user has cancelled."""
    comfy.model_management.throw_exception_if_processing_interrupted()


def progress() -> Done:
    """A function (done, total) that moves the node's progress bar; it raises when the user cancels."""
    bar: Any = None

    def tell(done: int, total: int) -> None:
        nonlocal bar
        check_interrupted()
        bar = bar or comfy.utils.ProgressBar(total)
        bar.update_absolute(done, total)

    return tell


def step_callback(steps: int, picture: Callable[[torch.Tensor], torch.Tensor]) -> Callable[..., None]:
    """A sampler's callback: progress, and picture(latents) (B, 3, H, W) in the node, unless previews are off."""
    from comfy.cli_args import LatentPreviewMethod, args
    from PIL import Image

    bar = comfy.utils.ProgressBar(steps)
    size = getattr(args, "preview_size", 512)

    def tell(step: int, denoised: torch.Tensor, x: torch.Tensor, total: int) -> None:
        shown = None
        if args.preview_method != LatentPreviewMethod.NoPreviews:
            pixels = (picture(denoised[:1])[0] * 255).round().to("cpu", torch.uint8).permute(1, 2, 0)  # (H, W, 3)
            shown = ("JPEG", Image.fromarray(pixels.numpy()), size)
        check_interrupted()
        bar.update_absolute(step + 1, total, shown)

    return tell


def download_progress() -> Callable[[str, int, int], None]:
    """A function (file, bytes, all bytes) for a download's progress bar; it raises when the user cancels."""
    tells: dict[str, Done] = {}

    def tell(file: str, done: int, total: int) -> None:
        tells.setdefault(file, progress())(done, total)

    return tell


# Devices and memory


def machine() -> Machine:
    """The device that ComfyUI uses and its memory; what its models hold there counts as free, since it unloads them."""
    import psutil

    from ..audiox_core.memory.machine import Machine

    mm = comfy.model_management
    device = mm.get_torch_device()
    ram = psutil.virtual_memory()
    memory = {"ram_total": ram.total, "ram_available": ram.available}
    if is_cpu(device):
        return Machine("cpu", "CPU", 0, 0, **memory)
    # A model that another pack has leaked is still listed, without its patcher.
    held = sum(m.model_loaded_memory() for m in mm.current_loaded_models if m.model is not None and m.device == device)
    return Machine(
        str(device),
        mm.get_torch_device_name(device),
        int(mm.get_total_memory(device)),
        int(mm.get_free_memory(device) + held),
        bf16=bool(mm.should_use_bf16(device)),
        **memory,
    )


def part_formats(model: Model, plan: Plan, parameters: int, stored: torch.dtype, *, auto: bool) -> dict[str, Format]:
    """What each part's weights are kept in and multiply in, on the devices where ComfyUI puts them.

    The plan decides; with auto, for the backbone, ComfyUI does, by its options, the model's parameters and stored type.
    """
    from ..audiox_core.memory.formats import Format, name_of

    mm, backbone = comfy.model_management, model.backbone.name
    devices = {backbone: mm.get_torch_device(), model.autoencoder.name: mm.vae_device()}
    out = {}
    for name, place in plan.places.items():
        device, format = devices.get(name, mm.text_encoder_device()), place.format
        if is_cpu(device) and plan.device != "cpu":
            format = model.parts[name].format(plan.precision, on_cpu=True)
        elif name == backbone and auto and plan.device != "cpu":
            dtype = mm.unet_dtype(model_params=parameters, supported_dtypes=list(COMPUTE_DTYPES), weight_dtype=stored)
            if dtype in COMPUTE_DTYPES:  # by its options ComfyUI may want types that this network isn't kept in
                format = Format(name_of(dtype), name_of(dtype))
        out[name] = format if format.casts and name != backbone else _computable(format, device)
    return out


def _computable(format: Format, device: torch.device) -> Format:
    """A format as it is, or multiplying in a type that the device is good at."""
    from ..audiox_core.memory.formats import Format, name_of

    cast = comfy.model_management.unet_manual_cast(format.storage_dtype, device, list(COMPUTE_DTYPES))
    return Format(format.storage, format.storage if cast is None else name_of(cast))


def free_memory(device: torch.device) -> int:
    """Bytes that may still be allocated on a device."""
    return int(comfy.model_management.get_free_memory(device))


def tile(device: torch.device, latents: int, need: Callable[[int | None], int]) -> int | None:
    """The largest tile (in latents; None: all of them) whose work, need(tile) bytes, fits into a device's free memory.

    Tiles give the same sound, to rounding.
    """
    from ..audiox_core.memory.plan import TILES

    room = free_memory(device)
    fitting = next((t for t in TILES if need(t) <= room), TILES[-1])
    # A CPU takes seconds for each: smaller ones let the progress bar move.
    return min(fitting or latents, CPU_TILE) if is_cpu(device) else fitting


def is_cpu(device: torch.device) -> bool:
    return bool(comfy.model_management.is_device_cpu(device))


class Budgeted(comfy.model_patcher.ModelPatcher):
    """Holds as many bytes of a model on the device as its audiox_budget says, and streams the rest."""

    _loads = False  # while it is loaded ComfyUI asks whether the whole model fits

    def model_size(self) -> int:
        """Bytes that it takes on the device: ComfyUI makes room for so many, and lets other models stay."""
        whole = int(comfy.model_management.module_size(self.model))
        held = getattr(self.model, "model_loaded_weight_memory", 0)  # older versions ask before they set it
        return whole if self._loads else int(min(whole, max(self.model.audiox_budget, held)))

    def partially_load(self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False) -> Any:
        room = max(self.model.audiox_budget - self.loaded_size(), 1)
        extra_memory = room if room == float("inf") else min(extra_memory, room)
        self._loads = True
        try:
            return super().partially_load(device_to, extra_memory, force_patch_weights=force_patch_weights)
        finally:
            self._loads = False


def model_patcher(model: Any, *, plain: bool = False) -> Any:
    """A diffusion model under ComfyUI's model management; plain: without the newer versions' dynamic loading."""
    kind = comfy.model_patcher.ModelPatcher
    if model.audiox_budget is not None:
        kind = Budgeted
    elif not plain:
        # Looked up now: newer versions put another class there after start-up, one that knows no budget.
        kind = getattr(comfy.model_patcher, "CoreModelPatcher", kind)
    return kind(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


def offload_device() -> torch.device:
    """Where a diffusion model waits."""
    return comfy.model_management.unet_offload_device()


def archive_types(network: torch.nn.Module) -> None:
    """Tells newer versions in which types a network computes, before they load it piece by piece."""
    archive = getattr(comfy.model_management, "archive_model_dtypes", None)
    if archive is not None:
        archive(network)


def vae_patcher(network: torch.nn.Module, vae: Any) -> Any:
    """An autoencoder under ComfyUI's model management, on the device of a VAE."""
    return comfy.model_patcher.ModelPatcher(network, load_device=vae.device, offload_device=vae.patcher.offload_device)
