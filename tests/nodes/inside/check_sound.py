"""Latents to sound and back, soundtracks under videos, spectrograms."""

from __future__ import annotations

import io

from pack import clip, demo, module, near, node, pictures, raises


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

    path = clip()
    sound = {"waveform": torch.rand(1, 2, 3 * 44100) - 0.5, "sample_rate": 44100}
    files = [InputImpl.VideoFromFile(str(path)), InputImpl.VideoFromFile(io.BytesIO(path.read_bytes()))]
    for video in files:
        (out,) = node("AudioXSetSoundtrack")(video=video, audio=sound, mode="replace", offset=0.5, gain=1.0)
        assert pictures(out.get_stream_source()) == pictures(str(path))
        saved = clip().with_name("saved.mp4")
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

    whole = InputImpl.VideoFromFile(str(clip()))
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


def check_spectrogram() -> None:
    import torch

    sound = {"waveform": torch.rand(2, 2, 44100) - 0.5, "sample_rate": 44100}
    (image,) = node("AudioXSpectrogram")(audio=sound, width=200, height=100)
    assert image.shape == (2, 100, 200, 3)
    assert image.dtype == torch.float32
    assert 0.0 <= float(image.min()) < float(image.max()) <= 1.0
