"""Loading: which checkpoint, in which precision, how much of it on the device; its parts as ComfyUI's own types."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from comfy_api.latest import io
from torch import Tensor

from ..audiox_core.errors import InputError, ModelNotFound
from . import host
from .schema import Encoders as EncodersType
from .schema import schema

DEMO = "demo (random weights, noise)"
AUTO = "auto"


class AudioXLoad(io.ComfyNode):
    """A checkpoint to a model, its encoders and its VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXLoad",
            "AudioX Load",
            "Loads AudioX. Checkpoints lie in models/audiox (or checkpoints, diffusion_models); AudioX itself is "
            "downloaded when the graph runs, if it is not there yet. The weights are licensed CC-BY-NC 4.0 (no "
            "commercial use).",
            ["audiox", "text to audio", "video to audio", "foley", "soundtrack", "text to music", "model loader"],
            inputs=[
                io.Combo.Input(
                    "checkpoint",
                    options=checkpoint_options(),
                    tooltip=checkpoint_tip(),
                ),
                io.Combo.Input(
                    "text_encoder",
                    options=[AUTO, *host.text_encoders()],
                    default=AUTO,
                    tooltip="T5-base, for example t5_base.safetensors, as Stable Audio uses it. auto looks for it in "
                    "models/text_encoders and models/audiox.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", "fp16", "bf16", "fp32", "fp8"],
                    default="auto",
                    tooltip="What weights are kept and multiplied in. auto: what suits the device, fp16 on most. "
                    "fp8 only keeps them so: half the memory, a little less exact.",
                ),
                io.Combo.Input(
                    "offload",
                    options=["auto", "on", "off"],
                    default="auto",
                    tooltip="auto: ComfyUI decides what stays on the device. on: as little as possible, slower. off: "
                    "everything of the model.",
                ),
                io.Float.Input(
                    "max_vram_gb",
                    default=0.0,
                    min=0.0,
                    max=1024.0,
                    step=0.1,
                    tooltip="How much of the device the model may hold while it works; the rest is streamed from RAM. "
                    "0: as much as ComfyUI would use.",
                ),
            ],
            outputs=[
                io.Model.Output(),
                EncodersType.Output(display_name="encoders"),
                io.Vae.Output(),
                io.String.Output(display_name="report", tooltip="The machine, and where each part of the model goes."),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str, text_encoder: str) -> bool | str:
        """Accepts what the lists show, with either kind of slash."""
        known = checkpoint == DEMO or is_released(checkpoint) or host.checkpoint_path(checkpoint)
        if not known:
            return "AudioX Load: " + host.unknown_file("checkpoint", checkpoint, checkpoint_options(), "audiox")
        if text_encoder != AUTO and host.text_encoder_path(text_encoder) is None:
            return "AudioX Load: " + host.unknown_file(
                "text encoder", text_encoder, [AUTO, *host.text_encoders()], "text_encoders"
            )
        return True

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str, text_encoder: str, **_: Any) -> list[float]:
        """A file that was replaced is loaded anew."""
        files = (host.checkpoint_path(checkpoint), host.text_encoder_path(text_encoder))
        return [stamp for file in files if file for stamp in (os.path.getmtime(file), os.path.getsize(file))]

    @classmethod
    def execute(
        cls, checkpoint: str, text_encoder: str, precision: str, offload: str, max_vram_gb: float
    ) -> io.NodeOutput:
        return io.NodeOutput(*load(checkpoint, text_encoder, precision, offload, max_vram_gb))


def checkpoint_options() -> list[str]:
    """Released models (by the same name before and after their download), local files, and the demo model."""
    from ..audiox_core.weights.hub import RELEASED

    return [*RELEASED, *host.checkpoints(), DEMO]


def checkpoint_tip() -> str:
    """What the entries are, and which of them would have to be downloaded now."""
    from ..audiox_core.weights.hub import RELEASED, find_model

    entries = []
    for name, released in RELEASED.items():
        try:
            found = find_model(name, models_dirs=host.model_folders(), download=False)
        except ModelNotFound:
            entries.append(f"{name}: not here yet; running the graph downloads it from {released.source}.")
        else:
            entries.append(f"{name}: {found.checkpoint.name} of {found.checkpoint.parent.name}, already here.")
    entries += ["Others: files in your model folders, a config.json may lie beside each."]
    return " ".join([*entries, "demo makes noise: it shows that everything runs."])


def is_released(option: str) -> bool:
    """Whether an option stands for a released model, which may be downloaded."""
    from ..audiox_core.weights.hub import RELEASED

    return option in RELEASED


def load(checkpoint: str, text_encoder: str, precision: str, offload: str, max_vram_gb: float) -> tuple[Any, ...]:
    """MODEL, AUDIOX_ENCODERS, VAE and the report."""
    from ..audiox_core.memory.estimate import Dimensions
    from ..audiox_core.memory.report import make_plan, report
    from ..audiox_core.weights.load import check_tensors, component_sizes, load_component
    from .encoders import Encoders
    from .model import make_model, make_vae

    name, config, tensors, source = open_checkpoint(checkpoint)
    host.check_interrupted()
    check_tensors(tensors, config, source)
    sizes = component_sizes(config)
    plan = make_plan(
        host.machine(),
        sizes,
        precision=precision,
        offload=offload,
        max_vram_gb=max_vram_gb or None,
        dims=Dimensions.from_config(config),
    )
    stored = next(iter(tensors.values())).dtype
    formats = host.component_formats(plan, sizes["dit"], stored, auto=precision == AUTO)
    tell = progress_by_size(sizes)
    video, audio, autoencoder = (
        load_component(part, tensors, config, on_tensor=tell(part), **formats[part].options(part))
        for part in ("video", "audio", "autoencoder")
    )
    encoders = Encoders(config, formats, video=host.encoder_patcher(video), audio=host.encoder_patcher(audio))
    text_type = formats["text"].compute_dtype  # transformers' layers don't cast
    encoders.add_text(*load_text(name, text_encoder, config, text_type, download=is_released(checkpoint)))
    vae = make_vae(autoencoder, config, formats["autoencoder"])
    model = make_model(
        tensors,
        config,
        encoders.empty_tokens(),
        format=formats["dit"],
        budget=weight_budget(offload, max_vram_gb, plan.places["dit"].activations),
        on_tensor=tell("dit"),
    )
    places = {part: replace(place, format=formats[part]) for part, place in plan.places.items()}
    text = report(replace(plan, places=places), host.machine())
    return model, encoders, vae, f"{notice(name)}\n{text}"


def progress_by_size(sizes: Mapping[str, int]) -> Callable[[str], host.Done]:
    """For each component a function (done, all) that moves one bar, in which it takes room by its size."""
    order = ("video", "audio", "autoencoder", "dit")
    whole = sum(sizes[part] for part in order)
    tell = host.progress()

    def of(component: str) -> host.Done:
        before = sum(sizes[part] for part in order[: order.index(component)])

        def told(done: int, total: int) -> None:
            # The last tensor, too, ends the bar: it is reported before it is read.
            tell(before + sizes[component] * (done + 1) // total, whole)

        return told

    return of


def weight_budget(offload: str, max_vram_gb: float, activations: int) -> float | None:
    """Bytes of weights that the model may hold on the device; None leaves it to ComfyUI."""
    if offload == "on":
        return 1.0
    if max_vram_gb:
        return max(max_vram_gb * (1 << 30) - activations, 1.0)
    return math.inf if offload == "off" else None


def open_checkpoint(option: str) -> tuple[str, Any, Mapping[str, Tensor], str]:
    """An option's model: its name, configuration, tensors in the released layout, and where they are from."""
    from ..audiox_core.models import demo
    from ..audiox_core.models.config import read_config
    from ..audiox_core.weights.hub import find_model
    from ..audiox_core.weights.layout import describe
    from ..audiox_core.weights.load import read_tensors, recognise

    if option == DEMO:
        config = demo.demo_config()
        return demo.NAME, config, demo.demo_tensors(config), demo.NAME
    released = is_released(option)
    path = None if released else host.checkpoint_path(option)
    if not released and path is None:
        raise InputError("AudioX Load: " + host.unknown_file("checkpoint", option, checkpoint_options(), "audiox"))
    files = find_model(
        option if released else Path(str(path)), models_dirs=host.model_folders(), on_progress=host.download_progress()
    )
    tensors = read_tensors(files.checkpoint)
    config = read_config(files.config) if files.config else recognise(tensors)
    if config is None:
        what = describe(tensors) or "It is not AudioX's base model, and no config.json lies beside it."
        raise InputError(f"AudioX Load: {files.checkpoint.name} can't be loaded. {what} Choose an AudioX checkpoint.")
    return files.name, config, tensors, str(files.checkpoint)


def load_text(model: str, choice: str, config: Any, dtype: Any, *, download: bool) -> tuple[Any, Any, str]:
    """The text encoder's patcher, its tokenizer and "", or nothing and why there is none."""
    from ..audiox_core.models import demo
    from ..audiox_core.networks.t5 import ByteTokenizer, T5Tokenizer
    from ..audiox_core.weights.hub import find_text_encoder
    from ..audiox_core.weights.load import load_text_encoder

    if model == demo.NAME:
        encoder = load_text_encoder(demo.demo_text_tensors(config), config, dtype=dtype)
        return host.encoder_patcher(encoder), ByteTokenizer(), ""
    path = None if choice == AUTO else host.text_encoder_path(choice)
    if choice != AUTO and path is None:
        raise InputError(
            "AudioX Load: " + host.unknown_file("text encoder", choice, [AUTO, *host.text_encoders()], "text_encoders")
        )
    try:
        files = find_text_encoder(
            path or "t5-base",
            tokenizer=host.tokenizer_folder(),
            models_dirs=host.text_encoder_folders(),
            download=download,
            on_progress=host.download_progress(),
        )
    except ModelNotFound as error:
        if download:
            raise
        # Texts of CLIP Text Encode need none: only who encodes text here is told.
        return None, None, f"AudioX Load: {error}"
    encoder = load_text_encoder(files.weights, config, dtype=dtype)
    return host.encoder_patcher(encoder), T5Tokenizer(str(files.tokenizer_folder)), ""


def notice(name: str) -> str:
    """What to know about a model's weights."""
    from ..audiox_core.models import demo
    from ..audiox_core.weights.hub import RELEASED

    if name == demo.NAME:
        return demo.NOTICE
    return f"{name}. {RELEASED[name].licence}" if name in RELEASED else name
