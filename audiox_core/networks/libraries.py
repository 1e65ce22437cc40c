"""Libraries that are imported when they are needed, and what their import must not change in a process."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import interruption


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Puts the process's warnings filters and environment back as they were before the imports in the block.

    transformers and accelerate bring libraries that set filters for everybody (scipy, sympy, torch.optim), and
    a variable for torch's compiler: a program that loads a model asked for none of it. Ctrl-C during an import stays
    what it is, also where a library makes an ImportError of it.
    """
    before = dict(os.environ)
    try:
        with warnings.catch_warnings():
            yield
    except Exception as error:
        stopped = interruption(error)
        if stopped is None:
            raise
        raise stopped from None
    finally:
        for name in [name for name in os.environ if name not in before]:
            del os.environ[name]
        for name, value in before.items():
            if os.environ.get(name) != value:
                os.environ[name] = value
