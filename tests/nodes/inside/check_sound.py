"""Latents to sound and back, soundtracks under videos, spectrograms."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from pack import Lacking, clip, demo, module, near, node, pictures, raises


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


def check_decode_brings_each_sound_of_a_batch_to_one_loudness() -> None:
    import torch

    media = module("audiox_core.media")
    given = {"samples": torch.randn(3, 64, 40) * torch.tensor([0.3, 1.0, 2.0])[:, None, None]}
    plain, made = (
        node("AudioXDecode")(vae=demo()[2], latent=given, seconds=0.0, normalize=how)[0]["waveform"]
        for how in ("off", "loudness")
    )
    for before, item in zip(plain, made, strict=True):
        loudness, peak = media.integrated_loudness(item, 44100), media.true_peak(item)
        assert abs(loudness + 16) < 0.01 or (loudness < -16 and abs(peak + 1) < 0.01), (loudness, peak)
        assert peak < -0.99
        if float(before.abs().max()) < 1:  # not clipped: the same sound at another level
            near(item / item.abs().max(), before / before.abs().max(), 1e-5)
    single = {"samples": given["samples"][1:2]}
    alone = node("AudioXDecode")(vae=demo()[2], latent=single, seconds=0.0, normalize="loudness")[0]["waveform"]
    near(made[1:2], alone, 1e-4)


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


def check_soundtrack_keeps_what_it_is_told_to() -> None:
    """Of a file and of a video made in the graph: new sound, a stretch of the old one, and the old one after it."""
    import torch
    from comfy_api.latest import InputImpl

    def level(video: Any, start: float, end: float) -> float:
        sound = video.get_components().audio
        part = sound["waveform"][..., round(start * sound["sample_rate"]) : round(end * sound["sample_rate"])]
        return float(part.square().mean().sqrt())

    def tone(share: float, seconds: float) -> dict[str, Any]:
        wave = share * torch.sin(torch.arange(round(seconds * 44100)) * 0.1)
        return {"waveform": wave.expand(1, 2, -1), "sample_rate": 44100}

    plain: dict[str, Any] = {"mode": "replace", "offset": 0.0, "gain": 1.0}
    (loud,) = node("AudioXSetSoundtrack")(video=InputImpl.VideoFromFile(str(clip())), audio=tone(0.4, 4), **plain)
    graph = InputImpl.VideoFromComponents(loud.get_components())
    for video in (loud, graph):
        (out,) = node("AudioXSetSoundtrack")(
            video=video,
            audio=tone(0.1, 2.5),
            **plain,
            fade_in=0.5,
            fade_out=0.0,
            keep="1-1.5",
            duck=0.0,
            keep_rest=True,
        )
        for start, end, share in ((0.6, 0.9, 0.1), (1.05, 1.45, 0.4), (1.6, 2.4, 0.1), (2.6, 3.9, 0.4)):
            assert abs(level(out, start, end) / (share * 0.5**0.5) - 1) < 0.15, (start, level(out, start, end))
        assert level(out, 0, 0.05) < 0.02, level(out, 0, 0.05)
    kind = module("audiox_core.errors").InputError
    for wrong, said in (
        ({"keep": "5"}, "keep: '5' is not a start and an end"),
        ({"duck": 6.0}, "duck=6: the video's own sound is dropped"),
    ):
        given = {"video": loud, "audio": tone(0.1, 1), **plain, **wrong}
        raises(kind, f"AudioX Set Soundtrack: {said}", lambda given=given: node("AudioXSetSoundtrack")(**given))


def check_soundtrack_of_a_trimmed_video() -> None:
    import torch
    from comfy_api.latest import InputImpl

    whole = InputImpl.VideoFromFile(str(clip()))
    if not hasattr(whole, "as_trimmed"):
        raise Lacking("trimmed videos")
    sound = {"waveform": torch.rand(1, 2, 3 * 44100) - 0.5, "sample_rate": 44100}
    (out,) = node("AudioXSetSoundtrack")(
        video=whole.as_trimmed(1.5, 2.0), audio=sound, mode="replace", offset=0.0, gain=1.0
    )
    parts = out.get_components()
    heard = parts.audio["waveform"].shape[-1] / parts.audio["sample_rate"]
    assert abs(heard - 2.0) < 0.03, heard
    assert abs(float(parts.images[0].mean()) * 255 - 50) < 4, float(parts.images[0].mean()) * 255


def vp8() -> Any:
    """A VIDEO of 40 grey pictures in .webm behind a single keyframe, and a node's other inputs."""
    import av
    import numpy as np
    import torch
    from comfy_api.latest import InputImpl

    path = clip().with_name("cut.webm")
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx", rate=10, options={"g": "100", "crf": "4", "b": "2M"})
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for i in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 4 * i, np.uint8), format="rgb24")
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    whole = InputImpl.VideoFromFile(str(path))
    sound = {"waveform": torch.rand(1, 2, 3 * 44100) - 0.5, "sample_rate": 44100}
    return whole, {"audio": sound, "mode": "replace", "offset": 0.0, "gain": 1.0}


def check_soundtrack_of_vp8() -> None:
    whole, given = vp8()
    (out,) = node("AudioXSetSoundtrack")(video=whole, **given)
    assert pictures(out.get_stream_source()) == pictures(whole.get_stream_source())


def check_soundtrack_of_a_cut_that_cannot_be_copied() -> None:
    """.webm cannot hide the pictures between a keyframe and the cut: they are encoded."""
    whole, given = vp8()
    if not hasattr(whole, "as_trimmed"):
        raise Lacking("trimmed videos")
    (out,) = node("AudioXSetSoundtrack")(video=whole.as_trimmed(1.5, 2.0), **given)
    parts = out.get_components()
    assert len(parts.images) == 20
    assert abs(float(parts.images[0].mean()) * 255 - 80) < 6, float(parts.images[0].mean()) * 255


def check_soundtracks_leave_no_files_behind() -> None:
    """The file of a VIDEO goes with the last VIDEO that was made of it."""
    import gc

    import folder_paths
    import torch
    from comfy_api.latest import InputImpl

    def kept() -> set[Path]:
        gc.collect()
        return set(Path(folder_paths.get_temp_directory()).glob("audiox_*"))

    before, out = kept(), None
    video = InputImpl.VideoFromFile(str(clip()))
    for seed in range(3):
        sound = {"waveform": torch.full((1, 2, 44100), 0.1 * seed), "sample_rate": 44100}
        (out,) = node("AudioXSetSoundtrack")(video=video, audio=sound, mode="replace", offset=0.0, gain=1.0)
        assert len(kept() - before) == 1
    part = out.as_trimmed(0.5, 1.0) if hasattr(out, "as_trimmed") else out
    out = None
    assert part is not None
    assert part.get_components().images.shape[0] >= 10
    part = None
    assert kept() == before


def check_soundtracks_tell_how_far_they_are() -> None:
    import comfy.model_management as mm
    import comfy.utils
    import torch
    from comfy_api.latest import InputImpl

    told: list[tuple[int, int]] = []
    previous = comfy.utils.PROGRESS_BAR_HOOK
    comfy.utils.set_progress_bar_global_hook(lambda value, total, preview, **_: told.append((value, total)))
    video = InputImpl.VideoFromFile(str(clip()))
    given = {"audio": {"waveform": torch.zeros(1, 2, 44100), "sample_rate": 44100}, "mode": "mix", "offset": 0.0}
    try:
        node("AudioXSetSoundtrack")(video=video, gain=1.0, **given)
        mm.interrupt_current_processing(True)
        try:
            node("AudioXSetSoundtrack")(video=video, gain=1.0, **given)
        except mm.InterruptProcessingException:
            pass
        else:
            raise AssertionError("not interrupted")
    finally:
        mm.interrupt_current_processing(False)
        comfy.utils.set_progress_bar_global_hook(previous)
    assert len(told) >= 2
    assert told[-1][0] == told[-1][1]


def check_spectrogram() -> None:
    import torch

    sound = {"waveform": torch.rand(2, 2, 44100) - 0.5, "sample_rate": 44100}
    (image,) = node("AudioXSpectrogram")(audio=sound, width=200, height=100)
    assert image.shape == (2, 100, 200, 3)
    assert image.dtype == torch.float32
    assert 0.0 <= float(image.min()) < float(image.max()) <= 1.0
    given = {"audio": sound, "width": 400, "height": 200}
    (plain,) = node("AudioXSpectrogram")(**given)
    near(node("AudioXSpectrogram")(**given, axes=True, scale="log", show_waveform=False, regions="")[0], plain, 0)
    for change in (
        {"axes": False},
        {"scale": "mel"},
        {"show_waveform": True},
        {"regions": "0.2-0.5"},
        {"windows": "0-0.6, 0.4-1"},
        {"windows": "0-0.6, 0.7-1"},
    ):
        (other,) = node("AudioXSpectrogram")(**given, **change)
        assert other.shape == plain.shape and not torch.equal(other, plain), change
    kind = module("audiox_core.errors").InputError
    for wrong, words in (({"regions": "2-3"}, "regions: 2-3 s lies outside"), ({"windows": "x"}, "windows: 'x' is")):
        raises(kind, f"AudioX Spectrogram: {words}", lambda wrong=wrong: node("AudioXSpectrogram")(**given, **wrong))


def check_a_sound_that_is_none_is_named_as_such() -> None:
    """NaN and no samples at all are the sound's own fault: nothing else is to be changed."""
    import torch
    from comfy_api.latest import InputImpl

    video = InputImpl.VideoFromFile(str(clip()))
    takers = {
        "AudioXEncodeAudio": {"encoders": demo()[1], "start": 0.0, "seconds": 10.0},
        "AudioXSetSoundtrack": {"video": video, "mode": "replace", "offset": 0.0, "gain": 1.0},
        "AudioXSpectrogram": {"width": 100, "height": 100},
    }
    for waveform, words in (
        (torch.full((1, 2, 4410), float("nan")), "8820 of 8820 samples are NaN or infinite. Give finite samples"),
        (torch.zeros(1, 2, 0), "the sound is empty. Give"),
    ):
        for name, given in takers.items():
            try:
                node(name)(audio={"waveform": waveform, "sample_rate": 44100}, **given)
            except Exception as error:
                text, kind = str(error), type(error)
            else:
                raise AssertionError(f"{name} takes it")
            assert words in text, text
            assert text.count("AudioX ") == 1 and text.startswith("AudioX "), text
            assert (kind.__module__, kind.__name__) == ("builtins", "AudioXError")  # the host shows both
