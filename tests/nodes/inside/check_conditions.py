"""Conditions: complete with one modality, null, combined, from every kind of video."""

from __future__ import annotations

import io
from typing import Any

from pack import Lacking, clip, demo, encode_video, module, node, prompt, raises, tokens


def check_absent_modalities_take_the_learned_empty_features() -> None:
    whole = tokens(prompt())
    assert whole.shape == (1, 471, 768)
    weights = demo()[1].opened.weights
    learned = "conditioner.conditioners.{}_prompt.empty_{}_feat"
    assert whole[:, :128].equal(weights[learned.format("video", "visual")].float())
    assert whole[:, 128:256].equal(prompt()[0][0])
    assert whole[:, 256:].equal(weights[learned.format("audio", "audio")].float())


def check_null_conditions() -> None:
    import node_helpers
    import torch

    assert tokens(node("AudioXNull")()[0]) is None
    zeroed = [[torch.zeros_like(prompt()[0][0]), {}]]  # what ConditioningZeroOut leaves of a text
    assert tokens(zeroed) is None
    assert tokens(node_helpers.conditioning_set_values(prompt(), {"start_percent": 0.1})).any()


def check_null_is_dropped_where_something_is_combined_with_it() -> None:
    import torch

    null = node("AudioXNull")()[0]
    video, _ = encode_video(images=torch.rand(3, 32, 32, 3), fps=1.0)
    assert tokens(node("AudioXCombine")(text=null, video=video)[0]).equal(tokens(video))
    assert tokens(node("AudioXCombine")(text=null)[0]) is None


def check_averages_with_null_keep_their_share() -> None:
    import nodes

    half = nodes.ConditioningAverage().addWeighted(node("AudioXNull")()[0], prompt(), 0.5)[0]
    assert tokens(half)[:, 128:256].allclose(prompt()[0][0] / 2)


def check_joined_prompts_are_both_read() -> None:
    import nodes

    rain, drums = prompt("rain"), prompt("drums")
    joined = tokens(nodes.ConditioningConcat().concat(rain, drums)[0])[:, 128:256]
    used = int(rain[0][0].any(dim=-1).sum())
    assert joined[:, :used].equal(rain[0][0][:, :used])
    assert joined[:, used : 2 * used].equal(drums[0][0][:, :used])


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


def picked_by() -> Any:
    """AudioX Encode Video's pictures of a single window, and the seconds that it says, as a function of its inputs."""
    video, model = module("nodes.video"), demo()[1].model

    def pick(*given: Any) -> Any:
        views = video.see(model.condition("video").reads, model.timing, *given, 0.0)
        (seen,) = views.look(lambda *_: None)
        assert abs(seen.seconds - views.seconds) < 1e-6
        return seen

    return pick


def check_pictures_of_every_kind_of_video_agree() -> None:
    import torch
    from comfy_api.latest import InputImpl

    pick = picked_by()
    path = clip()
    videos = [InputImpl.VideoFromFile(str(path)), InputImpl.VideoFromFile(io.BytesIO(path.read_bytes()))]
    videos.append(InputImpl.VideoFromComponents(videos[0].get_components()))
    for start, seconds in ((0.0, 10.0), (1.0, 2.0), (2.5, 10.0)):
        picked = [pick(video, None, 25.0, start, seconds) for video in videos]
        offered = min(seconds, 4.0 - start)
        for one in picked:
            assert abs(one.seconds - offered) < 1e-6
            error = (one.frames[0].float() - picked[0].frames[0].float()).abs().max()
            assert error <= 2, float(error)
        levels = picked[0].frames[0][0, :, 0, 0, 0].float()
        wanted = torch.tensor([20 + 20 * (start + min(k / 5, offered - 0.1)) for k in range(50)])
        assert (levels - wanted).abs().max() <= 4, (levels - wanted).abs().max()
    error = module("audiox_core.errors").InputError
    for video in videos:
        raises(
            error,
            "start is 4 s",
            lambda video=video: pick(video, None, 25.0, 4.0, 10.0),
        )


def check_trimmed_videos_are_honoured() -> None:
    from comfy_api.latest import InputImpl

    whole = InputImpl.VideoFromFile(str(clip()))
    if not hasattr(whole, "as_trimmed"):
        raise Lacking("trimmed videos")
    trimmed = whole.as_trimmed(1.0, 2.0)
    pick = picked_by()
    part = pick(trimmed, None, 25.0, 0.0, 10.0)
    same = pick(whole, None, 25.0, 1.0, 2.0)
    assert part.seconds == same.seconds == 2.0
    assert part.frames[0].equal(same.frames[0])


def check_one_image_is_a_still() -> None:
    import torch

    pick = picked_by()
    picked = pick(None, torch.rand(1, 48, 64, 3), 25.0, 0.0, 7.0)
    assert picked.seconds == 7.0
    assert all(frame.equal(picked.frames[0][0, 0]) for frame in picked.frames[0][0])
    error = module("audiox_core.errors").InputError
    raises(error, "AudioX Encode Video: neither", lambda: encode_video())
