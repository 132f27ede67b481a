"""How GDAL is asked: with which options it opens a raster, and what becomes of its errors."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader

from samgeo.errors import RasterError, SamgeoError
from samgeo.pixels import Window
from samgeo.raster.paths import display_name, is_remote, without_secrets

GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 128 * 2**20,  # GDAL's own default grows with the machine, and memory would not be constant
    "GDAL_NUM_THREADS": 1,  # with more, GDAL 3.10 takes the missing bytes of a dropped connection for zeros
    "GTIFF_IGNORE_READ_ERRORS": "NO",  # whatever the user's environment says: a file that was cut off is an error
    "GDAL_PNG_WHOLE_IMAGE_OPTIM": "NO",  # GDAL 3.10 does not look whether a PNG was cut off where it reads it at once
    "GDAL_VRT_ENABLE_PYTHON": "NO",
    # What came of a dropped connection would be kept, and every later read of the process would fail on it.
    "CPL_VSIL_CURL_NON_CACHED": ":".join(f"/vsi{kind}/" for kind in ("curl", "s3", "gs", "az", "adls", "oss")),
    "GDAL_HTTP_CONNECTTIMEOUT": 15,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1,  # bytes a second; together with the next line: silence is an error
    "GDAL_HTTP_LOW_SPEED_TIME": 15,
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
}

_warnings_lock = threading.RLock()


def open_dataset(path: str) -> DatasetReader:
    """A new handle, for one thread at a time. Raises `RasterError`."""
    with rasterio.Env(**GDAL_OPTIONS), wrapped(path), quiet_about_georeference():
        return rasterio.open(path, sharing=False)


@contextmanager
def wrapped(path: str, *, window: Window | None = None, bands: tuple[int, ...] | None = None) -> Iterator[None]:
    """Turn errors of the libraries into a `RasterError` that names file, bands and window."""
    try:
        yield
    except SamgeoError:
        raise
    except (RasterioError, CPLE_BaseError, OSError, ValueError, struct.error) as error:
        where = display_name(path)
        if window is not None:
            where += f", bands {bands}, rows {window.row} to {window.row_end}, columns {window.col} to {window.col_end}"
        action = "cannot be opened as a raster" if window is None else "cannot be read, it may be truncated or damaged"
        size = f" The file has {os.path.getsize(path):,} bytes." if os.path.isfile(path) else ""
        fix = "download it, then use the file" if is_remote(path) else "copy or download it again"
        if "not recognized" in str(error):
            fix += ", if rio env --formats has its format"
        raise RasterError(
            f"{where}: {action} ({without_secrets(_culprit(error, path), path)}).{size} Fix: {fix}"
        ) from error


def _culprit(error: BaseException, path: str) -> str:
    """The reason, with the name of the source of a VRT that it is about."""
    links: list[str] = []
    link: BaseException | None = error
    while link is not None:
        links.append(str(link))
        link = link.__cause__
    sources = [text.partition(", band ")[0] for text in links if ", band " in text]
    source = next((name for name in reversed(sources) if not path.endswith(name)), None)
    return reason(error) if source is None else f"its source {source}: {reason(error)}"


def reason(error: BaseException) -> str:
    """The first cause in a chain of errors, which is the one that says something."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


@contextmanager
def quiet_about_georeference(action: str = "ignore") -> Iterator[None]:
    """No word of rasterio about rasters without a place, which are dealt with here; or, as "error", an exception."""
    # Changing filters is not safe in threads, so at least ours take turns.
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings(action, category=NotGeoreferencedWarning)  # type: ignore[arg-type]
        yield
