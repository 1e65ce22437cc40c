"""The command line's door, python -m audiox_core or audiox."""

from __future__ import annotations

import sys


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; 0 when it worked, 1 after an error that was told, 130 after Ctrl-C, 143 after SIGTERM."""
    try:
        # Imported here, so that Ctrl-C in the middle of it is no traceback either.
        from .commands.running import run

        return run(arguments)
    except KeyboardInterrupt:  # before a command began, or a second time while the first was told
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
