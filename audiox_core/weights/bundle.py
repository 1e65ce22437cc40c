"""All tensors of a model under one table of keys, whichever files they lie in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from torch import Tensor

from .tensors import FileTensors


class Bundle(Mapping[str, Tensor]):
    """Tensors of a checkpoint and of the files beside it, by the keys of the model's layout."""

    def __init__(
        self, checkpoint: Mapping[str, Tensor], name: str | None = None, keys: Mapping[str, str] | None = None
    ):
        """keys: as add() takes them."""
        self.name = name or (str(checkpoint.path) if isinstance(checkpoint, FileTensors) else "checkpoint")
        self._homes: dict[str, tuple[Mapping[str, Tensor], str, str]] = {}  # key: (file, its own key, file's name)
        self.add(checkpoint, self.name, keys=keys)

    def add(
        self, tensors: Mapping[str, Tensor], name: str, prefix: str = "", keys: Mapping[str, str] | None = None
    ) -> None:
        """Takes in another file's tensors behind a prefix; keys: (our name, the file's own), all of them by default."""
        for ours, own in ({key: key for key in tensors} if keys is None else keys).items():
            self._homes[prefix + ours] = (tensors, own, name)

    def __getitem__(self, key: str) -> Tensor:
        tensors, own, _ = self._homes[key]
        return tensors[own]

    def __iter__(self) -> Iterator[str]:
        return iter(self._homes)

    def __len__(self) -> int:
        return len(self._homes)

    def source(self, key: str) -> str:
        """Where a tensor is from, for messages."""
        _, own, name = self._homes[key]
        return f"{name}: {own}"

    def private(self, key: str) -> Tensor:
        """A copy to write to."""
        tensors, own, _ = self._homes[key]
        return tensors.private(own) if isinstance(tensors, FileTensors) else tensors[own].clone()

    def seekable(self, key: str) -> bool:
        """Whether private() reads past the memory map, so that the map's pages take no memory."""
        tensors = self._homes[key][0]
        return isinstance(tensors, FileTensors) and tensors.seekable


def bundle(tensors: Mapping[str, Tensor]) -> Bundle:
    """The tensors themselves if they are a bundle, else a bundle of them."""
    return tensors if isinstance(tensors, Bundle) else Bundle(tensors)
