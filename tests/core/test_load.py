"""Components from a checkpoint: values, types, memory, dead weights, damaged weights; the text encoder; convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.errors import CheckpointError
from audiox_core.models.config import ModelConfig, VideoConfig, read_config
from audiox_core.networks.clip_time import VideoEncoder
from audiox_core.weights.layout import base_config, build, expected_keys, prefix
from audiox_core.weights.load import (
    COMPONENTS,
    component_sizes,
    component_tensors,
    convert,
    fold_weight_norm,
    load_component,
    load_text_encoder,
    read_tensors,
    write_tensors,
)
from tests.core.small import small_config, small_data, small_tensors, small_text_tensors

VIDEO = "conditioner.conditioners.video_prompt."


@pytest.fixture(scope="module")
def config() -> ModelConfig:
    return small_config()


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return small_tensors()


@pytest.fixture
def file(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    return write_tensors(tensors, tmp_path / "small.safetensors")


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_folded_weight_norm_is_torchs(kind: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.weight_norm(kind(6, 4, 3))
    state = layer.state_dict()
    g, v = (state[f"parametrizations.weight.original{i}"].clone() for i in (0, 1))
    assert g.shape == (v.shape[0], 1, 1)
    torch.testing.assert_close(fold_weight_norm(g, v), layer.weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", COMPONENTS)
@pytest.mark.parametrize("source", ["memory", "safetensors", "ckpt"])
def test_components_are_whole(
    name: str, source: str, config: ModelConfig, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    given = {k: v.clone() for k, v in tensors.items()}
    if source == "safetensors":
        given = read_tensors(write_tensors(tensors, tmp_path / "w.safetensors"))
    elif source == "ckpt":
        torch.save({"state_dict": tensors}, tmp_path / "w.ckpt")
        given = read_tensors(tmp_path / "w.ckpt")
    module = load_component(name, given, config)
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    assert not any(t.is_meta or t.requires_grad for t in state.values())
    assert not any(part.training for part in module.modules())
    assert sum(p.numel() for p in module.parameters()) == component_sizes(config)[name]
    assert all(torch.equal(given[k], tensors[k]) for k in tensors), "the file's tensors were written to"
    for key, value in component_tensors(name, tensors, config).items():
        assert torch.equal(module.state_dict()[key], value)


def test_what_needs_no_change_is_the_map_itself(config: ModelConfig, file: Path) -> None:
    mapped = read_tensors(file)
    weight = load_component("dit", mapped, config).get_parameter("transformer.project_in.weight")
    assert weight.data_ptr() == mapped["model.model.transformer.project_in.weight"].data_ptr()


def test_norms_and_convolutions_change_names(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    dit = load_component("dit", tensors, config)
    start = "model.model.transformer.layers.1.ff_norm."
    assert torch.equal(dit.get_parameter("transformer.layers.1.ff_norm.weight"), tensors[f"{start}gamma"])
    assert torch.equal(dit.get_parameter("transformer.layers.1.ff_norm.bias"), tensors[f"{start}beta"])
    autoencoder = load_component("autoencoder", tensors, config)
    start = "pretransform.model.decoder.layers.1.layers.1"
    v, g = tensors[f"{start}.weight_v"], tensors[f"{start}.weight_g"]
    assert autoencoder.get_parameter("decoder.layers.1.layers.1.weight").shape == v.shape
    expected = torch._weight_norm(v, g, 0)
    actual = autoencoder.get_parameter("decoder.layers.1.layers.1.weight")
    torch.testing.assert_close(actual.data, expected, rtol=1e-6, atol=1e-7)
    start = "pretransform.model.encoder.layers.1.layers.3"
    assert torch.equal(autoencoder.get_parameter("encoder.layers.1.layers.3.beta"), tensors[f"{start}.beta"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", COMPONENTS)
def test_types_are_converted(name: str, dtype: torch.dtype, config: ModelConfig, file: Path) -> None:
    module = load_component(name, read_tensors(file), config, dtype=dtype)
    built = build(name, config, dtype=dtype)
    for key, value in component_tensors(name, read_tensors(file), config).items():
        loaded = module.get_parameter(key)
        # A network may keep some small weights wider than it was asked to.
        assert loaded.dtype == built.get_parameter(key).dtype
        assert torch.equal(loaded, value.to(loaded.dtype))
    assert max(module.parameters(), key=torch.numel).dtype == dtype
    assert {v.dtype for v in component_tensors(name, read_tensors(file), config, dtype=dtype).values()} == {dtype}


def test_without_a_type_the_files_is_kept(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    half = {k: v.half() for k, v in tensors.items()}
    assert load_component("dit", half, config).dtype == torch.float16
    half["model.model.transformer.project_in.weight"] = half["model.model.transformer.project_in.weight"].float()
    assert load_component("dit", half, config).dtype == torch.float32
    eight = {k: v.to(torch.float8_e4m3fn) for k, v in tensors.items()}
    assert {v.dtype for v in component_tensors("dit", eight, config).values()} == {torch.float32}


def test_raw_autoencoder_for_hosts(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    raw = component_tensors("autoencoder", tensors, config, fold=False)
    assert raw == {
        k.removeprefix("pretransform.model."): v for k, v in tensors.items() if k.startswith("pretransform.")
    }


def test_dead_weights_are_not_kept(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    video = load_component("video", tensors, config)
    assert not [k for k in video.state_dict() if "post_layernorm" in k or "visual_projection" in k]
    audio = load_component("audio", tensors, config)
    assert not [k for k in audio.state_dict() if "decoder" in k]
    # NaN in dead weights harms nothing, and they may even be missing for a component alone.
    dead = [k for k in tensors if "to_global_embed" in k or "inv_freq" in k]
    load_component("dit", {k: v * torch.nan if k in dead else v for k, v in tensors.items()}, config)
    assert len(dead) == 3


def test_video_encoder_answers_as_with_its_dead_weights(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    whole = VideoEncoder(config.conditioner(VideoConfig)).eval()
    whole.load_state_dict({k.removeprefix(VIDEO): v for k, v in tensors.items() if k.startswith(VIDEO)})
    # The small CLIP sees 2 x 2 patches.
    frames = torch.randint(0, 256, (1, 50, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    lean = load_component("video", tensors, config)
    with torch.inference_mode():
        torch.testing.assert_close(lean(frames), whole(frames), rtol=1e-5, atol=1e-4)  # values up to 7


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("dit", "model.model.transformer.layers.1.ff.ff.2.weight"),
        ("autoencoder", "pretransform.model.decoder.layers.0.weight_v"),
        ("video", f"{VIDEO}proj.bias"),
        ("audio", "conditioner.conditioners.audio_prompt.empty_audio_feat"),
    ],
)
def test_damaged_weights_are_found(
    name: str, key: str, bad: float, config: ModelConfig, tensors: dict[str, Tensor], tmp_path: Path
) -> None:
    tensors[key].view(-1)[-1] = bad
    for dtype in (None, torch.bfloat16):
        with pytest.raises(CheckpointError, match="NaN or infinite"):
            load_component(name, tensors, config, dtype=dtype)
    path = write_tensors(tensors, tmp_path / "damaged.safetensors")
    with pytest.raises(CheckpointError) as error:
        load_component(name, read_tensors(path), config)
    assert str(error.value).startswith(f"{path}: {key}: ")


def test_numbers_beyond_half_precision(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    tensors["model.model.transformer.layers.1.ff.ff.2.weight"][0, 0] = -1e6
    with pytest.raises(CheckpointError, match=r"holds -1e\+06, and torch.float16 reaches 6.55e\+04"):
        load_component("dit", tensors, config, dtype=torch.float16)
    load_component("dit", tensors, config, dtype=torch.bfloat16)


def test_a_component_that_does_not_fit(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    del tensors["pretransform.model.encoder.layers.0.weight_g"]
    with pytest.raises(CheckpointError, match=r"component 'autoencoder': .*\(1 missing") as error:
        load_component("autoencoder", tensors, config)
    assert "encoder.layers.0.weight_g: expected (2, 1, 1), not in the file" in str(error.value)


def test_operations_and_attention_are_passed_on(config: ModelConfig, tensors: dict[str, Tensor]) -> None:
    class Linear(nn.Linear):
        pass

    class Operations:
        Conv1d, ConvTranspose1d, LayerNorm = nn.Conv1d, nn.ConvTranspose1d, nn.LayerNorm

    Operations.Linear = Linear  # type: ignore[attr-defined]

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise RuntimeError("called")

    for name in ("dit", "video", "audio"):
        module = load_component(name, tensors, config, operations=Operations)
        assert any(isinstance(part, Linear) for part in module.modules())
    dit = load_component("dit", tensors, config, attention=attention)
    with pytest.raises(RuntimeError, match="called"):
        dit(torch.zeros(1, 64, 4), torch.ones(1))


def test_sizes_of_the_full_model() -> None:
    sizes = component_sizes(base_config())
    # What the released checkpoint holds of each, less the dead weights, the second tensor of weight norm and inv_freq.
    assert sizes["dit"] == 1_056_939_152 - 2 * 1536**2 - 16
    assert sizes["video"] == 119_795_584 - 512 * 768 - 2 * 768
    expected = expected_keys(base_config())
    lengths = sum(shape[0] for key, shape in expected.items() if key.startswith("pretransform") and "weight_g" in key)
    assert sizes["autoencoder"] == 156_112_514 - lengths
    assert 77_000_000 < sizes["audio"] < 79_000_000
    assert sizes["text"] == 109_628_544


def test_prefixes_follow_the_ids_of_the_config(config: ModelConfig) -> None:
    assert prefix("audio", config) == "conditioner.conditioners.audio_prompt."


@pytest.mark.parametrize("shared", ["shared.weight", "encoder.embed_tokens.weight"])
def test_text_encoder_from_a_file(shared: str, config: ModelConfig, tmp_path: Path) -> None:
    given = small_text_tensors()
    table = given.pop("shared.weight")
    extra = {"decoder.final_layer_norm.weight": torch.ones(32), "lm_head.weight": torch.ones(64, 32)}
    path = write_tensors({**given, shared: table, **extra}, tmp_path / "t5_base.safetensors")
    encoder = load_text_encoder(path, config)
    assert encoder.t5.encoder.embed_tokens.weight is encoder.t5.shared.weight
    assert sum(p.numel() for p in encoder.parameters()) == component_sizes(config)["text"]
    assert not any(p.requires_grad or p.is_meta for p in encoder.parameters())
    assert not encoder.training
    with torch.inference_mode():
        tokens = encoder([[5, 9, 1]])
        half = load_text_encoder(path, config, dtype=torch.bfloat16)([[5, 9, 1]])
    assert tokens.shape == (1, 128, 32)
    assert bool(tokens[:, :3].abs().min() > 0)
    assert bool((tokens[:, 3:] == 0).all())
    torch.testing.assert_close(half, tokens, rtol=0.1, atol=0.1)


def test_text_encoder_that_does_not_fit(config: ModelConfig) -> None:
    given = small_text_tensors()
    load_text_encoder(given, config)
    words, width = given["shared.weight"].shape
    given["shared.weight"] = torch.ones(words, 48)
    given["text_model.embeddings.position_ids"] = torch.ones(1)
    with pytest.raises(CheckpointError, match=r"text encoder: .*misshapen") as error:
        load_text_encoder(given, config)
    assert f"shared.weight: expected ({words}, {width}), ({words}, 48) in the file" in str(error.value)
    assert "text_model.embeddings.position_ids: not expected" in str(error.value)
    assert str(error.value).endswith("Get the encoder of t5-base.")
    with pytest.raises(CheckpointError, match=r"shared\.weight: expected"):
        load_text_encoder({}, config)
    damaged = small_text_tensors()
    damaged["encoder.final_layer_norm.weight"][3] = torch.nan
    with pytest.raises(CheckpointError, match=r"final_layer_norm.weight: 1 of 32 weights are NaN"):
        load_text_encoder(damaged, config)


@pytest.fixture
def checkpoint(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(small_data()))
    torch.save({"state_dict": tensors}, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_convert_keeps_everything(checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    target = convert(checkpoint, tmp_path / "out" / "model.safetensors", on_progress=lambda *step: steps.append(step))
    read = read_tensors(target)
    assert read.keys() == tensors.keys()
    assert all(torch.equal(read[k], v) for k, v in tensors.items())
    assert steps[-1][0] == steps[-1][1]
    with pytest.raises(CheckpointError, match="already exists"):
        convert(checkpoint, target)


def test_convert_refuses(checkpoint: Path, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    target = tmp_path / "new.safetensors"
    with pytest.raises(CheckpointError, match=r"must end in \.safetensors"):
        convert(checkpoint, tmp_path / "new.ckpt")
    tensors["model.model.preprocess_conv.weight"][0] = torch.nan
    torch.save({"state_dict": tensors}, checkpoint)
    with pytest.raises(CheckpointError, match=r"model\.ckpt: model\.model\.preprocess_conv\.weight: 64 of"):
        convert(checkpoint, target)
    del tensors["model.model.preprocess_conv.weight"]
    torch.save({"state_dict": tensors}, checkpoint)
    with pytest.raises(CheckpointError, match="1 missing"):
        convert(checkpoint, target)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json lies beside it"):
        convert(checkpoint, target)
    assert not target.exists()


def test_golden_config_reads_the_golden_layout() -> None:
    """The tiny golden model loads from its own key list: the names that this module expects are the released ones."""
    golden = Path(__file__).parents[1] / "golden" / "audiox"
    config = read_config(golden / "config.json")
    layout = json.loads((golden / "keys.tiny.json").read_text())
    given = {key: torch.full(shape, 0.5) for key, (shape, _) in layout.items() if key.startswith("pretransform.")}
    autoencoder = load_component("autoencoder", given, config)
    weight = autoencoder.get_parameter("encoder.layers.0.weight")
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.full((8,), 0.5))
