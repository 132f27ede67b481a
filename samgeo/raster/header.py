"""What a raster file says of itself before a pixel is read: is it believable, where does it lie, what else is known."""

from __future__ import annotations

import hashlib
import os
import shlex
import warnings
from typing import Any

import numpy as np
from pyproj import CRS
from rasterio._err import CPLE_BaseError
from rasterio.enums import MaskFlags
from rasterio.errors import NotGeoreferencedWarning
from rasterio.io import DatasetReader

from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning
from samgeo.grid import Grid, horizontal_crs, parse_crs
from samgeo.raster.access import quiet_about_georeference, reason
from samgeo.raster.georeference import believed_source
from samgeo.raster.paths import display_name

MAX_PIXELS = 2**40
MAX_BANDS = 1024
MAX_BLOCK_BYTES = 256 * 2**20
MAX_EXPANSION = 1_000_000
"""Bytes that a GeoTIFF above one GiB may declare for each byte that it has: an empty one of large tiles has 400,000."""

_BARE_NUMBERS = ("ENVI", "EHdr", "ISCE", "ROI_PAC", "PAux", "GenBin", "DOQ1", "DOQ2", "LAN")
"""Drivers of files that are nothing but pixels: GDAL reads zeros where they were cut off."""


def check_header(dataset: DatasetReader, path: str, name: str) -> None:
    """Refuse what holds no pixels, or would take absurd time or memory, before any band is touched."""
    if dataset.count == 0:
        names = dataset.subdatasets
        fix = f"; it holds the rasters {', '.join(names[:10])}. {_convert(names[0])}" if names else ""
        raise RasterError(f"{name}: has no bands{fix}")
    if dataset.width * dataset.height > MAX_PIXELS or dataset.count > MAX_BANDS:
        raise ResourceLimitError(
            f"{name}: declares {dataset.width} x {dataset.height} px and {dataset.count} bands; expected at most "
            f"{MAX_PIXELS:,} px and {MAX_BANDS} bands. Fix: copy or download it again, or gdal_translate -b 1 -b 2 -b 3"
        )
    itemsize = max(_itemsize(dtype) for dtype in dataset.dtypes)
    together = dataset.count if dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL" else 1
    block_bytes = max(rows * cols for rows, cols in dataset.block_shapes) * itemsize * together
    if block_bytes > MAX_BLOCK_BYTES:
        raise ResourceLimitError(
            f"{name}: declares blocks of {block_bytes:,} bytes; expected at most {MAX_BLOCK_BYTES:,}. "
            f"Fix: gdal_translate -co TILED=YES -co COMPRESS=DEFLATE {shlex.quote(name)} tiled.tif"
        )
    _check_size(dataset, path, name)
    _check_sources(dataset, name)
    mask = f"{path}.msk"
    if os.path.isfile(mask) and not any(MaskFlags.per_dataset in flags for flags in dataset.mask_flag_enums):
        raise RasterError(
            f"{mask}: is the mask of {name} by its name, and cannot be read as such. Fix: make it again, or remove it"
        )


def _check_size(dataset: DatasetReader, path: str, name: str) -> None:
    """Compare what a file says that it holds with its size."""
    if not os.path.isfile(path):
        return
    size = os.path.getsize(path)
    declared = dataset.width * dataset.height * sum(_itemsize(dtype) for dtype in dataset.dtypes)
    if dataset.driver == "GTiff" and declared > 2**30 and declared > size * MAX_EXPANSION:
        raise ResourceLimitError(
            f"{name}: declares {declared:,} bytes of pixels and has {size:,}: not believable. "
            "Fix: copy or download it again"
        )
    if dataset.driver in _BARE_NUMBERS and declared > size and not _is_gzip(path):
        raise RasterError(
            f"{name}: was cut off, it should have {declared:,} bytes. The file has {size:,} bytes. "
            "Fix: copy or download it again"
        )


def _itemsize(dtype: str) -> int:
    """Bytes of a value; NumPy has no complex whole numbers."""
    return 4 if dtype == "complex_int16" else np.dtype(dtype).itemsize


def _is_gzip(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(2) == b"\x1f\x8b"


def read_grid(dataset: DatasetReader, name: str) -> tuple[Grid, str | None]:
    """The native grid, and the reason why it lies on no map, with what to do about it, where that is so."""
    unplaced = _why_unplaced(dataset, name)
    crs = None if unplaced else read_crs(dataset, name)
    try:
        grid = Grid(width=dataset.width, height=dataset.height, transform=dataset.transform, crs=crs)
    except RasterError as error:
        raise RasterError(f"{name}: {error}. Fix: gdal_edit.py -a_ullr ULX ULY LRX LRY {shlex.quote(name)}") from error
    return grid, unplaced


def read_crs(dataset: DatasetReader, name: str) -> CRS | None:
    """The horizontal CRS of a file; warns where a vertical part is dropped or the CRS cannot be understood."""
    text = dataset.crs.to_wkt(version="WKT2_2019") if dataset.crs else ""
    try:
        # rasterio gives None for a CRS that PROJ cannot read, and PROJ's complaint comes out of the call after it.
        _ = dataset.colorinterp
    except CPLE_BaseError as error:
        _warn(f"{name}: its CRS cannot be understood ({reason(error)}). Fix: rio edit-info --crs EPSG:... FILE")
    crs = parse_crs(text)
    if crs is None:
        return None
    try:
        horizontal = horizontal_crs(crs)
    except RasterError as error:
        raise RasterError(f"{name}: {error}. Fix: --raster-crs EPSG:CODE") from error
    if len(crs.axis_info) > len(horizontal.axis_info):
        _warn(f"{name}: the CRS is {crs.name}; heights are left out")
    return horizontal


def read_facts(dataset: DatasetReader, name: str) -> dict[str, Any]:
    """What the metadata of a result says about the file; warns where the file holds more than is used."""
    scaled = any(scale != 1 for scale in dataset.scales) or any(offset != 0 for offset in dataset.offsets)
    pages = dataset.subdatasets
    if len(pages) > 1:
        _warn(f"{name}: has {len(pages)} pages, the first is used. For the next: {_convert(pages[1]).lower()}")
    sources = [display_name(file) for file in sources_of(dataset)]
    return {
        "driver": dataset.driver,
        "bands": dataset.count,
        "dtype": dataset.dtypes[0],
        "nodata": None if dataset.nodata is None else repr(dataset.nodata),
        "pages": max(1, len(pages)),
        "georeference_source": believed_source(dataset, name),
        "scale_and_offset": "present, not applied" if scaled else None,
        "sources": sources if len(sources) <= 20 else [*sources[:20], f"and {len(sources) - 20} more"],
    }


def layout_digest(dataset: DatasetReader) -> str:
    """Changes when a file does, as far as its header tells: size, place, where its blocks lie and how long they are.

    Takes no more than the header, which matters behind a network. Blocks that are compressed hardly ever keep their
    length when their pixels change; those that are not always do.
    """
    rows, cols = dataset.block_shapes[0]
    across, down = -(-dataset.width // cols), -(-dataset.height // rows)
    blocks = {(across * step // 16, down * other // 4) for step in range(16) for other in range(4)}
    items = [
        dataset.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1)
        for col, row in sorted(blocks)
        for what in ("OFFSET", "SIZE")
        if dataset.driver == "GTiff"
    ]
    told = (dataset.shape, dataset.dtypes, tuple(dataset.transform), dataset.nodatavals, dataset.tags(), items)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def sources_of(dataset: DatasetReader) -> list[str]:
    """The files that a VRT takes its pixels from."""
    if dataset.driver != "VRT":  # asked for its files, a GeoTIFF opens the overviews that it names, wherever they are
        return []
    return [file for file in dataset.files[1:] if not file.lower().endswith((".aux.xml", ".ovr"))]


def _check_sources(dataset: DatasetReader, name: str) -> None:
    """A VRT with a hole fails at once, not at the tile where the hole is."""
    missing = [file for file in sources_of(dataset) if os.path.isabs(file) and not file.startswith("/vsi")]
    missing = [file for file in missing if not os.path.exists(file)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise RasterError(
            f"{name}: its source {missing[0]}{more} cannot be found. Fix: put it there, or make the VRT again with "
            "gdalbuildvrt"
        )


def _convert(part: str) -> str:
    return f"Fix: rio convert {shlex.quote(part)} part.tif, then use part.tif"


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
        with quiet_about_georeference("error"):
            dataset.read_transform()
    except NotGeoreferencedWarning:
        return f"no geotransform. Fix: gdal_edit.py -a_srs EPSG:... -a_ullr ULX ULY LRX LRY {path}"
    return None
