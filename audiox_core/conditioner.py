"""From inputs to condition tokens by modality: encoded, empty, completed; over the runner of scripts or a host."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .errors import InputError
from .models.parts import Hearing, Sight, Words
from .models.settings import Settings
from .networks.t5 import truncate
from .sampling.guidance import Guidance
from .sampling.windows import Windows
from .weights.open import Opened

log = logging.getLogger("audiox")

T = TypeVar("T")
Tell = Callable[[int, int], None]
Tokens = Mapping[str, Tensor]  # (B, W, M, D) float32 on the CPU, by modality


class Runner(Protocol):
    """Whoever holds the networks of a model's parts, and brings them to where they work."""

    def run(self, name: str, fn: Callable[[Any, Any], T]) -> T:
        """fn(network, step)'s answer, with the part's network on its device; step has device, dtype and tile."""
        ...


class Conditioner:
    """The one way from text, pictures and sound to what a model's network is given, in scripts and in hosts."""

    def __init__(self, opened: Opened, runner: Runner):
        self.opened, self.model, self.runner = opened, opened.model, runner
        # Tokens of "nothing given", where neither input nor chance changes them.
        self._nothing: dict[str, Tensor] = {}
        for part in self.model.conditioners:
            learned = opened.learned_nothing(part)
            if learned is not None:
                self._nothing[part.name] = learned
        self._learned = frozenset(self._nothing)  # whatever chance says

    def draw(self, generator: torch.Generator, hidden: float | None = None) -> dict[str, Any]:
        """The chance of every conditioner for one generation, in the config's order, whether or not it has an input.

        hidden is the share of prompts to be hidden, 0 for none; None is the model's own.
        """
        asked = () if hidden is None else (hidden,)
        return {p.name: p.condition.draw(generator, *asked) for p in self.model.conditioners if p.condition is not None}

    def encode(self, modality: str, given: Any, drawn: Any = None, tell: Tell | None = None) -> Tensor:
        """Tokens (B, M, D), float32 on the CPU, of what the modality's conditioner reads.

        given: token ids of prompts (Words), pictures (B, count, 3, size, size) at each rate (Sight), or a waveform
        (B, 2, N) (Hearing). drawn is from draw(); None leaves chance out. tell(done, total) is told of progress and
        may raise to cancel.
        """
        condition = self.model.condition(modality)

        def work(network: Any, step: Any) -> Tensor:
            there, chance = moved(given, step.device), moved(drawn, step.device)
            return condition.encode(network, there, chance, step.tile, tell)

        return self.runner.run(modality, work).float().cpu()

    def text(self, text: str | None) -> Tensor:
        """Tokens (1, M, D) of a prompt; None is the empty one, whose tokens are kept: every video needs them."""
        modality = self.model.reader(Words)
        if not text and modality in self._nothing:
            return self._nothing[modality]
        words = self.model.condition(modality).reads
        assert isinstance(words, Words)
        tokens = self.encode(modality, [truncate(text or "", self.opened.tokenizer, words.max_length)])
        if not text:
            self._nothing[modality] = tokens
        return tokens

    def nothing(self, modality: str, drawn: Any = None) -> Tensor:
        """Tokens (1, M, D) for an absent input: learned ones, or those of an empty prompt, black or silence."""
        if modality in self._nothing and (drawn is None or modality in self._learned):
            return self._nothing[modality]
        reads = self.model.condition(modality).reads
        if isinstance(reads, Words):
            return self.text(None)
        tokens = self.encode(modality, blank(reads), drawn)
        if drawn is None:
            self._nothing[modality] = tokens
        return tokens

    def follow(
        self,
        given: Settings,
        drawn: Mapping[str, Any],
        windows: Sequence[int] = (0,),
        *,
        prompts: Sequence[str | None] = (),
        tell: Tell | None = None,
    ) -> dict[str, Tensor]:
        """Condition tokens (1, W, M, D) of what the settings follow; what is absent takes what stands for nothing.

        windows are the latents at which they start: of a video, each sees its own stretch. prompts are theirs, where
        they have several. W is 1 for everything else.
        """
        from .media.prompts import hear, look_in_turn

        model, timing = self.model, self.model.timing
        found: dict[str, Tensor | None] = {}
        picture = given.video if given.video is not None else given.image
        prompts = list(prompts) or [given.text]
        if any(prompt is not None for prompt in prompts):
            texts = {prompt: self.text(prompt) for prompt in prompts}
            various = prompts if len(texts) > 1 else prompts[:1]
            found[model.reader(Words)] = torch.stack([texts[prompt] for prompt in various], dim=1)
        if picture is not None:
            modality = model.reader(Sight)
            reads: Any = model.condition(modality).reads
            starts = [timing.to_seconds(window) for window in windows[: 1 if given.video is None else None]]
            views = [
                self.encode(modality, seen.frames, drawn.get(modality), tell)
                for seen in look_in_turn(reads, picture, [given.start + start for start in starts])
            ]
            found[modality] = torch.stack(views, dim=1)
        if given.audio is not None:
            modality = model.reader(Hearing)
            reads = model.condition(modality).reads
            heard = hear(reads, given.audio, start=given.audio_start)
            found[modality] = self.encode(modality, heard, drawn.get(modality), tell)
        return self.complete(found, drawn)

    def guidance(
        self, given: Settings, drawn: Mapping[str, Any], windows: Windows, tell: Tell | None = None
    ) -> Guidance:
        """All that a run over these windows is guided by, as resolved settings say."""
        moments = windows.middles(together=given.long == "together")
        prompts = [given.prompt_at(self.model.timing.to_seconds(1) * moment) for moment in moments] if given.at else ()
        positive = self.follow(given, drawn, windows.starts, prompts=prompts, tell=tell)
        negative = None
        if given.negative_text is not None:
            # The same draws: guidance multiplies whatever differs between the two.
            negative = self.follow(Settings(text=given.negative_text), drawn, tell=tell)
        scales = given.scales(self.model)
        names, parts = list(scales), []
        if len(set(scales.values())) > 1:
            nothing = self.complete({}, drawn)
            for count in range(len(names) - 1, 0, -1):
                part = {name: positive[name] if name in names[:count] else nothing[name] for name in positive}
                parts.append((part, scales[names[count - 1]]))
        between = given.guided_between(self.model)
        return Guidance(positive, negative, scales[names[-1]], given.rescale, tuple(parts), between)

    def complete(self, given: Mapping[str, Tensor | None], drawn: Mapping[str, Any] | None = None) -> dict[str, Tensor]:
        """Tokens (B, W, M, D) of every modality: those given (B, M, D), and what stands for the absent ones."""
        drawn = drawn or {}
        known = [part.name for part in self.model.conditioners]
        if unknown := sorted(set(given) - set(known)):
            raise InputError(f"{', '.join(unknown)}: this model has no such conditioner; it has {', '.join(known)}.")
        found = {name: given.get(name) for name in known}
        return {
            name: windowed(self.nothing(name, drawn.get(name)) if tokens is None else tokens)
            for name, tokens in found.items()
        }


def windowed(tokens: Tensor) -> Tensor:
    """Tokens (B, M, D) as (B, 1, M, D); those that have a window axis already are themselves."""
    return tokens if tokens.ndim == 4 else tokens[:, None]


def blank(reads: Sight | Hearing) -> Any:
    """What a conditioner reads where there is nothing to see or hear: black pictures, silence."""
    if isinstance(reads, Sight):
        return [torch.zeros(1, count, 3, reads.size, reads.size, dtype=torch.uint8) for _, count in reads.rates]
    return torch.zeros(1, 2, reads.samples)


def moved(value: Any, device: torch.device) -> Any:
    """A tensor, or tensors in lists and tuples, on a device; anything else as it is."""
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, list | tuple):
        return type(value)(moved(item, device) for item in value)
    return value


def fitted(tokens: Tensor, count: int, width: int, name: str = "text") -> Tensor:
    """Tokens (B, any, D) of another encoder, cut or padded with zeros to (B, count, width).

    What is cut off and isn't zero is told in the log. Raises InputError when the widths differ.
    """
    if tokens.ndim != 3 or tokens.shape[2] != width:
        raise InputError(
            f"{name}: condition of shape {tuple(tokens.shape)}, this model takes tokens {width} wide. Use AudioX's "
            "own encoder, or the T5-base text encoder that Stable Audio has."
        )
    cut, rest = tokens[:, :count], tokens[:, count:]
    lost = int(rest.any(dim=-1).any(dim=0).sum()) if rest.shape[1] else 0
    if lost:
        log.warning(
            "%s: %d tokens are given, the model reads %d; the last %d are lost", name, count + lost, count, lost
        )
    return torch.nn.functional.pad(cut, (0, 0, 0, count - cut.shape[1]))


def join_sequences(parts: Sequence[Tensor]) -> Tensor:
    """Prompts (B, any, D) one after the other as (B, any, D): the padding between them, which is zero, is left out."""
    kept = []
    for part in parts:
        used = part.any(dim=-1).any(dim=0).nonzero()
        kept.append(part[:, : int(used[-1]) + 1] if len(used) else part[:, :0])
    return torch.cat(kept, dim=1)
