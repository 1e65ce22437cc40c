"""One command, from its arguments to its exit code: generate | edit | extend | vary | batch | info | convert."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from ..errors import AudioXError, interruption
from .about import convert, info
from .batch import batch
from .changing import change
from .ending import Outputs, Stopped, ends_at_signals
from .making import generate
from .options import parser

log = logging.getLogger("audiox")

COMMANDS: dict[str, Callable[[argparse.Namespace], int | None]] = {
    "generate": generate,
    "edit": change,
    "extend": change,
    "vary": change,
    "batch": batch,
    "info": info,
    "convert": convert,
}


def run(arguments: list[str] | None) -> int:
    """Runs a command; its exit code, as __main__'s main has it."""
    program = "audiox" if Path(sys.argv[0]).stem == "audiox" else "python -m audiox_core"
    args = parser(program).parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    outputs = Outputs(args)
    try:
        with ends_at_signals():
            code = COMMANDS[args.command](args)
    except BrokenPipeError:  # whoever read what is printed has gone: so has the place for another word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt, Stopped) as error:
        stopped = interruption(error)
        if stopped is not None:
            print(f"interrupted; {outputs.written() or 'nothing was written'}", file=sys.stderr)
            return 128 + (stopped.args[0] if isinstance(stopped, Stopped) else signal.SIGINT)
        if not isinstance(error, AudioXError):
            raise
        done = outputs.written()
        print(f"error: {error}" + (f" ({done})" if done else ""), file=sys.stderr)
        return 1
    return code or 0
