"""Rasters of the tests: GeoTIFFs of noise with whatever the driver can say of them."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from samgeo.raster.reader import Raster
from tests.doubles import NORTH_UP, UTM_33N

LOCAL_PIXELS = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def write(path: Path, bands: np.ndarray, *, crs: object = UTM_33N, transform: object = NORTH_UP, **profile) -> Path:
    """A GeoTIFF of bands (B, h, w); `colours`, `mask`, `colormap`, `gcps`, `tags` as the dataset takes them."""
    extras = {key: profile.pop(key, None) for key in ("colours", "mask", "colormap", "gcps", "descriptions", "rpcs")}
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    place = {key: value for key, value in (("crs", crs), ("transform", transform)) if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", **{"driver": "GTiff", **size, **place, **profile}) as ds,
        ):
            if extras["colours"]:
                ds.colorinterp = extras["colours"]
            if extras["colormap"]:
                ds.write_colormap(1, extras["colormap"])
            if extras["gcps"]:
                ds.gcps = extras["gcps"]
            if extras["rpcs"]:
                ds.rpcs = extras["rpcs"]
            if extras["descriptions"]:
                ds.descriptions = extras["descriptions"]
            ds.write(bands)
            if extras["mask"] is not None:
                ds.write_mask(extras["mask"])
    return path


def noise(count: int, height: int = 20, width: int = 30, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(7).integers(1, 100, (count, height, width)).astype(dtype)


def everything(raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    return raster.read(raster.grid.window)
