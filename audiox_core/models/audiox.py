"""The released base model's configuration, for checkpoints that come without their config.json."""

from __future__ import annotations

from typing import Any


def _half(io_key: str, latent_dim: int, **extra: Any) -> dict[str, Any]:
    """One half of the autoencoder: io_key is in_channels for the encoder, out_channels for the decoder."""
    return {
        "type": "oobleck",
        "config": {
            io_key: 2,
            "channels": 128,
            "c_mults": [1, 2, 4, 8, 16],
            "strides": [2, 4, 4, 8, 8],
            "latent_dim": latent_dim,
            "use_snake": True,
            **extra,
        },
    }


def _autoencoder() -> dict[str, Any]:
    return {
        "type": "autoencoder",
        "iterate_batch": True,
        "config": {
            "encoder": _half("in_channels", 128),
            "decoder": _half("out_channels", 64, final_tanh=False),
            "bottleneck": {"type": "vae"},
            "latent_dim": 64,
            "downsampling_ratio": 2048,
            "io_channels": 2,
        },
    }


BASE_CONFIG: dict[str, Any] = {
    "model_type": "diffusion_cond",
    "sample_size": 485100,
    "sample_rate": 44100,
    "video_fps": 5,
    "audio_channels": 2,
    "model": {
        "pretransform": _autoencoder(),
        "conditioning": {
            "configs": [
                {"id": "video_prompt", "type": "clip", "config": {"clip_model_name": "clip-vit-base-patch32"}},
                {"id": "text_prompt", "type": "t5", "config": {"t5_model_name": "t5-base", "max_length": 128}},
                {
                    "id": "audio_prompt",
                    "type": "audio_autoencoder",
                    "config": {"sample_rate": 44100, "pretransform_config": _autoencoder()},
                },
            ],
            "cond_dim": 768,
        },
        "diffusion": {
            "cross_attention_cond_ids": ["video_prompt", "text_prompt", "audio_prompt"],
            "global_cond_ids": [],
            "type": "dit",
            "config": {
                "io_channels": 64,
                "embed_dim": 1536,
                "depth": 24,
                "num_heads": 24,
                "cond_token_dim": 768,
                "global_cond_dim": 1536,
                "project_cond_tokens": False,
                "transformer_type": "continuous_transformer",
                "video_fps": 5,
            },
        },
        "io_channels": 64,
    },
}
