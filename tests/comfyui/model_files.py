"""Model files with random weights for the host's own loaders: a T5-base text encoder, a LoRA of the demo model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file

from audiox_core.weights.open import describe_model

WIDTH, INNER, LAYERS, HEADS, VOCABULARY, BUCKETS = 768, 3072, 12, 12, 32128, 32


def make_t5_base(path: Path) -> Path:
    """The encoder of T5-base in half precision under its published names (220 MB)."""
    generator = torch.Generator().manual_seed(0)

    def noise(*shape: int, scale: float) -> torch.Tensor:
        return (torch.randn(shape, generator=generator) * scale).half()

    weights = {
        "shared.weight": noise(VOCABULARY, WIDTH, scale=1.0),
        "encoder.final_layer_norm.weight": torch.ones(WIDTH).half(),
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight": noise(BUCKETS, HEADS, scale=0.1),
    }
    for number in range(LAYERS):
        block = f"encoder.block.{number}.layer"
        weights[f"{block}.0.layer_norm.weight"] = torch.ones(WIDTH).half()
        weights[f"{block}.1.layer_norm.weight"] = torch.ones(WIDTH).half()
        for name in "qkvo":
            weights[f"{block}.0.SelfAttention.{name}.weight"] = noise(WIDTH, WIDTH, scale=0.02)
        weights[f"{block}.1.DenseReluDense.wi.weight"] = noise(INNER, WIDTH, scale=0.02)
        weights[f"{block}.1.DenseReluDense.wo.weight"] = noise(WIDTH, INNER, scale=0.02)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path


def make_lora(path: Path, rank: int = 2) -> Path:
    """A LoRA on the feed-forward output projections of the demo model's transformer, under ComfyUI's generic names."""
    generator = torch.Generator().manual_seed(1)
    parameters = describe_model("demo").backbone.build(device="meta").state_dict()
    weights: dict[str, torch.Tensor] = {}
    for name, parameter in parameters.items():
        shape = parameter.shape
        if len(shape) == 2 and ".ff." in name and name.endswith(".weight"):
            key = "diffusion_model." + name.removesuffix(".weight")
            weights[f"{key}.lora_up.weight"] = torch.randn(shape[0], rank, generator=generator) * 0.1
            weights[f"{key}.lora_down.weight"] = torch.randn(rank, shape[1], generator=generator) * 0.1
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, path)
    return path
