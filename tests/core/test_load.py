"""Networks of a model's parts from a checkpoint: values, types, memory, dead weights, damaged weights."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from audiox_core.errors import CheckpointError
from audiox_core.memory.estimate import weights_of
from audiox_core.memory.formats import Format
from audiox_core.models.audiox import BASE_CONFIG
from audiox_core.models.config import parse_config, read_config
from audiox_core.models.parts import Model, Slot
from audiox_core.networks.clip_time import VideoEncoder
from audiox_core.weights.bundle import Bundle
from audiox_core.weights.layout import expected_keys, slots_of
from audiox_core.weights.load import finish, fold_weight_norm, load_part, part_tensors
from audiox_core.weights.tensors import read_tensors, write_tensors
from tests.core.small import T5, small_data, small_model, small_tensors, small_text_tensors, small_weights

VIDEO, AUDIO = (f"conditioner.conditioners.{name}_prompt." for name in ("video", "audio"))
PARTS = ("video", "text", "audio", "dit", "autoencoder")
MODEL = small_model()


@pytest.fixture
def tensors() -> dict[str, Tensor]:
    return small_tensors()


@pytest.fixture
def file(tensors: dict[str, Tensor], tmp_path: Path) -> Path:
    return write_tensors(tensors, tmp_path / "small.safetensors")


def load(name: str, tensors: Mapping[str, Tensor], **options: Any) -> Any:
    return load_part(MODEL.parts[name], tensors, **options)


def tensors_of(name: str, tensors: Mapping[str, Tensor], **options: Any) -> dict[str, Tensor]:
    return part_tensors(MODEL.parts[name], tensors, **options)


def numbers(model: Model, name: str) -> int:
    """How many weights a part has, counted without loading it."""
    return weights_of(model.parts[name], Format()).numbers


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.ConvTranspose1d])
def test_folded_weight_norm_is_torchs(kind: Any) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer = nn.utils.parametrizations.weight_norm(kind(6, 4, 3))
    state = layer.state_dict()
    g, v = (state[f"parametrizations.weight.original{i}"].clone() for i in (0, 1))
    assert g.shape == (v.shape[0], 1, 1)
    torch.testing.assert_close(fold_weight_norm(g, v), layer.weight, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("source", ["memory", "safetensors", "ckpt"])
def test_networks_are_whole(name: str, source: str, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    given, text = {k: v.clone() for k, v in tensors.items()}, small_text_tensors()
    if source == "safetensors":
        given = read_tensors(write_tensors(tensors, tmp_path / "w.safetensors"))
    elif source == "ckpt":
        torch.save({"state_dict": tensors}, tmp_path / "w.ckpt")
        given = read_tensors(tmp_path / "w.ckpt")
    weights = Bundle(given)
    weights.add({k: v.clone() for k, v in text.items()}, "t5", T5)
    module = load(name, weights)
    state = dict(module.named_parameters()) | dict(module.named_buffers())
    assert not any(t.is_meta or t.requires_grad for t in state.values())
    assert not any(part.training for part in module.modules())
    assert sum(p.numel() for p in module.parameters()) == numbers(MODEL, name)
    everything = {**tensors, **{T5 + k: v for k, v in text.items()}}
    assert all(torch.equal(weights[k], v) for k, v in everything.items()), "the file's tensors were written to"
    loaded = tensors_of(name, everything)
    assert loaded.keys() == {k for k in module.state_dict() if "position_ids" not in k}
    for key, value in loaded.items():
        assert torch.equal(module.state_dict()[key], value)


def test_what_needs_no_change_is_the_map_itself(file: Path) -> None:
    mapped = read_tensors(file)
    weight = load("dit", mapped).get_parameter("transformer.project_in.weight")
    assert weight.data_ptr() == mapped["model.model.transformer.project_in.weight"].data_ptr()


def test_norms_and_convolutions_change_names(tensors: dict[str, Tensor]) -> None:
    dit = load("dit", tensors)
    start = "model.model.transformer.layers.1.ff_norm."
    assert torch.equal(dit.get_parameter("transformer.layers.1.ff_norm.weight"), tensors[f"{start}gamma"])
    assert torch.equal(dit.get_parameter("transformer.layers.1.ff_norm.bias"), tensors[f"{start}beta"])
    autoencoder = load("autoencoder", tensors)
    start = "pretransform.model.decoder.layers.1.layers.1"
    v, g = tensors[f"{start}.weight_v"], tensors[f"{start}.weight_g"]
    assert autoencoder.get_parameter("decoder.layers.1.layers.1.weight").shape == v.shape
    expected = torch._weight_norm(v, g, 0)
    actual = autoencoder.get_parameter("decoder.layers.1.layers.1.weight")
    torch.testing.assert_close(actual.data, expected, rtol=1e-6, atol=1e-7)
    start = "pretransform.model.encoder.layers.1.layers.3"
    assert torch.equal(autoencoder.get_parameter("encoder.layers.1.layers.3.beta"), tensors[f"{start}.beta"])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", PARTS)
def test_types_are_converted(name: str, dtype: torch.dtype, file: Path) -> None:
    weights = Bundle(read_tensors(file))
    weights.add(small_text_tensors(), "t5", T5)
    module = load(name, weights, dtype=dtype)
    built = MODEL.parts[name].build(device="meta", dtype=dtype)
    for key, value in tensors_of(name, weights).items():
        loaded = module.get_parameter(key)
        # A network may keep some small weights wider than it was asked to.
        assert loaded.dtype == built.get_parameter(key).dtype
        assert torch.equal(loaded, value.to(loaded.dtype))
    assert max(module.parameters(), key=torch.numel).dtype == dtype
    assert {v.dtype for v in tensors_of(name, weights, dtype=dtype).values()} == {dtype}


def test_without_a_type_the_files_is_kept(tensors: dict[str, Tensor]) -> None:
    half = {k: v.half() for k, v in tensors.items()}
    assert load("dit", half).dtype == torch.float16
    half["model.model.transformer.project_in.weight"] = half["model.model.transformer.project_in.weight"].float()
    assert load("dit", half).dtype == torch.float32
    eight = {k: v.to(torch.float8_e4m3fn) for k, v in tensors.items()}
    assert {v.dtype for v in tensors_of("dit", eight).values()} == {torch.float32}


def test_raw_autoencoder_for_hosts(tensors: dict[str, Tensor]) -> None:
    raw = tensors_of("autoencoder", tensors, fold=False)
    assert raw == {
        k.removeprefix("pretransform.model."): v for k, v in tensors.items() if k.startswith("pretransform.")
    }


def test_dead_weights_are_not_kept(tensors: dict[str, Tensor]) -> None:
    video = load("video", tensors)
    assert not [k for k in video.state_dict() if "post_layernorm" in k or "visual_projection" in k]
    audio = load("audio", tensors)
    assert not [k for k in audio.state_dict() if "decoder" in k]
    # NaN in dead weights harms nothing.
    dead = [k for k in tensors if "to_global_embed" in k or "inv_freq" in k]
    load("dit", {k: v * torch.nan if k in dead else v for k, v in tensors.items()})
    assert len(dead) == 3


def test_video_encoder_answers_as_with_its_dead_weights(tensors: dict[str, Tensor]) -> None:
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    vision = small_data()["model"]["conditioning"]["configs"][0]["config"]["clip_vision_config"]
    whole = VideoEncoder(vision)
    whole.visual_encoder_model = CLIPVisionModelWithProjection(CLIPVisionConfig(**vision))
    whole.eval().load_state_dict({k.removeprefix(VIDEO): v for k, v in tensors.items() if k.startswith(VIDEO)})
    # The small CLIP sees 2 x 2 patches.
    frames = torch.randint(0, 256, (1, 50, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    lean = load("video", tensors)
    with torch.inference_mode():
        torch.testing.assert_close(lean(frames), whole(frames), rtol=1e-5, atol=1e-4)  # values up to 7


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("dit", "model.model.transformer.layers.1.ff.ff.2.weight"),
        ("autoencoder", "pretransform.model.decoder.layers.0.weight_v"),
        ("video", f"{VIDEO}proj.bias"),
        ("audio", f"{AUDIO}empty_audio_feat"),
    ],
)
def test_damaged_weights_are_found(name: str, key: str, bad: float, tensors: dict[str, Tensor], tmp_path: Path) -> None:
    tensors[key].view(-1)[-1] = bad
    for dtype in (None, torch.bfloat16):
        with pytest.raises(CheckpointError, match="NaN or infinite"):
            load(name, tensors, dtype=dtype)
    path = write_tensors(tensors, tmp_path / "damaged.safetensors")
    with pytest.raises(CheckpointError) as error:
        load(name, read_tensors(path))
    assert str(error.value).startswith(f"{path}: {key}: ")


def test_numbers_beyond_half_precision(tensors: dict[str, Tensor]) -> None:
    tensors["model.model.transformer.layers.1.ff.ff.2.weight"][0, 0] = -1e6
    with pytest.raises(CheckpointError, match=r"holds -1e\+06, and torch.float16 reaches 6.55e\+04"):
        load("dit", tensors, dtype=torch.float16)
    load("dit", tensors, dtype=torch.bfloat16)


def test_a_part_that_does_not_fit(tensors: dict[str, Tensor]) -> None:
    del tensors["pretransform.model.encoder.layers.0.weight_g"]
    with pytest.raises(CheckpointError, match=r"^checkpoint, autoencoder: .*\(1 missing") as error:
        load("autoencoder", tensors)
    assert "encoder.layers.0.weight_g: expected (2, 1, 1), not in the file" in str(error.value)


def test_operations_and_attention_are_passed_on(tensors: dict[str, Tensor]) -> None:
    class Linear(nn.Linear):
        pass

    class Operations:
        Conv1d, ConvTranspose1d, LayerNorm = nn.Conv1d, nn.ConvTranspose1d, nn.LayerNorm

    Operations.Linear = Linear  # type: ignore[attr-defined]

    def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        raise RuntimeError("called")

    for name in ("dit", "video", "audio"):
        module = load(name, tensors, operations=Operations)
        assert any(isinstance(part, Linear) for part in module.modules())
    dit = load("dit", tensors, attention=attention)
    with pytest.raises(RuntimeError, match="called"):
        dit(torch.zeros(1, 64, 4), torch.ones(1))


def test_sizes_of_the_full_model() -> None:
    base = parse_config(BASE_CONFIG)
    # What the released checkpoint holds of each, less the dead weights, the second tensor of weight norm and inv_freq.
    assert numbers(base, "dit") == 1_056_939_152 - 2 * 1536**2 - 16
    assert numbers(base, "video") == 119_795_584 - 512 * 768 - 2 * 768
    expected = expected_keys(base)
    lengths = sum(shape[0] for key, shape in expected.items() if key.startswith("pretransform") and "weight_g" in key)
    assert numbers(base, "autoencoder") == 156_112_514 - lengths
    assert 77_000_000 < numbers(base, "audio") < 79_000_000
    assert numbers(base, "text") == 109_628_544


def test_prefixes_follow_the_ids_of_the_config(tensors: dict[str, Tensor]) -> None:
    data = small_data()
    data["model"]["conditioning"]["configs"][2]["id"] = "example"
    data["model"]["diffusion"]["cross_attention_cond_ids"][2] = "example"
    part = parse_config(data).parts["audio"]
    renamed = {k.replace("audio_prompt", "example"): v for k, v in tensors.items()}
    assert torch.equal(part_tensors(part, renamed)["proj_out.bias"], tensors[f"{AUDIO}proj_out.bias"])
    with pytest.raises(CheckpointError, match=r"conditioners\.example\.empty_audio_feat: expected"):
        part_tensors(part, tensors)


def test_the_text_encoders_table_is_one_tensor_under_two_names() -> None:
    weights = small_weights()
    encoder = load("text", weights)
    assert encoder.t5.encoder.embed_tokens.weight is encoder.t5.shared.weight
    assert torch.equal(encoder.t5.shared.weight, weights[f"{T5}shared.weight"])
    with torch.inference_mode():
        tokens = encoder([[5, 9, 1]])
        half = load("text", weights, dtype=torch.bfloat16)([[5, 9, 1]])
    assert tokens.shape == (1, 128, 32)
    assert bool(tokens[:, :3].abs().min() > 0)
    assert bool((tokens[:, 3:] == 0).all())
    torch.testing.assert_close(half, tokens, rtol=0.1, atol=0.1)


def test_each_tensor_is_told_and_may_stop_the_loading(tensors: dict[str, Tensor]) -> None:
    class Cancelled(Exception):
        pass

    told: list[tuple[int, int]] = []
    load("dit", tensors, on_tensor=lambda done, total: told.append((done, total)))
    assert told == [(i, len(told)) for i in range(len(told))]
    assert len(told) == len(tensors_of("dit", tensors))

    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        load("dit", tensors, on_tensor=stop)


def test_what_is_cut_out_lets_the_rest_go(tensors: dict[str, Tensor]) -> None:
    """A part may keep half of a released tensor; the other half must not stay in memory with it."""
    key = "model.model.transformer.project_in.weight"
    part = MODEL.parts["dit"]

    def layout(module: nn.Module) -> list[Slot]:
        return [replace(s, take=lambda t: t[:, 1::2]) if s.key == key else s for s in part.layout(module)]

    found = part_tensors(replace(part, layout=layout), tensors)["transformer.project_in.weight"]
    assert torch.equal(found, tensors[key][:, 1::2]) and found.is_contiguous()
    assert found.untyped_storage().nbytes() == tensors[key].nbytes // 2


def test_formats_come_from_the_operations(tensors: dict[str, Tensor]) -> None:
    """Weights are kept in 8 bits where the layers want it, computed with as the format says."""
    dit = load("dit", tensors, **Format("fp8", "fp32").options())
    assert (dit.dtype, dit.compute_dtype) == (torch.float8_e4m3fn, torch.float32)
    assert {p.dtype for p in dit.parameters()} == {torch.float32}, "small weights are not worth rounding"
    wide = parse_config(wide_data()).parts["dit"]
    weights = {slot.key: torch.full(slot.shape, 0.25) for slot in slots_of(wide)}
    found = load_part(wide, weights, **Format("fp8", "fp32").options())
    assert found.transformer.layers[0].ff.ff[2].weight.dtype == torch.float8_e4m3fn
    x = torch.ones(1, 64, 3)
    assert torch.isfinite(found(x, torch.ones(1))).all()


def wide_data() -> dict[str, Any]:
    data = small_data()
    data["model"]["diffusion"]["config"].update(embed_dim=256, num_heads=8, depth=1)
    return data


def test_buffers_of_another_version_of_transformers_are_named() -> None:
    module = nn.Module()
    module.inner = nn.Module()
    module.inner.register_buffer("position_ids", torch.empty(1, 5, dtype=torch.long, device="meta"))
    assert torch.equal(finish(module).inner.position_ids, torch.arange(5)[None])
    module.inner.register_buffer("inv_freq", torch.empty(5, device="meta"))
    with pytest.raises(CheckpointError, match=r"inner\.inv_freq: this version of transformers"):
        finish(module)


def test_golden_config_reads_the_golden_layout() -> None:
    """The tiny golden model loads from its own key list: the names that this module expects are the released ones."""
    golden = Path(__file__).parents[1] / "golden" / "audiox"
    model = read_config(golden / "config.json")
    layout = json.loads((golden / "keys.tiny.json").read_text())
    given = {key: torch.full(shape, 0.5) for key, (shape, _) in layout.items() if key.startswith("pretransform.")}
    autoencoder: Any = load_part(model.autoencoder, given)
    weight = autoencoder.get_parameter("encoder.layers.0.weight")
    torch.testing.assert_close(weight.flatten(1).norm(dim=1), torch.full((8,), 0.5))
