"""What may be named as a raster, what messages call it, and how one sees that it has changed."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Sequence

from samgeo.errors import RasterError, UnsafeInputError

_SCHEME = r"(?:file|https?|ftp|s3|gs|az|oss|zip|tar|gzip)"
_URL = re.compile(rf"^{_SCHEME}(?:\+{_SCHEME})*://", re.IGNORECASE)
_REMOTE = re.compile(r"(?:https?|ftp|s3|gs|az|oss)://|/vsi(?:curl|s3|gs|az|oss|adls|swift|webhdfs)", re.IGNORECASE)
_CONNECTION = re.compile(r"^\s*[<{]|^[A-Za-z][A-Za-z0-9_+.-]+:")

SAMPLES, SAMPLE_BYTES = 16, 4096
"""How much of a file is looked at to tell one version from another of the same size and time."""


def check_path(source: str | os.PathLike[str]) -> str:
    """The path, absolute, if it names a regular file; a URL or /vsi path as it is.

    Raises `RasterError` for what is not there or is no file, and `UnsafeInputError` for a text that GDAL would take
    for instructions instead of a path.
    """
    path = os.fspath(source)
    if path.lower().startswith("file://"):
        path = path[len("file://") :]
    if path.startswith("/vsistdin"):
        raise RasterError(f"{path}: is a pipe, expected a raster file. Fix: cat > raster.tif, then use raster.tif")
    if _URL.match(path) or path.startswith("/vsi"):
        return path
    name = path.encode(errors="replace").decode()
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if _CONNECTION.match(path):
            raise UnsafeInputError(
                f"{name[:80]}: a connection string of GDAL, expected a path or URL. "
                f"Fix: rio convert {shlex.quote(name[:80])} raster.tif, then use raster.tif"
            ) from error
        reason = getattr(error, "strerror", None) or str(error)
        raise RasterError(
            f"{name[:200] or 'an empty path'}: cannot be found ({reason}); expected a raster file or URL"
        ) from error
    if not stat.S_ISREG(mode):
        kind, fix = ("folder", "name a file in it") if stat.S_ISDIR(mode) else ("device or pipe", "copy it to a file")
        raise RasterError(f"{name}: is a {kind}, expected a raster file. Fix: {fix}")
    if name != path:
        raise RasterError(f"{name}: has a name that is not UTF-8, which GDAL cannot open. Fix: rename it")
    return os.path.abspath(path)


def is_remote(path: str) -> bool:
    """True where reads go over a network."""
    return _REMOTE.search(path) is not None


def display_name(path: str) -> str:
    """What messages and metadata call a raster: the path, for URLs without user, password, query and signature."""
    if "://" not in path and not path.startswith("/vsi"):
        return path
    return re.sub(r"://[^/?#]*@", "://", path.partition("?")[0])


def without_secrets(text: str, path: str) -> str:
    """A message of a library about a URL, without what `display_name` leaves out."""
    query = path.partition("?")[2] if display_name(path) != path else ""
    return re.sub(r"://[^/?#\s]*@", "://", text.replace(f"?{query}", "") if query else text)


def fingerprint(path: str, others: Sequence[str] = ()) -> str | None:
    """Size, time of change and a digest of samples of a local file; None for everything else.

    others: files that belong to the raster, such as the sources of a VRT; their sizes and times join the digest.
    """
    if not os.path.isfile(path):
        return None
    status = os.stat(path)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for sample in range(SAMPLES):
            file.seek(max(0, status.st_size - SAMPLE_BYTES) * sample // (SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    for other in sorted(others):
        there = os.stat(other) if os.path.exists(other) else None
        digest.update(repr(there and (there.st_size, there.st_mtime_ns)).encode())
    return f"{status.st_size}-{status.st_mtime_ns}-{digest.hexdigest()[:16]}"
