"""Loading: which checkpoint, in which precision, how much of it on the device; its parts as ComfyUI's own types."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comfy_api.latest import io

from ..audiox_core.errors import InputError, ModelNotFound
from . import host
from .schema import Encoders as EncodersType
from .schema import named, schema

if TYPE_CHECKING:
    from ..audiox_core.weights.open import Opened

DEMO = "demo (random weights, noise)"
AUTO = "auto"


class AudioXLoad(io.ComfyNode):
    """A checkpoint to a model, its encoders and its VAE."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            "AudioXLoad",
            "AudioX Load",
            "Loads AudioX. Checkpoints go into models/audiox (or checkpoints, diffusion_models); AudioX itself is "
            "downloaded when the graph runs, unless it is already there. The weights are licensed CC-BY-NC 4.0 (no "
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
                    tooltip="T5-base, for example the t5_base.safetensors that Stable Audio uses. auto looks in "
                    "models/text_encoders and models/audiox.",
                ),
                io.Combo.Input(
                    "precision",
                    options=["auto", "fp16", "bf16", "fp32", "fp8"],
                    default="auto",
                    tooltip="Number format of the weights and of the computation. auto: whatever suits the device, "
                    "usually fp16. fp8 is for storage only: half the memory, less accurate.",
                ),
                io.Combo.Input(
                    "offload",
                    options=["auto", "on", "off"],
                    default="auto",
                    tooltip="auto: ComfyUI decides what stays on the GPU. on: as little as possible, slower. off: the "
                    "whole model.",
                ),
                io.Float.Input(
                    "max_vram_gb",
                    default=0.0,
                    min=0.0,
                    max=1024.0,
                    step=0.1,
                    tooltip="The most GPU memory, in GB, that the model may use while it works; the rest is streamed "
                    "from RAM. 0: as much as ComfyUI allows.",
                ),
            ],
            outputs=[
                io.Model.Output(),
                EncodersType.Output(display_name="encoders"),
                io.Vae.Output(),
                io.String.Output(
                    display_name="report", tooltip="Your hardware, and where each part of the model goes."
                ),
            ],
        )

    @classmethod
    def validate_inputs(cls, checkpoint: str | None) -> bool | str:
        """Accepts what the list shows, with either kind of slash; None is a link, whose value isn't known yet.

        ComfyUI shows what is said here at each input that is asked for here, and checks the others' lists by itself.
        """
        if checkpoint is not None and not is_known(checkpoint):
            return "AudioX Load: " + host.unknown_file("checkpoint", checkpoint, checkpoint_options(), "audiox")
        return True

    @classmethod
    def fingerprint_inputs(cls, checkpoint: str | None, text_encoder: str | None, **_: Any) -> list[float]:
        """A file that was replaced is loaded anew."""
        files = [host.checkpoint_path(checkpoint)] if checkpoint else []
        files += [host.text_encoder_path(text_encoder)] if text_encoder else []
        return [stamp for file in files if file for stamp in (os.path.getmtime(file), os.path.getsize(file))]

    @classmethod
    @named("AudioX Load")
    def execute(
        cls, checkpoint: str, text_encoder: str, precision: str, offload: str, max_vram_gb: float
    ) -> io.NodeOutput:
        return io.NodeOutput(*load(checkpoint, text_encoder, precision, offload, max_vram_gb))


def checkpoint_options() -> list[str]:
    """Released models (by the same name before and after their download), local files, and the demo models."""
    from ..audiox_core.models import members

    released = [name for name, member in members().items() if member.released is not None]
    return [*released, *host.checkpoints(), *(option for option, _ in made_options())]


def made_options() -> list[tuple[str, str]]:
    """The entries of models that are made on the spot, with their names in the core."""
    from ..audiox_core.models import members

    made = [name for name, member in members().items() if member.released is None]
    return [(f"{name} (random weights, noise)", name) for name in made]


def checkpoint_tip() -> str:
    """What the entries are, and which of them would have to be downloaded now."""
    from ..audiox_core.models import members
    from ..audiox_core.weights.hub import find_model

    entries = []
    for name, member in members().items():
        if member.released is None:
            continue
        try:
            found = find_model(name, models_dirs=host.model_folders(), download=False)
        except ModelNotFound:
            entries.append(f"{name}: not here yet; running the graph downloads it from {member.released.source}.")
        else:
            entries.append(f"{name}: {found.checkpoint.name} of {found.checkpoint.parent.name}, already here.")
    entries += ["Others: files in your model folders, with a config.json beside them if they came with one."]
    return " ".join([*entries, "demo only makes noise, to show that everything runs."])


def is_released(option: str) -> bool:
    """Whether an option stands for a released model, which may be downloaded."""
    from ..audiox_core.models import members

    member = members().get(option)
    return member is not None and member.released is not None


def is_known(option: str) -> bool:
    return option in dict(made_options()) or is_released(option) or host.checkpoint_path(option) is not None


def load(checkpoint: str, text_encoder: str, precision: str, offload: str, max_vram_gb: float) -> tuple[Any, ...]:
    """MODEL, AUDIOX_ENCODERS, VAE and the report."""
    from ..audiox_core.memory.plan import make_plan
    from ..audiox_core.memory.report import report
    from .runner import Encoders, HostRunner, load_network
    from .vae import make_vae

    opened = open_option(checkpoint, text_encoder)
    host.check_interrupted()
    model = opened.model
    plan = make_plan(host.machine(), model, precision=precision, offload=offload, max_vram_gb=max_vram_gb or None)
    formats = formats_for(opened, plan, precision)
    # What needs a file beside the checkpoint waits until it is used: texts of CLIP Text Encode need no encoder here.
    now = [part.name for part in model.conditioners if not part.companions]
    tell = progress_by_size(opened, [*now, model.autoencoder.name, model.backbone.name])
    encoders = Encoders(opened, HostRunner(opened, formats))
    for name in now:
        encoders.runner.patcher(name, tell(name))
    name = model.autoencoder.name
    vae = make_vae(load_network(opened, name, formats[name], tell(name)), model, formats[name])
    opened.need(model.backbone)
    patcher = backbone(opened, encoders, formats, plan, offload, max_vram_gb, tell(model.backbone.name))
    patcher.cached_patcher_init = (reload_model, (checkpoint, text_encoder, precision, offload, max_vram_gb))
    places = {name: replace(place, format=formats[name]) for name, place in plan.places.items()}
    text = report(replace(plan, places=places), host.machine())
    return patcher, encoders, vae, f"{title(opened)}\n{text}"


def reload_model(
    checkpoint: str,
    text_encoder: str,
    precision: str,
    offload: str,
    max_vram_gb: float,
    disable_dynamic: bool = False,
) -> Any:
    """The MODEL alone, anew: newer versions ask for one without their dynamic loading (compiling, hooks, more GPUs)."""
    from ..audiox_core.memory.plan import make_plan
    from .runner import Encoders, HostRunner

    opened = open_option(checkpoint, text_encoder)
    plan = make_plan(
        host.machine(), opened.model, precision=precision, offload=offload, max_vram_gb=max_vram_gb or None
    )
    formats = formats_for(opened, plan, precision)
    encoders = Encoders(opened, HostRunner(opened, formats))
    return backbone(opened, encoders, formats, plan, offload, max_vram_gb, None, plain=disable_dynamic)


def formats_for(opened: Opened, plan: Any, precision: str) -> dict[str, Any]:
    """What each part's weights are kept in and multiply in here."""
    from ..audiox_core.memory.estimate import weights_of
    from ..audiox_core.memory.formats import Format
    from ..audiox_core.weights.load import stored_dtype

    part = opened.model.backbone
    numbers, stored = weights_of(part, Format()).numbers, stored_dtype(part, opened.weights)
    return host.part_formats(opened.model, plan, numbers, stored, auto=precision == AUTO)


def backbone(
    opened: Opened,
    encoders: Any,
    formats: Mapping[str, Any],
    plan: Any,
    offload: str,
    max_vram_gb: float,
    on_tensor: host.Done | None,
    *,
    plain: bool = False,
) -> Any:
    """The MODEL of an opened model."""
    from .model import make_model

    name = opened.model.backbone.name
    budget = weight_budget(offload, max_vram_gb, plan.places[name].activations)
    empty = encoders.absent_tokens()
    holds = plan.places[name].holds
    return make_model(opened, empty, format=formats[name], budget=budget, holds=holds, on_tensor=on_tensor, plain=plain)


def progress_by_size(opened: Opened, order: Sequence[str]) -> Callable[[str], host.Done]:
    """For each part a function (done, all) that moves one bar, in which it takes room by its size."""
    from ..audiox_core.memory.estimate import weights_of
    from ..audiox_core.memory.formats import Format

    sizes = {name: weights_of(opened.model.parts[name], Format()).numbers for name in order}
    whole = sum(sizes.values())
    tell = host.progress()

    def of(name: str) -> host.Done:
        before = sum(sizes[other] for other in order[: order.index(name)])

        def told(done: int, total: int) -> None:
            # The last tensor, too, ends the bar: it is reported before it is read.
            tell(before + sizes[name] * (done + 1) // total, whole)

        return told

    return of


def weight_budget(offload: str, max_vram_gb: float, activations: int) -> float | None:
    """Bytes of weights that the model may hold on the device; None leaves it to ComfyUI."""
    if offload == "on":
        return 1.0
    if max_vram_gb:
        from ..audiox_core.memory.plan import GB

        return max(max_vram_gb * GB - activations, 1.0)
    return math.inf if offload == "off" else None


def open_option(option: str, text_encoder: str) -> Opened:
    """The model of a checkpoint entry, with the text encoder of another."""
    from ..audiox_core.weights.open import open_model

    made, released = dict(made_options()).get(option), is_released(option)
    path = None if made or released else host.checkpoint_path(option)
    if not made and not released and path is None:
        raise InputError(host.unknown_file("checkpoint", option, checkpoint_options(), "audiox"))
    chosen = None if text_encoder == AUTO else host.text_encoder_path(text_encoder)
    if text_encoder != AUTO and chosen is None:
        names = [AUTO, *host.text_encoders()]
        raise InputError(host.unknown_file("text encoder", text_encoder, names, "text_encoders"))
    return open_model(
        made or (option if released else Path(str(path))),
        text_encoder=chosen,
        tokenizer=host.tokenizer_folder(),
        models_dirs=host.model_folders(),
        companion_dirs=host.companion_folders(),
        # A file of the user's own runs with what is here; only a released model's entry says that it downloads.
        download=released,
        on_progress=host.download_progress(),
    )


def title(opened: Opened) -> str:
    """What to know about a model's weights."""
    if not opened.notice:
        return opened.name
    return opened.notice if opened.notice.startswith(opened.name) else f"{opened.name}. {opened.notice}"
