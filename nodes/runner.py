"""A model's encoders under ComfyUI's model management: the runner of the core's Conditioner in this host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import comfy.model_management
import comfy.model_patcher
import comfy.ops
import torch

from ..audiox_core.conditioner import Conditioner
from ..audiox_core.errors import OutOfMemory
from ..audiox_core.memory.formats import Format
from ..audiox_core.memory.plan import TILES
from ..audiox_core.memory.residence import Step
from ..audiox_core.models.parts import Words
from ..audiox_core.weights.load import load_part, parameter_types
from ..audiox_core.weights.open import Opened
from . import host

T = TypeVar("T")
OUT_OF_MEMORY: Any = (comfy.model_management.OOM_EXCEPTION, RuntimeError, MemoryError)


class HostRunner:
    """Networks in patchers, built when they are first needed and loaded by ComfyUI whenever they work."""

    def __init__(self, opened: Opened, formats: Mapping[str, Format]):
        self.opened, self.formats = opened, formats
        self._patchers: dict[str, Any] = {}

    def patcher(self, name: str, on_tensor: host.Done | None = None) -> Any:
        """A part's network under ComfyUI's model management. Raises ModelNotFound where a file it needs is absent."""
        if name not in self._patchers:
            network = load_network(self.opened, name, self.formats[name], on_tensor)
            self._patchers[name] = encoder_patcher(network)
        return self._patchers[name]

    @property
    def patchers(self) -> list[Any]:
        return list(self._patchers.values())

    def run(self, name: str, fn: Callable[[Any, Step], T]) -> T:
        """fn(network, step)'s answer, with the part's network where ComfyUI wants it.

        fn may be called again, with smaller tiles, after running out of memory. Raises OutOfMemory when nothing helps.
        """
        part, format, patcher = self.opened.model.parts[name], self.formats[name], self.patcher(name)
        latents = self.opened.model.timing.prompt_samples // self.opened.model.timing.downsampling_ratio

        def need(tile: int | None) -> int:
            return part.work(format, latents, 1, tile)

        tiles: list[int | None] = [None]
        if part.tiled:
            first = host.tile(patcher.load_device, latents, need)
            tiles = [first, *(t for t in TILES if t is not None and t < (first or latents))]
        said = ""
        for tile in tiles:
            device = load(patcher, need(tile), whole=part.whole)
            try:
                return fn(patcher.model, Step(device, format.compute_dtype, tile, 0))
            except OUT_OF_MEMORY as error:
                said = out_of_memory(error)
            # Only here has the exception let go of the tensors in its frames.
            free_others(patcher)
        raise OutOfMemory(
            f"{part.label}: out of memory on {patcher.load_device} ({said}). To fix it: offload on or a smaller "
            "max_vram_gb in AudioX Load, precision fp16 or fp8, or close other programs that use the GPU."
        )


class Encoders:
    """What AudioX Load gives as AUDIOX_ENCODERS: the conditioner of a loaded model."""

    def __init__(self, opened: Opened, runner: HostRunner):
        self.opened, self.model, self.timing = opened, opened.model, opened.model.timing
        self.runner = runner
        self.conditioner = Conditioner(opened, runner)

    def absent_tokens(self) -> dict[str, Any]:
        """Tokens (1, M, D) for each modality that a condition may lack; of text only their shape counts."""
        found = {}
        for part in self.model.conditioners:
            condition = part.condition
            assert condition is not None
            if isinstance(condition.reads, Words):
                found[part.name] = torch.zeros(1, condition.tokens, condition.width)
            else:
                found[part.name] = self.conditioner.nothing(part.name, self.chance(part.name))
        return found

    def chance(self, modality: str, seed: int = 0, hidden: float | None = None) -> Any:
        """What a conditioner leaves to chance, where it hides a share of its prompt (hidden: another than its own).

        Others take the mean of what they would draw, so that the same sound always gives the same condition.
        """
        if self.model.condition(modality).hides is None:
            return None
        generator = torch.Generator().manual_seed(seed % 2**63)
        return self.conditioner.draw(generator, hidden)[modality]

    def get_models(self) -> list[Any]:
        """The patchers, for ComfyUI's bookkeeping."""
        return self.runner.patchers

    def get_ram_usage(self) -> int:
        """Bytes of weights, for ComfyUI's bookkeeping."""
        return sum(patcher.model_size() for patcher in self.get_models())


def load_network(opened: Opened, name: str, format: Format, on_tensor: host.Done | None = None) -> Any:
    """A part's network with its weights, of ComfyUI's layers, which can be loaded in part, unless it comes whole."""
    part = opened.model.parts[name]
    opened.need(part)
    options: dict[str, Any] = format.options()
    types = parameter_types(part, options)
    if not part.whole:
        options["operations"] = comfy.ops.manual_cast
    return load_part(part, opened.weights, types=types, on_tensor=on_tensor, **options)


def load(patcher: Any, memory: float = 0, *, whole: bool = False) -> torch.device:
    """Brings a model to its device, freeing as much as it and its work (bytes) need; the device.

    whole: its layers don't cast (transformers builds them), so it can't be loaded in part.
    """
    host.check_interrupted()
    comfy.model_management.load_models_gpu([patcher], memory_required=memory, force_full_load=whole)
    return patcher.load_device


def out_of_memory(error: BaseException) -> str:
    """The first line of an error that says that memory ran out; any other error is raised again."""
    kind = comfy.model_management.OOM_EXCEPTION
    told = kind is not Exception and isinstance(error, kind)
    if not told and not isinstance(error, MemoryError) and "out of memory" not in str(error).lower():
        raise error
    return str(error).split("\n")[0]


def free_others(patcher: Any) -> None:
    """Unloads every model but this one, and gives back what torch holds in reserve."""
    mm = comfy.model_management
    mm.free_memory(1e30, patcher.load_device, [m for m in mm.current_loaded_models if m.model is patcher])
    mm.soft_empty_cache(True)


def encoder_patcher(network: torch.nn.Module) -> Any:
    """An encoder under ComfyUI's model management."""
    mm = comfy.model_management
    return comfy.model_patcher.ModelPatcher(
        network, load_device=mm.text_encoder_device(), offload_device=mm.text_encoder_offload_device()
    )
