"""Loaded in part, as --lowvram and --novram do it: nothing is computed on the CPU. The meta device plays the card."""

from __future__ import annotations

from typing import Any

from pack import DEMO, demo, module, node

SMALL = 4096  # numbers; casts and tables of that size may be made anywhere
# What brings weights from where they wait, and what looks without computing.
MOVES = ("aten._to_copy", "aten.copy_", "aten.detach", "aten.empty", "aten.alias", "aten.view", "aten.t.", "prim")


def computed_on_the_cpu(work: Any) -> list[str]:
    """Operations with large answers on the CPU while work() runs; its answer must be on the card."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    found: list[str] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            name = str(func)
            for tensor in out if isinstance(out, tuple | list) else (out,):
                large = isinstance(tensor, torch.Tensor) and tensor.device.type == "cpu" and tensor.numel() > SMALL
                if large and not name.startswith(MOVES):
                    found.append(name)
            return out

    with Watch():
        answer = work()
    assert answer.device.type == "meta", answer.device
    return found


def in_part(network: Any, share: float) -> Any:
    """A patcher that holds so much of a network on the card."""
    import comfy.model_patcher
    import torch

    meta, cpu = torch.device("meta"), torch.device("cpu")
    patcher = comfy.model_patcher.ModelPatcher(network, load_device=meta, offload_device=cpu)
    patcher.partially_load(meta, max(int(patcher.model_size() * share), 1))
    assert patcher.loaded_size() <= (share + 0.5) * patcher.model_size()
    return patcher


def parts() -> tuple[Any, Any, Any]:
    """The demo's backbone, autoencoder and audio encoder, freshly built as AudioX Load builds them."""
    options = {"text_encoder": "auto", "precision": "fp16", "offload": "auto", "max_vram_gb": 0.0}
    model, encoders, vae, _ = node("AudioXLoad")(checkpoint=DEMO, **options)
    return model.model, vae.first_stage_model, encoders.runner.patcher("audio").model


def check_networks_loaded_in_part_compute_on_the_card() -> None:
    import torch

    def card(*shape: int) -> Any:
        return torch.empty(*shape, device="meta")

    for share in (0.0, 0.4):
        model, autoencoder, audio = parts()
        network = model.diffusion_model
        patchers = [in_part(model, share), in_part(autoencoder, share), in_part(audio, share)]
        tokens = {name: t.to("meta") for name, t in demo()[1].conditioner.complete({}).items()}

        def step(network: Any = network, tokens: Any = tokens) -> Any:
            prepared = module("nodes.prepared")
            context = network.prepare(tokens, device=torch.device("meta")).cat(network.prepare(None))
            attention = module("audiox_core.networks.layers").torch_attention
            return prepared.run(network, card(2, 64, 236), card(2), prepared.Batch((), context), attention)

        assert not computed_on_the_cpu(step)
        assert not computed_on_the_cpu(lambda a=autoencoder: a.network.decode(card(1, 64, 40)))
        assert not computed_on_the_cpu(lambda a=autoencoder: a.network.encode(card(1, 2, 40 * 2048), tile=16)[0])
        assert not computed_on_the_cpu(lambda a=audio: a(card(1, 2, 441000), card(1, 64, 215), tile=64))
        assert all(patcher.lowvram_patch_counter() == 0 for patcher in patchers)


def check_the_watch_sees_what_is_computed_on_the_cpu() -> None:
    import torch

    def on_the_cpu() -> Any:
        torch.ones(SMALL + 1).sin()
        return torch.empty(1, device="meta")

    assert any("sin" in name for name in computed_on_the_cpu(on_the_cpu))


def check_novram_and_lowvram_place_models_where_comfyui_says() -> None:
    """What the host's states mean for each part: its own functions decide, and each part follows them."""
    import comfy.model_management as mm
    import torch

    state, cpu_state, device = mm.vram_state, mm.cpu_state, mm.get_torch_device
    meta = torch.device("meta")
    try:
        mm.cpu_state, mm.get_torch_device = mm.CPUState.GPU, lambda: meta
        for wanted in (mm.VRAMState.LOW_VRAM, mm.VRAMState.NO_VRAM):
            mm.vram_state = wanted
            encoder = module("nodes.runner").encoder_patcher(torch.nn.Linear(2, 2))
            assert encoder.load_device == mm.text_encoder_device()
            assert module("nodes.host").offload_device() == mm.unet_offload_device()
    finally:
        mm.vram_state, mm.cpu_state, mm.get_torch_device = state, cpu_state, device
