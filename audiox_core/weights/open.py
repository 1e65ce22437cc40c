"""From a model's name to a pipeline: files found, checked, planned for the machine, loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import ConfigError, ModelNotFound
from ..memory.estimate import Dimensions
from ..memory.report import Machine, Plan, make_plan, measure
from ..memory.residence import Residence
from ..models import demo
from ..models.config import ModelConfig, TextConfig, read_config
from ..networks.t5 import ByteTokenizer, T5Tokenizer, Tokenizer
from ..pipeline import Pipeline
from .download import OnDownload
from .hub import find_model, find_text_encoder
from .layout import base_config
from .load import (
    COMPONENTS,
    check_tensors,
    component_sizes,
    load_component,
    load_text_encoder,
    read_tensors,
    recognise,
)


def load_pipeline(
    name: str | Path = "AudioX",
    *,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
    text_encoder: str | Path | None = None,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    download: bool = True,
    progress: bool = False,
) -> Pipeline:
    """A model ready to be called: "AudioX" (found or downloaded), a checkpoint's path, or "demo" (random weights).

    dtype: auto, fp32, bf16, fp16 or fp8; offload: auto, on or off; max_vram_gb caps what the device may hold.
    text_encoder and config are paths, for files that are not found by themselves. Raises ModelNotFound,
    CheckpointError, ConfigError, InputError, and OutOfMemory when no plan fits the machine.
    """
    options: dict[str, Any] = {"device": device, "dtype": dtype, "offload": offload, "max_vram_gb": max_vram_gb}
    if str(name) == demo.NAME:
        model = demo.demo_config()
        tensors, text = demo.demo_tensors(model), demo.demo_text_tensors(model)
        return assemble(model, tensors, text, ByteTokenizer(), notice=demo.NOTICE, **options)
    with _download_bars(progress) as on_progress:
        where: dict[str, Any] = {"models_dirs": models_dirs, "download": download, "on_progress": on_progress}
        files = find_model(name, **where)
        checkpoint = read_tensors(files.checkpoint)
        model = _config_of(checkpoint, config or files.config, files.checkpoint)
        wanted = text_encoder or model.conditioner(TextConfig).t5_model_name
        text_files = find_text_encoder(wanted, **where)
    tokenizer = T5Tokenizer(text_files.tokenizer_folder)
    return assemble(model, checkpoint, read_tensors(text_files.weights), tokenizer, **options)


def assemble(
    config: ModelConfig,
    tensors: Mapping[str, Tensor],
    text_tensors: Mapping[str, Tensor],
    tokenizer: Tokenizer,
    *,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
    notice: str | None = None,
) -> Pipeline:
    """A pipeline from a whole checkpoint and a T5 file, already read, by a plan made for this machine."""
    machine, plan = _plan(config, device=device, dtype=dtype, offload=offload, max_vram_gb=max_vram_gb)
    plan.check()
    formats = {name: place.format for name, place in plan.places.items()}
    components: dict[str, Any] = {
        name: load_component(name, tensors, config, **formats[name].options(name)) for name in COMPONENTS
    }
    components["text"] = load_text_encoder(text_tensors, config, dtype=formats["text"].storage_dtype)
    residence = Residence(components, plan)
    return Pipeline(config, residence, tokenizer, machine=machine, plan=plan, notice=notice)


def plan_for(
    name: str | Path = "AudioX",
    *,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    **options: Any,
) -> tuple[Machine, Plan]:
    """The machine, and the plan for a model, without loading or downloading it. options: as in load_pipeline.

    A released model that is not on disk is planned by its published configuration.
    """
    if str(name) == demo.NAME:
        return _plan(demo.demo_config(), **options)
    if config is not None:
        return _plan(read_config(config), **options)
    try:
        files = find_model(name, models_dirs=models_dirs, download=False)
    except ModelNotFound:
        return _plan(base_config(), **options)
    return _plan(_config_of(read_tensors(files.checkpoint), files.config, files.checkpoint), **options)


def _plan(
    config: ModelConfig, *, device: str, dtype: str, offload: str, max_vram_gb: float | None
) -> tuple[Machine, Plan]:
    machine = measure(device)
    plan = make_plan(
        machine,
        component_sizes(config),
        seconds=config.timing.max_seconds,
        precision=dtype,
        offload=offload,
        max_vram_gb=max_vram_gb,
        dims=Dimensions.from_config(config),
    )
    return machine, plan


def _config_of(tensors: Mapping[str, Tensor], config: str | Path | None, checkpoint: Path) -> ModelConfig:
    """The configuration on file, or the one that the weights' shapes give away; the weights fit it."""
    model = read_config(config) if config else recognise(tensors)
    if model is None:
        check_tensors(tensors, base_config(), checkpoint)  # raises, and says which model's file this is
        raise ConfigError(f"{checkpoint}: no config.json beside it. Put the model's config.json into the same folder.")
    check_tensors(tensors, model, checkpoint)
    return model


@contextmanager
def _download_bars(show: bool) -> Iterator[OnDownload | None]:
    """A progress bar for each file that is downloaded."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    bars: dict[str, Any] = {}

    def tell(file: str, done: int, total: int) -> None:
        if file not in bars:
            bars[file] = tqdm(desc=f"download {file}", total=total, unit="B", unit_scale=True, initial=done)
        bars[file].update(done - bars[file].n)

    try:
        yield tell
    finally:
        for bar in bars.values():
            bar.close()
