"""What a conditioner is shown of a batch of images and a video, and played of a sound: by seconds, from a start on."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.media import resample
from audiox_core.media.audio import write_audio
from audiox_core.media.prompts import hear, look, look_at_images
from audiox_core.models.parts import Hearing, Sight
from tests.core.media_clips import numbers, picture, write_clip

SIGHT = Sight(56, ((5.0, 10), (25.0, 50)))  # two seconds at two rates
HEARING = Hearing(1000, 2000)


def images(count: int) -> Tensor:
    """(count, 56, 56, 3) float, each with its number in it."""
    return torch.stack([torch.from_numpy(picture(i, 56, 56)) for i in range(count)]).float() / 255


def seen(frames: list[Tensor]) -> list[list[int]]:
    assert [f.shape for f in frames] == [(1, 10, 3, 56, 56), (1, 50, 3, 56, 56)]
    return [numbers(f[0]) for f in frames]


def test_images_are_chosen_by_time() -> None:
    """60 images, ten a second: six seconds, of which the model sees two."""
    found = look_at_images(SIGHT, images(60), 10)
    slow, fast = seen(found.frames)
    assert found.seconds == 2 and slow == list(range(0, 20, 2))
    assert fast[0] == 0 and fast[-1] >= 19 and fast == sorted(fast)
    later = look_at_images(SIGHT, images(60), 10, start=3.5)
    assert later.seconds == 2 and seen(later.frames)[0] == list(range(35, 55, 2))


def test_images_past_the_seconds_are_not_seen() -> None:
    found = look_at_images(SIGHT, images(60), 10, start=1, seconds=0.5)
    slow, fast = seen(found.frames)
    assert found.seconds == 0.5
    assert slow == [10, 12] + [14] * 8 and max(fast) == 14
    ending = look_at_images(SIGHT, images(60), 10, start=5.5)
    assert ending.seconds == pytest.approx(0.5) and seen(ending.frames)[0][-1] in (58, 59)


def test_a_single_image_is_a_still_from_any_start() -> None:
    for start in (0.0, 7.0):
        found = look_at_images(SIGHT, images(1), 10, start=start, seconds=1.5)
        assert found.seconds == 1.5
        assert seen(found.frames) == [[0] * 10, [0] * 50]


@pytest.mark.parametrize("start", [6.0, 6.1, 100.0])
def test_a_start_past_the_images(start: float) -> None:
    with pytest.raises(InputError, match=rf"start is {start:g} s, 60 images at 10 a second last 6\.00 s"):
        look_at_images(SIGHT, images(60), 10, start=start)


def test_a_part_of_a_video_counts_as_the_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", 60, 10)
    part = look(SIGHT, path, begin=1, end=4, start=0.5)
    assert part.seconds == 2 and seen(part.frames)[0] == list(range(15, 35, 2))
    short = look(SIGHT, path, begin=1, end=2, start=0.5)
    assert short.seconds == pytest.approx(0.5)
    assert max(seen(short.frames)[0]) <= 19
    with pytest.raises(InputError, match=r"start is 1 s, the video lasts 1\.00 s"):
        look(SIGHT, path, begin=1, end=2, start=1)


def test_waveforms_are_heard_like_files(tmp_path: Path) -> None:
    sound = torch.rand(2, 3000, generator=torch.Generator().manual_seed(0)) - 0.5
    path = write_audio(tmp_path / "a.wav", sound, 1000)
    for start in (0.0, 1.25):
        ours = hear(HEARING, sound, start=start)
        assert ours.shape == (1, 2, 2000)
        assert torch.allclose(ours, hear(HEARING, path, start=start), atol=2e-4)
    both = hear(HEARING, torch.stack([sound, -sound]), start=1.25)
    assert torch.equal(both[0], -both[1]) and torch.equal(both[0], hear(HEARING, sound, start=1.25)[0])


def test_a_waveforms_own_rate_and_seconds() -> None:
    sound = torch.sin(torch.arange(8000) / 40).expand(2, -1)
    slower = hear(HEARING, sound, sample_rate=2000)
    assert torch.allclose(slower[0], resample(sound, 2000, 1000)[:, :2000], atol=1e-6)
    cut = hear(HEARING, sound, start=0.5, seconds=1)
    whole = hear(HEARING, sound[:, :1500], start=0.5)
    assert torch.equal(cut, whole)


@pytest.mark.parametrize(("samples", "start", "words"), [(0, 0.0, "is empty"), (3000, 3.0, r"lasts 3\.00 s")])
def test_sounds_that_cannot_be_heard(samples: int, start: float, words: str) -> None:
    with pytest.raises(InputError, match=words):
        hear(HEARING, torch.zeros(2, samples), start=start)
