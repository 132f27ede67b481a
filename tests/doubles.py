"""Test doubles that say where one has landed."""

from __future__ import annotations

import warnings
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from rasterio.errors import NotGeoreferencedWarning

UTM_33N = "EPSG:32633"
NORTH_UP = Affine(0.5, 0.0, 500_000.0, 0.0, -0.5, 5_000_000.0)


def address_raster(
    path: str | PathLike[str],
    *,
    width: int,
    height: int,
    crs: Any = UTM_33N,
    transform: Affine | None = NORTH_UP,
    dtype: str = "uint16",
    **profile: Any,
) -> Path:
    """Write a GeoTIFF of three bands in which each pixel holds its own row, its own column, and 0.

    crs and transform: None leaves them out. profile: creation options and metadata, as rasterio takes them. The dtype
    must hold the largest row and column.
    """
    rows, cols = np.indices((height, width))
    bands = np.stack([rows, cols, np.zeros_like(rows)]).astype(dtype)
    assert np.array_equal(bands[0], rows)
    assert np.array_equal(bands[1], cols)
    size = {"width": width, "height": height, "count": 3, "dtype": dtype}
    place = {"crs": crs, "transform": transform}
    options = {
        "driver": "GTiff",
        **size,
        **{key: value for key, value in place.items() if value is not None},
        **profile,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(path, "w", **options) as dataset:
            dataset.write(bands)
    return Path(path)
