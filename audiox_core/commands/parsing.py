"""How the command line is read: wrong options are answered with those that were probably meant."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any, NoReturn

from ..errors import alike


class Parser(argparse.ArgumentParser):
    """Offers the option that is most like an unknown one."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands: Mapping[str, argparse.ArgumentParser] = {}

    def error(self, message: str) -> NoReturn:
        intro, unknown, words = message.partition("unrecognized arguments: ")
        options = [o for p in (self, *self.commands.values()) for o in p._option_string_actions if o.startswith("--")]
        wrong = [word.partition("=")[0] for word in words.split() if word.startswith("--")]
        hints = [self._owners(word) or alike(word, options, most=1) for word in wrong] if unknown and not intro else []
        super().error(message + "".join(f".{hint}" for hint in hints if hint))

    def _owners(self, word: str) -> str:
        """Which commands have an option that another one does not; nothing where none has."""
        owners = [name for name, command in self.commands.items() if word in command._option_string_actions]
        return f" {word} belongs to {', '.join(owners)}" if owners else ""


class Version(argparse.Action):
    """Prints the version, which is looked up only then, and ends."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        from .. import __version__

        print(f"audiox {__version__}")
        parser.exit()
