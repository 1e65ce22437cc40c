"""The path from inputs to a sound: encode once, sample, decode. For scripts and the command line."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .commands.bars import OnStep, bar_of, download_bars
from .conditioner import Conditioner
from .errors import AudioXError, InputError
from .media.sound import Sound
from .memory.machine import Machine, measure
from .memory.plan import Plan, check_options, make_plan
from .memory.report import report
from .memory.residence import Residence, Step
from .models.parts import Hearing, Model, Sight, Words
from .sampling import generator_from
from .sampling.guidance import GuidedVelocity
from .sampling.in_turn import InTurn
from .settings import MEDIA_FILES, Settings
from .weights.hub import check_place
from .weights.load import load_part, share_equal
from .weights.open import Opened, describe_model, open_model

log = logging.getLogger("audiox")


@dataclass(frozen=True)
class Draws:
    """All randomness of one generation, in the released pipeline's order.

    Drawn on the CPU, so that a seed gives the same noise on every device (what is made of it is rounded differently).
    """

    noise: Tensor  # (1, C, L), where sampling starts
    conditions: Mapping[str, Any]  # what each conditioner leaves to chance; drawn even without an input
    generator: torch.Generator  # what the sampler still needs


class Pipeline:
    """A loaded model. Made by load_pipeline; call it with what the sound should follow."""

    def __init__(self, opened: Opened, residence: Residence, *, machine: Machine):
        self.opened, self.model, self.timing = opened, opened.model, opened.model.timing
        self.residence, self.machine, self.plan = residence, machine, residence.plan
        self.conditioner = Conditioner(opened, residence)
        self.notice = opened.notice

    @property
    def report(self) -> str:
        """What the machine has, and where each part of the model goes."""
        return report(self.plan, self.machine)

    @torch.inference_mode()
    def __call__(
        self,
        text: str | None = None,
        video: Any = None,
        audio: Any = None,
        *,
        on_step: OnStep | None = None,
        progress: bool = False,
        **settings: Any,
    ) -> Sound:
        """A sound of so many seconds that follows the given text, video, image and audio prompt, alone or together.

        video (from start seconds on) and image are files; image counts as a still video. audio is a file (from
        audio_start seconds on) or a stereo waveform (2, N) at the model's rate, ten seconds of which are heard as an
        example. Other settings: seconds, steps, guidance, seed, negative_text, sampler, sigma_min, sigma_max, rho,
        rescale, start, audio_start, normalize, prompt_hidden and kept, as in Settings; what is left out is the model's
        own. A sound longer than the model's window is made window by window. on_step(done, total) is called after each
        step of each window; what it raises ends the run. progress shows bars.
        Raises InputError for arguments out of range, MediaError for unreadable files, OutOfMemory.
        """
        from .media.given import check_sources

        given = Settings.named(text=text, video=video, audio=audio, **settings).resolved(self.model)
        check_sources(given)
        for doubt in given.doubts(self.model):
            log.warning("%s", doubt)
        latents = max(self.timing.latents, self.timing.to_latents(given.seconds))  # type: ignore[arg-type]
        draws = self.draw(given.seed, latents, hidden=given.prompt_hidden)
        positive = self.encode(given, draws.conditions, self.windows(latents, given), progress=progress)
        negative = None
        if given.negative_text is not None:
            # The same draws: guidance multiplies whatever differs between the two.
            negative = self.encode(Settings(text=given.negative_text), draws.conditions, progress=progress)
        made = self.sample(positive, negative, draws, given, on_step=on_step, progress=progress)
        return self.finish(self.decode(made, progress=progress), given)

    def windows(self, latents: int, settings: Settings) -> tuple[int, ...]:
        """Where the windows of a sound of so many latents start; one for a sound that isn't longer than a window."""
        kept = None if settings.kept is None else self.timing.nearest_latents(settings.kept)
        return self.timing.windows(latents, kept)

    def draw(self, seed: int, latents: int | None = None, *, hidden: float | None = None) -> Draws:
        """What chance decides in a generation of so many latents (None: the model's window).

        hidden is the share of a prompt to be hidden, None the model's own. Raises InputError for a length that the
        model doesn't make: some make no less than their window.
        """
        latents = latents or self.timing.latents
        if self.model.length is not None and latents < self.model.length:
            raise InputError(f"latents: this model makes exactly {self.model.length}, not {latents}. Cut its sound.")
        generator = generator_from(seed)
        noise = torch.randn(1, self.model.channels, latents, generator=generator)
        return Draws(noise, self.conditioner.draw(generator, hidden), generator)

    def encode(
        self,
        given: Settings,
        drawn: Mapping[str, Any] | None = None,
        windows: Sequence[int] = (0,),
        *,
        progress: bool = False,
    ) -> dict[str, Tensor]:
        """Condition tokens (1, W, M, D) by modality; what is absent takes what stands for nothing.

        windows are the latents at which they start: of a video, each sees its own stretch. W is 1 for everything else.
        """
        from .media.prompts import hear, look_in_turn

        drawn, conditioner, model = drawn or {}, self.conditioner, self.model
        found: dict[str, Tensor | None] = {}
        with bar_of("encode", progress) as bar:
            picture = given.video if given.video is not None else given.image
            if given.text is not None:
                found[model.reader(Words)] = conditioner.text(given.text)
            if picture is not None:
                modality = model.reader(Sight)
                reads: Any = model.condition(modality).reads
                starts = [self.timing.to_seconds(window) for window in windows[: 1 if given.video is None else None]]
                views = [
                    conditioner.encode(modality, seen.frames, drawn.get(modality), bar)
                    for seen in look_in_turn(reads, picture, [given.start + start for start in starts])
                ]
                found[modality] = torch.stack(views, dim=1)
            if given.audio is not None:
                modality = model.reader(Hearing)
                reads = model.condition(modality).reads
                heard = hear(reads, given.audio, start=given.audio_start)
                found[modality] = conditioner.encode(modality, heard, drawn.get(modality), bar)
            return conditioner.complete(found, drawn)

    def sample(
        self,
        positive: Mapping[str, Tensor],
        negative: Mapping[str, Tensor] | None,
        draws: Draws,
        settings: Settings,
        *,
        on_step: OnStep | None = None,
        progress: bool = False,
    ) -> Tensor:
        """Latents (1, C, L), float32 on the CPU, from condition tokens by modality and resolved settings.

        More latents than a window are made window by window: each keeps the last latents of the one before it.
        """
        steps, latents = settings.steps or self.model.recipe.steps, draws.noise.shape[-1]
        starts, length = self.windows(latents, settings), min(self.timing.latents, latents)
        schedule: Any = {name: getattr(settings, name) for name in ("sigma_min", "sigma_max", "rho", "sampler")}
        # A second attempt after running out of memory goes on with the window that failed, and draws the same.
        in_turn = InTurn(draws.noise, starts, length, draws.generator)

        def attempt(network: Any, step: Step) -> Tensor:
            def velocity(number: int) -> GuidedVelocity:
                return GuidedVelocity(
                    network,
                    _window(positive, number, step.device),
                    None if negative is None else _window(negative, number, step.device),
                    scale=settings.guidance,  # type: ignore[arg-type]
                    rescale=settings.rescale,
                )

            with bar_of("sample", progress) as bar:

                def told(done: float, number: int) -> None:
                    for tell in (bar, on_step):
                        if tell is not None:
                            tell(round((number + done) * steps), steps * len(starts))

                objective = self.model.recipe.objective
                return in_turn(velocity, device=step.device, on_step=told, objective=objective, steps=steps, **schedule)

        made: Tensor = self.residence.run(self.model.backbone.name, attempt)
        return made

    def decode(self, latents: Tensor, *, progress: bool = False) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, 2048 L), float32 on the CPU, unbounded."""
        with bar_of("decode", progress) as bar:

            def work(network: Any, step: Step) -> Tensor:
                # The plan is for a window: what is longer is never decoded at once.
                tile = step.tile or (self.timing.latents if latents.shape[-1] > self.timing.latents else None)
                return network.decode(latents, tile=tile, on_tile=bar, device=step.device)

            return self.residence.run(self.model.autoencoder.name, work).float().cpu()

    def finish(self, waveform: Tensor, settings: Settings) -> Sound:
        """Trims (1, 2, N) to the requested length and sets its level."""
        from .media.loudness import at_level

        if not torch.isfinite(waveform).all():
            raise AudioXError(
                "decode: the sound holds NaN or infinite values. Check the checkpoint, or run with --no-half."
            )
        seconds = settings.seconds or self.timing.prompt_seconds
        sound = waveform[0, :, : self.timing.to_samples(seconds)].contiguous()
        sources = [getattr(settings, name) for name in MEDIA_FILES]
        files = tuple(source for source in sources if isinstance(source, str | os.PathLike))
        rate = self.timing.sample_rate
        return Sound(at_level(sound, rate, settings.normalize), rate, files)


def _window(tokens: Mapping[str, Tensor], number: int, device: torch.device) -> dict[str, Tensor]:
    """The tokens (B, 1, M, D) of one window, on a device; those that are the same in all windows have only one."""
    return {name: (t if t.shape[1] == 1 else t[:, number : number + 1]).to(device) for name, t in tokens.items()}


def load_pipeline(
    name: str | Path = "AudioX",
    *,
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
    text_encoder: str | Path | None = None,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    download: bool = True,
    progress: bool = False,
) -> Pipeline:
    """A model ready to be called: "AudioX" (found or downloaded), a checkpoint's path, or "demo" (random weights).

    dtype: auto, fp32, bf16, fp16 or fp8; offload: auto, on or off; max_vram_gb caps what the device may hold.
    text_encoder and config are paths, for files that are not found by themselves. Raises ModelNotFound,
    CheckpointError, ConfigError, InputError, and OutOfMemory when no plan fits the machine.
    """
    check_options(dtype, offload, max_vram_gb)
    if text_encoder is not None:
        check_place("text encoder", text_encoder)  # before six gigabytes are downloaded
    machine = measure(device)
    with download_bars(progress) as on_progress:
        opened = open_model(
            name,
            config=config,
            text_encoder=text_encoder,
            models_dirs=models_dirs,
            download=download,
            on_progress=on_progress,
        )
        for part in opened.model.parts.values():
            opened.need(part)
    return assemble(opened, machine, dtype=dtype, offload=offload, max_vram_gb=max_vram_gb)


def assemble(
    opened: Opened,
    machine: Machine | None = None,
    *,
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
) -> Pipeline:
    """A pipeline from an opened model, by a plan made for this machine (None: as it is now)."""
    machine = machine or measure()
    plan = make_plan(machine, opened.model, precision=dtype, offload=offload, max_vram_gb=max_vram_gb)
    plan.check()
    networks = {
        name: load_part(part, opened.weights, **plan.places[name].format.options())
        for name, part in opened.model.parts.items()
    }
    saved = share_equal(networks.values())
    if saved:
        log.info("%s: %.1f MB of equal weights are kept once", opened.name, saved / 1e6)
    return Pipeline(opened, Residence(networks, plan), machine=machine)


def plan_for(
    name: str | Path = "AudioX",
    *,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    device: str = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
) -> tuple[Machine, Plan]:
    """The machine, and the plan for a model, without loading or downloading it. options: as in load_pipeline.

    A released model that is not on disk is planned by its published configuration.
    """
    model: Model = describe_model(name, config=config, models_dirs=models_dirs)
    machine = measure(device)
    return machine, make_plan(machine, model, precision=dtype, offload=offload, max_vram_gb=max_vram_gb)
