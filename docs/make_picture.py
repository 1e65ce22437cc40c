"""Draws docs/demo.webp, the README's moving picture: the sample clip and its sound in the making, by the demo model.

Run it with the tests' interpreter, which has Pillow: "$(make -s python-path)" -m docs.make_picture [PATH]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from audiox_core import Sound, load_pipeline
from audiox_core.media import read_frames, spectrogram_image
from audiox_core.media.axes import Axes
from audiox_core.media.picture import latent_picture
from audiox_core.models.settings import Settings
from audiox_core.sampling import sample
from audiox_core.sampling.windows import Windows

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "audiox_core" / "media" / "assets" / "sample.mp4"
TEXT, STEPS, SECONDS, FPS = "a steady drum beat", 24, 10.0, 10
EDGE, PANEL, SOUND = 12, (352, 198), (728, 200)  # pixels: the margin, a picture above, the spectrogram below
SIZE = (2 * EDGE + SOUND[0], 4 * EDGE + PANEL[1] + SOUND[1] + 2 * 20)
PAPER, INK, FAINT, MARK = (16, 18, 28), (232, 234, 240), (140, 146, 160), (255, 255, 255)
Picture = Image.Image


def denoised() -> tuple[list[Tensor], Sound]:
    """What the demo model holds to be the latents (1, C, L) at each step, and the sound that comes of them."""
    pipe = load_pipeline("demo", device="cpu")
    asked: dict[str, Any] = {"text": TEXT, "video": CLIP, "seconds": SECONDS, "steps": STEPS}
    settings = Settings.named(**asked).resolved(pipe.model)
    windows: Windows = pipe.windows(settings)
    draws = pipe.draw(settings.seed, windows.latents)
    guidance = pipe.conditioner.guidance(settings, draws.conditions, windows)
    task = pipe.task(guidance, draws, settings, windows)
    seen: list[Tensor] = []

    def work(network: Any, step: Any) -> Tensor:
        told = {"callback": lambda info: seen.append(info["denoised"].clone())}
        velocity = guidance.velocity(network, [0], step.device)
        return sample(velocity, draws.noise, generator=draws.generator, **task.schedule, **told)

    latents = pipe.residence.run(pipe.model.backbone.name, work)
    return [*seen, latents], pipe.finish(pipe.decode(latents), settings)


def picture_of(pixels: Tensor, size: tuple[int, int]) -> Picture:
    """(3, H, W) in 0..1 or uint8, or (H, W, 3) uint8, in that size."""
    if pixels.is_floating_point():
        pixels = (pixels * 255).round().byte()
    if pixels.shape[0] == 3:
        pixels = pixels.permute(1, 2, 0)
    return Image.fromarray(pixels.contiguous().numpy()).resize(size, Image.Resampling.BILINEAR)


def page(film: Picture, latents: Picture, sound: Picture | None, words: Sequence[str], mark: float = 0) -> Picture:
    """One picture of the film: the clip beside the latents, the sound below them with a line at pixel `mark` of it."""
    image = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    low = 2 * EDGE + 20 + PANEL[1]
    right = SIZE[0] - EDGE - PANEL[0]
    for text, x, y in ((words[0], EDGE, EDGE), (words[1], right, EDGE), (words[2], EDGE, low)):
        draw.text((x, y), text, INK, font)
    image.paste(film, (EDGE, EDGE + 20))
    image.paste(latents, (right, EDGE + 20))
    box = (EDGE, low + 20, EDGE + SOUND[0] - 1, low + 20 + SOUND[1] - 1)
    if sound is None:
        draw.rectangle(box, outline=(50, 54, 70))
        draw.text((EDGE + 10, low + 28), "waiting for the last step", FAINT, font)
    else:
        image.paste(sound, box[:2])
        draw.line((box[0] + mark, box[1], box[0] + mark, box[3]), MARK, 2)
    return image


def pages() -> list[Picture]:
    """The whole film: first the latents clear up, then the clip plays above its sound."""
    steps, sound = denoised()
    frames = read_frames(CLIP, fps=FPS, count=round(SECONDS * FPS), size=PANEL[0])  # squares, unsqueezed below
    film = [picture_of(frame, PANEL) for frame in frames]
    looks = [picture_of(latent_picture(latents)[0].flip(1), PANEL) for latents in steps]
    drawn = spectrogram_image(sound.waveform, sound.sample_rate, *SOUND)
    plot = Axes.within(drawn, sound.seconds, sound.sample_rate, "log", numbers=True, show_waveform=False).plot
    spectrum = picture_of(drawn, SOUND)
    clip, below = "Video in, and a prompt: " + TEXT, "The sound (the demo model has random weights: it is noise)"
    making = [
        page(film[0], look, None, (clip, f"Latents, step {min(number, STEPS)} of {STEPS}", "Sound"))
        for number, look in enumerate(looks, 1)
    ]
    playing = [
        page(shot, looks[-1], spectrum, (clip, "Latents, finished", below), plot.left + plot.width * number / len(film))
        for number, shot in enumerate(film)
    ]
    return [*making, *playing]


def main(path: Path) -> None:
    """Writes the film to `path` and says how large it is."""
    film = pages()
    film[0].save(path, save_all=True, append_images=film[1:], duration=1000 // FPS, loop=0, quality=60, method=4)
    print(f"{path}: {len(film)} pictures, {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if sys.argv[1:] else ROOT / "docs" / "demo.webp")
