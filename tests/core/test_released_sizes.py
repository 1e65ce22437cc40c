"""Numbers that no key of a checkpoint betrays: with a wrong one, released weights would load and answer wrongly.

Held against transformers' own defaults where they are the released model's, against the configurations published with
the encoders, and against the reference's own configuration of the golden set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn
from transformers import CLIPVisionConfig, T5Config

from audiox_core.models.conditioners import CLIP_VISION, T5_DEFAULTS, T5_ENCODERS
from audiox_core.networks import autoencoder, clip_time, dit, layers
from tests.core.machines import FULL
from tests.core.small import small_model

RELEASED = json.loads((Path(__file__).parents[1] / "golden" / "audiox" / "config.full.json").read_text())["model"]
# The config.json of google-t5/t5-base and of openai/clip-vit-base-patch32 (its vision half), as published.
PUBLISHED_T5 = {
    "d_model": 768,
    "d_kv": 64,
    "d_ff": 3072,
    "num_layers": 12,
    "num_heads": 12,
    "vocab_size": 32128,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
PUBLISHED_CLIP = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "num_channels": 3,
    "projection_dim": 512,
    "layer_norm_eps": 1e-5,
    "hidden_act": "quick_gelu",
}


def built(name: str) -> Any:
    return FULL.parts[name].build(device="meta")


@pytest.mark.parametrize("key", list(PUBLISHED_CLIP))
def test_the_vision_tower_is_clips_b32(key: str) -> None:
    config = built("video").visual_encoder_model.config
    assert getattr(config, key) == PUBLISHED_CLIP[key] == getattr(CLIPVisionConfig(), key)


def test_the_vision_tower_is_built_so() -> None:
    """What is multiplied, not only what the configuration says."""
    tower = built("video").visual_encoder_model.vision_model
    attentions = [m for m in tower.modules() if type(m).__name__ == "CLIPAttention"]
    assert len(attentions) == 12
    assert {(m.num_heads, m.head_dim, m.scale) for m in attentions} == {(12, 64, 64**-0.5)}
    assert {m.eps for m in tower.modules() if isinstance(m, nn.LayerNorm)} == {1e-5}
    acts = {type(m.activation_fn).__name__ for m in tower.modules() if type(m).__name__ == "CLIPMLP"}
    assert acts == {"QuickGELUActivation"}
    (patches,) = (m for m in tower.modules() if isinstance(m, nn.Conv2d))
    assert (patches.kernel_size, patches.stride, patches.padding) == ((32, 32), (32, 32), (0, 0))


def test_pictures_are_scaled_as_clip_was_trained() -> None:
    from transformers.image_utils import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

    assert tuple(OPENAI_CLIP_MEAN) == clip_time.CLIP_MEAN
    assert tuple(OPENAI_CLIP_STD) == clip_time.CLIP_STD


@pytest.mark.parametrize("key", list(PUBLISHED_T5))
def test_the_text_encoder_is_t5_base(key: str) -> None:
    assert getattr(built("text").t5.config, key) == PUBLISHED_T5[key]


def test_the_text_encoder_is_built_so() -> None:
    t5 = built("text").t5
    attentions = [block.layer[0].SelfAttention for block in t5.encoder.block]
    assert len(attentions) == 12
    assert {(a.n_heads, a.key_value_proj_dim, a.is_decoder) for a in attentions} == {(12, 64, False)}
    assert {(a.relative_attention_num_buckets, a.relative_attention_max_distance) for a in attentions} == {(32, 128)}
    assert [a.has_relative_attention_bias for a in attentions] == [True] + [False] * 11
    feeds = [block.layer[1].DenseReluDense for block in t5.encoder.block]
    assert {(type(f).__name__, type(f.act).__name__) for f in feeds} == {("T5DenseActDense", "ReLU")}
    norms = [m for m in t5.modules() if hasattr(m, "variance_epsilon")]
    assert len(norms) == 2 * 12 + 1 and {m.variance_epsilon for m in norms} == {1e-6}
    assert not t5.training


@pytest.mark.parametrize("key", list(T5_DEFAULTS))
def test_a_size_that_a_config_leaves_out_is_the_librarys(key: str) -> None:
    assert T5_DEFAULTS[key] == getattr(T5Config(), key)


def test_encoders_by_name_say_every_size() -> None:
    """So that no default of a coming version of transformers can take the place of one."""
    assert T5_ENCODERS["t5-base"].keys() == T5_DEFAULTS.keys()
    assert {key: PUBLISHED_T5[key] for key in T5_DEFAULTS} == T5_ENCODERS["t5-base"]
    (clip,) = CLIP_VISION.values()
    assert clip == {key: PUBLISHED_CLIP[key] for key in clip}
    named = {entry["id"]: entry["config"] for entry in RELEASED["conditioning"]["configs"]}
    assert list(CLIP_VISION) == [named["video_prompt"]["clip_model_name"]]
    assert list(T5_ENCODERS) == [named["text_prompt"]["t5_model_name"]]
    assert named["text_prompt"]["max_length"] == built("text").max_length == 128


def test_the_transformer_over_time() -> None:
    """Keys tell only 3 x 1024: the reference has 16 heads of 64."""
    assert (clip_time.DEPTH, clip_time.HEADS, clip_time.HEAD_DIM, clip_time.MLP) == (4, 16, 64, 3072)
    assert (clip_time.FRAMES, clip_time.TOKENS) == (50, 128)
    norms = [m for m in built("video").Temp_transformer.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 9 and {m.eps for m in norms} == {1e-5}
    gelus = [m for m in built("video").Temp_transformer.modules() if isinstance(m, nn.GELU)]
    assert len(gelus) == 4 and {m.approximate for m in gelus} == {"none"}


def test_heads_of_the_diffusion_transformer() -> None:
    """24 heads of 64 ask, 12 answer: a condition is half as wide as the network."""
    sizes, network = RELEASED["diffusion"]["config"], built("dit")
    assert len(network.blocks) == sizes["depth"] == 24
    for block in network.blocks:
        assert block.self_attn.heads == block.cross_attn.heads == sizes["num_heads"] == 24
        assert block.cross_attn.head_dim == sizes["embed_dim"] // sizes["num_heads"] == 64
        assert block.cross_attn.to_kv.out_features // 2 // block.cross_attn.head_dim == 12
    norms = [m for m in network.modules() if isinstance(m, nn.LayerNorm)]
    assert len(norms) == 3 * 24 and {m.eps for m in norms} == {1e-5}
    assert network.transformer.rotary_dims == 32
    assert layers.ROTARY_BASE == 10000.0
    assert dit.TIMESTEP_FEATURES == 256


def test_kernels_of_the_autoencoder() -> None:
    """Padding and dilation leave no trace in a weight's shape."""
    assert autoencoder.DILATIONS == (1, 3, 9)
    for network in (built("autoencoder"), small_model().autoencoder.build(device="meta")):
        for half in (network.encoder, network.decoder):
            convolutions = [m for m in half.modules() if type(m) is nn.Conv1d and m.stride == (1,)]
            dilated = [m for m in convolutions if m.dilation != (1,)]
            assert [m.dilation[0] for m in dilated] == [3, 9] * 5
            for m in convolutions:
                assert m.padding[0] == m.dilation[0] * (m.kernel_size[0] - 1) // 2, "no length is lost or won"
        strided = [m for m in network.encoder.modules() if type(m) is nn.Conv1d and m.stride != (1,)]
        turned = [m for m in network.decoder.modules() if isinstance(m, nn.ConvTranspose1d)]
        strides = RELEASED["pretransform"]["config"]["encoder"]["config"]["strides"]
        assert [m.stride[0] for m in strided] == strides == [2, 4, 4, 8, 8]
        assert [m.stride[0] for m in turned] == strides[::-1]
        for m in (*strided, *turned):
            assert m.kernel_size[0] == 2 * m.stride[0] and m.padding[0] == (m.stride[0] + 1) // 2
        assert not any(m.output_padding[0] for m in turned)
