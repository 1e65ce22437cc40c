"""Weights files: tensors from .safetensors and pickles without executing anything, and to .safetensors."""

from __future__ import annotations

import json
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from ..errors import CheckpointError
from .archives import read_archive, read_legacy
from .headers import WEIGHT_TYPES, is_text, read_safetensors
from .rebuild import rebuilt

DOWNLOAD_AGAIN = "Download it again."
TYPE_NAMES = {dtype: name for name, dtype in WEIGHT_TYPES.items()}
# Bytes that are written between two words on the progress.
BLOCK = 64 << 20

OnBytes = Callable[[int, int], None]


class FileTensors(dict[str, Tensor]):
    """Tensors of a file by key, memory-mapped: bytes are read when touched. They are not to be written to."""

    def __init__(self, tensors: Mapping[str, Tensor], path: Path, offsets: Mapping[str, int] | None = None) -> None:
        super().__init__(tensors)
        self.path, self._offsets = path, dict(offsets or {})

    @property
    def seekable(self) -> bool:
        """Whether private() reads past the map, so that the map's pages take no memory."""
        return bool(self._offsets)

    def private(self, key: str) -> Tensor:
        """A copy to write to. Raises CheckpointError when the file is no longer what it was."""
        mapped, offset = self[key], self._offsets.get(key)
        if offset is None or not mapped.numel():
            return mapped.clone(memory_format=torch.contiguous_format)
        copy = torch.empty(mapped.shape, dtype=mapped.dtype)
        try:
            with open(self.path, "rb") as file:
                file.seek(offset)
                count = file.readinto(copy.reshape(-1).view(torch.uint8).numpy().data)
        except OSError as error:
            raise CheckpointError(f"{self.path}: can't be read any more ({error}). Load it again.") from error
        if count < mapped.nbytes:
            raise CheckpointError(f"{self.path}: has become shorter while it was read. {DOWNLOAD_AGAIN}")
        return copy


def read_tensors(source: str | Path) -> FileTensors:
    """Tensors of a .safetensors file or of a pickled checkpoint (.ckpt, .pt, .pth), by key, on the CPU.

    A level such as {"state_dict": ...} (names.LEVELS) is taken off. What the file is, is told by its content, not by
    its name. Pickles are read as data, and nothing in them is called (pickles.py).
    Raises CheckpointError, with the file and the mend, for what can't be read so.
    """
    path = Path(source)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:  # a path with a null byte is a ValueError
        raise CheckpointError(f"{path}: can't be read ({_reason(error)}). Check the path.") from error
    if stat.S_ISDIR(status.st_mode):
        raise CheckpointError(f"{path}: is a folder. Give the path of the weights file in it.")
    if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for its writer
        raise CheckpointError(f"{path}: is a pipe or a device, not a file. Give the path of the weights file.")
    try:
        with open(path, "rb") as file:
            return _read(path, file, status.st_size)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({_reason(error)}). Check the path.") from error
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except Exception as error:
        what = str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
        if type(error) in (RuntimeError, MemoryError):
            problem = f"can't be mapped into memory, {status.st_size / 1e9:.1f} GB ({what.splitlines()[0]:.200})"
            raise CheckpointError(f"{path}: {problem}. Allow more virtual memory or swap.") from error
        raise CheckpointError(
            f"{path}: is truncated or damaged ({status.st_size} bytes; {what:.300}). {DOWNLOAD_AGAIN}"
        ) from error


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _read(path: Path, file: BinaryIO, size: int) -> FileTensors:
    head = file.read(512) if size else b""
    # First the length of a header in 64 bits: small, so that its high bytes are zero; then the header.
    if head[5:9] == b"\0\0\0{":
        tensors, offsets = read_safetensors(path, file, size)
    elif head.startswith(b"PK\x03\x04"):
        tensors, offsets = rebuilt(*read_archive(file), path, size)
    elif head[257:262] == b"ustar":
        raise CheckpointError("is a tar archive, not a checkpoint. Unpack it, or get the .safetensors file.")
    elif head.startswith(b"\x80"):
        tensors, offsets = rebuilt(*read_legacy(file, size), path, size)
    else:
        raise CheckpointError(_other_file(head))
    return FileTensors(tensors, path, offsets)


def _other_file(head: bytes) -> str:
    text = head.lstrip().lower()
    if not head:
        return f"is empty. {DOWNLOAD_AGAIN}"
    if head.startswith(b"version https://git-lfs"):
        return "is only a Git LFS pointer, not the weights. Run `git lfs pull`, or download the file itself."
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        return "is a web page, not weights. Download the file itself (the link with /resolve/ in it)."
    if text.startswith(b"{"):
        return "is JSON text, not weights. Give the .safetensors or .ckpt file."
    if head.startswith(b"GGUF"):
        return "is a GGUF file, which is not supported. Get the .safetensors or .ckpt file."
    return f"is neither a safetensors file nor a torch checkpoint (it starts with {head[:8]!r}). {DOWNLOAD_AGAIN}"


def write_tensors(
    tensors: Mapping[str, Tensor],
    target: str | Path,
    *,
    overwrite: bool = False,
    on_progress: OnBytes | None = None,
) -> Path:
    """Writes tensors as a .safetensors file, one at a time, so that memory-mapped ones never fill the memory.

    The file appears under its name only when it is whole, and without overwrite never over another one, whoever else
    writes there; whatever ends the writing early leaves nothing. Tensors that share memory are each written out.
    on_progress(done bytes, all bytes) may raise to cancel. Raises CheckpointError when it can't be written.
    """
    target = Path(target)
    header, order, total = _header(tensors, target)
    needed, done = total + len(header), 0
    # Beside the target, so that it can be renamed; short, because the target's name may be as long as a name can be.
    part = target.parent / f".{target.name[:40]}.{secrets.token_hex(8)}.part"
    file: BinaryIO | None = None
    try:
        with _told(target, needed):
            if os.path.lexists(target) and not overwrite:
                raise FileExistsError
            target.parent.mkdir(parents=True, exist_ok=True)
            file = open(part, "xb")  # noqa: SIM115 (closed below)
            file.write(header)
        for key in order:
            flat = tensors[key].detach().cpu().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
            for block in flat.split(BLOCK):
                with _told(target, needed):
                    file.write(block.numpy().data)
                done += len(block)
                if on_progress is not None:
                    on_progress(done, total)
        with _told(target, needed):
            file.flush()
            os.fsync(file.fileno())
            file.close()
            if overwrite:
                os.replace(part, target)
            else:
                _publish(part, target)
    finally:
        with suppress(OSError):  # the folder itself may be what is wrong
            if file is not None:
                file.close()
        with suppress(OSError, ValueError):  # or its name, which a null byte makes a ValueError
            part.unlink()
    return target


@contextmanager
def _told(target: Path, needed: int) -> Iterator[None]:
    """Tells a user what the system's errors mean for a target; those of on_progress are none of its."""
    try:
        yield
    except (OSError, ValueError) as error:
        if isinstance(error, FileExistsError) and os.path.lexists(target):
            problem = "already exists, and was left as it is. Remove it first, or choose another name."
        else:
            problem = f"can't be written ({_reason(error)}). Choose another place, with {needed / 1e9:.1f} GB free."
        raise CheckpointError(f"{target}: {problem}") from error


def _header(tensors: Mapping[str, Tensor], target: Path) -> tuple[bytes, list[str], int]:
    """The beginning of the file, the keys in the order of their bytes in it, and how many those are."""
    bad = [key for key in tensors if not isinstance(key, str) or not is_text(key) or key == "__metadata__"]
    if bad:
        raise CheckpointError(f"{target}: {bad[0]!r:.80} can't be a tensor's name; nothing was written. Rename it.")
    unknown = sorted({str(t.dtype) for t in tensors.values() if t.dtype not in TYPE_NAMES})
    if unknown:
        raise CheckpointError(f"{target}: tensors of type {', '.join(unknown)} are not weights; nothing was written.")
    odd = [key for key, t in tensors.items() if t.layout != torch.strided or t.is_meta or t.is_nested]
    if odd:
        raise CheckpointError(
            f"{target}: {odd[0]!r:.80} is sparse, nested or without numbers; nothing was written. Make it plain."
        )
    # Wide types first keeps every tensor aligned to its element size.
    order = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    done = 0
    for key in order:
        t, start = tensors[key], done
        done += t.numel() * t.element_size()
        header[key] = {"dtype": TYPE_NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [start, done]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text, order, done


def _publish(part: Path, target: Path) -> None:
    """Gives the finished file its name. Raises FileExistsError if another has it: a rename would overwrite that."""
    try:
        os.link(part, target)
    except FileExistsError:
        raise
    except OSError:  # there are no links, as on a memory card or in a shared folder: first the name, then the content
        os.close(os.open(target, os.O_CREAT | os.O_EXCL))
        try:
            os.replace(part, target)
        except BaseException:
            with suppress(OSError):
                target.unlink()
            raise
