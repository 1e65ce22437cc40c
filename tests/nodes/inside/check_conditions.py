"""Conditions: complete with one modality, null, combined, from every kind of video."""

from __future__ import annotations

import io

from pack import clip, demo, encode_video, module, node, prompt, raises, tokens


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


def check_pictures_of_every_kind_of_video_agree() -> None:
    import torch
    from comfy_api.latest import InputImpl

    pick = module("nodes.video").pick_frames
    path = clip()
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

    whole = InputImpl.VideoFromFile(str(clip()))
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
