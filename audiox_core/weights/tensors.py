"""Weights files: tensors from .safetensors and pickles without executing anything, and to .safetensors."""

from __future__ import annotations

import json
import logging
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError

log = logging.getLogger("audiox")

WEIGHT_SUFFIXES = (".safetensors", ".ckpt", ".pt", ".pth", ".bin")
DOWNLOAD_AGAIN = "Download it again."
# Names of element types in a safetensors header.
TYPE_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}
# The safe unpickler of older versions trusts sizes that a malicious file states (CVE-2026-24747).
CAREFUL_TORCH = (2, 10)

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
        """A copy to write to."""
        mapped, offset = self[key], self._offsets.get(key)
        if offset is None:
            return mapped.clone(memory_format=torch.contiguous_format)
        copy = torch.empty(mapped.shape, dtype=mapped.dtype)
        target = copy.reshape(-1).view(torch.uint8).numpy().data
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(offset)
                while len(target):
                    count = file.readinto(target)
                    if not count:
                        raise CheckpointError(f"{self.path}: has become shorter while it was read. {DOWNLOAD_AGAIN}")
                    target = target[count:]
        except OSError as error:
            raise CheckpointError(f"{self.path}: can't be read any more ({error}). Load it again.") from error
        return copy


def read_tensors(source: str | Path) -> FileTensors:
    """Tensors of a .safetensors file or of a pickled checkpoint (.ckpt, .pt, .pth), by key, on the CPU.

    A {"state_dict": ...} level is taken off. What the file is, is told by its content, not by its name.
    Pickles are read by torch's restricted unpickler, which builds tensors and plain containers and calls
    nothing else. Raises CheckpointError, with the file and the mend, for what can't be read so.
    """
    path = Path(source)
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise CheckpointError(f"{path}: is a folder. Give the path of the weights file in it.")
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path}: can't be read ({error.strerror or error}). Check the path.") from error
    # First the length of a header in 64 bits: small, so that its high bytes are zero; then the header.
    if head[5:9] == b"\0\0\0{":
        return _read_safetensors(path, int.from_bytes(head[:8], "little"), size)
    if head.startswith(b"PK\x03\x04"):
        if not zipfile.is_zipfile(path):
            raise CheckpointError(f"{path}: is truncated ({size} bytes, and its end is missing). {DOWNLOAD_AGAIN}")
        return FileTensors(_unwrap(path, _unpickle(path, mmap=True)), path)
    if head.startswith(b"\x80"):
        # The format before torch 1.6 can't be mapped. A tar may pose as it, which old torch opens unsafely.
        if tarfile.is_tarfile(path):
            raise CheckpointError(f"{path}: is a tar archive, which is not safe to load. Get the .safetensors file.")
        return FileTensors(_unwrap(path, _unpickle(path, mmap=False)), path)
    raise _other_file(path, head)


def _other_file(path: Path, head: bytes) -> CheckpointError:
    text = head.lstrip().lower()
    if not head:
        problem, mend = "is empty", DOWNLOAD_AGAIN
    elif head.startswith(b"version https://git-lfs"):
        problem, mend = (
            "is only a Git LFS pointer, not the weights",
            "Run `git lfs pull`, or download the file itself.",
        )
    elif text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head", b"<body")):
        problem, mend = (
            "is a web page, not weights",
            "Download the file itself (the link with /resolve/ in it).",
        )
    elif text.startswith(b"{"):
        problem, mend = "is JSON text, not weights", "Give the .safetensors or .ckpt file."
    elif head.startswith(b"GGUF"):
        problem, mend = "is a GGUF file, which is not supported", "Get the .safetensors or .ckpt file."
    else:
        problem = f"is neither a safetensors file nor a torch checkpoint (it starts with {head[:8]!r})"
        mend = DOWNLOAD_AGAIN
    return CheckpointError(f"{path}: {problem}. {mend}")


def _read_safetensors(path: Path, length: int, size: int) -> FileTensors:
    from safetensors import SafetensorError, safe_open

    truncated = f"{path}: is truncated or damaged ({size} bytes"
    if 8 + length > size:
        raise CheckpointError(f"{truncated}, its header alone should have {length}). {DOWNLOAD_AGAIN}")
    try:
        with open(path, "rb") as file:
            file.seek(8)
            header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        ends = [entry["data_offsets"][1] for entry in header.values()]
        needed = 8 + length + max(ends, default=0)
        if needed > size:
            raise CheckpointError(f"{truncated}, it should have {needed}). {DOWNLOAD_AGAIN}")
        with safe_open(path, framework="pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"{truncated}: {error}). {DOWNLOAD_AGAIN}") from error
    return FileTensors(tensors, path, {k: 8 + length + header[k]["data_offsets"][0] for k in tensors})


def _unpickle(path: Path, *, mmap: bool) -> Any:
    if tuple(map(int, torch.__version__.split(".")[:2])) < CAREFUL_TORCH:
        log.warning(
            "%s: torch %s reads pickled checkpoints with a known weakness (CVE-2026-24747, mended in 2.10). "
            "Load only files that you trust, or .safetensors.",
            path,
            torch.__version__,
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{path}: needs more than plain tensors, so loading it could run code hidden in it; it was "
            f"not loaded ({_first_line(error)}). Get the model as .safetensors. Or, if you trust its author, "
            'load it in an environment of its own, save its tensors (torch.save({"state_dict": ...}, path)) '
            "and turn that into .safetensors with `python -m audiox_core convert` (which never runs code "
            "either, so it can't read this file as it is)."
        ) from error
    except Exception as error:
        raise CheckpointError(
            f"{path}: is truncated or damaged, or no torch checkpoint "
            f"({type(error).__name__}: {_first_line(error)}). {DOWNLOAD_AGAIN}"
        ) from error


def _first_line(error: Exception) -> str:
    """The line of torch's long explanation that says what the file asked for."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "GLOBAL" in line or "Unsupported" in line]
    return ((telling or lines or [type(error).__name__])[0])[:200]


def _unwrap(path: Path, loaded: Any) -> dict[str, Tensor]:
    state = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else loaded
    if not isinstance(state, Mapping):
        raise CheckpointError(f"{path}: holds a {type(state).__name__}, not tensors by name. Give a model checkpoint.")
    odd = [
        f"{k!r} ({type(v).__name__})" for k, v in state.items() if not isinstance(v, Tensor) or not isinstance(k, str)
    ]
    if odd:
        raise CheckpointError(
            f"{path}: holds other things than tensors by name: {', '.join(odd[:5])}"
            f"{' ...' if len(odd) > 5 else ''}. "
            'Give a model checkpoint: tensors by name, or such a dict under "state_dict".'
        )
    return {key: value.detach() for key, value in state.items()}


def write_tensors(tensors: Mapping[str, Tensor], target: str | Path, *, on_progress: OnBytes | None = None) -> Path:
    """Writes tensors as a .safetensors file, one at a time, so that memory-mapped ones never fill the memory.

    The file appears under its name only when it is whole. Tensors that share memory are each written out.
    on_progress(done bytes, all bytes) may raise to cancel. Raises CheckpointError when it can't be written.
    """
    target = Path(target)
    unknown = {str(t.dtype) for t in tensors.values()} - {str(t) for t in TYPE_NAMES}
    if unknown:
        raise CheckpointError(
            f"{target}: tensors of type {', '.join(sorted(unknown))} are no weights; nothing was written."
        )
    # Wide types first keeps every tensor aligned to its element size.
    order = sorted(tensors, key=lambda key: (-tensors[key].element_size(), key))
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    done = 0
    for key in order:
        t = tensors[key]
        end = done + t.numel() * t.element_size()
        header[key] = {"dtype": TYPE_NAMES[t.dtype], "shape": list(t.shape), "data_offsets": [done, end]}
        done = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    total, part = done, target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with open(part, "wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            done = 0
            for key in order:
                flat = tensors[key].detach().contiguous().reshape(-1).view(torch.uint8)
                file.write(flat.numpy().data)
                done += flat.numel()
                if on_progress is not None:
                    on_progress(done, total)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, target)
    except OSError as error:
        raise CheckpointError(
            f"{target}: can't be written ({error.strerror or error}). "
            f"Choose another place, with {(total + len(text)) / 1e9:.1f} GB free."
        ) from error
    finally:
        with suppress(OSError):  # the folder itself may be what is wrong
            part.unlink()
    return target
