"""A raster file that was opened and understood, or refused: its native grid, its colours, its valid pixels.

Everything in samgeo that asks rasterio to open or read imagery is here. Whatever goes wrong inside the libraries comes
out as a `RasterError` that names the file, the bands, the window and what to do.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio._err import CPLE_BaseError
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import NotGeoreferencedWarning, RasterioError
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from samgeo.errors import RasterError, ResourceLimitError, SamgeoError, SamgeoWarning, UnsafeInputError, UsageError
from samgeo.grid import Grid, horizontal_crs, parse_crs
from samgeo.pixels import Window

GDAL_OPTIONS = {
    "GDAL_CACHEMAX": 128 * 2**20,  # GDAL's own default grows with the machine, and memory would not be constant
    "GDAL_HTTP_MAX_RETRY": 3,
    "GDAL_HTTP_RETRY_DELAY": 1,
    "GDAL_VRT_ENABLE_PYTHON": "NO",
}

MAX_PIXELS = 2**40
MAX_BANDS = 1024
MAX_BLOCK_BYTES = 256 * 2**20
MAX_EXPANSION = 1_000_000
"""Bytes that a GeoTIFF above one GiB may declare for each byte that it has: an empty one of large tiles has 400,000."""

_URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_CONNECTION = re.compile(r"^\s*<|^\s*\{|^[A-Za-z][A-Za-z0-9_]+:")
_COLOUR_NAMES = (("red", "b04", "b4"), ("green", "b03", "b3"), ("blue", "b02", "b2"))
_warnings_lock = threading.RLock()


@dataclass(frozen=True, kw_only=True)
class BandPlan:
    """Which bands of a file become colours, and how."""

    indexes: tuple[int, ...]
    """One or three band numbers, counted from 1."""
    alpha: int | None = None
    """Band whose zeros are not valid, where GDAL's own masks leave it out."""
    palette: NDArray[np.uint8] | None = field(default=None, repr=False)
    """(n, 4) red, green, blue, alpha for each value of the one band that holds indices."""


class DatasetPixels:
    """Native pixels of one raster file, safe to read from several threads.

    A GDAL handle serves one thread at a time: each read takes a free handle and opens another where there is none.
    """

    def __init__(self, source: str | os.PathLike[str] | DatasetReader, *, bands: tuple[int, ...] | None = None) -> None:
        self.reopens = isinstance(source, (str, os.PathLike))
        self.path = check_path(source) if isinstance(source, (str, os.PathLike)) else str(source.name)
        self.name = display_name(self.path)
        self._lock = threading.Lock()
        self._free: list[DatasetReader] = [_open(self.path, self.name) if self.reopens else source]
        self._opened: list[DatasetReader] = list(self._free) if self.reopens else []
        try:
            with self._handle() as dataset, wrapped(self.name):
                _check_header(dataset, self.path, self.name)
                self.grid, self.unplaced = read_grid(dataset, self.name)
                self.plan = plan_bands(dataset, bands, self.name)
                self.dtype = np.dtype(
                    np.uint8 if self.plan.palette is not None else dataset.dtypes[self.plan.indexes[0] - 1]
                )
                self.bits = _bits(dataset, self.plan)
                self.facts = _facts(dataset)
        except BaseException:
            self.close()
            raise
        if self.dtype.itemsize == 8 and self.dtype.kind in "iu":
            self.dtype = np.dtype(np.float64)  # what all arithmetic happens in anyway
        self.count = 3 if self.plan.palette is not None else len(self.plan.indexes)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w) and valid (h, w) of a window inside the raster."""
        part = RasterioWindow(window.col, window.row, window.width, window.height)
        with self._handle() as dataset, wrapped(self.name, window=window, bands=self.plan.indexes):
            bands = dataset.read(list(self.plan.indexes), window=part)
            valid = _read_valid(dataset, self.plan, part)
        if self.plan.palette is not None:
            colours = self.plan.palette[bands[0]]
            bands, valid = np.moveaxis(colours[..., :3], -1, 0), valid & (colours[..., 3] > 0)
        return bands.astype(self.dtype, copy=False), valid & finite(bands)

    def close(self) -> None:
        """Close every handle that was opened here; one that was given stays open."""
        with self._lock:
            for dataset in self._opened:
                dataset.close()
            self._free.clear()

    @contextmanager
    def _handle(self) -> Iterator[DatasetReader]:
        if not self.reopens:
            with self._lock, rasterio.Env(**GDAL_OPTIONS):
                yield self._free[0]
            return
        with self._lock:
            dataset = self._free.pop() if self._free else None
        with rasterio.Env(**GDAL_OPTIONS):
            if dataset is None:
                dataset = _open(self.path, self.name)
                self._opened.append(dataset)
            try:
                yield dataset
            finally:
                with self._lock:
                    self._free.append(dataset)


def valid_pixels(masks: NDArray[np.bool_], dtype: np.dtype[Any]) -> NDArray[np.bool_]:
    """(h, w) from the masks (B, h, w) of bands.

    In unsigned numbers nodata is often a natural value too (0 is black, 255 is white): one valid band suffices. In all
    others it is a number that no pixel has, and averages and stretches must never see it.
    """
    return np.asarray(masks.any(axis=0) if dtype.kind == "u" else masks.all(axis=0))


def finite(bands: NDArray[Any]) -> NDArray[np.bool_]:
    """(h, w) True where every band (B, h, w) holds a number."""
    if bands.dtype.kind != "f":
        return np.ones(bands.shape[1:], dtype=bool)
    return np.asarray(np.isfinite(bands).all(axis=0))


def display_name(path: str) -> str:
    """What messages and metadata call a raster: the path, for URLs without user, password, query and signature."""
    if not _URL.match(path):
        return path
    scheme, rest = path.split("://", 1)
    host, slash, tail = rest.partition("?")[0].partition("/")
    return f"{scheme}://{host.rpartition('@')[2]}{slash}{tail}"


def check_path(source: str | os.PathLike[str]) -> str:
    """The path, absolute, if it names a regular file; a URL or /vsi path as it is.

    Raises `RasterError` for what is not there or is no file, and `UnsafeInputError` for a text that GDAL would take
    for instructions instead of a path.
    """
    path = os.fspath(source)
    if _URL.match(path) or path.startswith("/vsi"):
        return path
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError) as error:
        if _CONNECTION.match(path) and not re.match(r"^[A-Za-z]:[\\/]", path):
            raise UnsafeInputError(
                f"{path[:80]}: a connection string of GDAL, expected a path or URL. "
                f"Fix: gdal_translate {shlex.quote(path[:80])} raster.tif, then use raster.tif"
            ) from error
        raise RasterError(f"{path[:200]}: cannot be found ({_reason(error)}); expected a raster file or URL") from error
    if not stat.S_ISREG(mode):
        kind = "folder" if stat.S_ISDIR(mode) else "device or pipe"
        raise RasterError(f"{path}: is a {kind}, expected a raster file")
    return os.path.abspath(path)


@contextmanager
def wrapped(name: str, *, window: Window | None = None, bands: tuple[int, ...] | None = None) -> Iterator[None]:
    """Turn errors of the libraries into a `RasterError` that names file, bands and window."""
    try:
        yield
    except SamgeoError:
        raise
    except (RasterioError, CPLE_BaseError, OSError, ValueError) as error:
        where = name
        if window is not None:
            where += f", bands {bands}, rows {window.row} to {window.row_end}, columns {window.col} to {window.col_end}"
        action = "cannot be opened" if window is None else "cannot be read; the file may be truncated or damaged"
        size = f" The file has {os.path.getsize(name):,} bytes." if Path(name).is_file() else ""
        raise RasterError(
            f"{where}: {action} ({_reason(error)}).{size} Fix: check it with gdalinfo -checksum"
        ) from error


def _reason(error: BaseException) -> str:
    """The first cause in a chain of errors, which is the one that says something."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__


def _open(path: str, name: str) -> DatasetReader:
    with rasterio.Env(**GDAL_OPTIONS), wrapped(name), _quiet_about_georeference():
        return rasterio.open(path, sharing=False)


@contextmanager
def _quiet_about_georeference(action: str = "ignore") -> Iterator[None]:
    # Changing filters is not safe in threads, so at least ours take turns.
    with _warnings_lock, warnings.catch_warnings():
        warnings.filterwarnings(action, category=NotGeoreferencedWarning)  # type: ignore[arg-type]
        yield


def _check_header(dataset: DatasetReader, path: str, name: str) -> None:
    """Refuse what would take absurd time or memory, before any band is touched."""
    if dataset.count == 0:
        names = ", ".join(dataset.subdatasets[:10])
        hint = f"; it holds the rasters {names}. Fix: gdal_translate one of them to a GeoTIFF" if names else ""
        raise RasterError(f"{name}: has no bands{hint}")
    if dataset.width * dataset.height > MAX_PIXELS or dataset.count > MAX_BANDS:
        raise ResourceLimitError(
            f"{name}: declares {dataset.width} x {dataset.height} px and {dataset.count} bands; "
            f"expected at most {MAX_PIXELS} px and {MAX_BANDS} bands"
        )
    itemsize = np.dtype(dataset.dtypes[0]).itemsize
    block_bytes = max(rows * cols for rows, cols in dataset.block_shapes) * itemsize
    if block_bytes > MAX_BLOCK_BYTES:
        raise ResourceLimitError(
            f"{name}: declares blocks of {block_bytes:,} bytes; expected at most {MAX_BLOCK_BYTES:,}. "
            f"Fix: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE {shlex.quote(path)} tiled.tif"
        )
    declared = dataset.width * dataset.height * dataset.count * itemsize
    if dataset.driver == "GTiff" and declared > 2**30 and os.path.isfile(path):
        size = os.path.getsize(path)
        if declared > size * MAX_EXPANSION:
            raise ResourceLimitError(f"{name}: declares {declared:,} bytes of pixels and has {size:,}: not believable")


def read_grid(dataset: DatasetReader, name: str) -> tuple[Grid, str | None]:
    """The native grid, and the reason why it lies on no map, with what to do about it, where that is so."""
    unplaced = _why_unplaced(dataset, name)
    crs = None if unplaced else read_crs(dataset, name)
    return Grid(width=dataset.width, height=dataset.height, transform=dataset.transform, crs=crs), unplaced


def read_crs(dataset: DatasetReader, name: str) -> CRS | None:
    """The horizontal CRS of a file; warns where a vertical part is dropped or the CRS cannot be understood."""
    text = dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else ""
    try:
        # rasterio gives None for a CRS that PROJ cannot read, and PROJ's complaint comes out of the call after it.
        _ = dataset.colorinterp
    except CPLE_BaseError as error:
        _warn(f"{name}: its CRS cannot be understood ({_reason(error)}). Fix: rio edit-info --crs EPSG:... FILE")
    crs = parse_crs(text)
    if crs is None or not crs.is_compound:
        return crs and horizontal_crs(crs)
    _warn(f"{name}: the CRS is {crs.name}; heights are left out")
    return horizontal_crs(crs)


def _warn(text: str) -> None:
    warnings.warn(text, SamgeoWarning, stacklevel=5)


def _why_unplaced(dataset: DatasetReader, name: str) -> str | None:
    if not dataset.transform.is_identity:
        return None
    path = shlex.quote(name)
    points, crs = dataset.gcps
    if points:
        target = f"EPSG:{crs.to_epsg()}" if crs and crs.to_epsg() else "EPSG:4326"
        return f"only {len(points)} ground control points. Fix: gdalwarp -t_srs {target} {path} warped.tif"
    if dataset.rpcs is not None:
        return f"only rational polynomial coefficients. Fix: gdalwarp -rpc -t_srs EPSG:4326 {path} warped.tif"
    try:
        # The identity is also a transform that a file may state; rasterio tells the two apart by this warning alone.
        with _quiet_about_georeference("error"):
            dataset.read_transform()
    except NotGeoreferencedWarning:
        return f"no geotransform. Fix: gdal_edit.py -a_srs EPSG:... -a_ullr ULX ULY LRX LRY {path}"
    return None


def plan_bands(dataset: DatasetReader, bands: tuple[int, ...] | None, name: str) -> BandPlan:
    """Which bands are the colours: those asked for, else what the file itself says they are."""
    meaning = dict(zip(dataset.indexes, dataset.colorinterp, strict=True))
    alphas = [index for index, colour in meaning.items() if colour == ColorInterp.alpha]
    indexes = _asked_bands(dataset, bands, name) if bands else _own_bands(dataset, meaning, name)
    types = {dataset.dtypes[index - 1] for index in indexes}
    if len(types) > 1:
        raise RasterError(f"{name}: bands {indexes} have the types {sorted(types)}: expected one type for all")
    if types & {"complex_int16", "complex64", "complex128"}:
        raise RasterError(
            f"{name}: bands {indexes} are complex, expected real numbers. Fix: make amplitudes, for example with "
            f"gdal_calc.py --calc 'abs(A)' -A {shlex.quote(name)} --outfile amplitude.tif"
        )
    palette = _read_palette(dataset, indexes[0]) if len(indexes) == 1 else None
    alpha = next((index for index in alphas if index not in indexes), None)
    return BandPlan(indexes=indexes, alpha=alpha, palette=palette)


def _asked_bands(dataset: DatasetReader, bands: tuple[int, ...], name: str) -> tuple[int, ...]:
    if len(bands) not in (1, 3):
        raise UsageError(f"--bands {','.join(map(str, bands))}: expected one band or three")
    wrong = [index for index in bands if index not in dataset.indexes]
    if wrong:
        raise UsageError(f"{name}: has no band {wrong[0]}; expected --bands between 1 and {dataset.count}")
    return bands


def _own_bands(dataset: DatasetReader, meaning: dict[int, ColorInterp], name: str) -> tuple[int, ...]:
    data = [index for index in dataset.indexes if meaning[index] != ColorInterp.alpha]
    places = {colour: index for index, colour in meaning.items()}
    primaries = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if len(data) <= 4 and all(colour in places for colour in primaries):
        return tuple(places[colour] for colour in primaries)
    inks = {ColorInterp.cyan, ColorInterp.Y, ColorInterp.Cb, ColorInterp.hue, ColorInterp.lightness}
    if len(data) in (1, 3) and not inks & set(places):
        return tuple(data)
    names = [dataset.descriptions[index - 1] or meaning[index].name for index in dataset.indexes]
    texts = [f"{index} {text}" for index, text in zip(dataset.indexes, names, strict=True)]
    more = ", ..." if dataset.count > 20 else ""
    raise RasterError(
        f"{name}: has {dataset.count} bands ({', '.join(texts[:20])}{more}) and does not say which are red, green and "
        f"blue. Fix: --bands {_likely_bands(names)} (numbers from 1), or one number for a grey picture"
    )


def _likely_bands(names: list[str]) -> str:
    """What to propose, and only that: the bands named red, green and blue, or as Sentinel-2 names these."""
    plain = [name.lower() for name in names]
    found = [[plain.index(word) + 1 for word in words if word in plain] for words in _COLOUR_NAMES]
    return ",".join(str(indexes[0]) for indexes in found) if all(found) else "R,G,B"


def _read_palette(dataset: DatasetReader, index: int) -> NDArray[np.uint8] | None:
    if dataset.colorinterp[index - 1] != ColorInterp.palette or dataset.dtypes[index - 1] not in ("uint8", "uint16"):
        return None
    try:
        colours = dataset.colormap(index)
    except ValueError:
        return None
    palette = np.zeros((np.iinfo(dataset.dtypes[index - 1]).max + 1, 4), dtype=np.uint8)
    palette[:, 3] = 255
    for value, colour in colours.items():
        palette[value] = colour
    return palette


def _read_valid(dataset: DatasetReader, plan: BandPlan, part: RasterioWindow) -> NDArray[np.bool_]:
    """(h, w) bool from nodata, mask bands and alpha; alpha counts as valid above 0."""
    valid = np.ones((int(part.height), int(part.width)), dtype=bool)
    flags = [dataset.mask_flag_enums[index - 1] for index in plan.indexes]
    if any(MaskFlags.per_dataset in each or MaskFlags.alpha in each for each in flags):
        valid &= dataset.read_masks(plan.indexes[0], window=part) > 0
    elif any(MaskFlags.nodata in each for each in flags) or not all(MaskFlags.all_valid in each for each in flags):
        masks = dataset.read_masks(list(plan.indexes), window=part) > 0
        valid &= valid_pixels(masks, np.dtype(dataset.dtypes[plan.indexes[0] - 1]))
    if plan.alpha is not None:
        valid &= dataset.read(plan.alpha, window=part) > 0
    return valid


def _bits(dataset: DatasetReader, plan: BandPlan) -> int:
    """Bits that a value uses, where a TIFF says that it packs them tighter than its type."""
    if plan.palette is not None:
        return 8
    packed = dataset.tags(plan.indexes[0], ns="IMAGE_STRUCTURE").get("NBITS")
    return int(packed) if packed else np.dtype(dataset.dtypes[plan.indexes[0] - 1]).itemsize * 8


def _facts(dataset: DatasetReader) -> dict[str, Any]:
    """What the metadata of a result says about the file."""
    scaled = any(scale != 1 for scale in dataset.scales) or any(offset != 0 for offset in dataset.offsets)
    return {
        "driver": dataset.driver,
        "bands": dataset.count,
        "dtype": dataset.dtypes[0],
        "nodata": None if dataset.nodata is None else repr(dataset.nodata),
        "pages": max(1, len(dataset.subdatasets)),
        "scale_and_offset": "present, not applied" if scaled else None,
    }
