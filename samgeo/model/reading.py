"""Tensors out of a weights file of any kind that the family is published in, without trusting the file.

.safetensors   numbers and names only
.pt, .pth      what torch.save wrote: a state dict, one under "model" or "state_dict", or a pickled network (`pickled`)
.zip           one of these in a zip, as EfficientSAM-S is published

What a file is, its first bytes say; its name does not matter.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from safetensors import SafetensorError, safe_open
from torch import Tensor

from samgeo.errors import UnsafeInputError, WeightsError
from samgeo.model.conversion import with_official_names
from samgeo.model.digests import as_published
from samgeo.model.kinds import HEAD_BYTES, what_it_is
from samgeo.model.pickled import BROKEN, MAX_PICKLE_BYTES, TensorUnpickler, tensors_in

MAX_HEADER_BYTES = 16 * 2**20
"""Of a safetensors file; published ones have less than 100 kB."""
MAX_UNPACKED_BYTES = 2**30
"""Of weights inside a zip."""
_PICKLE = re.compile(r"[^/]+/data\.pkl")


@dataclass(frozen=True, kw_only=True, eq=False)
class WeightsFile:
    """What a weights file holds."""

    tensors: dict[str, Tensor]
    """By their official names."""
    metadata: dict[str, str] = field(default_factory=dict)
    """Of a safetensors file."""


def read_weights(path: Path) -> WeightsFile:
    """Read a weights file.

    Raises WeightsError for one that is missing, damaged or something else, UnsafeInputError for one that would act.
    """
    if path.is_dir():
        raise WeightsError(f"{path}: a folder; expected a weights file: .safetensors, .pt, .pth")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise WeightsError(
            f"{path}: no such weights file ({error.strerror}); expected a file, or a name of samgeo models list"
        ) from error
    found = what_it_is(head)
    if found:
        raise _bad(path, f"{found}; expected weights: .safetensors, .pt, .pth")
    return _from_zip(path) if head.startswith(b"PK") else _from_safetensors(path)


def _from_safetensors(path: Path) -> WeightsFile:
    try:
        _check_header(path)
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return WeightsFile(tensors=_as_official(tensors), metadata=dict(file.metadata() or {}))
    except (SafetensorError, *BROKEN) as error:
        raise _bad(path, f"not a whole safetensors file ({_short(error)})") from error


def _check_header(path: Path) -> None:
    """Refuse headers that no weights have before they are parsed: format https://github.com/huggingface/safetensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {length} bytes, at most {MAX_HEADER_BYTES} make sense")
        header = file.read(length)
    if len(header) < length:
        raise ValueError(f"{len(header)} bytes of a header of {length}")
    names = [name for name, _ in json.loads(header, object_pairs_hook=list)]
    if len(set(names)) < len(names):
        raise ValueError("a tensor is there twice")


def _from_zip(path: Path) -> WeightsFile:
    with _damage_of(path), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        inner = [n for n in names if n.endswith((".pt", ".pth")) and not n.startswith("__MACOSX/")]
        if any(map(_PICKLE.fullmatch, names)):
            return WeightsFile(tensors=_saved_tensors(archive))
        if len(inner) != 1:
            raise _bad(path, f"a zip with {len(inner)} weights files; expected one .pt or .pth in it")
        if archive.getinfo(inner[0]).file_size > MAX_UNPACKED_BYTES:
            raise ValueError(f"{inner[0]} would unpack to more than {MAX_UNPACKED_BYTES} bytes")
        with archive.open(inner[0]) as packed, _unpacked(packed) as saved:
            return WeightsFile(tensors=_saved_tensors(saved))


@contextmanager
def _unpacked(packed: IO[bytes]) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(io.BytesIO(packed.read())) as saved:
        yield saved


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    """Whatever fails in reading a damaged archive becomes an error that names the file."""
    try:
        yield
    except UnsafeInputError as error:
        raise UnsafeInputError(f"{path}: {error}") from error
    except WeightsError:
        raise
    except BROKEN as error:
        raise _bad(path, f"not a whole weights file ({_short(error)})") from error


def _saved_tensors(archive: zipfile.ZipFile) -> dict[str, Tensor]:
    """The state dict in an archive that torch.save wrote. Reading a record checks its CRC-32."""
    pickles = [name for name in archive.namelist() if _PICKLE.fullmatch(name)]
    if len(pickles) != 1:
        raise ValueError(f"{len(pickles)} pickles in the archive")
    root = pickles[0].removesuffix("data.pkl")
    infos = archive.infolist()
    if any(info.compress_type != zipfile.ZIP_STORED for info in infos):
        raise ValueError("packed records, which torch.save never writes")
    assert archive.fp is not None
    if sum(info.file_size for info in infos) > archive.fp.seek(0, io.SEEK_END):
        raise ValueError("records that overlap")
    if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
        raise ValueError("numbers in big-endian order")
    if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
        raise ValueError("a pickle larger than any weights need")
    saved = TensorUnpickler(archive.read(pickles[0]), lambda key: archive.read(f"{root}data/{key}")).load()
    tensors = _as_official(tensors_in(saved))
    if not tensors:
        raise ValueError(f"no tensors by name in it, but {type(saved).__name__}")
    return tensors


def _as_official(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the `module.` that DataParallel puts before all names, and under official names."""
    if tensors and all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    return with_official_names(tensors)


def _bad(path: Path, problem: str) -> WeightsError:
    return WeightsError(f"{path}: {problem}.{as_published(path) or ' Fetch or save it again'}")


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:200]
