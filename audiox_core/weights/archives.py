"""Pickled checkpoints as files: torch.save's zip archives, and the pickles in a row from before torch 1.6."""

from __future__ import annotations

import io
import zipfile
import zlib
from struct import unpack
from typing import Any, BinaryIO

from ..errors import CheckpointError
from .headers import check_byte_order
from .pickles import Bounded, Reader, Storage

# The index of a zip archive takes some thirty times its length in memory; a thousand tensors make 0.1 MB.
MAX_INDEX = 8 << 20
MAGIC, LEGACY_VERSION = 0x1950A86A20F9469CFC6C, 1001


def read_archive(file: BinaryIO) -> tuple[Any, dict[str, int]]:
    """The content of an open zip archive of torch.save, and where each of its storages begins.

    Raises CheckpointError for archives that are compressed or no checkpoint; other Exceptions for nonsense.
    """
    entries: dict[str, zipfile.ZipInfo] = {}
    starts: dict[str, int] = {}
    with zipfile.ZipFile(Bounded(file, MAX_INDEX)) as archive:  # type: ignore[arg-type]
        if any(entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1 for entry in archive.infolist()):
            raise CheckpointError(
                "is compressed (zipped anew after it was saved), and its numbers are read where they lie. Get the "
                "original file, or save it again: torch.save(torch.load(path, weights_only=True), new_path)."
            )
        for entry in archive.infolist():
            name = entry.orig_filename
            if name in entries:
                raise ValueError(f"it has two files {name!r:.80}")
            archive.open(entry).close()  # holds the index against the entry's own header
            file.seek(entry.header_offset + 26)
            entries[name], starts[name] = entry, entry.header_offset + 30 + sum(unpack("<HH", file.read(4)))
            if entry.compress_size != entry.file_size or starts[name] + entry.file_size > archive.start_dir:
                raise ValueError(f"{name!r:.80} in it is not where its index says")
    if min(entry.header_offset for entry in entries.values()):
        raise ValueError("it does not begin with a file")

    def content(name: str) -> bytes:
        file.seek(starts[name])
        data = Bounded(file).read(entries[name].file_size)
        # torch can be told to compute no checksums, and writes 0 then.
        if entries[name].CRC not in (0, zlib.crc32(data)):
            raise ValueError("its list of tensors has changed since it was written")
        return data

    root, *others = {name.split("/")[0] for name in entries}
    if f"{root}/constants.pkl" in entries:
        raise CheckpointError("is a TorchScript program, not only weights. Get the model's weights as .safetensors.")
    if others or f"{root}/data.pkl" not in entries:
        raise CheckpointError("is a zip archive, but not a checkpoint. Unpack it, and give the weights file in it.")
    check_byte_order(content(f"{root}/byteorder").decode() if f"{root}/byteorder" in entries else "little")
    storages: dict[str, Storage] = {}
    loaded = Reader(Bounded(io.BytesIO(content(f"{root}/data.pkl"))), storages, 5).load()
    if any(storage.size > entries[f"{root}/data/{key}"].file_size for key, storage in storages.items()):
        raise ValueError("its storages are not whole")
    return loaded, {key: starts[f"{root}/data/{key}"] for key in storages}


def read_legacy(file: BinaryIO, size: int) -> tuple[Any, dict[str, int]]:
    """The same of an open checkpoint from before torch 1.6: some pickles, and then the storages."""
    file.seek(0)
    storages: dict[str, Storage] = {}
    bounded = Bounded(file)
    if Reader(bounded, storages, 6).load() != MAGIC:
        raise CheckpointError("is a pickle, but not a torch checkpoint. Give the model's weights file.")
    version, machine, content, keys = (Reader(bounded, storages, 6).load() for _ in range(4))
    if version != LEGACY_VERSION:
        raise ValueError("it is of an unknown version")
    check_byte_order("little" if not isinstance(machine, dict) or machine.get("little_endian", True) else "big")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ValueError("its storages have no names")
    starts: dict[str, int] = {}
    for key in keys:
        storage, count = storages[key], int.from_bytes(file.read(8), "little")
        if count * storage.dtype.itemsize != storage.size or key in starts:
            raise ValueError(f"its storage {key!r:.80} has two sizes")
        starts[key] = file.tell()
        if starts[key] + storage.size > size:
            raise ValueError(f"it should have at least {starts[key] + storage.size}")
        file.seek(storage.size, io.SEEK_CUR)
    return content, starts
