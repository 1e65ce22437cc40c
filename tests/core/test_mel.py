"""The log-mel conditioner and the span that is hidden from it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from audiox_core.errors import InputError
from audiox_core.networks.hidden_span import draw_spans, hide
from audiox_core.networks.mel import MelConfig, MelPromptEncoder, log_mel, mel_filters
from tests.core.family import BOUND, error, fill, golden_set, randomise, seed_of, shapes_of

BEFORE = "conditioner.conditioners.audio_prompt."
CONFIG = MelConfig(cond_dim=768)


def computed() -> dict[str, Tensor]:
    golden = golden_set("audiox_maf")
    net = fill(MelPromptEncoder(CONFIG), BEFORE, golden.shapes(BEFORE))
    g = golden.inputs("audio")
    wave = g["audio"]

    def spans(batch: int) -> Tensor | None:
        generator = torch.Generator().manual_seed(seed_of(golden, "audio"))
        return draw_spans(batch, CONFIG.frames(wave.shape[-1]), CONFIG.hidden_share, generator)

    one, both = spans(1), spans(2)
    assert one is not None and both is not None
    assert one.tolist() == g["hidden_span"] and both.tolist() == g["both_spans"]
    return {
        "log_mel": log_mel(wave[:1].mean(dim=1), CONFIG),
        "whole": net(wave[:1]),
        "hidden": net(wave[:1], one),
        "both_crop": net(wave, both)[:, ::4, ::8],
        "mono_crop": net(wave[:1, :1])[:, ::8, ::8],
        "silence_crop": net(torch.zeros_like(wave[:1]), one)[:, ::4, ::8],
    }


@torch.inference_mode()
def test_golden() -> None:
    ours, expected = computed(), golden_set("audiox_maf").stored("audio")
    assert ours.keys() == expected.keys()
    for output in ours:
        assert error(ours[output], expected[output]) <= BOUND, output


@pytest.mark.parametrize("file", ["keys.tiny.json", "keys.full.json"])
def test_names_are_the_released_ones(file: str) -> None:
    net = MelPromptEncoder(CONFIG, device="meta")
    assert shapes_of(net) == golden_set("audiox_maf").shapes(BEFORE, file)


@pytest.mark.filterwarnings("ignore:At least one mel filterbank")
def test_equal_to_torchaudio() -> None:
    transforms = pytest.importorskip("torchaudio.transforms")
    wave = torch.randn(2, 9000, generator=torch.Generator().manual_seed(0)) * 0.3
    theirs = transforms.MelSpectrogram(24000, n_fft=1024, win_length=1024, hop_length=256, n_mels=256, power=1.0)
    assert error(log_mel(wave, CONFIG), theirs(wave).clamp(min=1e-5).log()) <= 1e-6
    assert error(mel_filters(513, 256, 24000), theirs.mel_scale.fb) <= 1e-6


def test_a_tone_lands_in_its_filter() -> None:
    """1 kHz is 1000 mel; the filters are laid out for another rate than the sound's, which shifts it down."""
    for rate, hertz in ((24000, 1000.0), (44100, 1000.0 * 24000 / 44100)):
        wave = torch.sin(2 * torch.pi * 1000.0 * torch.arange(rate) / rate)[None]
        peak = int(log_mel(wave, CONFIG)[0, :, 40].argmax())
        step = 2595 * torch.log10(torch.tensor(1 + 12000 / 700)) / 257
        expected = 2595 * torch.log10(torch.tensor(1 + hertz / 700)) / step - 1
        assert abs(peak - expected) <= 3


def test_tokens_of_ten_seconds() -> None:
    net = randomise(MelPromptEncoder(MelConfig(cond_dim=8)))
    assert net(torch.zeros(1, 2, 441000)).shape == (1, 1723, 8) and CONFIG.frames(441000) == 1723
    with pytest.raises(InputError, match="more than 512"):
        net(torch.zeros(1, 2, 512))


def test_spans() -> None:
    generator = torch.Generator().manual_seed(0)
    spans = torch.cat([draw_spans(1, 100, (0.7, 1.0), generator) for _ in range(200)])  # type: ignore[misc]
    size = spans[:, 1] - spans[:, 0]
    assert spans.min() >= 0 and spans.max() <= 100 and size.min() >= 70 and size.max() <= 100
    state = generator.get_state()
    assert draw_spans(3, 100, (0.0, 0.0), generator) is None
    assert torch.equal(generator.get_state(), state)  # nothing drawn
    with pytest.raises(InputError, match="smaller first"):
        draw_spans(1, 100, (0.5, 0.2), generator)


def test_hiding() -> None:
    x = torch.ones(2, 3, 6)
    assert hide(x, None) is x
    hidden = hide(x, torch.tensor([[1, 3], [0, 6]]))
    assert hidden[0, 0].tolist() == [1, 0, 0, 1, 1, 1] and not hidden[1].any()
    assert torch.equal(hide(x, torch.tensor([[1, 3]]))[1], hidden[0])
