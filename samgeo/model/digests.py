"""Is a file what was published: its size and its digest, found out before anything reads what is in it."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from samgeo.errors import WeightsError
from samgeo.model.published import PUBLISHED, Digest, Published

_CHUNK_BYTES = 1 << 22


def digest_of(path: Path, kind: str = "sha256") -> str:
    """Hexadecimal digest of a file. kind: as `Digest.kind`. Raises WeightsError if it cannot be read."""
    try:
        status = path.stat()
        return _digest(path, kind, (status.st_ino, status.st_size, status.st_mtime_ns))
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror}. Expected a weights file") from error


@lru_cache(maxsize=64)
def _digest(path: Path, kind: str, identity: tuple[int, int, int]) -> str:
    """identity: changes when the file does, so that its digest is taken again."""
    digest = hashlib.new("sha1" if kind == "git" else kind, usedforsecurity=kind == "sha256")
    if kind == "git":  # https://git-scm.com/book/en/v2/Git-Internals-Git-Objects
        digest.update(b"blob %d\0" % identity[1])
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def difference(path: Path, published: Published) -> str:
    """How a file differs from what was published; empty if it does not, or if nothing was published to tell by."""
    size = path.stat().st_size
    if published.size_bytes and size != published.size_bytes:
        return f"{size} bytes, expected {published.size_bytes}"
    if published.digest is None:
        return ""
    found = Digest(kind=published.digest.kind, hex=digest_of(path, published.digest.kind))
    return "" if found == published.digest else f"{found}, expected {published.digest}"


def find_by_content(path: Path) -> Published | None:
    """The member whose published file has exactly these bytes; None if there is none."""
    size = path.stat().st_size
    for published in PUBLISHED.values():
        could_be = published.digest is not None and published.size_bytes in (0, size)
        if could_be and not difference(path, published):
            return published
    return None


def as_published(path: Path) -> str:
    """What was published under this file's name and what is found instead, for messages; empty for other names."""
    for published in PUBLISHED.values():
        if published.url and published.file == path.name:
            size = path.stat().st_size
            if published.size_bytes == size:
                return f" {path.name} is published as the weights of {published.name}."
            wanted = f"{published.size_bytes} bytes" if published.size_bytes else published.size_text
            return (
                f" {path.name} is published with {wanted} ({published.digest or 'no digest'}), here are {size} bytes."
                f" To fetch it again: samgeo models pull {published.name}."
            )
    return ""
