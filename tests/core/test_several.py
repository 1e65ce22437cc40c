"""Several sounds of one call, and what stays of them, of an edit and of a longer sound when Ctrl-C ends the run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from audiox_core import Sound
from audiox_core.errors import InputError
from audiox_core.pipeline import Pipeline

QUICK: dict[str, Any] = {"steps": 2, "seconds": 0.5}


def stopping(at: int) -> Callable[[int, int], None]:
    """An on_step that is a Ctrl-C at the step of this number, counted over all sounds."""
    steps: list[int] = []

    def tell(*_: int) -> None:
        steps.append(1)
        if len(steps) == at:
            raise KeyboardInterrupt

    return tell


def test_a_list_of_texts_gives_each_its_sound(pipe: Pipeline) -> None:
    texts = ["rain", "thunder", "rain"]
    sounds = pipe(texts, seed=3, guidance=2.0, **QUICK)
    assert isinstance(sounds, list) and len(sounds) == 3
    for text, sound in zip(texts, sounds, strict=True):
        assert torch.equal(sound.waveform, pipe(text, seed=3, guidance=2.0, **QUICK).waveform)
    assert not torch.equal(sounds[0].waveform, sounds[1].waveform)
    assert len(pipe(text=["rain"], **QUICK)) == 1


def test_lists_that_cannot_be_made_are_refused_before_anything_is(
    pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe.residence, "run", lambda *_: pytest.fail("a network worked before all was checked"))
    for texts, words in (
        ([], r"text: a list of 0\. Give 1 to 64 texts"),
        (["rain"] * 65, "text: a list of 65"),
        (["rain", 5], "text: expected a text, got int"),
        (["rain", ["thunder"]], "text: expected a text, got list"),
    ):
        with pytest.raises(InputError, match=words):
            pipe(texts, **QUICK)
    with pytest.raises(InputError, match="text: takes are made of one text"):
        pipe.takes(2, ["rain", "thunder"], **QUICK)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="text: expected a text, got list"):
        pipe.edit(torch.zeros(2, 44100), "0-1", text=["rain"])


def test_ctrl_c_ends_all_takes(pipe: Pipeline) -> None:
    """In the second of three takes: the first is kept, whole; none is made after it."""
    whole = pipe.takes(3, "rain", **QUICK)
    kept = pipe.takes(3, "rain", on_step=stopping(3), keep_finished=True, **QUICK)
    assert [sound.finished for sound in kept] == [True]
    assert torch.equal(kept[0].waveform, whole[0].waveform)
    with pytest.raises(KeyboardInterrupt):
        pipe.takes(3, "rain", on_step=stopping(3), **QUICK)
    with pytest.raises(KeyboardInterrupt):  # nothing was finished
        pipe.takes(3, "rain", on_step=stopping(1), keep_finished=True, **QUICK)


def test_ctrl_c_in_a_longer_take_keeps_its_windows_and_makes_no_other(pipe: Pipeline) -> None:
    given = {"steps": 1, "seconds": 16.0, "normalize": False}
    kept = pipe.takes(3, "rain", on_step=stopping(4), keep_finished=True, **given)
    assert [sound.finished for sound in kept] == [True, False]
    assert kept[0].seconds == 16 and len(kept[0].windows) == 2
    assert 10 < kept[1].seconds < 11 and kept[1].windows[0] == (0.0, kept[1].seconds)
    second = pipe.takes(2, "rain", **given)[1].waveform[:, : kept[1].waveform.shape[1]]
    torch.testing.assert_close(kept[1].waveform[:, :400_000], second[:, :400_000], atol=1e-5, rtol=1e-4)


def test_ctrl_c_ends_a_list_of_texts(pipe: Pipeline) -> None:
    kept = pipe(["rain", "thunder", "wind"], on_step=stopping(5), keep_finished=True, **QUICK)
    assert len(kept) == 2 and all(sound.finished for sound in kept)


@pytest.mark.parametrize("wish", [{"keep_finished": True}, {"on_sound": print}])
def test_an_edit_is_finished_only_as_a_whole(
    wish: dict[str, Any], pipe: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe.residence, "run", lambda *_: pytest.fail("a network worked before all was checked"))
    source = torch.zeros(2, 44100)
    (name,) = wish
    for change in (lambda: pipe.edit(source, "0-1", steps=1, **wish), lambda: pipe.extend(source, after=1, **wish)):
        with pytest.raises(InputError, match=f"{name}: an edited sound is only finished as a whole"):
            change()


def test_a_sound_knows_what_was_made_anew_and_in_which_windows(pipe: Pipeline) -> None:
    source = 0.1 * torch.randn(2, 2 * 44100, generator=torch.Generator().manual_seed(0))
    assert pipe("rain", **QUICK).windows == pipe("rain", **QUICK).regions == ()
    assert pipe.edit(source, "0.5-1", steps=1).regions == ((0.5, 1.0),)
    longer = pipe.extend(source, before=0.25, after=14, steps=1)
    assert longer.regions == ((0.0, 0.25), (2.25, 16.25)) and len(longer.windows) > 1
    together = pipe("rain", seconds=16.0, steps=1, long="together")
    assert together.windows[0][0] == 0 and together.windows[-1][1] == 16.0


def test_a_variation_is_heard_early_and_kept(pipe: Pipeline) -> None:
    source = 0.1 * torch.randn(2, 16 * 44100, generator=torch.Generator().manual_seed(0))
    heard: list[Sound] = []
    whole = pipe.vary(source, 0.5, steps=1, on_sound=heard.append)
    assert len(heard) == 2
    torch.testing.assert_close(heard[-1].waveform, whole.waveform, atol=1e-5, rtol=1e-4)
    assert not pipe.vary(source, 0.5, steps=1, on_step=stopping(2), keep_finished=True).finished
