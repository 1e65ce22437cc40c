"""A model of the family as an ordinary ComfyUI MODEL: its backbone in a BaseModel, driven by samplers and patches."""

from __future__ import annotations

import logging
import math
import weakref
from collections.abc import Mapping
from inspect import signature
from typing import Any

import comfy.latent_formats
import comfy.model_base
import comfy.ops
import comfy.supported_models_base
import comfy.utils
import torch
from torch import Tensor

from ..audiox_core.conditioner import fitted, join_sequences, windowed
from ..audiox_core.errors import InputError
from ..audiox_core.media.picture import latent_picture
from ..audiox_core.memory.formats import Format
from ..audiox_core.models.parts import Model, Words
from ..audiox_core.sampling.windows import Windows
from ..audiox_core.weights.load import parameter_types, part_tensors
from ..audiox_core.weights.open import Opened
from ..audiox_core.weights.saving import with_backbone
from . import host
from .names import WINDOWS, origin_key, tokens_key
from .network import build_network
from .prepared import Prepared, PreparedCondition, prepare_windows
from .windows import hosts_windows, windows_of, wish_of

log = logging.getLogger("audiox")

# Older versions merge patches into the network itself before they save it.
GIVES_THE_BACKBONE = "unet_state_dict" in signature(comfy.model_base.BaseModel.state_dict_for_saving).parameters

# What a network's velocity means, in ComfyUI's terms.
MODEL_TYPES = {
    "v": comfy.model_base.ModelType.V_PREDICTION_CONTINUOUS,
    "rectified_flow": comfy.model_base.ModelType.FLOW,
}


def _preview(x: Tensor) -> Tensor:
    """Latents as ComfyUI's previewer wants them before its linear map, here the identity: (B, 3, H, W) in -1..1."""
    return latent_picture(x).to(x) * 2 - 1


class AudioXLatents(comfy.latent_formats.StableAudio1):
    """Stable Audio's latents, which AudioX shares; the host's own samplers preview them as a picture too."""

    if hasattr(comfy.latent_formats.LatentFormat, "latent_rgb_factors_reshape"):
        latent_rgb_factors = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
        latent_rgb_factors_reshape = staticmethod(_preview)


class HostConfig(comfy.supported_models_base.BASE):
    """What ComfyUI wants to know about a model before it is built."""

    unet_config = {"audio_model": "audiox"}  # noqa: RUF012 (the host's class attributes)
    unet_extra_config = {}  # noqa: RUF012
    latent_format = AudioXLatents
    supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]  # noqa: RUF012

    def __init__(self, model: Model, format: Format):
        super().__init__({"model": model, "format": format, **self.unet_config})
        recipe, flow = model.recipe, model.recipe.objective == "rectified_flow"
        self.sampling_settings = (
            {"shift": 1.0, "multiplier": 1.0}
            if flow
            else {"sigma_min": recipe.sigma_min, "sigma_max": recipe.sigma_max}
        )
        # Named, because ComfyUI would pick faster layers that are less exact where it may.
        self.custom_operations = comfy.ops.manual_cast if format.casts else comfy.ops.disable_weight_init
        self.set_inference_dtype(format.storage_dtype, format.compute_dtype if format.casts else None)


class AudioX(comfy.model_base.BaseModel):
    """A model of the family among ComfyUI's: its objective, its condition tokens, its memory."""

    def __init__(self, opened: Opened, format: Format, empty: Mapping[str, Tensor], holds: bool):
        model = opened.model
        super().__init__(
            HostConfig(model, format),
            MODEL_TYPES[model.recipe.objective],
            device=host.offload_device(),
            unet_model=build_network,
        )
        self.audiox, self.audiox_format, self.audiox_weights = model, format, opened.weights
        self.audiox_name = opened.name
        # Tokens of modalities that a condition lacks: small, and moved with those they complete.
        self.audiox_empty = {name: tokens.detach().float().cpu() for name, tokens in empty.items()}
        self._told: Any = None  # the noise of the last run that was warned of
        self.audiox_holds = holds  # whether the plan lets the network hold what only spares time
        self._decided: Any = None  # the noise of the last run that has decided whether it does
        # Weights beyond this many bytes are streamed; None leaves that to ComfyUI.
        self.audiox_budget: float | None = None

    def get_dtype(self) -> torch.dtype:
        """What the network takes and gives: it casts inside, where that does no harm."""
        return torch.float32

    @property
    def manual_cast_dtype(self) -> torch.dtype | None:
        """Another type to take and give, which nodes may set (ModelComputeDtype): it would only lose."""
        return None

    @manual_cast_dtype.setter
    def manual_cast_dtype(self, dtype: torch.dtype | None) -> None:
        pass

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """The condition, prepared for a whole run: called once a condition and run, with the network loaded."""
        noise, device = kwargs.get("noise"), kwargs["device"]
        self.check_windows(noise)
        tokens, options = self.audiox_tokens(kwargs), self.audiox_options
        windows, wish = self.audiox_windows(noise, tokens, kwargs.get(WINDOWS)), wish_of(options)
        self.hold_what_fits(noise, device)
        size = (1,) if tokens is None else (sum(t.shape[2] for t in tokens.values()), self.audiox_width)
        contexts: tuple[Any, ...] = ()
        # Hooks change weights from step to step, and so does training: what is prepared now would be wrong then.
        if kwargs.get("hooks") is None and not torch.is_grad_enabled():
            count = 1 if windows is None else len(windows.starts)
            contexts = prepare_windows(self.diffusion_model, tokens, count, device)
        return {"audiox": PreparedCondition(Prepared(tokens, contexts, size, device, windows, wish.at_once))}

    @property
    def audiox_options(self) -> Mapping[str, Any]:
        """The options of the MODEL that is being sampled."""
        return getattr(self.current_patcher, "model_options", {})

    def audiox_windows(self, noise: Tensor | None, tokens: Mapping[str, Tensor] | None, plan: Any) -> Windows | None:
        """The windows of a latent as long as noise (B, C, L); None for a single one, or where ComfyUI makes its own."""
        if noise is None:
            return None
        if hosts_windows(self.audiox_options) is not None:
            self.tell_of_length(noise)
            windows = None
        else:
            windows = windows_of(self.audiox.timing, noise.shape[-1], plan, wish_of(self.audiox_options))
        count = 1 if windows is None else len(windows.starts)
        for name, given in () if tokens is None else tokens.items():
            if given.shape[1] not in (1, count):
                raise InputError(
                    f"{name}: this condition has {given.shape[1]} windows, the latent {count}. Connect the seconds of "
                    "its encoder to AudioX Empty Latent, and leave ComfyUI's Context Windows out."
                )
        return None if windows is None or windows.single else windows

    def _apply_model(self, x: Tensor, t: Tensor, *given: Any, audiox: Any = None, **options: Any) -> Tensor:
        """ComfyUI's, with conditions ready: what is prepared in each step is so here, outside of what is compiled."""
        ready = None if audiox is None else audiox.ready(self.diffusion_model, x.device)
        return super()._apply_model(x, t, *given, audiox=ready, **options)

    def hold_what_fits(self, noise: Tensor | None, device: torch.device) -> None:
        """Decides, once a run, whether its network holds what only spares time, beside the weights that are loaded."""
        network: Any = self.diffusion_model
        if noise is None or not hasattr(network, "hold") or (self._decided is not None and self._decided() is noise):
            return
        self._decided = weakref.ref(noise)  # conditions of one run are joined: all of them hold, or none
        need = self.audiox.backbone.work(self.audiox_format, *self.at_once(noise.shape), None)
        network.hold = self.audiox_holds and need <= host.free_memory(device)
        if not network.hold:
            log.warning("AudioX: memory is tight, so what one step could keep for the next is computed again in each.")

    def check_windows(self, noise: Tensor | None) -> None:
        """Says what ComfyUI's context windows cannot do, before they fail with an index error."""
        windows = hosts_windows(self.audiox_options)
        if noise is None or windows is None:
            return
        if noise.shape[0] > 1 and noise.shape[2] > windows.context_length:
            raise InputError(
                f"ComfyUI's context windows take one latent at a time, but this batch has {noise.shape[0]}. Generate "
                "them one by one, or disconnect Context Windows."
            )

    def tell_of_length(self, noise: Tensor) -> None:
        """Warns, once a run, of context windows of ComfyUI's that are longer than the model was trained on."""
        if self._told is not None and self._told() is noise:
            return
        timing = self.audiox.timing
        at_once = min(noise.shape[-1], hosts_windows(self.audiox_options).context_length)
        if at_once <= timing.latents:
            return
        self._told = weakref.ref(noise)  # a run's conditions are all asked with the same one
        log.warning(
            "AudioX: Context Windows makes %.2f s at a time, but the model was trained on %.2f s: the sound may drift. "
            "Set its length to %d, or remove it: AudioX makes windows by itself.",
            *(timing.to_seconds(at_once), timing.max_seconds, timing.latents),
        )

    @property
    def audiox_width(self) -> int:
        return next(p.condition.width for p in self.audiox.conditioners if p.condition is not None)

    def audiox_tokens(self, given: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Tokens (B, W, M, D) of every modality from a CONDITIONING's values; None for the null condition.

        A condition whose text is all zero is the null condition, as AudioX Null and ConditioningZeroOut make it: a
        real prompt never is, its end token at least is not.
        """
        text_name = self.audiox.reader(Words)
        found: dict[str, Tensor] = {}
        for part in self.audiox.conditioners:
            condition = part.condition
            assert condition is not None
            tokens = given.get("cross_attn") if part.name == text_name else given.get(tokens_key(part.name))
            if tokens is None:
                tokens = self.audiox_empty[part.name]
            elif part.name == text_name and given.get(tokens_key(text_name)) is not None:
                tokens = given[tokens_key(text_name)]  # prompts of several windows
            elif part.name == text_name:
                if not tokens.any():
                    return None
                # ConditioningConcat puts prompts with their padding behind each other.
                tokens = (
                    join_sequences(tokens.split(condition.tokens, dim=1))
                    if tokens.shape[1] > condition.tokens
                    else tokens
                )
                tokens = fitted(tokens, condition.tokens, condition.width)
            else:
                self.check_origin(part.name, given.get(origin_key(part.name)))
                if tokens.shape[-2:] != (condition.tokens, condition.width):
                    raise InputError(
                        f"{part.name}: the condition holds {tokens.shape[-2]} tokens, this model takes "
                        f"{condition.tokens}. It was encoded for another model: encode it with this model's encoders."
                    )
            tokens = windowed(tokens.float())
            rows = given["noise"].shape[0] if given.get("noise") is not None else tokens.shape[0]
            if tokens.shape[0] not in (1, rows):
                tokens = comfy.utils.repeat_to_batch_size(tokens, rows)
            found[part.name] = tokens
        return found

    def check_origin(self, modality: str, origin: tuple[str, Any] | None) -> None:
        """Raises InputError for tokens of another member of the family, which may well have the same shape."""
        if origin is not None and origin[1] != self.audiox.kind:
            raise InputError(
                f"{modality}: this condition was encoded for {origin[0]}, the model connected is {self.audiox_name}, "
                f"which cannot read it. Encode it with the encoders of the AudioX Load that gives {self.audiox_name}."
            )

    def state_dict_for_saving(self, *given: Any, **named: Any) -> dict[str, Tensor]:
        """What ComfyUI's nodes that save a model write: a whole checkpoint, which AudioX Load reads again.

        The backbone is as it is now, with its LoRAs and merges; everything else is as it was loaded.
        """
        backbone = self.diffusion_model.state_dict()
        if GIVES_THE_BACKBONE:
            backbone = named["unet_state_dict"] if "unet_state_dict" in named else given[0]
        return with_backbone(self.audiox, self.audiox_weights, backbone)

    def at_once(self, shape: Any) -> tuple[int, int]:
        """The latents and rows that the network takes in one call, for a batch of this shape (B, C, L)."""
        latents, rows = shape[-1], shape[0]
        if latents > self.audiox.timing.latents and hosts_windows(self.audiox_options) is None:
            return self.audiox.timing.latents, rows * wish_of(self.audiox_options).at_once
        return latents, rows

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> float:
        part, format = self.audiox.backbone, self.audiox_format
        latents, rows = self.at_once(input_shape)
        items = math.ceil(rows / 2)  # the core counts a positive and a negative row as one
        spared = 0 if self.audiox_holds or part.held is None else part.held(format, items)
        return float(part.work(format, latents, items, None) - spared)


def network_weights(opened: Opened, format: Format, on_tensor: host.Done | None = None) -> dict[str, Tensor]:
    """The backbone's weights by its own names, in the types that it keeps them in; norms and biases in more bits."""
    part = opened.model.backbone
    types = parameter_types(part, format.options())
    weights = part_tensors(part, opened.weights, dtype=types, on_tensor=on_tensor)
    # The core leaves 8 bits to layers that scale. ComfyUI's patches (LoRA) see weights as they are, so these don't.
    return {name: weight.to(types[name]) for name, weight in weights.items()}


def make_model(
    opened: Opened,
    empty: Mapping[str, Tensor],
    *,
    format: Format,
    budget: float | None,
    holds: bool,
    on_tensor: host.Done | None = None,
    plain: bool = False,
) -> Any:
    """The MODEL of an opened model. budget: see AudioX.audiox_budget; infinity keeps all of it on the device.

    holds: whether its network may hold what only spares time from step to step (memory may still be too short then).
    """
    model = AudioX(opened, format, empty, holds)
    model.audiox_budget = budget
    model.diffusion_model.load_state_dict(network_weights(opened, format, on_tensor), strict=True, assign=True)
    model.diffusion_model.requires_grad_(False)
    host.archive_types(model.diffusion_model)
    return host.model_patcher(model, plain=plain)
