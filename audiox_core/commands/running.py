"""One command, from its arguments to its exit code: generate | edit | extend | vary | batch | info | convert."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from ..errors import AudioXError, interruption
from .ending import Outputs, Stopped, ends_at_signals
from .options import parser

log = logging.getLogger("audiox")

# Each command's module here and its function in it, imported when it is called: help needs none of them.
COMMANDS = {
    "generate": ("making", "generate"),
    "edit": ("changing", "change"),
    "extend": ("changing", "change"),
    "vary": ("changing", "change"),
    "batch": ("batch", "batch"),
    "info": ("about", "info"),
    "convert": ("about", "convert"),
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
            code = _command(args.command)(args)
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


def _command(name: str) -> Callable[[argparse.Namespace], int | None]:
    module, function = COMMANDS[name]
    return getattr(import_module(f".{module}", __package__), function)
