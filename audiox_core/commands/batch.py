"""The command batch: all sounds of a list with one loading of the model. What is finished is passed over."""

from __future__ import annotations

import argparse
import logging
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import AudioXError, InputError, interruption
from .asked import prompts_of, settings_of
from .drawing import look_of
from .job import Job, is_video, real_paths
from .listing import OUTPUT, SOUNDTRACK, TIMES, WRITTEN, Row, check_names, read_list
from .making import described, loaded
from .notes import FOLDER, Notes, mark_of, stamp
from .options import place_of, soundtrack_of
from .spread import Spread

if TYPE_CHECKING:
    from ..models.parts import Model
    from ..models.settings import Settings

log = logging.getLogger("audiox")


@dataclass(frozen=True)
class Order:
    """A row that can be made: the job, what its checks answered, and what it is known by."""

    number: int
    job: Job
    named: bool  # the row itself says where its sound goes
    given: Settings
    mark: str
    reach: float = math.inf


class Batch:
    """The rows of a list on their way: which are to be made, which are finished, which have failed."""

    def __init__(self, args: argparse.Namespace, spread: Spread) -> None:
        self.args, self.spread, self.home = args, spread, Path(args.out)
        from ..media.reading import name_of

        self.made = self.finished = self.failed = 0
        path = Path(args.list)
        self.rows, self.folder = read_list(path)
        if path.is_dir() and os.path.realpath(path) == os.path.realpath(self.home):
            raise InputError("--out is the folder of the videos themselves, which stay. Choose another.")
        there = next((p for p in (self.home, *self.home.parents) if os.path.lexists(p)), self.home)
        if os.path.lexists(there) and not there.is_dir():
            raise InputError(f"--out {name_of(there)}: is a file. Give a folder; it is made if it isn't there yet.")
        self.defaults = settings_of(args) | {name: getattr(args, name) for name in WRITTEN if name != OUTPUT}
        self.read = real_paths([path])
        self.notes = Notes(self.home)

    def orders(self, model: Model) -> list[Order]:
        """The rows that are to be made. The others are counted, and what is wrong with them is told."""
        known, found = known_by(self.args), []
        for row in self.rows:
            try:
                found.append(self._order(row, model, known))
            except Exception as error:  # a row may hold anything
                self._fail(row.number, error, once=True)
        return self._writable(self._unfinished(found))

    def make(self, orders: Iterable[Order], pipe: Any) -> None:
        """Makes the orders, one after the other. One that fails is told and passed over."""
        shown = not self.args.quiet
        for order in orders:
            job, name = order.job, self._name(order.job)
            try:
                self.notes.begin(name, order.mark)
                for line in job.make(pipe, order.given, order.reach, progress=shown and self.spread.main):
                    if shown:
                        print(f"row {order.number}: {line}", flush=True)
                self.notes.finish(name, order.mark, files_of(job))
                self.made += 1
            except Exception as error:  # whatever it is, the other rows can still be made
                self._fail(order.number, error)

    def told(self, made: int, failed: int) -> str:
        return f"{len(self.rows)} rows: {made} made, {self.finished} finished before, {failed} failed"

    def _fail(self, number: int, error: Exception, *, once: bool = False) -> None:
        """Counts and tells it; what all processes find is told by one of them. Ctrl-C is no error of a row."""
        stopped = interruption(error)
        if stopped is not None:
            raise stopped from None
        if once and not self.spread.main:
            return
        self.failed += 1
        kind = "" if isinstance(error, AudioXError) else f"{type(error).__name__}: "
        print(f"row {number}: {kind}{error}", file=sys.stderr, flush=True)
        log.debug("row %d", number, exc_info=error)

    def _order(self, row: Row, model: Model, known: Mapping[str, Any]) -> Order:
        if row.error is not None:
            raise InputError(row.error)
        check_names(row.options)
        job = self._job(row.number, {**row.options, **self._found(row.options)})
        given = job.check(model)
        self.read |= real_paths(given.files())
        more = {"kind": job.target.suffix.lower(), "takes": job.takes, "drawn": job.picture is not None}
        mark = mark_of(given, self.folder, model=known, soundtrack=job.soundtrack, **more)
        return Order(row.number, job, OUTPUT in row.options, given, mark)

    def _found(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """What of a row's options stands in files, which are looked for from the list's folder on."""
        from ..models.settings import MEDIA_FILES
        from ..models.timed import parse_time

        found: dict[str, Any] = {n: self.folder / options[n] for n in MEDIA_FILES if isinstance(options.get(n), str)}
        text, at = prompts_of(options.get("text"), options.get("at", ()), self.folder, "text", "at")
        found |= {"text": text} if options.get("text") is not None else {}
        found |= {"at": at} if at or "at" in options else {}
        found |= {"seconds": 0.0} if options.get("seconds") == "all" else {}
        for name in TIMES & options.keys():
            if isinstance(options[name], str) and ":" in options[name]:
                found[name] = parse_time(options[name], name)
        return found

    def _job(self, number: int, own: Mapping[str, Any]) -> Job:
        """What is to be made for a row of these options, where the command's own hold for what they don't say."""
        for name, kind in WRITTEN.items():
            if kind is bool and not isinstance(own.get(name, False), bool):
                raise InputError(f"{name}: expected true or false, got {str(own[name])[:60]!r}")
        from ..models.settings import BEGUN, check_takes

        values = {**self.defaults, **own}
        # The command's own start is for the rows that have something to begin in.
        values |= {name: 0.0 for name, begun in BEGUN.items() if name not in own and values.get(begun) is None}
        check_takes(values["takes"])
        target = self._target(number, values, own.get(OUTPUT))
        for name in SOUNDTRACK:
            if own.get(name) and not is_video(target):
                raise InputError(f"{name}: there is no video to be written. Give one, and a video file as output.")
        soundtrack = soundtrack_of(argparse.Namespace(**values), True, dashes="") if is_video(target) else {}
        return Job(
            {name: value for name, value in values.items() if name not in WRITTEN},
            target,
            video=values.get("video"),
            offset=values["start"],
            soundtrack=soundtrack,
            covers=self.spread.main,
            picture=target.with_suffix(".png") if values["spectrogram"] else None,
            look=look_of(self.args),
            takes=values["takes"],
            names=(OUTPUT, "spectrogram"),
        )

    def _target(self, number: int, values: Mapping[str, Any], output: Any) -> Path:
        """Where a row's sound goes, in the folder of outputs. Raises InputError for a name outside it."""
        from ..media.containers import VIDEO_SUFFIXES
        from ..models.settings import MEDIA_FILES

        if output is None:
            media = [Path(values[name]) for name in MEDIA_FILES if isinstance(values.get(name), str | os.PathLike)]
            words = media[0].stem if media else str(values.get("text") or "")
            ending = ".wav"
            if values.get("video") is not None:
                suffix = Path(str(values.get("video"))).suffix.lower()
                ending = suffix if suffix in VIDEO_SUFFIXES else ".mkv"
            output = f"{number:04d}_{re.sub(r'[^0-9A-Za-z]+', '_', words)[:40].strip('_')}".rstrip("_") + ending
        if not isinstance(output, str) or not output:
            raise InputError(f"output: expected a file's name, got {str(output)[:60]!r}")
        path = Path(output)
        home, real = os.path.realpath(self.home), os.path.realpath(self.home / path)
        inside = os.path.normcase(real).startswith(os.path.join(os.path.normcase(home), ""))
        if path.is_absolute() or ".." in path.parts or not inside or path.parts[0] == FOLDER:
            raise InputError(
                f"output: {output[:60]!r} is not a file name inside --out. Give one without .. and without a leading /."
            )
        return self.home / path

    def _name(self, job: Job) -> str:
        return job.target.relative_to(self.home).as_posix()

    def _unfinished(self, orders: Iterable[Order]) -> list[Order]:
        """The orders that are not finished: under their own name, or any other if the row didn't choose it itself."""
        waiting, self.taken = list(orders), dict[str, int]()
        free = {order.mark: self.notes.finished(order.mark) for order in waiting}
        for own in (True, False):
            for order in list(waiting):
                names = free[order.mark]
                name = self._name(order.job) if own else next(iter(names), "")
                if name in names and (own or not order.named):
                    names.remove(name)
                    waiting.remove(order)
                    self.finished += 1
                    self.taken |= dict.fromkeys(real_paths([self.home / name]), order.number)
        return waiting

    def _writable(self, orders: Iterable[Order]) -> list[Order]:
        """The orders whose outputs can be written, each by one row and in the place of nothing that isn't its own."""
        found = []
        for order in orders:
            job, name = order.job, self._name(order.job)
            try:
                files = real_paths(files_of(job))
                for file in files & self.taken.keys():
                    raise InputError(f"output: {name} is also that of row {self.taken[file]}. Give another name.")
                if files & self.read:
                    raise InputError(f"output: {name} is a file that the batch reads. Give another name.")
                ours = self.args.overwrite or self.notes.begun(name, order.mark)
                job = job.changed(overwrite=ours)
                job.check_files()
                reach = job.check_video(order.given)
            except Exception as error:
                self._fail(order.number, error, once=True)
                continue
            self.taken |= dict.fromkeys(files, order.number)
            found.append(replace(order, job=job, reach=reach))
        return found


def batch(args: argparse.Namespace) -> int:
    """Makes what a list names; 1 if a row failed. All rows are checked before the model is loaded."""
    spread = Spread(args.device)
    args.device = spread.device
    work = Batch(args, spread)
    orders = work.orders(described(args))
    mine = spread.share(orders, [order.number for order in orders])
    try:
        with spread.one_by_one():
            quiet = args.quiet or not spread.main
            pipe = loaded(argparse.Namespace(**vars(args) | {"quiet": quiet})) if mine else None
        work.make(mine, pipe)
    except BaseException:
        args.told = f"{work.told(work.made, work.failed)}; run the same command again to continue"
        raise
    made, failed = spread.sums(work.made, work.failed)
    if spread.main:
        print(work.told(made, failed))
    spread.close()
    return 1 if work.failed else 0


def files_of(job: Job) -> list[Path]:
    return [file for pair in job.files() for file in pair if file is not None]


def known_by(args: argparse.Namespace) -> dict[str, Any]:
    """What the model that the options name is known by: a released one by its name, any other by its file."""
    from ..models import member
    from ..weights.hub import find_model

    here = Path.cwd()
    files = {"config": args.config, "text_encoder": args.text_encoder}
    if member(args.model) is None:
        files["weights"] = find_model(args.model, models_dirs=args.models_dir, download=False).checkpoint
    stamps = {name: stamp(file, here) for name, file in files.items()}
    return {"name": str(args.model), "dtype": place_of(args)["dtype"], **stamps}
