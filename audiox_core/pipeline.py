"""The path from inputs to a sound: encode once, sample, decode. For scripts and the command line."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from . import editing
from .commands import several
from .commands.bars import OnStep, Watch, bar_of, download_bars
from .conditioner import Conditioner
from .errors import AudioXError, InputError
from .media.sound import Sound
from .memory.machine import Machine, measure
from .memory.plan import check_options, make_plan
from .memory.report import report
from .memory.residence import Residence, Step
from .models.settings import Settings
from .networks.autoencoder import DECODE_HALO
from .sampling import generator_from
from .sampling.guidance import Guidance
from .sampling.stepping import Stepping, check_stepping
from .sampling.task import Task
from .sampling.windows import Windows, with_ends
from .weights.hub import check_place
from .weights.load import load_part, share_equal
from .weights.open import Opened, open_model

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

    edit, extend, vary, takes = editing.edit, editing.extend, editing.vary, several.takes

    def __init__(self, opened: Opened, residence: Residence, *, machine: Machine, stepping: Stepping | None = None):
        self.opened, self.model, self.timing = opened, opened.model, opened.model.timing
        self.residence, self.machine, self.plan = residence, machine, residence.plan
        self.conditioner, self.stepping = Conditioner(opened, residence), stepping or Stepping()
        residence.caches.append(self.stepping.clear)
        self.notice = opened.notice

    @property
    def report(self) -> str:
        """What the machine has, and where each part of the model goes."""
        return report(self.plan, self.machine)

    @overload
    def __call__(self, text: str | None = None, video: Any = None, audio: Any = None, **given: Any) -> Sound: ...
    @overload
    def __call__(self, text: list[str], video: Any = None, audio: Any = None, **given: Any) -> list[Sound]: ...
    def __call__(self, text: Any = None, video: Any = None, audio: Any = None, **given: Any) -> Any:
        """A sound of so many seconds that follows the given text, video, image and audio prompt, alone or together.

        A list of texts gives a list of sounds, one for each. video (from start seconds on) is a file or (frames, fps),
        image a file or a picture, which counts as a still video; audio (from audio_start seconds on) a file, a Sound or
        (waveform, rate), ten seconds of which are heard as an example; see media.inputs. Other settings are those of
        Settings; what is left out is the model's own. A sound longer than the model's window is made of windows.

        on_step(done, total) is called after each step of each window; what it raises ends the run. on_sound(sound) is
        given what is finished after each window, where they are made one after the other. keep_finished: Ctrl-C (a
        KeyboardInterrupt, also one that on_step raises) ends with the windows that are finished, if there are any.
        progress shows bars. Raises InputError for arguments out of range, MediaError for unreadable files, OutOfMemory.
        """
        if isinstance(text, list | tuple):
            return several.of_each(self, text, video=video, audio=audio, **given)
        return self.made(*self.settled(text=text, video=video, audio=audio, **given))

    def settled(self, **given: Any) -> tuple[Settings, Watch]:
        """Settings resolved and checked, and who is told. What can hardly be meant is told in the log."""
        from .media.given import check_sources

        told = {name: given[name] for name in (f.name for f in fields(Watch)) if name in given}
        asked = {name: value for name, value in given.items() if name not in told}
        settings = Settings.named(**asked).resolved(self.model)
        check_sources(settings)
        for doubt in settings.doubts(self.model):
            log.warning("%s", doubt)
        return settings, Watch(**told)

    def made(self, given: Settings, watch: Watch, *, init: Tensor | None = None) -> Sound:
        """The sound of settled settings. init (1, C, L): latents that are varied."""
        windows = self.windows(given)
        latents = self.sampled(given, windows, watch, init=init)
        sound = self.finish(self.decode(latents, loop=given.loop, progress=watch.progress), given)
        spans = windows.spans(self.timing.to_seconds(1), sound.seconds)
        return replace(sound, finished=latents.shape[-1] == windows.latents, windows=spans)

    def windows(self, settings: Settings) -> Windows:
        """The windows of a sound; one for a sound that isn't longer than a window."""
        kept = None if settings.kept is None else self.timing.nearest_latents(settings.kept)
        seconds, window = settings.seconds or self.timing.prompt_seconds, self.timing.latents
        if settings.loop:
            latents = self.timing.loop_latents(seconds, kept)
            return Windows(latents, window, self.timing.windows(latents, kept, loop=True), loop=True)
        latents = max(window, self.timing.to_latents(seconds))
        return Windows(latents, window, self.timing.windows(latents, kept))

    @torch.inference_mode()
    def sampled(
        self,
        given: Settings,
        windows: Windows,
        watch: Watch,
        *,
        init: Tensor | None = None,
        source: Tensor | None = None,
        mask: Tensor | None = None,
    ) -> Tensor:
        """Latents (1, C, L), float32 on the CPU, of settled settings in these windows. init, source, mask: see Task."""
        draws = self.draw(given.seed, windows.latents, hidden=given.prompt_hidden, loop=windows.loop)
        with bar_of("encode", watch.progress) as bar:
            guidance = self.conditioner.guidance(given, draws.conditions, windows, bar)
        held: Any = {"init": init, "source": source, "mask": mask}
        task = self.task(guidance, draws, given, windows, **held)
        heard = self._heard_early(given, watch) if source is None and not given.loop else None
        return self._run(task, watch, heard)

    def draw(self, seed: int, latents: int | None = None, *, hidden: float | None = None, loop: bool = False) -> Draws:
        """What chance decides in a generation of so many latents (None: the model's window).

        hidden is the share of a prompt to be hidden, None the model's own. Raises InputError for a length that the
        model doesn't make: some make no less than their window, which sees a shorter loop more than once.
        """
        latents = latents or self.timing.latents
        if not loop and self.model.length is not None and latents < self.model.length:
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
        prompts: Sequence[str | None] = (),
        progress: bool = False,
    ) -> dict[str, Tensor]:
        """Condition tokens (1, W, M, D) by modality; see Conditioner.follow."""
        with bar_of("encode", progress) as bar:
            return self.conditioner.follow(given, drawn or {}, windows, prompts=prompts, tell=bar)

    def task(self, guidance: Guidance, draws: Draws, settings: Settings, windows: Windows, **held: Any) -> Task:
        """What is to be sampled, as resolved settings say. held: see Task."""
        names = ("steps", "sigma_min", "sigma_max", "rho", "sampler")
        schedule = {name: getattr(settings, name) for name in names}
        schedule["steps"] = settings.steps or self.model.recipe.steps
        together = settings.long == "together" or windows.only_together
        fits, count = self.plan.at_once(self.model, len(windows.starts)), len(windows.starts)
        # Where not all windows fit, half of the room keeps what is prepared of some, half is for those at work.
        at_once, kept = (count, None) if fits == count else (max(fits // 2, 1), fits // 2)
        return Task(
            draws.noise,
            windows,
            guidance,
            draws.generator,
            schedule | {"objective": self.model.recipe.objective},
            together=together,
            at_once=at_once,
            kept=kept,
            **held,
        )

    def sample(
        self,
        positive: Mapping[str, Tensor],
        negative: Mapping[str, Tensor] | None,
        draws: Draws,
        settings: Settings,
        *,
        on_step: OnStep | None = None,
    ) -> Tensor:
        """Latents (1, C, L), float32 on the CPU, from condition tokens by modality and resolved settings."""
        guidance = Guidance(positive, negative, settings.guidance or self.model.recipe.guidance, settings.rescale)
        latents, window = draws.noise.shape[-1], self.timing.latents
        windows = self.windows(settings.changed(seconds=self.timing.to_seconds(latents)))
        if latents < window:
            windows = Windows(latents, latents, (0,))
        return self._run(self.task(guidance, draws, settings, windows), Watch(on_step), None)

    def _run(self, task: Task, watch: Watch, heard: Callable[[Task], None] | None) -> Tensor:
        """A task's latents. heard is called with it after each window."""
        with bar_of("sample", watch.progress) as bar:

            def told(done: int, total: int) -> None:
                for tell in (bar, watch.on_step):
                    if tell is not None:
                        tell(done, total)

            def attempt(network: Any, step: Step) -> Tensor:
                most, stays = None if heard is None else 1, self.residence.stays(name)
                with self.stepping.ready(network, step.device, streamed=step.streamed, stays=stays) as ready:
                    return task.run(ready, device=step.device, on_step=told, most=most)

            latents, name = task.in_turn.made, self.model.backbone.name
            try:
                while not task.finished:
                    latents = self.residence.run(name, attempt)
                    if heard is not None:
                        heard(task)
            except KeyboardInterrupt:
                if not (watch.keep_finished and task.finished_latents):
                    raise
                log.warning("stopped: what was finished by then is kept")
                latents = task.in_turn.made[..., : task.finished_latents]
        return latents

    def _heard_early(self, given: Settings, watch: Watch) -> Callable[[Task], None] | None:
        """What lets on_sound hear each window when it is finished."""
        tell, ratio = watch.on_sound, self.timing.downsampling_ratio
        if tell is None:
            return None
        heard: list[Tensor] = []  # (1, 2, n) without the end that the next window changes

        def hear(task: Task) -> None:
            known = sum(piece.shape[-1] for piece in heard) // ratio
            first, end = max(known - DECODE_HALO, 0), task.finished_latents
            new = self.decode(task.in_turn.made[..., first:end])[..., (known - first) * ratio :]
            tell(self.finish(torch.cat([*heard, new], dim=-1), given))
            heard.append(new[..., : max(end - known - DECODE_HALO, 0) * ratio])

        return hear

    @torch.inference_mode()
    def decode(self, latents: Tensor, *, loop: bool = False, progress: bool = False) -> Tensor:
        """Latents (B, C, L) -> waveform (B, 2, 2048 L), float32 on the CPU, unbounded; a loop's end knows its start."""
        halo, ratio = DECODE_HALO if loop else 0, self.timing.downsampling_ratio
        if loop:
            latents = with_ends(latents, halo)
        with bar_of("decode", progress) as bar:

            def work(network: Any, step: Step) -> Tensor:
                # The plan is for a window: what is longer is never decoded at once.
                longer = latents.shape[-1] > self.timing.latents + 2 * halo
                tile = step.tile or (self.timing.latents if longer else None)
                return network.decode(latents, tile=tile, on_tile=bar, device=step.device)

            waveform = self.residence.run(self.model.autoencoder.name, work).float().cpu()
        return waveform[..., halo * ratio : waveform.shape[-1] - halo * ratio]

    def finish(self, waveform: Tensor, settings: Settings) -> Sound:
        """Trims (1, 2, N) to the requested length and sets its level."""
        from .media.loudness import at_level

        if not torch.isfinite(waveform).all():
            raise AudioXError(
                "decode: the sound holds NaN or infinite values. Check the checkpoint, or run with --no-half."
            )
        seconds = settings.seconds or self.timing.prompt_seconds
        sound = waveform[0, :, : self.timing.to_samples(seconds)].contiguous()
        rate = self.timing.sample_rate
        return Sound(at_level(sound, rate, settings.normalize), rate, settings.files())


def load_pipeline(
    name: str | Path = "AudioX",
    *,
    device: str | torch.device = "auto",
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
    text_encoder: str | Path | None = None,
    config: str | Path | None = None,
    models_dirs: Sequence[str | Path] = (),
    download: bool = True,
    progress: bool = False,
    compile: bool = False,
    graph: str = "off",
) -> Pipeline:
    """A model ready to be called: "AudioX" (found or downloaded), a checkpoint's path, or "demo" (random weights).

    dtype: auto, fp32, bf16, fp16 or fp8; offload: auto, on or off; max_vram_gb caps what the device may hold.
    text_encoder and config are paths, for files that are not found by themselves. compile and graph ("off", "auto",
    "on") make steps faster after a slow first one; see Stepping. Raises ModelNotFound, CheckpointError, ConfigError,
    InputError, and OutOfMemory when no plan fits the machine.
    """
    check_options(dtype, offload, max_vram_gb)
    if text_encoder is not None:
        check_place("text encoder", text_encoder)  # before six gigabytes are downloaded
    machine = measure(device)
    check_stepping(compile, graph, machine.device)
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
    stepping = Stepping(compile=compile, graph=graph)
    return assemble(opened, machine, dtype=dtype, offload=offload, max_vram_gb=max_vram_gb, stepping=stepping)


def assemble(
    opened: Opened,
    machine: Machine | None = None,
    *,
    dtype: str = "auto",
    offload: str = "auto",
    max_vram_gb: float | None = None,
    stepping: Stepping | None = None,
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
    return Pipeline(opened, Residence(networks, plan), machine=machine, stepping=stepping)
