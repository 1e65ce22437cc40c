"""Masks and lengths of latents: what ComfyUI's own nodes make of them, and what our nodes make of that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from by_hand import differ, null
from pack import demo, latent, module, near, node, raises, sample

LENGTH = 40


@contextmanager
def warnings() -> Iterator[list[str]]:
    """What is logged as a warning of ours within."""
    said: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("audiox").addHandler(handler)
    try:
        yield said
    finally:
        logging.getLogger("audiox").removeHandler(handler)


def source() -> Any:
    import torch

    return torch.randn(1, 64, LENGTH, generator=torch.Generator().manual_seed(5))


def masked(mask: Any) -> Any:
    """A sound varied where a mask of ComfyUI's own node says so."""
    import nodes

    given = {"samples": source(), "type": "audio"}
    return sample(latent=nodes.SetLatentNoiseMask().set_mask(given, mask)[0], steps=4)


def check_masks_of_pictures_are_read_from_left_to_right() -> None:
    import torch

    half = torch.zeros(1, 64, LENGTH)
    half[..., LENGTH // 2 :] = 1
    out = masked(half)
    near(out[..., : LENGTH // 2], source()[..., : LENGTH // 2], 1e-5)
    assert differ(out[..., LENGTH // 2 :], source()[..., LENGTH // 2 :])
    wide = torch.nn.functional.interpolate(half, size=8 * LENGTH, mode="nearest")
    assert masked(wide).equal(out)
    sound = {"samples": source(), "type": "audio", "noise_mask": half[:, :1]}
    assert sample(latent=sound, steps=4).equal(out)


def check_masks_of_other_shapes_say_so() -> None:
    import torch

    error = module("audiox_core.errors").InputError
    for mask, words in (
        (torch.zeros(1, 3, 8, LENGTH), "AudioX Sampler: the mask has shape (1, 3, 8, 40). Give one over time"),
        (torch.full((1, 1, LENGTH), 2.0), "AudioX Sampler: the mask holds values outside 0 to 1."),
    ):
        given = {"samples": source(), "noise_mask": mask}
        raises(error, words, lambda given=given: sample(latent=given))


def check_long_context_windows_are_warned_of_once_a_run() -> None:
    """ComfyUI's own; latents that are longer than a window are no reason to worry: they get windows of ours."""
    for model, count in ((demo()[0], 0), (windows(236), 0), (windows(250), 1)):
        for _ in range(2):
            with warnings() as said:
                sample(model=model, latent=latent(260), steps=1, negative=null())
            assert len([line for line in said if "Context Windows makes" in line]) == count, said
    assert said[0].startswith(
        "AudioX: Context Windows makes 11.61 s at a time, but the model was trained on 10.96 s"
    ), said


def windows(length: int) -> Any:
    from check_patches import windows as made

    return made(context_length=length, context_overlap=40)


def joined(name: str, *given: Any, **options: Any) -> Any:
    """The latent that one of ComfyUI's nodes makes, old notation or new; None where its version lacks it."""
    import_module("comfy_extras.nodes_post_processing")  # the two import each other, in this order only
    kind = getattr(import_module("comfy_extras.nodes_latent"), name, None)
    if kind is None:
        return None
    run = getattr(kind, "execute", None) or getattr(kind(), kind.FUNCTION)
    return run(*given, **options)[0]


def check_seconds_that_fit_no_longer_are_forgotten() -> None:
    """Latents that were cut or joined after AudioX Empty Latent said how long they are."""
    import torch

    (ten,) = node("AudioXEmptyLatent")(seconds=10.0, batch_size=1)
    ten["samples"] = torch.randn(1, 64, 236)
    (five,) = node("AudioXEmptyLatent")(seconds=5.0, batch_size=1)
    five["samples"] = torch.randn(1, 64, 236)

    def decoded(given: Any) -> Any:
        return node("AudioXDecode")(vae=demo()[2], latent=given, seconds=0.0, normalize="off")[0]["waveform"].shape

    assert decoded(ten)[-1] == 441000
    assert decoded(joined("LatentConcat", ten, five, "x"))[-1] == 2 * 236 * 2048
    cut = joined("LatentCut", ten, "x", 20, 100)
    if cut is not None:
        assert decoded(cut)[-1] == 100 * 2048
    both = joined("LatentBatch", ten, five)
    assert decoded(both)[0] == 2
    assert decoded(both)[-1] in (441000, 236 * 2048)
