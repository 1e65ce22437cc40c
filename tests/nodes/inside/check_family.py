"""The newer members in ComfyUI: whose conditions they take, where their files are found, what they hold and share."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from itertools import product
from types import SimpleNamespace
from typing import Any

import pack
from pack import DEMO, module, near, node, raises

LATENTS, EXACT = 236, 1e-5
NAMES = ("demo", "demo-maf", "demo-mmdit", "demo-turbo")
OPTIONS = {"text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
OWN = {"steps": 0, "guidance": 0.0, "sampler": "auto", "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0}


def load(checkpoint: str, **changed: Any) -> Any:
    """MODEL, encoders and VAE of a checkpoint entry."""
    given = node("AudioXLoad")(checkpoint=checkpoint, **OPTIONS | changed)
    return SimpleNamespace(model=given[0], encoders=given[1], vae=given[2])


@cache
def member(name: str) -> Any:
    return load(DEMO.replace("demo", name, 1))


def text(name: str, words: str = "rain") -> Any:
    return node("AudioXEncodeText")(encoders=member(name).encoders, text=words)[0]


@cache
def picture(name: str) -> Any:
    import torch

    images = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    return node("AudioXEncodeVideo")(encoders=member(name).encoders, images=images, fps=1.0, start=0.0, seconds=10.0)[0]


@cache
def sound(name: str) -> Any:
    import torch

    waveform = torch.rand(1, 2, 44100, generator=torch.Generator().manual_seed(0)) - 0.5
    audio = {"waveform": waveform, "sample_rate": 44100}
    return node("AudioXEncodeAudio")(encoders=member(name).encoders, audio=audio, start=0.0, seconds=10.0)[0]


def sample(model: Any, positive: Any, **changed: Any) -> Any:
    """Latents by the model's own recipe."""
    import torch

    given = {**OWN, "seed": 7, "rescale": 0.0, "denoise": 1.0, "latent": {"samples": torch.zeros(1, 64, LATENTS)}}
    return node("AudioXSampler")(**given | changed, model=model, positive=positive)[0]["samples"]


def check_conditions_of_another_member_are_refused() -> None:
    """Each member's pictures have the same shape, as have the sounds of the two with the modulated transformer."""
    error = module("audiox_core.errors").InputError
    for (name, kind), own, other in product((("video", picture), ("audio", sound)), NAMES, NAMES):
        if own == other:
            continue
        said = f"AudioX Sampler: {name}: this condition was encoded for {other}, the model connected is {own}, "
        alone, model = kind(other), member(own).model
        mixed = node("AudioXCombine")(text=text(own), **{name: alone})[0]
        for condition in (alone, mixed):
            raises(error, said, partial(sample, model, condition, steps=1))


def check_texts_of_another_member_are_its_own() -> None:
    """They have one text encoder: a text means the same to all, whichever node encodes it."""
    whole = sample(member("demo-turbo").model, text("demo-turbo"))
    assert sample(member("demo-turbo").model, text("demo")).equal(whole)


def check_a_copy_of_a_member_takes_its_conditions() -> None:
    sample(load(DEMO.replace("demo", "demo-turbo", 1)).model, sound("demo-turbo"))


def write(name: str, folder: str, *, keep: Any, autoencoder_twice: bool = False) -> str:
    """A demo member's checkpoint in the model folder, with its config.json; AudioX Load's entry for it."""
    import safetensors.torch

    opened = module("audiox_core.weights.open").open_model(name)
    tensors = {key: opened.weights[key].contiguous() for key in opened.weights if keep(key)}
    if autoencoder_twice:
        for key in [key for key in tensors if key.startswith("pretransform.model.")]:
            tensors[f"conditioner.conditioners.audio_prompt.{key}"] = tensors[key].clone()
    target = pack.BASE / "models" / "audiox" / folder
    target.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file(tensors, target / "model.safetensors")
    config = module("audiox_core.models.demo").CONFIGS[name]
    (target / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return f"{folder}/model.safetensors"


def in_checkpoint(key: str) -> bool:
    return not key.startswith(("synchformer.", "t5."))


def check_synchformer_of_mmaudio_is_found() -> None:
    import safetensors.torch

    given = load(write("demo-maf", "maf_alone", keep=in_checkpoint))
    error = module("audiox_core.errors").ModelNotFound
    raises(error, "synchformer: ", lambda: given.encoders.runner.patcher("video"))
    own = member("demo-maf").encoders.opened.weights
    weights = {key.removeprefix("synchformer."): own[key].half() for key in own if key.startswith("synchformer.")}
    assert weights
    more = {"afeat_extractor.ast.embeddings.cls_token": own[next(iter(own))].clone()}  # the rest of it is left aside
    folder = pack.BASE / "models" / "mmaudio"
    folder.mkdir()
    file = folder / "mmaudio_synchformer_fp16.safetensors"
    safetensors.torch.save_file(weights | more, file)
    try:
        found = given.encoders.runner.patcher("video").model.synchformer.state_dict()
    finally:
        file.unlink()
        folder.rmdir()
    wanted = member("demo-maf").encoders.runner.patcher("video").model.synchformer.state_dict()
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        assert found[name].equal(value.half().float()), name


def check_folders_of_mmaudio_may_lie_elsewhere() -> None:
    import folder_paths

    folders = module("nodes.host").companion_folders
    assert str(pack.BASE / "models" / "mmaudio") in folders()
    known = folder_paths.folder_names_and_paths
    before = known.get("mmaudio")
    folder_paths.add_model_folder_path("mmaudio", str(pack.BASE / "elsewhere"))
    try:
        assert str(pack.BASE / "elsewhere") in folders()
        assert folders()[0] == module("nodes.host").model_folders()[0], "where downloads go"
    finally:
        known.pop("mmaudio")
        if before is not None:
            known["mmaudio"] = before


def check_equal_autoencoders_stay_two() -> None:
    """ComfyUI moves weights by writing to them: if two patchers shared one, it would move under the other's hands."""
    import torch

    def keep(key: str) -> bool:
        return in_checkpoint(key) and not key.startswith("conditioner.conditioners.audio_prompt.pretransform.")

    given = load(write("demo-turbo", "turbo_twice", keep=keep, autoencoder_twice=True))
    vae, heard = given.vae.patcher.model, given.encoders.runner.patcher("audio").model
    places = [{p.untyped_storage().data_ptr() for p in network.parameters()} for network in (vae, heard)]
    assert not places[0] & places[1]
    vae.half()
    assert {p.dtype for p in heard.parameters()} == {torch.float32}
    # Scripts, whose residence replaces weights, share them. Here .to() writes to them, as it does between CPU and GPU.
    given = load("turbo_twice/model.safetensors")
    vae, heard = given.vae.patcher.model, given.encoders.runner.patcher("audio").model
    assert module("audiox_core.weights.load").share_equal([vae, heard]) > 0
    vae.half()
    assert torch.float16 in {p.dtype for p in heard.parameters()}


@contextmanager
def free(memory: Any) -> Iterator[None]:
    """Within, this is what host.free_memory says."""
    host = module("nodes.host")
    before, host.free_memory = host.free_memory, memory
    try:
        yield
    finally:
        host.free_memory = before


@contextmanager
def contexts(model: Any) -> Iterator[list[bool]]:
    """Whether each context that is prepared within holds its modulation."""
    network, held = model.model.diffusion_model, []
    prepare = network.prepare

    def watched(*given: Any, **options: Any) -> Any:
        context = prepare(*given, **options)
        held.append(context.held)
        return context

    network.prepare = watched
    try:
        yield held
    finally:
        del network.prepare


def check_what_is_held_is_let_go_when_memory_is_short() -> None:
    model, positive = member("demo-mmdit").model, text("demo-mmdit")
    given = {"steps": 2, "negative": text("demo-mmdit", "hail")}
    need = model.model.audiox.backbone.work(model.model.audiox_format, LATENTS, 1, None)
    with free(lambda device: need), contexts(model) as held:
        roomy = sample(model, positive, **given)
    assert held == [True, True]
    # Decided once a run: what is free is less after the first condition.
    answers = iter([need, 0])
    with free(lambda device: next(answers)), contexts(model) as held:
        assert sample(model, positive, **given).equal(roomy)
    assert held == [True, True]
    with free(lambda device: need - 1), contexts(model) as held:
        near(sample(model, positive, **given), roomy, EXACT)
    assert held == [False, False]
    with free(lambda device: need), contexts(model) as held:
        sample(model, positive, **given)
    assert held == [True, True], "the next run decides anew"


def check_a_plan_without_room_for_what_is_held_is_followed() -> None:
    host, machine = module("nodes.host"), module("audiox_core.memory.machine").Machine
    before, host.machine = host.machine, lambda: machine("cuda:0", "a small card", 10**9, 10**9, 10**10, 10**10)
    try:
        tight = load(DEMO.replace("demo", "demo-turbo", 1), max_vram_gb=0.001).model
        roomy = load(DEMO.replace("demo", "demo-turbo", 1), max_vram_gb=0.9).model
    finally:
        host.machine = before
    assert roomy.model.audiox_holds and not tight.model.audiox_holds
    part, format = tight.model.audiox.backbone, tight.model.audiox_format
    spared = roomy.model.memory_required([2, 64, LATENTS]) - tight.model.memory_required([2, 64, LATENTS])
    assert spared == part.held(format, 1) > 0
    with contexts(tight) as held:
        near(sample(tight, text("demo-turbo")), sample(roomy, text("demo-turbo")), 1e-3)
    assert held == [False, False]


def check_keys_of_the_base_model_are_repeated_where_memory_allows() -> None:
    model, positive = member("demo").model, text("demo")
    network, run = model.model.diffusion_model, {"steps": 2, "negative": text("demo", "hail")}
    with free(lambda device: 10**12):
        roomy = sample(model, positive, **run)
    assert network.hold
    with free(lambda device: 0):
        near(sample(model, positive, **run), roomy, EXACT)
    assert not network.hold
