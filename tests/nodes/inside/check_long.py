"""Sounds longer than a window, loops, takes, edits, timed prompts and guidance by modality, in ComfyUI's own run."""

from __future__ import annotations

from functools import partial
from typing import Any

from by_hand import differ, null
from pack import clip, demo, encode_video, latent, module, near, node, prompt, raises, sample, values

LENGTH = 290  # latents: two windows


def windows(latents: int = LENGTH, kept: int | None = None, *, loop: bool = False) -> Any:
    timing = demo()[1].timing
    return module("audiox_core.sampling.windows").Windows(
        latents, timing.latents, timing.windows(latents, kept, loop=loop), loop
    )


def by_core(condition: Any, *, together: bool, steps: int = 2, where: Any = None, seed: int = 7) -> Any:
    """The same run by the core alone: k-heun, guidance 7, ComfyUI's noise."""
    import torch

    opened, where = demo()[1].opened, where or windows()
    network = module("audiox_core.weights.load").load_part(opened.model.backbone, opened.weights, dtype=torch.float32)
    guidance = module("audiox_core.sampling.guidance").Guidance(demo()[0].model.audiox_tokens(values(condition)))
    noise = torch.randn(1, 64, where.latents, generator=torch.manual_seed(seed))
    schedule = {"steps": steps, "sampler": "k-heun", "objective": "v"}
    task = module("audiox_core.sampling.task").Task(
        noise, where, guidance, torch.Generator(), schedule, together=together
    )
    with torch.inference_mode():
        return task.run(network, device=torch.device("cpu"))


def made(length: int = LENGTH, **given: Any) -> Any:
    return sample(**{"steps": 2, "sampler": "k-heun", "latent": latent(length), **given})


def check_long_latents_are_made_as_the_core_makes_them() -> None:
    for long in ("continue", "together"):
        near(made(long=long), by_core(prompt(), together=long == "together"), 1e-4)
    assert made().equal(made(long="continue"))
    assert differ(made(), made(long="together"))
    near(made(kept=10.0), by_core(prompt(), together=False, where=windows(kept=215)), 1e-4)


def check_host_samplers_blend_windows_by_themselves() -> None:
    import torch

    import nodes

    model = demo()[0]
    options = {"seed": 7, "steps": 2, "cfg": 7.0, "sampler_name": "euler", "scheduler": "exponential"}
    run = partial(nodes.common_ksampler, **options, positive=prompt(), negative=null(), latent=latent(LENGTH))
    alone = run(model)[0]["samples"]
    near(run(node("AudioXWindows")(model=model, kept=0.0, loop=False, at_once=3)[0])[0]["samples"], alone, 1e-4)
    assert differ(run(node("AudioXWindows")(model=model, kept=10.0, loop=False, at_once=1)[0])[0]["samples"], alone)
    turned = run(node("AudioXWindows")(model=model, kept=0.0, loop=True, at_once=2)[0])[0]["samples"]
    assert differ(turned, alone) and torch.isfinite(turned).all()


def check_a_video_is_seen_window_by_window() -> None:
    import torch
    from comfy_api.latest import InputImpl

    long = clip(seconds=18, fps=5)
    condition, seconds = encode_video(video=InputImpl.VideoFromFile(str(long)), seconds=0.0)
    assert seconds == 18.0
    where = windows(demo()[1].timing.to_latents(18.0))
    tokens = condition[0][1]["audiox_video"]
    assert tokens.shape[1] == len(where.starts) == 3
    conditioner = demo()[1].conditioner
    settings = module("audiox_core.models.settings").Settings(video=str(long))
    near(tokens, conditioner.follow(settings, {}, where.starts)["video"], 1e-5)
    images = InputImpl.VideoFromFile(str(long)).get_components().images
    near(encode_video(images=images, fps=5.0, seconds=0.0)[0][0][1]["audiox_video"], tokens, 2e-2)
    both = node("AudioXCombine")(text=prompt(), video=condition)[0]
    for way in ("continue", "together"):
        found = made(where.latents, positive=both, long=way)
        near(found, by_core(both, together=way == "together", where=where), 1e-4)
    error = module("audiox_core.errors").InputError
    said = "AudioX Sampler: a condition was encoded for windows over 18.02 s, but the latent is 13.47 s."
    raises(error, said, lambda: made(LENGTH, positive=condition))
    short, seconds = encode_video(video=InputImpl.VideoFromFile(str(long)), start=3.0, seconds=6.0)
    assert seconds == 6.0 and short[0][1]["audiox_video"].ndim == 3
    assert torch.isfinite(made(236, positive=short, steps=1)).all()


def check_loops_join_at_their_ends() -> None:
    import torch

    for seconds in (3.0, 12.0):
        given = node("AudioXEmptyLatent")(seconds=seconds, batch_size=1, loop=True)[0]
        length, vae = given["samples"].shape[-1], demo()[2]
        for long in ("continue", "together"):
            out = node("AudioXSampler")(
                **{"model": demo()[0], "positive": prompt(), "latent": given, "seed": 1, "steps": 2, "guidance": 3.0},
                **{"sampler": "k-heun", "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0, "rescale": 0.0},
                **{"denoise": 1.0, "long": long},
            )[0]
            where = windows(length, loop=True)
            small = length <= where.length
            expected = by_core(prompt(), together=long == "together" or small, steps=2, where=where, seed=1)
            assert out["samples"].shape == expected.shape
            sound = node("AudioXDecode")(vae=vae, latent=out, seconds=0.0, normalize="off")[0]["waveform"]
            assert sound.shape[-1] == length * 2048
            rolled = {**out, "samples": out["samples"].roll(5, dims=-1)}
            again = node("AudioXDecode")(vae=vae, latent=rolled, seconds=0.0, normalize="off")[0]["waveform"]
            torch.testing.assert_close(again, sound.roll(5 * 2048, dims=-1), atol=1e-5, rtol=1e-4)


def check_a_batch_is_takes_with_seeds_of_their_own() -> None:
    for sampler in ("dpmpp-3m-sde", "k-dpmpp-2s-ancestral", "k-dpm-adaptive"):
        given = {"steps": 3, "sampler": sampler}
        batch = sample(latent=latent(40, 3), seed=5, **given)
        for i in range(3):
            near(batch[i : i + 1], sample(latent=latent(40), seed=5 + i, **given), 1e-5)
    again = sample(latent={**latent(40), "batch_index": [2]}, seed=5, **given)
    near(again, batch[2:], 1e-5)
    long = made(latent=latent(LENGTH, 2), seed=5)
    near(long[1:], made(latent=latent(LENGTH), seed=6), 5e-5)


def check_takes_are_picked_by_number() -> None:
    import torch

    audio = {"waveform": torch.randn(3, 2, 100), "sample_rate": 44100}
    assert node("AudioXTake")(audio=audio, take=2)[0]["waveform"].equal(audio["waveform"][1:2])
    error = module("audiox_core.errors").InputError
    raises(
        error,
        "AudioX Take: take 4 is asked for, but there are only 3.",
        lambda: node("AudioXTake")(audio=audio, take=4),
    )
    raises(error, "AudioX Take: there is no sound", lambda: node("AudioXTake")(audio=None, take=1))


def noise(seconds: float) -> Any:
    import torch

    samples = torch.randn(1, 2, round(seconds * 44100), generator=torch.Generator().manual_seed(0)) / 8
    return {"waveform": samples, "sample_rate": 44100}


def edit(audio: Any, regions: str = "", before: float = 0.0, after: float = 0.0) -> Any:
    return node("AudioXEdit")(
        vae=demo()[2], audio=audio, regions=regions, extend_before=before, extend_after=after, feather=0.05
    )


def decoded(given: Any) -> Any:
    return node("AudioXDecode")(vae=demo()[2], latent=given, seconds=0.0, normalize="peak")[0]["waveform"]


def check_an_edit_keeps_the_sound_around_it_bit_for_bit() -> None:
    import torch

    import nodes

    for seconds in (3.0, 12.0):
        audio = noise(seconds)
        given, said = edit(audio, "1-1.5, 2-2.25")
        assert said == seconds
        keep = torch.ones(audio["waveform"].shape[-1], dtype=torch.bool)
        keep[44100 : 44100 * 3 // 2] = keep[2 * 44100 : 9 * 44100 // 4] = False
        own = node("AudioXSampler")(
            **{"model": demo()[0], "positive": prompt(), "latent": given, "seed": 1, "steps": 2, "guidance": 3.0},
            **{"sampler": "auto", "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0, "rescale": 0.0, "denoise": 1.0},
        )[0]
        (host,) = nodes.common_ksampler(demo()[0], 1, 2, 3.0, "euler", "exponential", prompt(), null(), given)
        for out in (own, host):
            sound = decoded(out)
            assert sound[..., keep].equal(audio["waveform"][..., keep])
            assert (sound[..., ~keep] != audio["waveform"][..., ~keep]).float().mean() > 0.9


def check_a_sound_is_continued() -> None:
    audio = noise(4.0)
    given, said = edit(audio, before=1.0, after=9.0)
    assert said == 14.0 and given["samples"].shape[-1] == demo()[1].timing.to_latents(14.0)
    out = node("AudioXSampler")(
        **{"model": demo()[0], "positive": prompt(), "latent": given, "seed": 1, "steps": 2, "guidance": 3.0},
        **{"sampler": "auto", "sigma_min": 0.0, "sigma_max": 0.0, "rho": 0.0, "rescale": 0.0, "denoise": 1.0},
    )[0]
    sound = decoded(out)
    assert sound.shape[-1] == 14 * 44100
    assert sound[..., 44100 : 5 * 44100].equal(audio["waveform"])
    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Edit: regions: there is nothing to regenerate", lambda: edit(audio))
    raises(error, "AudioX Edit: regions: 'x' is not a start and an end", lambda: edit(audio, "x"))
    raises(error, "AudioX Edit: regions: 3-5 s reaches past the end", lambda: edit(audio, "3-5"))


def check_timed_prompts_reach_their_windows() -> None:
    timed = node("AudioXTimedText")(encoders=demo()[1], lines="0:00 rain\n0:11 thunder", seconds=14.0)
    condition, seconds = timed
    where = windows(demo()[1].timing.to_latents(14.0))
    assert seconds == 14.0 and condition[0][1]["audiox_text"].shape[1] == len(where.starts) == 2
    texts = [demo()[1].conditioner.text(words) for words in ("rain", "thunder")]
    for number, moment in enumerate(where.middles()):
        wanted = texts[moment * 2048 / 44100 >= 11]
        assert condition[0][1]["audiox_text"][:, number].equal(wanted)
    for way in ("continue", "together"):
        found = made(where.latents, positive=condition, long=way)
        near(found, by_core(condition, together=way == "together", where=where), 1e-4)
    other = node("AudioXTimedText")(encoders=demo()[1], lines="a door", seconds=18.0)[0]
    error = module("audiox_core.errors").InputError
    mixed = partial(node("AudioXCombine"), text=condition, video=other, audio=condition)
    raises(error, "AudioX Combine: the condition connected to video contains no video", mixed)
    other[0][1]["audiox_video"] = condition[0][1]["audiox_text"]
    said = "AudioX Combine: the conditions were encoded for different windows."
    raises(error, said, partial(node("AudioXCombine"), text=condition, video=other))
    short = node("AudioXTimedText")(encoders=demo()[1], lines="a door", seconds=5.0)[0]
    assert short[0][0].equal(demo()[1].conditioner.text("a door")) and "audiox_text" not in short[0][1]
    error = module("audiox_core.errors").InputError
    late = partial(node("AudioXTimedText"), encoders=demo()[1], lines="0:00 rain\n0:30 thunder", seconds=18.0)
    raises(error, "AudioX Timed Text: lines: 30 s is outside the sound", late)


def check_equal_scales_are_ordinary_guidance() -> None:
    import comfy.samplers
    import torch
    from comfy_api.latest import InputImpl

    video = encode_video(video=InputImpl.VideoFromFile(str(clip())))[0]
    both = node("AudioXCombine")(text=prompt(), video=video)[0]
    sigmas = module("audiox_core.sampling").get_sigmas_polyexponential(3, 0.3, 500.0, 1.0)
    start = torch.zeros(1, 64, 40)
    noise = torch.randn(1, 64, 40, generator=torch.Generator().manual_seed(3))

    def run(guider: Any) -> Any:
        return guider.sample(noise, start, comfy.samplers.sampler_object("heun"), sigmas, seed=3).cpu()

    def guider(text: float, seen: float, positive: Any = both) -> Any:
        return node("AudioXGuider")(
            model=demo()[0], positive=positive, text_guidance=text, video_guidance=seen, audio_guidance=2.0
        )[0]

    plain = comfy.samplers.CFGGuider(demo()[0])
    plain.set_conds(both, null())
    plain.set_cfg(5.0)
    near(run(guider(5.0, 5.0)), run(plain), 1e-5)
    assert differ(run(guider(5.0, 2.0)), run(plain))
    plain.set_conds(prompt(), null())
    near(run(guider(5.0, 1.0, prompt())), run(plain), 1e-5)
    # null -> video -> video and text is what ComfyUI's own guider of two scales does, the other way round
    seen = comfy.samplers.CFGGuider(demo()[0])
    seen.set_conds(both, prompt())
    seen.set_cfg(2.0)
    step = guider(1.0, 2.0)
    near(run(step), run(seen), 1e-4)
