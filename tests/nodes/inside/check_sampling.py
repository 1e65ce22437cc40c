"""AudioX's sampler equals the core's, and the host's equals it."""

from __future__ import annotations

from functools import partial

from pack import TOLERANCE, core_sample, demo, latent, module, near, node, prompt, raises, sample


def check_sampler_equals_the_core() -> None:
    near(sample(), core_sample())


def check_every_sampler_equals_the_core() -> None:
    for name in module("audiox_core.sampling").OBJECTIVES["v"].samplers:
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
    schedule = partial(module("nodes.sample").schedule, module("audiox_core.sampling").OBJECTIVES["v"])
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
