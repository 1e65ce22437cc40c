"""Numbers of the newer members that no key of a checkpoint betrays, and of what all members share.

The networks are built from the golden sets' full configurations. What they multiply is seen by an attention that
notes the shapes of its queries and keys, on the meta device.
"""

from __future__ import annotations

import json
import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.models.config import parse_config
from audiox_core.models.maf import MAF_CONFIG
from audiox_core.models.mmdit import MMDIT_CONFIG
from audiox_core.models.parts import Model
from audiox_core.models.turbo import TURBO_CONFIG
from audiox_core.networks import clip_sync, layers, mel, mmdit, synchformer
from audiox_core.networks.audio_prompt_fixed import FixedAudioConfig
from audiox_core.networks.autoencoder import Snake, split_statistics
from audiox_core.networks.ops import operations, storage_operations

GOLDEN = Path(__file__).parents[1] / "golden"
MMDITS = ["audiox_maf_mmdit", "audiox_turbo"]
NEWER = ["audiox_maf", *MMDITS]


def published(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / name / "config.full.json").read_text(encoding="utf-8"))


@lru_cache(maxsize=3)
def released(name: str) -> Model:
    return parse_config(published(name), name)


class Spy:
    """An attention that answers nothing, and notes (query heads, key heads, width of a head)."""

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, int]] = []

    def __call__(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        self.seen.append((q.shape[1], k.shape[1], q.shape[-1]))
        return torch.empty_like(q)


def built(name: str, part: str) -> tuple[Any, Spy]:
    spy = Spy()
    return released(name).parts[part].build(device="meta", attention=spy), spy


def blank(*shape: int) -> Tensor:
    return torch.empty(*shape, device="meta")


def leaves(data: Any, path: str = "") -> dict[str, Any]:
    """The values of a configuration by path."""
    parts = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if parts is None:
        return {path: data}
    return {key: value for name, part in parts for key, value in leaves(part, f"{path}.{name}").items()}


def norms_of(net: nn.Module) -> list[float]:
    return [m.eps for m in net.modules() if isinstance(m, nn.LayerNorm)]


@pytest.mark.parametrize(("name", "ours"), zip(NEWER, (MAF_CONFIG, MMDIT_CONFIG, TURBO_CONFIG), strict=True))
def test_built_in_configs_are_those_of_the_golden_sets(name: str, ours: dict[str, Any]) -> None:
    """Value by value, but for what only training or the authors' machine reads."""
    unread = ("requires_grad", "mask_ratio", "mask_type", "sync_type", "pretransform_ckpt_path", "condition_mask_type")
    read, theirs = (
        {path: value for path, value in leaves(config).items() if not path.endswith((*unread, "config.video_fps"))}
        for config in (ours, published(name))
    )
    assert read == theirs


@pytest.mark.parametrize("name", NEWER)
def test_heads_of_the_fusion_block(name: str) -> None:
    """24 heads of 32 in the cross-attention and in each of the eight layers; shifts from three groups of 64."""
    gate = published(name)["model"]["diffusion"]["gate_type_config"]
    net, spy = built(name, "dit")
    block = net.maf_block
    block(blank(1, 128, 768), blank(1, 128, 768), blank(1, 128, 768))
    assert spy.seen == [(24, 24, 32)] * (1 + gate["num_fusion_layers"]) and gate["num_heads"] == 24
    assert len(block.fusion_transformer.layers) == 8 and block.config.inner == 3072
    assert len(norms_of(block)) == 1 + 3 + 2 * 8 and set(norms_of(block)) == {1e-5}


def test_heads_of_the_network_behind_the_gate() -> None:
    """AudioX-MAF's is the base's: 24 heads of 64 ask, 12 answer in the cross-attention."""
    net, spy = built("audiox_maf", "dit")
    dit = net.backbone
    dit(blank(1, 64, 236), blank(1), dit.prepare_context(blank(1, 1979, 768)))
    assert spy.seen == [(24, 24, 64)] * (2 * 24)
    assert {block.cross_attn.to_kv.out_features for block in dit.blocks} == {2 * 12 * 64}  # each key head serves two
    assert dit.transformer.rotary_dims == 32 and set(norms_of(dit)) == {1e-5}


@pytest.mark.parametrize("name", MMDITS)
def test_heads_of_the_modulated_transformer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its num_heads is the width of a head: 64 heads of 24, all of which is rotated, in neighbouring pairs."""
    tables: list[tuple[int, int]] = []

    def table(length: int, dims: int, device: torch.device) -> layers.Rotary:
        tables.append((length, dims))
        return layers.rotary_table(length, dims, device)

    monkeypatch.setattr(mmdit, "rotary_table", table)
    net, spy = built(name, "dit")
    inner = net.backbone
    inner(blank(1, 64, 236), blank(1), inner.prepare_context(blank(1, 384, 768), hold=False))
    assert spy.seen == [(64, 64, 24)] * 24
    assert tables == [(237, 24)]
    assert {block.cross_attn.head_dim for block in inner.blocks} == {24}
    assert {"cross_attn.to_kv.weight": slice(0, None, 2)} == mmdit.SLICED
    convolutions = [m for m in inner.modules() if isinstance(m, nn.Conv1d) and m.kernel_size != (1,)]
    assert len(convolutions) == 4 * 24
    assert {(m.kernel_size, m.padding, m.dilation, m.stride) for m in convolutions} == {((3,), (1,), (1,), (1,))}


def test_norms_of_the_modulated_transformer() -> None:
    """Seen in their answers to numbers so small that epsilon counts."""
    small = torch.tensor([1e-3, -1e-3] * 4, dtype=torch.float32)
    torch.testing.assert_close(mmdit._rms_norm(small), small / math.sqrt(1e-6 + 1e-6))
    none = torch.zeros(8)
    torch.testing.assert_close(mmdit._modulate(small, none, none), small / math.sqrt(1e-6 + 1e-5))


def test_rotation_starts_from_the_published_base() -> None:
    """Angles of position 1 fall from 1 to 10000^-(1 - 2 / d)."""
    cos = layers.rotary_table(2, 32, torch.device("cpu"))[..., 0, 0]
    expected = torch.tensor([10000.0 ** (-i / 32) for i in range(0, 32, 2)]).cos()
    torch.testing.assert_close(cos[1], expected)


@pytest.mark.parametrize("name", NEWER)
def test_motion_encoder(name: str) -> None:
    """Synchformer: 12 heads of 64 everywhere, epsilon 1e-6, pieces of 16 frames in tubes of 2 x 16 x 16 pixels."""
    net, spy = built(name, "video")
    sync = net.synchformer
    sync.segments(blank(1, 16, 3, 224, 224))
    assert spy.seen == [(12, 12, 64)] * (4 * 12 + 1)  # two kinds a block, each for the class token and for the rest
    assert len(norms_of(sync)) == 3 * 12 + 1 + 2 and set(norms_of(sync)) == {1e-6}
    assert (synchformer.SEGMENT, synchformer.STRIDE, synchformer.TUBE, synchformer.PATCH) == (16, 8, 2, 16)
    assert (clip_sync.SYNC_FEATURES, clip_sync.MOTION_FPS, clip_sync.MOTION_FRAMES) == (240, 25.0, 250)
    assert [rate for rate, _ in released(name).parts["video"].condition.reads.rates] == [5.0, 25.0]  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["audiox", *NEWER])
def test_heads_along_time_of_the_video_encoder(name: str) -> None:
    net, spy = built(name, "video")
    inner = net if name == "audiox" else net.video
    inner.temporal(blank(1, 50, 50, 768))
    assert spy.seen == [(16, 16, 64)] * 4


def test_activations_are_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fusion's and Synchformer's feed-forward: GELU by the error function, not by its tanh."""
    asked = []
    gelu = torch.nn.functional.gelu

    def noted(x: Tensor, approximate: str = "none") -> Tensor:
        asked.append(approximate)
        return gelu(x, approximate=approximate)

    monkeypatch.setattr(torch.nn.functional, "gelu", noted)
    net, _ = built("audiox_maf", "dit")
    net.maf_block(blank(1, 9, 768), blank(1, 9, 768), blank(1, 9, 768))
    assert asked == ["none"] * (1 + 8)
    video, _ = built("audiox_maf", "video")
    video.synchformer.segments(blank(1, 16, 3, 224, 224))
    assert asked == ["none"] * (1 + 8 + 12 + 1)


def test_the_mel_spectrogram() -> None:
    """A frame's hop and window leave no trace in a key, and the rate of its filters isn't the sound's."""
    said = next(c for c in published("audiox_maf")["model"]["conditioning"]["configs"] if c["id"] == "audio_prompt")
    config, sizes = released("audiox_maf").parts["audio"].build(device="meta").config, said["config"]
    assert (config.n_fft, config.win_length, config.hop_length) == (1024, 1024, 256)
    assert (config.n_fft, config.win_length, config.hop_length) == tuple(
        sizes[key] for key in ("n_fft", "win_length", "hop_length")
    )
    assert (config.n_mel_channels, config.filter_rate) == (256, 24000)
    assert (config.n_mel_channels, config.filter_rate) == (sizes["n_mel_channels"], sizes["target_sample_rate"])
    assert config.hidden_share == (0.7, 1.0) and mel.FLOOR == 1e-5
    assert mel.log_mel(torch.zeros(1, 2048), config).unique().tolist() == pytest.approx([math.log(1e-5)])


@pytest.mark.parametrize(("name", "share"), [("audiox_maf_mmdit", (0.0, 0.0)), ("audiox_turbo", (0.25, 0.75))])
def test_the_sound_of_fixed_length(name: str, share: tuple[float, float]) -> None:
    config = released(name).parts["audio"].build(device="meta").config
    assert isinstance(config, FixedAudioConfig)
    assert (config.latents, config.tokens, config.hidden_share) == (215, 128, share)


def test_epsilons_of_the_autoencoder() -> None:
    """Snake's guard is as large as an amplitude of e^-20.7; a deviation is never under 1e-4."""
    snake = Snake(1)
    nn.init.zeros_(snake.alpha)
    nn.init.constant_(snake.beta, math.log(1e-9))
    x = torch.full((1, 1, 1), 0.5)
    with torch.inference_mode():
        torch.testing.assert_close(snake(x).item(), 0.5 + math.sin(0.5) ** 2 / 2e-9, rtol=1e-5, atol=0)
    _, deviation = split_statistics(torch.full((1, 2, 1), -100.0))
    assert deviation.item() == pytest.approx(1e-4)


def test_features_of_the_timestep() -> None:
    """128 cosines and then 128 sines of 2 pi t w, in both networks."""
    for name in ("audiox", *NEWER):
        net, _ = built(name, "dit")
        inner = getattr(net, "backbone", net)
        assert inner.timestep_features.weight.shape == (128, 1)
        assert inner.timestep_features.weight.dtype == torch.float32
    features = layers.FourierFeatures(4)
    with torch.inference_mode():
        features.weight.copy_(torch.tensor([[0.5], [3.0]]))
        found = features(torch.tensor([0.1]))
    angles = [2 * math.pi * 0.1 * w for w in (0.5, 3.0)]
    torch.testing.assert_close(found[0], torch.tensor([*map(math.cos, angles), *map(math.sin, angles)]))


def test_norms_that_say_no_epsilon() -> None:
    """Theirs is the layers' own default, in whatever the weights are kept."""
    for made in (operations, storage_operations(torch.float8_e4m3fn, torch.float16)):
        assert made.LayerNorm(4).eps == 1e-5
