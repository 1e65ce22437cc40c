"""Masks, placing a cut, and holding the rest to the source."""

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.sampling import randn_like_from, sample
from audiox_core.sampling.regions import KeepSource, build_mask, crop_and_paste, over_time


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_a_hard_mask_covers_every_touched_frame() -> None:
    mask = build_mask(10, start=25, end=61)  # frames 2.5 to 6.1
    assert mask.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0, 0]
    assert mask.dtype == torch.float32


def test_soft_edges_rise_and_fall_inside_the_region() -> None:
    mask = build_mask(100, start=20, end=80, softness_left=10, softness_right=20)
    assert (mask[:20] == 0).all()
    assert (mask[80:] == 0).all()
    assert (mask[30:60] == 1).all()
    assert (mask[20:30].diff() > 0).all()
    assert (mask[60:80].diff() < 0).all()
    assert mask[20] == 0
    assert mask[79] == 0


def test_marination_lowers_the_mask() -> None:
    assert build_mask(4, start=0, end=100, marination=0.25).tolist() == [0.75] * 4


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"start": 50, "end": 50}, "mask start and end"),
        ({"start": 60, "end": 50}, "mask start and end"),
        ({"start": -1, "end": 50}, "mask start and end"),
        ({"start": 0, "end": 101}, "mask start and end"),
        ({"start": 0, "end": 50, "marination": 1.5}, "marination"),
        ({"start": 40, "end": 50, "softness_left": 20}, "softness"),
        ({"start": 40, "end": 50, "softness_right": 20}, "softness"),
        ({"start": 40, "end": 50, "softness_right": -5}, "softness"),
    ],
)
def test_masks_out_of_range(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        build_mask(100, **options)


def test_crop_and_paste_moves_a_cut() -> None:
    latents = torch.arange(10.0).reshape(1, 1, 10)
    pasted = crop_and_paste(latents, crop_from=10, paste_from=55, paste_to=85)
    assert pasted.flatten().tolist() == [0, 0, 0, 0, 0, 1, 2, 3, 4, 0]


def test_crop_and_paste_ends_where_the_source_ends() -> None:
    latents = torch.arange(10.0).reshape(1, 1, 10)
    pasted = crop_and_paste(latents, crop_from=80, paste_from=0, paste_to=50)
    assert pasted.flatten().tolist() == [8, 9, 0, 0, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"crop_from": 0, "paste_from": 50, "paste_to": 50}, "paste_from and paste_to"),
        ({"crop_from": 0, "paste_from": 50, "paste_to": 120}, "paste_from and paste_to"),
        ({"crop_from": -5, "paste_from": 0, "paste_to": 50}, "crop_from"),
    ],
)
def test_crops_out_of_range(options: dict, named: str) -> None:
    with pytest.raises(InputError, match=named):
        crop_and_paste(torch.zeros(1, 1, 10), **options)


def test_a_soft_mask_is_given_back_to_the_source_bit_by_bit() -> None:
    keep = KeepSource(torch.ones(1, 1, 4), torch.tensor([0.0, 0.3, 0.6, 1.0]), 4, torch.zeros_like)
    assert [keep.kept(i).tolist() for i in range(4)] == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 1, 1],
    ]
    assert keep.start().flatten().tolist() == [1, 0, 0, 0]


def test_x_is_overwritten_in_place_and_the_next_callback_told() -> None:
    told = []
    source, x = normal(1, 2, 3), normal(1, 2, 3, seed=1)
    keep = KeepSource(source, torch.tensor([0.0, 1.0, 1.0]), 4, torch.ones_like, told.append)
    before, info = x.clone(), {"x": x, "i": 1, "sigma": 5.0}
    keep(info)
    torch.testing.assert_close(x[..., :1], source[..., :1] + 5.0)
    assert torch.equal(x[..., 1:], before[..., 1:])
    assert told == [info]


@pytest.mark.parametrize("name", ["dpmpp-3m-sde", "k-heun"])
def test_where_the_mask_is_0_the_source_stays(name: str) -> None:
    source, noise = normal(1, 8, 200), normal(1, 8, 200, seed=1)
    mask = build_mask(200, start=50, end=100, marination=0.01)  # 0.99: made anew until the last step
    generator = torch.Generator().manual_seed(2)
    keep = KeepSource(source, mask, 30, randn_like_from(generator))

    def velocity(x: Tensor, t: Tensor) -> Tensor:  # exact for data of deviation 0.7
        a = (t * torch.pi / 2).reshape(-1, 1, 1)
        return x * a.cos() * a.sin() * 0.51 / (a.cos() ** 2 * 0.49 + a.sin() ** 2)

    latents = sample(
        velocity,
        noise,
        steps=30,
        sigma_min=0.1,
        sigma_max=80.0,
        sampler=name,
        generator=generator,
        init=keep.start(),
        callback=keep,
    )

    def likeness(part: slice) -> float:
        both = torch.stack([latents[..., part].flatten(), source[..., part].flatten()])
        return torch.corrcoef(both)[0, 1].item()

    assert likeness(slice(0, 100)) > 0.9
    if name == "dpmpp-3m-sde":  # k-heun's last step would take the source again where the mask is below 1
        assert abs(likeness(slice(100, 200))) < 0.15


def test_a_picture_s_mask_counts_from_left_to_right() -> None:
    picture = torch.zeros(2, 1, 4, 8)
    picture[0, :, :, 4:] = 1
    picture[1, :, :2] = 1  # the upper half of all columns
    found = over_time(picture, 8)
    assert found.shape == (2, 1, 8)
    assert found[0, 0].tolist() == [0] * 4 + [1] * 4
    assert found[1, 0].tolist() == [0.5] * 8
    for same in (picture[:, 0], picture.half()):
        assert torch.equal(over_time(same, 8), found)
    assert torch.equal(over_time(picture[0, 0], 8), found[:1])


def test_masks_over_time_are_stretched_to_their_latents() -> None:
    line = torch.tensor([0.0, 0.0, 1.0, 1.0])
    assert torch.equal(over_time(line, 4), line[None, None])
    assert torch.equal(over_time(line.expand(3, 1, 4), 2), torch.tensor([0.0, 1.0]).expand(3, 1, 2))
    longer = over_time(line, 40)[0, 0]
    assert longer[:10].eq(0).all() and longer[-10:].eq(1).all() and (longer.diff() >= 0).all()


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (torch.zeros(1, 3, 4, 8), "the mask has shape"),
        (torch.zeros(1, 1, 1, 1, 8), "the mask has shape"),
        (torch.zeros(0, 1, 8), "the mask has shape"),
        (torch.full((1, 1, 8), 1.5), "outside 0 to 1"),
        (torch.full((1, 1, 8), float("nan")), "outside 0 to 1"),
    ],
)
def test_masks_that_are_none(mask: Tensor, words: str) -> None:
    with pytest.raises(InputError, match=words):
        over_time(mask, 8)


@pytest.mark.parametrize("name", ["k-heun", "dpmpp-3m-sde"])
def test_what_is_kept_drags_no_graph_along(name: str) -> None:
    """The source is put back behind the sampler, and gradients of it would hold the whole run in memory."""
    source, mask = normal(1, 2, 8, seed=1).requires_grad_(), torch.tensor([0.0, 1.0]).repeat_interleave(4)
    with torch.enable_grad():
        latents = sample(
            lambda x, t: x.tanh(),
            normal(1, 2, 8),
            steps=2,
            sampler=name,
            source=source,
            mask=mask,
            generator=torch.Generator().manual_seed(0),
        )
    assert not latents.requires_grad
    assert torch.equal(latents[..., :4], source.detach()[..., :4])
