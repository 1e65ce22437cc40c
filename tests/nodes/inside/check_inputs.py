"""AudioX Empty Latent's answer, and what AudioX Encode Audio says to sounds that it can't take."""

from __future__ import annotations

from typing import Any

from pack import demo, module, node, raises, sample


def check_empty_latents() -> None:
    """A whole window of zeros, of which the seconds asked for are decoded; each of a batch is a sound of its own."""
    import torch

    for seconds, batch in ((0.1, 1), (1.0, 2), (10.0, 1), (10.95, 3)):
        (made,) = node("AudioXEmptyLatent")(seconds=seconds, batch_size=batch)
        assert made["samples"].shape == (batch, 64, 236), (seconds, made["samples"].shape)
        sound = node("AudioXDecode")(vae=demo()[2], latent=made, seconds=0.0, normalize="off")[0]["waveform"]
        assert sound.shape == (batch, 2, round(seconds * 44100)), sound.shape
        assert made["samples"].dtype == torch.float32
        assert not made["samples"].any()
        assert made["type"] == "audio"
    (two,) = node("AudioXEmptyLatent")(seconds=1.0, batch_size=2)
    one, other = sample(latent=two, steps=2)
    assert not one.equal(other)


def heard(sound: Any, **changed: Any) -> Any:
    given = {"encoders": demo()[1], "audio": sound, "start": 0.0, "seconds": 10.0, **changed}
    return node("AudioXEncodeAudio")(**given)[0]


def check_sounds_that_cannot_be_encoded() -> None:
    import torch

    errors = module("audiox_core.errors")
    fine = torch.rand(1, 2, 44100) - 0.5
    broken = fine.clone()
    broken[0, 1, 7] = float("nan")
    for waveform, changed, words in (
        (broken, {}, "AudioX Encode Audio: waveform: 1 of 88200 samples are NaN or infinite. Give finite samples"),
        (torch.zeros(1, 2, 0), {}, "AudioX Encode Audio: the sound is empty. Give one that lasts."),
        (fine, {"start": 1.0}, "AudioX Encode Audio: start is 1 s, the sound lasts 1.00 s. Choose an earlier start."),
        (fine, {"start": 50.0}, "AudioX Encode Audio: start is 50 s, the sound lasts 1.00 s. Choose an earlier start."),
    ):
        sound = {"waveform": waveform, "sample_rate": 44100}
        raises(errors.AudioXError, words, lambda sound=sound, changed=changed: heard(sound, **changed))
