"""The processes that share a batch, as accelerate's launcher started them; without it there is one."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from ..errors import AudioXError, InputError

# One process may have finished its rows long before another: waiting for it is no error.
PATIENCE = timedelta(days=30)


class Spread:
    """This process among all that share the work. Raises AudioXError where they cannot find each other."""

    def __init__(self, device: str) -> None:
        self.state: Any = None
        self.device = device
        if int(os.environ.get("WORLD_SIZE") or 1) < 2:
            return
        if ":" in device:
            raise InputError(f"--device {device}: each process has its own. Leave --device to accelerate's launcher.")
        from accelerate import PartialState

        try:
            self.state = PartialState(cpu=device == "cpu", timeout=PATIENCE)
        except (ImportError, RuntimeError, ValueError, NotImplementedError) as error:
            raise AudioXError(
                f"the batch's processes cannot reach each other ({error}). Check accelerate's options."
            ) from error
        self.device = str(self.state.device)

    @property
    def main(self) -> bool:
        """Whether this process speaks for all."""
        return self.state is None or bool(self.state.is_main_process)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.state is not None:
            self.state.wait_for_everyone()

    def share(self, items: Sequence[Any], names: Sequence[Any]) -> list[Any]:
        """Those of the items that are this process's. All must have found the same ones, which their names tell.

        Raises AudioXError where they differ: some would be made twice, or by nobody.
        """
        if self.state is None:
            return list(items)
        from accelerate.utils import gather_object

        found = gather_object([list(names)])
        if any(other != found[0] for other in found):
            raise AudioXError(
                "the batch's processes don't see the same files: "
                f"{' and '.join(str(len(other)) for other in found)} rows to make. Let all machines share one folder."
            )
        return list(items[self.state.process_index :: self.state.num_processes])

    @contextmanager
    def one_by_one(self) -> Iterator[None]:
        """The first process of a machine goes ahead: what it downloads is there for the others."""
        if self.state is None:
            yield
            return
        with self.state.local_main_process_first():
            yield

    def sums(self, *counts: int) -> list[int]:
        """Each count summed over all processes, which wait for each other."""
        if self.state is None:
            return list(counts)
        from accelerate.utils import gather_object

        return [sum(each) for each in zip(*gather_object([counts]), strict=True)]

    def close(self) -> None:
        """Ends with the others: launchers end all processes as soon as one fails."""
        if self.state is not None:
            self.wait()
            self.state.destroy_process_group()
