"""AudioX as an ordinary ComfyUI model: the diffusion transformer in a BaseModel, the autoencoder in a VAE."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import comfy.conds
import comfy.latent_formats
import comfy.ldm.modules.attention
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.supported_models_base
import torch
from torch import Tensor, nn

from ..audiox_core.conditioner import complete, fit
from ..audiox_core.media.picture import latent_picture
from ..audiox_core.memory.estimate import Dimensions, dit_activations, wave_activations
from ..audiox_core.memory.formats import Format
from ..audiox_core.models.config import AudioConfig, ModelConfig, TextConfig, VideoConfig
from ..audiox_core.networks.autoencoder import Autoencoder
from ..audiox_core.networks.dit import DiffusionTransformer
from ..audiox_core.networks.layers import repeat_heads
from ..audiox_core.weights.layout import build
from ..audiox_core.weights.load import component_tensors
from . import host
from .names import AUDIO, NULL, VIDEO

_options: ContextVar[dict[str, Any]] = ContextVar("audiox_transformer_options")


@contextmanager
def _attention_options(options: dict[str, Any]) -> Iterator[None]:
    token = _options.set(options)
    try:
        yield
    finally:
        _options.reset(token)


def host_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """ComfyUI's attention for the core's networks: (B, H, L, d), (B, Hkv, M, d) twice -> (B, H, L, d)."""
    k, v = repeat_heads(q, k, v)  # not every kernel of the host knows grouped heads
    # Looked up at each call: patches replace it.
    attention = comfy.ldm.modules.attention.optimized_attention
    options = _options.get({})
    return attention(q, k, v, q.shape[1], skip_reshape=True, skip_output_reshape=True, transformer_options=options)


class HostTransformer(DiffusionTransformer):
    """The core's network, called as ComfyUI calls its diffusion models; built on the meta device, without weights."""

    def __init__(
        self,
        config: ModelConfig,
        compute_dtype: torch.dtype,
        dtype: torch.dtype,
        operations: Any,
        device: Any = None,
        **_: Any,
    ):
        super().__init__(
            config.dit,
            dtype=dtype,
            device="meta",
            operations=operations,
            attention=host_attention,
            compute_dtype=compute_dtype,
        )

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        control: Any = None,
        transformer_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> Tensor:
        with _attention_options(transformer_options or {}):
            return super().forward(x, t, self.prepare(context))


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
    sampling_settings = {"sigma_min": 0.3, "sigma_max": 500.0}  # noqa: RUF012
    latent_format = AudioXLatents
    supported_inference_dtypes = [torch.float16, torch.bfloat16, torch.float32]  # noqa: RUF012


class AudioX(comfy.model_base.BaseModel):
    """AudioX among ComfyUI's models: v-prediction over continuous time, condition tokens by cross-attention."""

    def __init__(self, host_config: HostConfig, config: ModelConfig, format: Format, empty: Mapping[str, Tensor]):
        offload = comfy.model_management.unet_offload_device()
        kind = comfy.model_base.ModelType.V_PREDICTION_CONTINUOUS
        super().__init__(host_config, kind, device=offload, unet_model=HostTransformer)
        self.audiox, self.audiox_format = config, format
        self.audiox_dims = Dimensions.from_config(config)
        # Tokens of modalities that a condition lacks, by conditioner: small, and moved with those they complete.
        self.audiox_empty = {name: tokens.detach().float().cpu() for name, tokens in empty.items()}
        # Weights beyond this many bytes are streamed; None leaves that to ComfyUI.
        self.audiox_budget: float | None = None
        # The network takes and gives float32 and casts inside, where it does no harm.
        self.manual_cast_dtype = None

    def get_dtype(self) -> torch.dtype:
        return torch.float32

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """All condition tokens, always equally many, so that positive and negative run as one batch."""
        config = self.audiox
        text, text_id = kwargs.get("cross_attn"), config.conditioner(TextConfig).id
        given = {
            text_id: None if text is None else fit(text, self.audiox_empty[text_id]),
            config.conditioner(VideoConfig).id: kwargs.get(VIDEO),
            config.conditioner(AudioConfig).id: kwargs.get(AUDIO),
        }
        # ConditioningZeroOut means the null condition; real text is never all zero, its end token at least is not.
        null = bool(kwargs.get(NULL)) or (text is not None and not text.any())
        tokens = complete(given, self.audiox_empty, config.cross_attention_cond_ids, null=null)
        return {"c_crossattn": comfy.conds.CONDRegular(tokens.to(kwargs["device"]))}

    def memory_required(self, input_shape: Any, cond_shapes: Any = None) -> float:
        rows, latents = input_shape[0], input_shape[-1]
        # The core counts in batch items of two rows, a positive and a negative one.
        return float(dit_activations(self.audiox_dims, self.audiox_format, latents, math.ceil(rows / 2)))


class Budgeted(comfy.model_patcher.ModelPatcher):
    """Holds as many bytes of a model on the device as its audiox_budget says, and streams the rest."""

    def partially_load(self, device_to: Any, extra_memory: float = 0, force_patch_weights: bool = False) -> Any:
        budget = self.model.audiox_budget
        if budget is not None:
            room = max(budget - self.loaded_size(), 1)
            extra_memory = room if budget == float("inf") else min(extra_memory, room)
        return super().partially_load(device_to, extra_memory, force_patch_weights=force_patch_weights)


def transformer_weights(
    tensors: Mapping[str, Tensor], config: ModelConfig, format: Format, on_tensor: host.Done | None = None
) -> dict[str, Tensor]:
    """The transformer's weights by its own names, in the types that it keeps them in; norms and the like in float32."""
    like = build("dit", config, dtype=format.storage_dtype, compute_dtype=format.compute_dtype)
    types = {name: parameter.dtype for name, parameter in like.named_parameters()}
    weights = component_tensors("dit", tensors, config, dtype=types, on_tensor=on_tensor)
    # The core leaves 8 bits to layers that scale. ComfyUI's patches (LoRA) see weights as they are, so these don't.
    return {name: weight.to(types[name]) for name, weight in weights.items()}


def make_model(
    tensors: Mapping[str, Tensor],
    config: ModelConfig,
    empty: Mapping[str, Tensor],
    *,
    format: Format,
    budget: float | None,
    on_tensor: host.Done | None = None,
) -> Any:
    """AudioX as a MODEL from a checkpoint's tensors. budget: see AudioX.audiox_budget; infinity keeps all of it."""
    dtype, compute = format.storage_dtype, format.compute_dtype
    host_config = HostConfig({"config": config, "compute_dtype": compute, **HostConfig.unet_config})
    host_config.set_inference_dtype(dtype, compute if format.casts else None)
    model = AudioX(host_config, config, format, empty)
    model.audiox_budget = budget
    weights = transformer_weights(tensors, config, format, on_tensor)
    model.diffusion_model.load_state_dict(weights, strict=True, assign=True)
    model.diffusion_model.requires_grad_(False)
    archive = getattr(comfy.model_management, "archive_model_dtypes", None)
    if archive is not None:
        archive(model.diffusion_model)
    # Looked up now: newer versions put another class there after start-up, one that knows no budget.
    newest = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    patcher = newest if budget is None else Budgeted
    return patcher(
        model,
        load_device=comfy.model_management.get_torch_device(),
        offload_device=comfy.model_management.unet_offload_device(),
    )


class HostAutoencoder(nn.Module):
    """The core's autoencoder as ComfyUI's VAE calls it. Encoding gives the mean: the same sound, the same latents."""

    def __init__(self, network: Autoencoder, config: ModelConfig, format: Format):
        super().__init__()
        self.network, self.dims, self.format = network, Dimensions.from_config(config), format

    def encode(self, audio: Tensor) -> Tensor:
        """Waveform (B, 2, N) -> latents (B, C, L)."""
        tile = self._tile(audio, audio.shape[-1] // self.dims.ratio, encode=True)
        return self.network.encode(audio, tile=tile, on_tile=host.progress())[0]

    def decode(self, latents: Tensor) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, N)."""
        tile = self._tile(latents, latents.shape[-1], encode=False)
        return self.network.decode(latents, tile=tile, on_tile=host.progress())

    def memory(self, latents: int, batch: int, tile: int | None, *, encode: bool) -> int:
        """Bytes that the work takes beside the weights."""
        return wave_activations(self.dims, self.format, latents, batch, tile, encode=encode)

    def _tile(self, x: Tensor, latents: int, *, encode: bool) -> int | None:
        return host.tile(x.device, latents, lambda t: self.memory(latents, x.shape[0], t, encode=encode))


def make_vae(network: Autoencoder, config: ModelConfig, format: Format) -> Any:
    """A VAE of ComfyUI around the core's autoencoder, at any width of it."""
    import comfy.sd
    from comfy.ldm.audio.autoencoder import AudioOobleckVAE

    # The host's constructor fills in all that its version knows of this kind of VAE, told from the names of weights;
    # on the meta device they cost nothing. Then the network is put in.
    with torch.device("meta"):
        vae = comfy.sd.VAE(sd=AudioOobleckVAE().state_dict(), dtype=format.compute_dtype)
    inner = HostAutoencoder(network, config, format)
    vae.first_stage_model = inner
    vae.patcher = comfy.model_patcher.ModelPatcher(
        inner, load_device=vae.device, offload_device=vae.patcher.offload_device
    )
    if getattr(vae, "size", None) is not None:
        vae.size = vae.patcher.model_size()
    vae.memory_used_decode = lambda shape, dtype: inner.memory(shape[2], shape[0], None, encode=False)
    vae.memory_used_encode = lambda shape, dtype: inner.memory(
        shape[2] // inner.dims.ratio, shape[0], None, encode=True
    )
    return vae
