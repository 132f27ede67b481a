"""Tensors out of a file that torch.save wrote, without running anything that the file says.

    ARCHIVE/data.pkl      a pickle: what is saved, with storages by key
    ARCHIVE/data/KEY      one storage: numbers, little-endian

A pickle is a program that may name any function and call it. Here it can build lists, dicts, numbers, strings and
tensors. Every other class or function that it names is replaced by one that does nothing and keeps what it was given,
so that the tensors of a pickled network can be read where its code is not installed. One reader serves all such files;
`torch.load` would refuse those, and its own restricted reader has been got around twice (CVE-2025-32434,
CVE-2026-24747).
"""

from __future__ import annotations

import io
import math
import pickle
import pickletools
import warnings
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor

from samgeo.errors import UnsafeInputError

MAX_PICKLE_BYTES = 64 * 2**20
"""Of data.pkl; published ones have less than 1 MB."""
MAX_DEPTH = 64
"""Of modules in modules."""

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}

ACTING_MODULES = frozenset(
    {
        *("os", "posix", "nt", "sys", "subprocess", "_posixsubprocess", "pty", "platform", "shutil", "tempfile"),
        *("importlib", "runpy", "code", "codeop", "zipimport", "marshal", "pickle", "_pickle", "ctypes"),
        *("socket", "urllib", "http", "requests", "webbrowser", "asyncio", "threading", "multiprocessing", "signal"),
        *("pdb", "bdb", "timeit", "trace"),
    }
)
"""Modules that act on the machine. No weights have a use for them: a file that names one is an attack."""
ACTING_FUNCTIONS = frozenset(
    {
        *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__"),
        *("builtins.breakpoint", "builtins.input", "io.open", "_io.open"),
    }
)
"""Functions that do, of modules with harmless ones."""

BROKEN = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a damaged file may raise."""


class Storage(NamedTuple):
    """One storage that the pickle refers to."""

    dtype: torch.dtype
    key: str
    numel: int


class Inert:
    """Stands for an object of a class that is not built here: does nothing, keeps the state that it is given."""

    state: Any = None

    def __new__(cls, *_given: Any, **_named: Any) -> Self:
        """Whatever it is made from."""
        return object.__new__(cls)

    def __init__(self, *_given: Any, **_named: Any) -> None:
        """Ignores what it is made from."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __setitem__(self, _key: Any, _value: Any) -> None:
        """A dict of a class that is not built here."""

    def append(self, _item: Any) -> None:
        """A list of a class that is not built here."""

    extend = add = append


class _Call:
    """A function that a pickle may call; it cannot be changed by the pickle."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *given: Any) -> Any:
        return self._function(*given)

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError("state for a function")


class TensorUnpickler(pickle.Unpickler):
    """Builds tensors from the records of an archive, and nothing else that acts."""

    def __init__(self, data: bytes, read_record: Callable[[str], bytes]) -> None:
        """data: the pickle. read_record: bytes of the storage of a key."""
        check_stream(data)
        super().__init__(io.BytesIO(data))
        self._read_record = read_record
        self._storages: dict[str, Tensor] = {}
        self._known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "builtins.set": _Call(set),
            "torch.Size": _Call(tuple),
            "torch._utils._rebuild_tensor_v2": _Call(self._tensor),
            "torch._utils._rebuild_parameter": _Call(lambda data, *_: data),
            **{f"torch.{name}": dtype for name, dtype in STORAGES.items()},
        }

    def find_class(self, module: str, name: str) -> Any:
        """What stands for a class or function. Raises UnsafeInputError if it acts on the machine."""
        # Old protocols write the names of Python 2.
        module, name = NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        whole = f"{module}.{name}"
        if module.split(".", 1)[0] in ACTING_MODULES or whole in ACTING_FUNCTIONS:
            raise UnsafeInputError(
                f"it would run {whole}, which no weights have a use for. Nothing was run. Do not use this file; "
                "expected tensors only, best as .safetensors"
            )
        if whole not in self._known:
            # A class of its own for each name and file: what a file does to it is gone with it.
            self._known[whole] = type(Inert.__name__, (Inert,), {"__module__": __name__})
        return self._known[whole]

    def persistent_load(self, pid: Any) -> Storage:
        """What torch.save writes in place of a storage: ("storage", type, key, device, number of elements)."""
        kind, dtype, key, _device, numel = pid
        known = isinstance(dtype, torch.dtype) and isinstance(key, str) and type(numel) is int
        if kind != "storage" or not known:
            raise pickle.UnpicklingError(f"a storage described as {pid!r:.80}")
        return Storage(dtype, key, numel)

    def _tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_rest: Any) -> Tensor:
        numbers = [offset, *size, *stride]
        if not isinstance(storage, Storage) or not all(type(n) is int and n >= 0 for n in numbers):
            raise pickle.UnpicklingError("a tensor of no storage, or with negative sizes")
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if math.prod(size) > storage.numel or (0 not in size and last >= storage.numel):
            raise pickle.UnpicklingError(f"a tensor of {tuple(size)} beyond its storage of {storage.numel}")
        return self._flat(storage).as_strided(tuple(size), tuple(stride), offset)

    def _flat(self, storage: Storage) -> Tensor:
        if storage.key not in self._storages:
            data = bytearray(self._read_record(storage.key))
            if len(data) != storage.numel * storage.dtype.itemsize:
                raise pickle.UnpicklingError(f"storage {storage.key} of {len(data)} bytes, said to be {storage.numel}")
            flat = torch.frombuffer(data, dtype=storage.dtype) if data else torch.empty(0, dtype=storage.dtype)
            self._storages[storage.key] = flat
        flat = self._storages[storage.key]
        if flat.dtype != storage.dtype or len(flat) != storage.numel:
            raise pickle.UnpicklingError(f"storage {storage.key} described in two ways")
        return flat


def check_stream(data: bytes) -> None:
    """Look at every step of a pickle without taking it. Raises UnpicklingError for what torch.save never writes."""
    if len(data) > MAX_PICKLE_BYTES:
        raise pickle.UnpicklingError(f"a pickle of {len(data)} bytes")
    argument: Any
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of escapes in texts that Python's own reader undoes
        for opcode, argument, _position in pickletools.genops(data):
            if opcode.name.startswith("EXT"):
                raise pickle.UnpicklingError("a class by number")
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "GET", "BINGET", "LONG_BINGET") and argument > len(data):
                raise pickle.UnpicklingError("a memo larger than the pickle")  # would ask for that much memory


def tensors_in(saved: Any) -> dict[str, Tensor]:
    """The state dict in what was saved: itself, under a usual key, or that of a pickled module; empty if none is."""
    if isinstance(saved, Inert):
        return module_tensors(saved)
    if not isinstance(saved, Mapping):
        return {}
    for key in ("model", "state_dict", "model_state_dict", "ema"):
        inner = saved.get(key)
        if isinstance(inner, (Inert, Mapping)) and (found := tensors_in(inner)):
            return found
    return {key: value for key, value in saved.items() if isinstance(key, str) and isinstance(value, Tensor)}


def module_tensors(module: Inert, prefix: str = "", depth: int = 0) -> dict[str, Tensor]:
    """Parameters and persistent buffers of a pickled torch.nn.Module, named as its state_dict would name them."""
    state = module.state
    if depth > MAX_DEPTH:
        raise pickle.UnpicklingError("modules nested too deeply")
    if not isinstance(state, dict):
        return {}
    passing = state.get("_non_persistent_buffers_set")
    passing = passing if isinstance(passing, (set, frozenset)) else frozenset()
    found: dict[str, Tensor] = {}
    for kind in ("_parameters", "_buffers"):
        for name, value in (state.get(kind) or {}).items():
            if isinstance(value, Tensor) and name not in passing:
                found[f"{prefix}{name}"] = value
    for name, child in (state.get("_modules") or {}).items():
        if isinstance(child, Inert):
            found |= module_tensors(child, f"{prefix}{name}.", depth + 1)
    return found
