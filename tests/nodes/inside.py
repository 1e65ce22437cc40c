"""Checks that need ComfyUI's own modules. Run by its interpreter in its folder: each check_ function is one test.

Arguments: the pack's folder, a folder to work in, and the names of checks (none: all). Prints one JSON object,
check name -> "" or a traceback, as its last line.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import sys
import traceback
from fractions import Fraction
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

DEMO = "demo (random weights, noise)"
TOLERANCE = 1e-4


def start(pack: str, base: str) -> str:
    """ComfyUI on the CPU with our pack loaded as it loads packs; the name under which it is imported."""
    sys.path[0] = os.getcwd()
    for name in ("models", "input", "output", "temp", "user", "custom_nodes"):
        os.makedirs(os.path.join(base, name), exist_ok=True)
    sys.argv = ["main.py", "--cpu", "--base-directory", base]
    import comfy.options

    comfy.options.enable_args_parsing()
    import folder_paths
    import nodes

    folder_paths.set_temp_directory(os.path.join(base, "temp"))
    assert asyncio.run(nodes.load_custom_node(pack, module_parent="custom_nodes")), "the pack does not load"
    return nodes.NODE_CLASS_MAPPINGS["AudioXLoad"].__module__.removesuffix(".nodes.load")


def module(name: str) -> Any:
    """A module of the pack, such as nodes.load or audiox_core.guidance."""
    from importlib import import_module

    return import_module(f"{PACK}.{name}")


def node(name: str) -> Any:
    """A node of the pack, to be called with its inputs: its outputs as a tuple."""
    import nodes

    return lambda **inputs: nodes.NODE_CLASS_MAPPINGS[name].execute(**inputs).result


@cache
def demo(precision: str = "fp32", offload: str = "auto", max_vram_gb: float = 0.0) -> tuple[Any, ...]:
    """The demo model: MODEL, encoders, VAE, report."""
    return node("AudioXLoad")(
        checkpoint=DEMO, text_encoder="auto", precision=precision, offload=offload, max_vram_gb=max_vram_gb
    )


def prompt(text: str = "rain") -> Any:
    return node("AudioXEncodeText")(encoders=demo()[1], text=text)[0]


def latent(length: int = 40, batch: int = 1) -> dict[str, Any]:
    import torch

    return {"samples": torch.zeros(batch, 64, length), "type": "audio"}


def sample(**changed: Any) -> Any:
    """Latents of AudioXSampler, few steps by default."""
    recipe = {"seed": 7, "steps": 6, "guidance": 7.0, "sampler": "dpmpp-3m-sde", "sigma_min": 0.3, "sigma_max": 500.0}
    recipe |= {"rho": 1.0, "rescale": 0.0, "denoise": 1.0, "model": demo()[0], "positive": prompt(), "latent": latent()}
    return node("AudioXSampler")(**recipe | changed)[0]["samples"]


def core_sample(*, sampler: str = "dpmpp-3m-sde", rescale: float = 0.0, length: int = 40, steps: int = 6) -> Any:
    """The same by the core alone: its own network, guidance, schedule and sampler; noise and entropy as ComfyUI's."""
    import torch

    config = demo()[1].config
    tensors = module("audiox_core.demo").demo_tensors(config)
    network = module("audiox_core.checkpoint").load_component("dit", tensors, config, dtype=torch.float32)
    sampling = module("audiox_core.sampling")
    velocity = module("audiox_core.guidance").GuidedVelocity(network, tokens(prompt()), scale=7.0, rescale=rescale)
    sigmas = sampling.get_sigmas_polyexponential(steps, 0.3, 500.0, 1.0)
    x = torch.randn(1, 64, length, generator=torch.Generator().manual_seed(7)) * sigmas[0]
    options = {}
    if sampler.endswith("-sde"):
        options = {"noise_sampler": sampling.BrownianNoise(x, float(sigmas[-2]), float(sigmas[0]), entropy=7)}
    elif sampler.endswith("ancestral"):
        options = {"noise_sampler": sampling.GaussianNoise(x, torch.Generator().manual_seed(8))}
    with torch.inference_mode():
        return sampling.SAMPLERS[sampler](sampling.VDenoiser(velocity), x, sigmas, **options)


def tokens(condition: Any) -> Any:
    """All condition tokens of a CONDITIONING's first entry, as the model gets them."""
    import torch

    tensor, values = condition[0]
    conds = demo()[0].model.extra_conds(cross_attn=tensor, device=torch.device("cpu"), **values)
    return conds["c_crossattn"].cond


def near(found: Any, wanted: Any, bound: float = TOLERANCE) -> None:
    """The largest difference, relative to the largest value, is within the bound (and there is a value)."""
    assert found.shape == wanted.shape, (found.shape, wanted.shape)
    largest = float(wanted.abs().max())
    assert largest > 0
    error = float((found.float() - wanted.float()).abs().max()) / largest
    assert error <= bound, f"{error:.2e} > {bound:.0e}"


def raises(kind: type[BaseException], start_of_text: str, action: Any) -> None:
    try:
        action()
    except kind as error:
        assert str(error).startswith(start_of_text), str(error)
    else:
        raise AssertionError(f"no {kind.__name__}")


# Sampling


def check_sampler_equals_the_core() -> None:
    near(sample(), core_sample())


def check_every_sampler_equals_the_core() -> None:
    for name in module("nodes.sample").SAMPLER_NAMES:
        bound = 1e-3 if name == "k-dpm-adaptive" else TOLERANCE  # its step sizes amplify rounding
        near(sample(sampler=name), core_sample(sampler=name), bound)


def check_rescale_equals_the_core() -> None:
    plain = sample()
    near(sample(rescale=0.7), core_sample(rescale=0.7))
    assert not plain.equal(sample(rescale=0.7))


def check_ksampler_equals_the_sampler() -> None:
    import comfy.samplers
    import nodes

    null = node("AudioXNull")()[0]
    guider = comfy.samplers.CFGGuider(demo()[0])
    guider.set_conds(prompt(), null)
    guider.set_cfg(7.0)
    import torch

    sigmas = module("audiox_core.sampling").get_sigmas_polyexponential(6, 0.3, 500.0, 1.0)
    noise = torch.randn(1, 64, 40, generator=torch.Generator().manual_seed(7))
    solver = comfy.samplers.sampler_object("dpmpp_3m_sde")
    near(guider.sample(noise, latent()["samples"], solver, sigmas, seed=7), sample())
    (done,) = nodes.KSampler().sample(
        demo()[0], 7, 6, 7.0, "dpmpp_3m_sde", "exponential", prompt(), null, latent(), denoise=1.0
    )
    near(done["samples"], sample(), 1e-3)  # its sigma_max is 500, ours 500.00006: another Brownian path by a hair


def check_denoise_runs_the_end_of_a_longer_schedule() -> None:
    schedule = module("nodes.sample").schedule
    whole = schedule(10, 0.3, 500.0, 1.0, 1.0)
    part = schedule(5, 0.3, 500.0, 1.0, 0.5)
    assert len(part) == 6
    assert part.equal(whole[-6:])
    assert len(schedule(5, 0.3, 500.0, 1.0, 0.0)) == 0


def check_denoise_zero_gives_the_latent_back() -> None:
    import torch

    given = {"samples": torch.randn(1, 64, 40)}
    assert sample(latent=given, denoise=0.0).equal(given["samples"])


def check_masked_latents_stay() -> None:
    import torch

    mask = torch.ones(1, 1, 40)
    mask[..., :20] = 0
    given = {"samples": torch.randn(1, 64, 40), "noise_mask": mask}
    out = sample(latent=given)
    near(out[..., :20], given["samples"][..., :20])
    assert not torch.allclose(out[..., 20:], given["samples"][..., 20:])


def check_guidance_one_runs_without_a_negative() -> None:
    near(sample(guidance=1.0), sample(guidance=1.0, negative=prompt("hail")))
    assert not sample(guidance=2.0).equal(sample(guidance=2.0, negative=prompt("hail")))


def check_keys_of_a_latent() -> None:
    given = latent() | {"downscale_ratio_temporal": 2048, "audiox_seconds": 3.0}
    recipe = {"seed": 7, "steps": 1, "guidance": 1.0, "sampler": "k-heun", "sigma_min": 0.3, "sigma_max": 500.0}
    out = node("AudioXSampler")(
        **recipe, rho=1.0, rescale=0.0, denoise=1.0, model=demo()[0], positive=prompt(), latent=given
    )[0]
    assert out["audiox_seconds"] == 3.0
    assert "downscale_ratio_temporal" not in out


def check_wrong_latents_are_refused() -> None:
    import torch

    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Sampler: ", lambda: sample(latent={"samples": torch.randn(1, 4, 64, 64)}))


# Conditions


def check_absent_modalities_take_the_learned_empty_features() -> None:
    whole = tokens(prompt())
    assert whole.shape == (1, 471, 768)
    encoders = demo()[1]
    assert whole[:, :128].equal(encoders.video.model.empty_visual_feat.float())
    assert whole[:, 128:256].equal(prompt()[0][0])
    assert whole[:, 256:].equal(encoders.audio.model.empty_audio_feat.float())


def check_null_conditions() -> None:
    import node_helpers
    import torch

    assert not tokens(node("AudioXNull")()[0]).any()
    zeroed = [[torch.zeros_like(prompt()[0][0]), {}]]  # what ConditioningZeroOut leaves of a text
    assert not tokens(zeroed).any()
    assert tokens(node_helpers.conditioning_set_values(prompt(), {"start_percent": 0.1})).any()


def check_texts_of_other_encoders_are_fitted() -> None:
    import torch

    long, short = torch.randn(1, 201, 768), torch.randn(1, 5, 768)
    assert tokens([[long, {}]])[:, 128:256].equal(long[:, :128])
    assert tokens([[short, {}]])[:, 128:133].equal(short)
    assert not tokens([[short, {}]])[:, 133:256].any()
    error = module("audiox_core.errors").InputError
    raises(error, "text: condition of shape (1, 77, 2048)", lambda: tokens([[torch.randn(1, 77, 2048), {}]]))


def check_combine() -> None:
    import torch

    combine = node("AudioXCombine")
    images = torch.rand(3, 32, 32, 3)
    video, seconds = encode_video(images=images, fps=1.0, seconds=10.0)
    sound = {"waveform": torch.rand(1, 2, 44100) - 0.5, "sample_rate": 44100}
    audio = node("AudioXEncodeAudio")(encoders=demo()[1], audio=sound, start=0.0, seconds=10.0)[0]
    assert seconds == 3.0
    whole = tokens(combine(text=prompt(), video=video, audio=audio)[0])
    assert whole[:, :128].equal(tokens(video)[:, :128])
    assert whole[:, 128:256].equal(tokens(prompt())[:, 128:256])
    assert whole[:, 256:].equal(tokens(audio)[:, 256:])
    assert tokens(combine(video=video)[0]).equal(tokens(video))
    assert tokens(video)[:, 128:256].equal(tokens(prompt(""))[:, 128:256])
    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Combine: nothing", combine)
    raises(error, "AudioX Combine: the condition connected to audio", lambda: combine(text=prompt(), audio=video))


def encode_video(**given: Any) -> Any:
    return node("AudioXEncodeVideo")(**{"encoders": demo()[1], "fps": 25.0, "start": 0.0, "seconds": 10.0} | given)


def clip(base: Path, seconds: int = 4, fps: int = 10) -> Path:
    """A video whose pictures' brightness tells their time: 20 per second."""
    import av
    import numpy as np

    path = base / f"clip{seconds}_{fps}.mp4"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=fps, options={"crf": "1", "g": str(fps), "bf": "2"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(seconds * fps):
            pixels = np.full((64, 64, 3), 20 + 20 * i // fps, np.uint8)
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.time_base = i, Fraction(1, fps)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def check_pictures_of_every_kind_of_video_agree() -> None:
    import torch
    from comfy_api.latest import InputImpl

    pick = module("nodes.video").pick_frames
    path = clip(BASE)
    videos = [InputImpl.VideoFromFile(str(path)), InputImpl.VideoFromFile(io.BytesIO(path.read_bytes()))]
    videos.append(InputImpl.VideoFromComponents(videos[0].get_components()))
    for start, seconds in ((0.0, 10.0), (1.0, 2.0), (2.5, 10.0)):
        picked = [pick(video, None, 25.0, start, seconds, on_frame=lambda *_: None) for video in videos]
        offered = min(seconds, 4.0 - start)
        for one in picked:
            assert abs(one.seconds - offered) < 1e-6
            error = (one.frames.float() - picked[0].frames.float()).abs().max()
            assert error <= 2, float(error)
        levels = picked[0].frames[:, 0, 0, 0].float()
        wanted = torch.tensor([20 + 20 * (start + min(k / 5, offered - 0.1)) for k in range(50)])
        assert (levels - wanted).abs().max() <= 4, (levels - wanted).abs().max()
    error = module("audiox_core.errors").InputError
    for video in videos:
        raises(
            error,
            "AudioX Encode Video: start is 4 s",
            lambda video=video: pick(video, None, 25.0, 4.0, 10.0, on_frame=lambda *_: None),
        )


def check_trimmed_videos_are_honoured() -> None:
    from comfy_api.latest import InputImpl

    whole = InputImpl.VideoFromFile(str(clip(BASE)))
    if not hasattr(whole, "as_trimmed"):
        return  # this ComfyUI can't trim
    trimmed = whole.as_trimmed(1.0, 2.0)
    pick = module("nodes.video").pick_frames
    part = pick(trimmed, None, 25.0, 0.0, 10.0, on_frame=lambda *_: None)
    same = pick(whole, None, 25.0, 1.0, 2.0, on_frame=lambda *_: None)
    assert part.seconds == same.seconds == 2.0
    assert part.frames.equal(same.frames)


def check_one_image_is_a_still() -> None:
    import torch

    pick = module("nodes.video").pick_frames
    picked = pick(None, torch.rand(1, 48, 64, 3), 25.0, 0.0, 7.0, on_frame=lambda *_: None)
    assert picked.seconds == 7.0
    assert all(frame.equal(picked.frames[0]) for frame in picked.frames)
    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Encode Video: neither", lambda: encode_video())


# Sound


def check_decode() -> None:
    import torch

    decode = node("AudioXDecode")
    given = {"samples": torch.randn(2, 64, 40), "type": "audio", "audiox_seconds": 1.25}
    for seconds, samples in ((0.0, 55125), (0.5, 22050)):
        sound = decode(vae=demo()[2], latent=given, seconds=seconds, normalize="peak")[0]
        wave = sound["waveform"]
        assert sound["sample_rate"] == 44100
        assert wave.shape == (2, 2, samples)
        assert wave.dtype == torch.float32
        assert wave.device.type == "cpu"
        assert wave.is_contiguous()
        assert all(abs(float(item.abs().max()) - 1) < 1e-6 for item in wave)
    plain = decode(vae=demo()[2], latent={"samples": given["samples"]}, seconds=0.0, normalize="off")[0]["waveform"]
    assert plain.shape[-1] == 40 * 2048
    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Decode: ", lambda: decode(vae=demo()[2], latent=given, seconds=2.0, normalize="off"))
    broken = {"samples": torch.full((1, 64, 8), float("nan"))}
    kind = module("audiox_core.errors").AudioXError
    raises(kind, "AudioX Decode: the sound", lambda: decode(vae=demo()[2], latent=broken, seconds=0.0, normalize="off"))


def check_tiles_change_nothing() -> None:
    import torch

    vae, x = demo()[2], torch.randn(1, 64, 150)
    inner = vae.first_stage_model
    near(vae.decode(x).movedim(-1, 1), inner.network.decode(x), 5e-6)
    sound = torch.rand(1, 200 * 2048, 2) - 0.5
    near(vae.encode(sound), inner.network.encode(sound.movedim(-1, 1))[0], 5e-6)
    assert vae.encode(sound).equal(vae.encode(sound))


def check_soundtrack_copies_the_pictures() -> None:
    import torch
    from comfy_api.latest import InputImpl

    path = clip(BASE)
    sound = {"waveform": torch.rand(1, 2, 3 * 44100) - 0.5, "sample_rate": 44100}
    files = [InputImpl.VideoFromFile(str(path)), InputImpl.VideoFromFile(io.BytesIO(path.read_bytes()))]
    for video in files:
        (out,) = node("AudioXSetSoundtrack")(video=video, audio=sound, mode="replace", offset=0.5, gain=1.0)
        assert pictures(out.get_stream_source()) == pictures(str(path))
        saved = BASE / "saved.mp4"
        out.save_to(str(saved))
        assert pictures(str(saved)) == pictures(str(path))
        heard = out.get_components().audio
        assert abs(heard["waveform"].shape[-1] / heard["sample_rate"] - 3.5) < 0.03
    memory = InputImpl.VideoFromComponents(files[0].get_components())
    (out,) = node("AudioXSetSoundtrack")(video=memory, audio=sound, mode="mix", offset=0.0, gain=0.5)
    parts = out.get_components()
    assert parts.images.shape[0] == 40
    assert float(parts.frame_rate) == 10.0
    near(parts.images, memory.get_components().images, 0.03)


def check_soundtrack_of_a_trimmed_video() -> None:
    import torch
    from comfy_api.latest import InputImpl

    whole = InputImpl.VideoFromFile(str(clip(BASE)))
    if not hasattr(whole, "as_trimmed"):
        return
    sound = {"waveform": torch.rand(1, 2, 3 * 44100) - 0.5, "sample_rate": 44100}
    (out,) = node("AudioXSetSoundtrack")(
        video=whole.as_trimmed(1.5, 2.0), audio=sound, mode="replace", offset=0.0, gain=1.0
    )
    parts = out.get_components()
    heard = parts.audio["waveform"].shape[-1] / parts.audio["sample_rate"]
    assert abs(heard - 2.0) < 0.03, heard
    assert abs(float(parts.images[0].mean()) * 255 - 50) < 4, float(parts.images[0].mean()) * 255


def pictures(source: Any) -> list[bytes]:
    """The bytes of a file's picture packets."""
    import av

    if hasattr(source, "seek"):
        source.seek(0)
    with av.open(source) as container:
        return [bytes(packet) for packet in container.demux(video=0) if packet.size]


def check_spectrogram() -> None:
    import torch

    sound = {"waveform": torch.rand(2, 2, 44100) - 0.5, "sample_rate": 44100}
    (image,) = node("AudioXSpectrogram")(audio=sound, width=200, height=100)
    assert image.shape == (2, 100, 200, 3)
    assert image.dtype == torch.float32
    assert 0.0 <= float(image.min()) < float(image.max()) <= 1.0


# The host


def check_attention_is_the_core_s() -> None:
    import torch

    attention = module("nodes.model").host_attention
    own = module("audiox_core.layers").torch_attention
    q, k = torch.randn(2, 4, 9, 32), torch.randn(2, 2, 5, 32)
    near(attention(q, k, k), own(q, k, k), 1e-5)
    near(attention(q, q, q), own(q, q, q), 1e-5)


def check_attention_can_be_replaced() -> None:
    import torch

    calls = []

    def replaced(func: Any, *args: Any, **kw: Any) -> Any:
        calls.append(1)
        return func(*args, **kw)

    model = demo()[0].clone()
    model.model_options["transformer_options"]["optimized_attention_override"] = replaced
    with torch.inference_mode():
        near(sample(model=model, steps=2), sample(steps=2))
    assert len(calls) == 2 * 2 * 2  # steps, blocks, self- and cross-attention


def check_precisions() -> None:
    exact = sample(steps=3)
    for precision, bound in (("fp16", 0.01), ("bf16", 0.05), ("fp8", 0.3)):
        model = demo(precision)[0]
        types = {p.dtype for p in model.model.diffusion_model.parameters()}
        assert len(types) == 2, types  # the norms and what is around the blocks stay float32
        near(sample(model=model, steps=3), exact, bound)


def check_budgets_cap_what_is_loaded() -> None:
    import torch

    meta = torch.device("meta")
    for options, low, high in (({"offload": "on"}, 0.0, 0.05), ({"max_vram_gb": 0.1}, 0.1, 0.8), ({"offload": "off"}, 1, 1)):
        patcher = node("AudioXLoad")(
            **{"checkpoint": DEMO, "text_encoder": "auto", "precision": "fp32", "offload": "auto", "max_vram_gb": 0.0}
            | options
        )[0].clone()
        assert type(patcher).__name__ == "Budgeted"
        patcher.partially_load(meta, 1 << 20 if options == {"offload": "off"} else 1 << 40)
        share = patcher.loaded_size() / patcher.model_size()
        assert low <= share <= high, (options, share)
    assert type(demo()[0]).__name__ != "Budgeted"


def check_clones_share_the_model() -> None:
    model = demo()[0]
    copy = model.clone()
    assert copy.model is model.model
    assert type(copy) is type(model)


def check_memory_estimate_grows() -> None:
    model = demo()[0].model
    one, four = (model.memory_required([rows, 64, 236]) for rows in (2, 8))
    assert 0 < one < four


def check_interruption_passes_through() -> None:
    import comfy.model_management as mm

    interruptions: list[Any] = [
        lambda: sample(),
        lambda: encode_video(images=__import__("torch").rand(3, 32, 32, 3), fps=1.0),
        lambda: prompt("something new"),
        lambda: module("nodes.host").progress()(1, 2),
        lambda: module("nodes.host").download_progress()("model.ckpt", 1, 2),
    ]
    demo(), prompt()
    for action in interruptions:
        mm.interrupt_current_processing(True)
        try:
            action()
        except mm.InterruptProcessingException:
            continue
        finally:
            mm.interrupt_current_processing(False)
        raise AssertionError("not interrupted")


def check_previews_are_pictures() -> None:
    import torch
    from PIL import Image

    shown: list[Any] = []
    import comfy.utils

    previous = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: shown.append((value, total, preview)))
    try:
        from comfy.cli_args import LatentPreviewMethod, args

        args.preview_method = LatentPreviewMethod.Auto
        callback = module("nodes.host").step_callback(3, module("audiox_core.picture").latent_picture)
        callback(0, torch.randn(2, 64, 236), None, 3)
    finally:
        comfy.utils.set_progress_bar_global_hook(previous)
    value, total, (kind, picture, _) = shown[-1]
    assert (value, total, kind) == (1, 3, "JPEG")
    assert isinstance(picture, Image.Image)
    assert picture.size == (236, 64)


def check_the_host_s_previewer_paints_the_same() -> None:
    import latent_preview
    import torch
    from comfy.cli_args import LatentPreviewMethod, args

    args.preview_method = LatentPreviewMethod.Auto
    previewer = latent_preview.get_previewer(torch.device("cpu"), demo()[0].model.latent_format)
    if previewer is None:
        assert not hasattr(latent_preview.Latent2RGBPreviewer, "latent_rgb_factors_reshape")
        return  # this ComfyUI has no previewer for what is no picture
    x = torch.randn(1, 64, 236)
    picture = torch.from_numpy(__import__("numpy").asarray(previewer.decode_latent_to_preview(x))).float()
    own = module("audiox_core.picture").latent_picture(x)[0].permute(1, 2, 0) * 255
    assert (picture - own).abs().max() <= 1.5


def check_loading_says_what_is_wrong() -> None:
    import nodes

    load = nodes.NODE_CLASS_MAPPINGS["AudioXLoad"]
    assert load.validate_inputs(checkpoint=DEMO, text_encoder="auto") is True
    assert load.validate_inputs(checkpoint="AudioX", text_encoder="auto") is True
    text = load.validate_inputs(checkpoint="demu", text_encoder="auto")
    assert text.startswith("AudioX Load: checkpoint 'demu' is not")
    assert DEMO in text
    text = load.validate_inputs(checkpoint=DEMO, text_encoder="t5.safetensors")
    assert text.startswith("AudioX Load: text encoder 't5.safetensors' is not")
    assert "the sound is noise" in demo()[3]
    assert "precision" in demo()[3]


PACK = ""
BASE = Path()


def main() -> None:
    global PACK, BASE
    BASE = Path(sys.argv[2])
    wanted = sys.argv[3:]
    PACK = start(sys.argv[1], sys.argv[2])
    import torch

    report = {}
    for name, check in SimpleNamespace(**globals()).__dict__.items():
        if not name.startswith("check_") or (wanted and name not in wanted):
            continue
        try:
            with torch.inference_mode():
                check()
            report[name] = ""
        except Exception:
            report[name] = traceback.format_exc()
    print(json.dumps(report))


if __name__ == "__main__":
    main()
