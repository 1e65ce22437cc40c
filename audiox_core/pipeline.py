"""The path from inputs to a sound: encode once, sample, decode. For scripts and the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .conditioner import join
from .errors import AudioXError, InputError
from .media.sound import Sound
from .memory.report import Machine, Plan
from .memory.residence import Residence, Step
from .models.config import AudioConfig, ModelConfig, TextConfig, VideoConfig
from .networks.t5 import Tokenizer, truncate
from .sampling import sample, sampler
from .sampling.guidance import GuidedVelocity

log = logging.getLogger("audiox")

OnStep = Callable[[int, int], None]


@dataclass(frozen=True)
class Draws:
    """All randomness of one generation, in the released pipeline's order.

    Drawn on the CPU, so that a seed means the same on every device.
    """

    noise: Tensor  # (1, C, L), where sampling starts
    prompt_noise: Tensor  # (1, C, 215), samples the audio prompt's latents; drawn even without a prompt
    generator: torch.Generator  # what the sampler still needs

    @classmethod
    def from_seed(cls, seed: int, channels: int, latents: int, prompt_latents: int) -> Draws:
        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(1, channels, latents, generator=generator)
        prompt_noise = torch.randn(1, channels, prompt_latents, generator=generator)
        return cls(noise, prompt_noise, generator)


class Pipeline:
    """A loaded model. Made by load_pipeline; call it with what the sound should follow."""

    def __init__(
        self,
        config: ModelConfig,
        residence: Residence,
        tokenizer: Tokenizer,
        *,
        machine: Machine,
        plan: Plan,
        notice: str | None = None,
    ):
        self.config, self.timing = config, config.timing
        self.residence, self.tokenizer = residence, tokenizer
        self.machine, self.plan, self.notice = machine, plan, notice
        self._empty_text: Tensor | None = None

    @property
    def report(self) -> str:
        """What the machine has, and where each part of the model goes."""
        from .memory.report import report

        return report(self.plan, self.machine)

    @torch.inference_mode()
    def __call__(
        self,
        text: str | None = None,
        video: str | Path | None = None,
        audio: str | Path | Tensor | None = None,
        *,
        image: str | Path | None = None,
        seconds: float = 10.0,
        steps: int = 250,
        guidance: float = 7.0,
        seed: int = 0,
        negative_text: str | None = None,
        sampler: str = "dpmpp-3m-sde",
        sigma_min: float = 0.3,
        sigma_max: float = 500.0,
        rho: float = 1.0,
        rescale: float = 0.0,
        start: float = 0.0,
        audio_start: float = 0.0,
        normalize: bool = True,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Sound:
        """A sound of so many seconds that follows the given text, video, image and audio prompt, alone or together.

        video (from start seconds on) and image are files; image counts as a still video. audio is a file (from
        audio_start seconds on) or a stereo waveform (2, N) at the model's rate, ten seconds of which are heard as an
        example. guidance 1 switches guidance off, rescale is in 0..1. normalize brings the peak to 1.
        on_step(done, total) is called after each step; what it raises ends the run. progress shows bars.
        Raises InputError for arguments out of range, MediaError for unreadable files, OutOfMemory.
        """
        self.check(seconds=seconds, seed=seed, sampler_name=sampler, guidance=guidance, rescale=rescale)
        if text is None and video is None and image is None and audio is None:
            raise InputError("nothing to follow: give text, a video, an image or audio (or several)")
        if video is not None and image is not None:
            raise InputError("video and image are both given; an image counts as a still video, so give one of them")
        timing, channels = self.timing, self.config.dit.io_channels
        draws = Draws.from_seed(seed, channels, timing.latents, timing.prompt_latents)
        frames = self.read_frames(video if video is not None else image, start)
        waveform = self.read_prompt(audio, audio_start)
        positive = self.encode(text, frames, waveform, draws.prompt_noise, progress=progress)
        negative = None if negative_text is None else self.encode(negative_text, progress=progress)
        latents = self.sample(
            positive,
            negative,
            draws,
            steps=steps,
            guidance=guidance,
            rescale=rescale,
            sampler=sampler,
            sigma_min=sigma_min,
            sigma_max=sigma_max,
            rho=rho,
            on_step=on_step,
            progress=progress,
        )
        return self.finish(self.decode(latents, progress=progress), seconds, normalize)

    def check(self, *, seconds: float, seed: int, sampler_name: str, guidance: float, rescale: float) -> None:
        """Arguments that would fail late fail here, before anything is read or encoded."""
        self.timing.check_seconds(seconds)
        sampler(sampler_name)
        if not 0 <= seed < 2**63:
            raise InputError(f"seed: {seed} is out of range; choose 0 to 2**63 - 1")
        if not (guidance == guidance and abs(guidance) < 1000):
            raise InputError(f"guidance: {guidance} is out of range; 7 is usual, 1 switches it off")
        if not 0 <= rescale <= 1:
            raise InputError(f"rescale: {rescale} is out of range; choose 0 to 1")

    def read_frames(self, source: str | Path | None, start: float) -> Tensor | None:
        """The video's frames (1, 50, 3, 224, 224), uint8, or None without a video."""
        if source is None:
            return None
        from .media import read_frames

        size = self.config.conditioner(VideoConfig).vision["image_size"]
        fps, count = self.timing.video_fps, self.timing.frames
        return read_frames(source, start=start, fps=fps, count=count, size=size)[None]

    def read_prompt(self, source: str | Path | Tensor | None, start: float) -> Tensor | None:
        """The audio prompt (1, 2, 441000), or None without one."""
        if source is None:
            return None
        from .media import prompt_audio

        rate = self.timing.sample_rate
        return prompt_audio(source, start=start, samples=self.timing.prompt_samples, sample_rate=rate)[None]

    def encode(
        self,
        text: str | None = None,
        frames: Tensor | None = None,
        waveform: Tensor | None = None,
        prompt_noise: Tensor | None = None,
        *,
        ids: list[int] | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Condition tokens (1, 471, D); what is absent takes the learned empty feature or the empty prompt.

        ids replaces the tokenizer's answer for text.
        """
        run = self.residence.run
        parts: Mapping[str, Any] = self.residence.components
        video_id, text_id, audio_id = (self.config.conditioner(c).id for c in (VideoConfig, TextConfig, AudioConfig))
        tokens: dict[str, Tensor] = {}
        with _bar("encode", progress) as bar:
            tokens[text_id] = self._encode_text(text, ids)
            if frames is None:
                tokens[video_id] = parts["video"].empty_visual_feat.detach()
            else:
                tokens[video_id] = run("video", lambda net, step: net(frames, on_frames=bar))
            if waveform is None:
                tokens[audio_id] = parts["audio"].empty_audio_feat.detach()
            else:
                tokens[audio_id] = run(
                    "audio", lambda net, step: net(waveform, prompt_noise, tile=step.tile, on_tile=bar)
                )
        return join({k: v.cpu() for k, v in tokens.items()}, self.config.cross_attention_cond_ids)

    def _encode_text(self, text: str | None, ids: list[int] | None) -> Tensor:
        """Text tokens (1, 128, D); those of the empty prompt are kept, because every video needs them."""
        if ids is None and not text and self._empty_text is not None:
            return self._empty_text
        max_length = self.config.conditioner(TextConfig).max_length
        row = ids if ids is not None else truncate(text or "", self.tokenizer, max_length)
        tokens: Tensor = self.residence.run("text", lambda net, step: net([row])).cpu()
        if ids is None and not text:
            self._empty_text = tokens
        return tokens

    def sample(
        self,
        positive: Tensor,
        negative: Tensor | None,
        draws: Draws,
        *,
        steps: int,
        guidance: float,
        sampler: str,
        sigma_min: float,
        sigma_max: float,
        rho: float = 1.0,
        rescale: float = 0.0,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Latents (1, C, L), float32 on the CPU, from condition tokens."""
        state = draws.generator.get_state()

        def attempt(net: Any, step: Step) -> Tensor:
            draws.generator.set_state(state)  # a second attempt after running out of memory draws the same
            with _bar("sample", progress) as bar:

                def callback(info: dict[str, Any]) -> None:
                    for tell in (bar, on_step):
                        if tell is not None:
                            tell(info["i"] + 1, steps)

                velocity = GuidedVelocity(
                    net,
                    positive.to(step.device),
                    None if negative is None else negative.to(step.device),
                    scale=guidance,
                    rescale=rescale,
                )
                return sample(
                    velocity,
                    draws.noise.to(step.device),
                    steps=steps,
                    sigma_min=sigma_min,
                    sigma_max=sigma_max,
                    rho=rho,
                    sampler=sampler,
                    generator=draws.generator,
                    callback=callback,
                ).cpu()

        latents: Tensor = self.residence.run("dit", attempt)
        return latents

    def decode(self, latents: Tensor, *, progress: bool = False) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, 2048 L), float32 on the CPU, unbounded."""
        with _bar("decode", progress) as bar:
            waveform: Tensor = self.residence.run(
                "autoencoder", lambda net, step: net.decode(latents, tile=step.tile, on_tile=bar)
            )
        return waveform.float().cpu()

    def finish(self, waveform: Tensor, seconds: float, normalize: bool) -> Sound:
        """Trims (1, 2, N) to the requested length and brings its peak to 1."""
        from .media import normalize_peak

        if not torch.isfinite(waveform).all():
            raise AudioXError(
                "decode: the sound holds NaN or infinite values. Check the checkpoint, or run with --no-half."
            )
        sound = waveform[0, :, : self.timing.to_samples(seconds)].contiguous()
        return Sound(normalize_peak(sound) if normalize else sound, self.timing.sample_rate)


@contextmanager
def _bar(name: str, show: bool) -> Iterator[OnStep | None]:
    """A progress bar fed by (done, total) calls, from the first one on; None when it is not wanted."""
    if not show:
        yield None
        return
    from tqdm import tqdm

    bars: list[Any] = []

    def tell(done: int, total: int) -> None:
        if not bars:
            bars.append(tqdm(desc=name, total=total))
        bars[0].update(done - bars[0].n)

    try:
        yield tell
    finally:
        for bar in bars:
            bar.close()
