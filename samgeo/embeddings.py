r"""EmbeddingCache: what the image encoder made of a window, kept on disk under a name that says from what it was made.

    FOLDER/CACHEDIR.TAG          tells backup programs to pass over the folder (https://bford.info/cachedir/)
    FOLDER/ab/ab12....emb        one entry

    entry:  b"SAMGEO\0\1"        8 bytes, the last one is the version of this format
            length of header     8 bytes, little-endian
            header               JSON: for each array its name, dtype, shape and offset in the data
            data                 the arrays as they lie in memory, little-endian, each from a multiple of 64 bytes
            SHA-256 of the rest  32 bytes

Nothing in an entry is code. One that is damaged or of another version is removed and made again; the cache is a
convenience, so nothing that goes wrong with it stops a run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import stat
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo import __version__
from samgeo.commit import write_file
from samgeo.errors import SamgeoWarning, UsageError
from samgeo.folders import user_cache

MAX_BYTES = 10 * 10**9
"""Default limit of a cache on disk."""

MAGIC = b"SAMGEO\x00\x01"
_ALIGNMENT, _DIGEST_BYTES = 64, 32
_TAG = b"Signature: 8a477f597d28d172789f06886806bc55\n# Embeddings that samgeo can make again; safe to delete.\n"
_KEY = re.compile(r"[0-9a-f]{16,128}")
_KINDS = "biufU"
_LEFTOVER_SECONDS = 3600

Arrays = Mapping[str, NDArray[np.generic]]


@dataclass
class CacheCounts:
    """What happened to one `EmbeddingCache` so far."""

    hits: int = 0
    """Entries that were found whole."""
    misses: int = 0
    """Entries that were not there."""
    dropped: int = 0
    """Entries that were damaged or of another version, and are removed."""
    stored: int = 0
    """Entries that were written."""
    evicted: int = 0
    """Entries that were removed to stay within the limit."""


class EmbeddingCache:
    """Named arrays by key, on disk, within a limit; any number of processes may use the same folder."""

    def __init__(self, folder: Path | str | None = None, *, max_bytes: int = MAX_BYTES) -> None:
        """Open a cache; its folder is made when the first entry is stored.

        folder: private to its user (0700); None: `default_folder()`.
        max_bytes: above it the entries that were not used for longest are removed.
        """
        if max_bytes < 0:
            raise UsageError(f"a cache of {max_bytes} bytes: expected at least 0")
        self.folder = default_folder() if folder is None else Path(folder)
        self.max_bytes = max_bytes
        self.counts = CacheCounts()
        self._room = 0
        self._is_trusted: bool | None = None
        self._is_warned = False
        self._is_writable = True

    @staticmethod
    def key_for(
        rgb: NDArray[np.uint8], valid: NDArray[np.bool_], model_sha256: str, precision: str, kind: str = ""
    ) -> str:
        """The key of the embedding of one window: equal only if everything that the encoder depends on is.

        rgb: (h, w, 3) uint8, as the encoder sees it. valid: (h, w), True where there is imagery. kind: of model; the
        same weights may be run in several ways, which keep other arrays.
        """
        if rgb.dtype != np.uint8 or rgb.ndim != 3 or valid.dtype != np.bool_ or valid.shape != rgb.shape[:2]:
            found = f"{rgb.shape} {rgb.dtype} with {valid.shape} {valid.dtype}"
            raise UsageError(f"a window of {found}: expected (h, w, 3) uint8 with (h, w) bool")
        facts = [MAGIC.hex(), __version__, model_sha256, precision, kind, list(rgb.shape)]
        digest = hashlib.sha256(json.dumps(facts).encode() + b"\n")
        digest.update(np.ascontiguousarray(rgb).data)
        digest.update(np.packbits(valid).data)
        return digest.hexdigest()

    def get(self, key: str) -> dict[str, NDArray[Any]] | None:
        """The arrays stored under `key`; None if they are not there or not as they were written."""
        path = self._path(key)
        if not self._trusts_folder():
            self.counts.misses += 1
            return None
        try:
            stored = bytearray(path.read_bytes())
        except OSError as error:
            self.counts.misses += 1
            if not isinstance(error, FileNotFoundError):
                self._warn(f"cannot be read: {error.strerror}")
            return None
        arrays = unpack(stored)
        if arrays is None:
            self.counts.dropped += 1
            with suppress(OSError):
                path.unlink()
            return None
        self.counts.hits += 1
        with suppress(OSError):  # when it was last used, for eviction; access times are off on many systems
            os.utime(path)
        return arrays

    def put(self, key: str, arrays: Arrays) -> None:
        """Store arrays of numbers, bools or text under `key`; without effect where the folder cannot be written."""
        path = self._path(key)
        chunks = list(pack(arrays))
        size = sum(map(len, chunks))
        if not self._is_writable or size > self.max_bytes or not self._trusts_folder():
            return
        try:
            self._prepare_folder()
            path.parent.mkdir(mode=0o700, exist_ok=True)
            write_file(path, chunks, durable=False)
        except OSError as error:
            self._is_writable = False
            self._warn(f"cannot be written: {error.strerror or error}")
            return
        self.counts.stored += 1
        self._room -= size
        if self._room < 0:
            self._evict()

    def used_bytes(self) -> int:
        """What all entries take together, whoever stored them."""
        return sum(size for _, size, _ in self._entries())

    def clear(self) -> None:
        """Remove all entries."""
        for path, _, _ in self._entries():
            with suppress(OSError):
                path.unlink()
        self._room = 0

    def _path(self, key: str) -> Path:
        if not _KEY.fullmatch(key):
            raise UsageError(f"cache key {key!r}: expected 16 to 128 hexadecimal digits in lower case")
        return self.folder / key[:2] / f"{key}.emb"

    def _trusts_folder(self) -> bool:
        """False if somebody else could have put entries there."""
        if self._is_trusted is None:
            try:
                status = self.folder.stat()
            except FileNotFoundError:
                return True  # nothing to read; made by us when it is written
            except OSError as error:
                self._is_trusted = False
                self._warn(f"cannot be used: {error.strerror}")
                return False
            problem = self._problem(status)
            self._is_trusted = not problem
            if problem:
                self._warn(problem)
        return self._is_trusted

    def _problem(self, status: os.stat_result) -> str:
        """Why entries there cannot be trusted; a folder that is ours is made private instead."""
        if not stat.S_ISDIR(status.st_mode):
            return "is not a folder"
        if os.name == "nt":
            return ""
        if status.st_uid != os.geteuid():
            return "belongs to another user"
        if status.st_mode & 0o077 and (self._tag.exists() or not any(self.folder.iterdir())):
            with suppress(OSError):
                self.folder.chmod(0o700)
                return ""
        return "can be written by others. Fix: chmod 700, or another folder" if status.st_mode & 0o022 else ""

    @property
    def _tag(self) -> Path:
        return self.folder / "CACHEDIR.TAG"

    def _prepare_folder(self) -> None:
        if not self._tag.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_file(self._tag, [_TAG], durable=False)

    def _entries(self) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and time of last use of each entry; removes what writers that were killed left."""
        for folder in self.folder.glob("[0-9a-f][0-9a-f]"):
            with suppress(OSError), os.scandir(folder) as files:
                for file in files:
                    with suppress(OSError):
                        status = file.stat()
                        if file.name.endswith(".emb"):
                            yield Path(file.path), status.st_size, status.st_mtime
                        elif file.name.endswith(".partial") and time.time() - status.st_mtime > _LEFTOVER_SECONDS:
                            os.unlink(file)

    def _evict(self) -> None:
        """Count what all processes have stored and, above the limit, remove the oldest tenth of it.

        Other processes store too, so the count is taken again after a small part of the limit. Two processes that do so
        at once choose the same entries. One that is being read stays readable to its reader.
        """
        entries = sorted(self._entries(), key=lambda entry: entry[2])
        total = sum(size for _, size, _ in entries)
        target = self.max_bytes if total <= self.max_bytes else self.max_bytes * 9 // 10
        for path, size, _ in entries:
            if total <= target:
                break
            with suppress(OSError):
                path.unlink()
                self.counts.evicted += 1
            total -= size
        self._room = min(self.max_bytes - total, self.max_bytes // 32)

    def _warn(self, problem: str) -> None:
        if self._is_warned:
            return
        self._is_warned = True
        warnings.warn(
            f"embedding cache {self.folder} {problem}; going on without it, so windows are encoded again each time",
            SamgeoWarning,
            stacklevel=3,
        )


def default_folder() -> Path:
    """Where embeddings are kept: $SAMGEO_CACHE/embeddings, else in the user's cache folder."""
    return user_cache() / "embeddings"


def pack(arrays: Arrays) -> Iterator[bytes]:
    """The bytes of an entry. Raises `UsageError` for an array that holds no numbers, bools or text."""
    described, data, offset = [], [], 0
    for name, array in arrays.items():
        if array.dtype.kind not in _KINDS:
            raise UsageError(f"array {name}: {array.dtype}; expected numbers, bools or text")
        little = array.dtype.newbyteorder("<")
        raw = array.astype(little, order="C", copy=False).tobytes()
        described.append({"name": name, "dtype": little.str, "shape": list(array.shape), "offset": offset})
        padding = -len(raw) % _ALIGNMENT
        data += [raw, b"\0" * padding]
        offset += len(raw) + padding
    header = json.dumps({"arrays": described}).encode()
    header += b" " * (-(len(MAGIC) + 8 + len(header)) % _ALIGNMENT)
    digest = hashlib.sha256()
    for chunk in (MAGIC, len(header).to_bytes(8, "little"), header, *data):
        digest.update(chunk)
        yield chunk
    yield digest.digest()


def unpack(stored: bytearray) -> dict[str, NDArray[Any]] | None:
    """The arrays of an entry, writable, sharing its memory; None if a byte of it is not as `pack` made it."""
    start = len(MAGIC) + 8
    if len(stored) < start + _DIGEST_BYTES or not stored.startswith(MAGIC):
        return None
    body = memoryview(stored)[:-_DIGEST_BYTES]
    if hashlib.sha256(body).digest() != stored[-_DIGEST_BYTES:]:
        return None
    try:
        data = start + int.from_bytes(stored[len(MAGIC) : start], "little")
        described = json.loads(bytes(body[start:data]))["arrays"]
        return {item["name"]: _array(body[data:], item) for item in described}
    except (ValueError, TypeError, KeyError):
        return None  # whole, but not ours


def _array(data: memoryview, item: Mapping[str, Any]) -> NDArray[Any]:
    dtype, shape, offset = np.dtype(item["dtype"]), tuple(item["shape"]), item["offset"]
    if dtype.kind not in _KINDS or offset < 0 or any(size < 0 for size in shape):
        raise ValueError(item)
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype)
    return np.frombuffer(data, dtype, count, offset).reshape(shape)
