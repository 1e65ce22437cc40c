"""The command line, python -m audiox_core or audiox: generate | edit | extend | vary | batch | info | convert."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from .commands.about import convert, info
from .commands.batch import batch
from .commands.changing import change
from .commands.ending import Outputs, Stopped, ends_at_signals
from .commands.making import generate
from .commands.options import parser
from .errors import AudioXError

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


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it worked, 1 after an error that was told, 130 after Ctrl-C, 143 after SIGTERM."""
    program = "audiox" if Path(sys.argv[0]).stem == "audiox" else "python -m audiox_core"
    args = parser(program).parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    log.setLevel(logging.INFO)
    outputs = Outputs(args)
    try:
        with ends_at_signals():
            code = COMMANDS[args.command](args)
    except AudioXError as error:
        done = outputs.written()
        print(f"error: {error}" + (f" ({done})" if done else ""), file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Stopped) as stopped:
        print(f"interrupted; {outputs.written() or 'nothing was written'}", file=sys.stderr)
        return 128 + (stopped.args[0] if isinstance(stopped, Stopped) else signal.SIGINT)
    except BrokenPipeError:  # whoever read what is printed has gone: so has the place for another word
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code or 0


if __name__ == "__main__":
    sys.exit(main())
