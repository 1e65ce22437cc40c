"""Pickles as mere data: the standard library reads them, and nothing that one asks for is imported, called or built."""

from __future__ import annotations

import pickle
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple

import torch

from ..errors import CheckpointError

# A model of a thousand tensors has 0.1 MB of pickle in 80 thousand reads; its optimizer may have ten times that.
MAX_BYTES, MAX_INSTRUCTIONS = 64 << 20, 3_000_000
MAX_LINE = 512
SAVE_PLAIN = "Save it with plain tensors (to_dense(), dequantize(), resolve_neg()), or get the .safetensors file."

# What plain checkpoints name (as in torch's own list), and what trainings leave beside the weights. None of it is used
# but for the tensors' notes; any other name is a reason not to trust the file.
KNOWN = re.compile(
    r"""collections\.(OrderedDict|Counter|defaultdict) | (builtins|__builtin__)\.(set|bytearray|complex)
    | _codecs\.encode | torch\.(Size|Tensor|device) | torch\.nn\.parameter\.Parameter
    | torch\.(cuda\.|sparse\.|cuda\.sparse\.)?[A-Z]\w*(Tensor|Storage) | torch\.storage\.(Untyped|Typed)Storage
    | torch\._utils\._rebuild_\w+ | torch\._tensor\._rebuild_from_type_v2 | torch\.serialization\._get_layout
    | numpy\.(core|_core)\.multiarray\.scalar | numpy\.dtype | numpy\.dtypes\.\w+DType
    | pytorch_lightning\.callbacks\.model_checkpoint\.ModelCheckpoint""",
    re.VERBOSE | re.ASCII,
)
# The instructions of protocol 2, which torch.save writes, but those that make tables, call or change something.
HARMLESS = """PROTO STOP GLOBAL BINPERSID MARK APPEND APPENDS SETITEM SETITEMS EMPTY_TUPLE EMPTY_LIST TUPLE TUPLE1
    TUPLE2 TUPLE3 NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINSTRING BINGET
    LONG_BINGET BINPUT LONG_BINPUT"""
STORAGES = {  # by name; the quantized ones are only passed over
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16, "LongStorage": torch.int64, "IntStorage": torch.int32,
    "ShortStorage": torch.int16, "CharStorage": torch.int8, "ByteStorage": torch.uint8, "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64, "ComplexDoubleStorage": torch.complex128, "UntypedStorage": torch.uint8,
    "QInt8Storage": torch.qint8, "QUInt8Storage": torch.quint8, "QInt32Storage": torch.qint32,
}  # fmt: skip


class Name(str):
    """Something that a pickle would import."""


@dataclass(eq=False, repr=False)
class Call:
    """Something that a pickle would call."""

    function: Name
    arguments: tuple[Any, ...]


class Storage(NamedTuple):
    """What tensors of a checkpoint are views of: its key, type and number of bytes."""

    key: str
    dtype: torch.dtype
    size: int


class Table(dict[Any, Any]):
    """A table by texts. All other keys become one: comparing pairs of pairs of pairs could take for ever."""

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(key if type(key) is str else Name("a name that is not text"), value)


class Bounded:
    """A file that gives no more than a model takes, to a library that asks for as much as the file says."""

    def __init__(self, file: BinaryIO, limit: int | None = None) -> None:
        self.file, self.seek, self.tell, self.seekable = file, file.seek, file.tell, file.seekable
        self.bytes_left, self.steps_left = limit or MAX_BYTES, MAX_INSTRUCTIONS

    def read(self, count: int = -1) -> bytes:
        self.bytes_left -= count
        self.steps_left -= 1
        if self.bytes_left < 0 or self.steps_left < 0:
            raise CheckpointError("holds far more than a model's tensors. Save only its tensors with torch.save.")
        data = self.file.read(count)
        if count > 0 and not data:
            raise ValueError("it breaks off")
        return data

    def readline(self) -> bytes:
        line = self.file.readline(MAX_LINE)
        self.bytes_left -= len(line)
        return line


class _Steps(dict[int, Callable[[Any], None]]):
    def __missing__(self, code: int) -> Callable[[Any], None]:
        raise CheckpointError(
            f"is not pickled as torch.save does it (instruction {bytes([code])!r}). "
            "Get the model as .safetensors, or as a file that torch.save wrote with its own settings."
        )


class Reader(pickle._Unpickler):
    """Reads one pickle: load() gives Tables, lists, tuples, texts, numbers, and Names and Calls for all else.

    Each storage is added to storages; its persistent id has that many parts. load() raises CheckpointError for names
    and instructions that plain checkpoints lack, and any Exception for nonsense. The library's unpickler in C, and
    torch's, would compare any keys, and copy or print what is small in the file and endless when written out.
    """

    stack: list[Any]

    def __init__(self, file: Bounded, storages: dict[str, Storage], parts: int) -> None:
        super().__init__(file, encoding="utf-8")  # type: ignore[arg-type]  # readinto is only for protocol 5
        self.file, self.storages, self.parts = file, storages, parts

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        # Looked up without torch's __getattr__, which imports.
        kind = vars(torch).get(name) if module == "torch" else None
        if not KNOWN.fullmatch(full) and not isinstance(kind, torch.dtype | torch.qscheme | torch.layout):
            raise CheckpointError(
                "needs more than plain tensors, so loading it could run code hidden in it; it was not loaded (it asks "
                f"for {full:.200}). Get the model as .safetensors. Or, if you trust its author, load it in an "
                'environment of its own, save its tensors (torch.save({"state_dict": ...}, path)) and turn that into '
                ".safetensors with `python -m audiox_core convert` (which never runs code either, so it can't read "
                "this file as it is)."
            )
        return Name(full)

    def persistent_load(self, pid: Any) -> Storage:
        """That of ("storage", type, key, device, elements), in old files also a view's or None."""
        if not isinstance(pid, tuple) or len(pid) != self.parts or pid[0] != "storage":
            raise ValueError("it refers to something that is not a storage")
        kind, key, _, count, *view = pid[1:]
        whole = type(count) is int and 0 <= count < 1 << 59 and not any(view)
        if not (isinstance(kind, Name) and isinstance(key, str) and whole):
            raise ValueError("it refers to an impossible storage")
        dtype = STORAGES.get(kind.rpartition(".")[2])
        if dtype is None:
            raise CheckpointError(f"holds numbers of an unusual kind ({kind:.80}). {SAVE_PLAIN}")
        storage = Storage(key, dtype, count * dtype.itemsize)
        if self.storages.setdefault(key, storage).size != storage.size:
            raise ValueError(f"its storage {key!r:.80} has two sizes")
        return storage

    def table(self) -> None:
        self.stack.append(Table())

    def call(self) -> None:
        function, arguments = self.stack[-2:]
        if not isinstance(function, Name) or not isinstance(arguments, tuple):
            raise ValueError("its pickle calls something that is not a function")
        made: Any = Call(function, arguments)
        if function in ("collections.OrderedDict", "collections.Counter", "collections.defaultdict"):
            made = Table()
            pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
            for key, value in pairs:
                made[key] = value
            pairs.clear()  # or the same ones could come again and again
        self.stack[-2:] = [made]

    def change(self) -> None:
        target, _ = self.stack[-2:]
        if isinstance(target, Call):
            target.function = Name("torch._utils._rebuild_changed_tensor")
        elif not isinstance(target, Table):
            raise ValueError("its pickle changes what can't be changed")
        del self.stack[-1]

    dispatch = _Steps(
        {code: pickle._Unpickler.dispatch[code] for code in (getattr(pickle, name)[0] for name in HARMLESS.split())}
        | {pickle.EMPTY_DICT[0]: table, pickle.REDUCE[0]: call, pickle.NEWOBJ[0]: call, pickle.BUILD[0]: change}
    )
