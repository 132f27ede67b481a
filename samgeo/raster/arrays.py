"""Imagery that is in memory already, or lazily in a DataArray, behind the same face as a file."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import RasterError, UsageError
from samgeo.grid import Grid, horizontal_crs, parse_crs
from samgeo.pixels import Window
from samgeo.raster.bands import finite, valid_pixels
from samgeo.raster.reduced import Span, nearest


class ArrayPixels:
    """Native pixels of an array with its grid, or of a DataArray that carries CRS and transform."""

    name = "array"
    unplaced: str | None = None
    mark: str | None = None

    def __init__(self, source: Any, *, grid: Grid | None = None, bands: tuple[int, ...] | None = None) -> None:
        if hasattr(source, "dims") and hasattr(source, "transpose"):
            self._data, self._nodata, self.grid = _unpack_data_array(source, grid)
            self.name = str(getattr(source, "name", None) or "DataArray")
        elif isinstance(source, np.ndarray):
            self._data, self._nodata, self.grid = _unpack_array(source, grid)
        else:
            raise UsageError(
                f"a raster of type {type(source).__name__}: expected a path, URL, open dataset, array or DataArray"
            )
        self.dtype = np.dtype(self._data.dtype)
        if self.dtype.kind not in "uif":
            raise RasterError(f"{self.name}: values of type {self.dtype}, expected real numbers")
        self._indexes = _choose(self._data.shape[0], bands, self.name)
        self.bits = self.dtype.itemsize * 8
        self.count = len(self._indexes)
        numbers = ", ".join(str(index + 1) for index in self._indexes)
        self.facts = {
            "driver": self.name,
            "bands": self._data.shape[0],
            "dtype": str(self.dtype),
            "picture": f"bands {numbers}" if len(self._indexes) == 3 else f"band {numbers} as grey",
        }
        if self.dtype.itemsize == 8 and self.dtype.kind in "iu":
            self.dtype = np.dtype(np.float64)

    def read(self, window: Window) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w) and valid (h, w) of a window inside the grid."""
        return self._understood(self._data[(self._indexes, *window.slices())])

    def read_reduced(
        self,
        span: Span,
        shape: tuple[int, int],
        *,
        mean: bool,  # noqa: ARG002 - an array is at hand: nearest will do
    ) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Bands (B, h, w) and valid (h, w) of a span in `shape` pixels, the nearest ones: for looking at."""
        rows, cols = nearest(span[0], span[2], shape[0]), nearest(span[1], span[3], shape[1])
        if isinstance(self._data, np.ndarray):
            return self._understood(self._data[np.ix_(np.array(self._indexes), rows, cols)])
        return self._understood(self._data[self._indexes, rows, cols])

    def decoded_px(self, span: Span, shape: tuple[int, int]) -> float:  # noqa: ARG002 - see above
        """How many pixels `read_reduced` takes."""
        return float(shape[0] * shape[1])

    def _understood(self, part: Any) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        """Values (B, h, w), and which pixels (h, w) are valid."""
        part = getattr(part, "values", part)
        masks = ~np.ma.getmaskarray(part)
        bands = np.asarray(part)
        if self._nodata is not None:
            masks = masks & (bands != self._nodata)
        valid = valid_pixels(masks, bands.dtype) & finite(bands)
        return bands.astype(self.dtype, copy=False), valid

    def current_mark(self) -> None:
        """An array has no file that could change."""

    def close(self) -> None:
        """Nothing was opened."""


def _unpack_array(array: NDArray[Any], grid: Grid | None) -> tuple[Any, None, Grid]:
    """(B, H, W) view, no nodata value, and the grid."""
    if grid is None:
        raise UsageError(f"an array of {array.shape} without a place: expected grid=Grid(...) with it")
    if array.shape == grid.shape:
        return array[None], None, grid
    first, last = array.ndim == 3 and array.shape[1:] == grid.shape, array.ndim == 3 and array.shape[:2] == grid.shape
    if first and last:
        raise UsageError(
            f"an array of {array.shape}: bands may be first or last; expected a size that tells them apart"
        )
    if not first and not last:
        raise UsageError(
            f"an array of {array.shape} for a grid of {grid.shape}: expected (H, W), (H, W, B) or (B, H, W)"
        )
    return (array if first else np.moveaxis(array, -1, 0)), None, grid


def _unpack_data_array(source: Any, grid: Grid | None) -> tuple[Any, float | None, Grid]:
    """DataArray in the order (band, y, x), its nodata value and its grid."""
    rio = getattr(source, "rio", None)
    if rio is None:
        raise UsageError(
            "a DataArray without the rio accessor. Fix: import rioxarray, and write its CRS with rio.write_crs"
        )
    ordered = [dim for dim in source.dims if dim not in (rio.y_dim, rio.x_dim)]
    if len(ordered) > 1:
        raise UsageError(f"a DataArray with the dimensions {source.dims}: expected one besides rows and columns")
    data = source.transpose(*ordered, rio.y_dim, rio.x_dim)
    data = data if ordered else data.expand_dims("band")
    if grid is None:
        crs = parse_crs(None if rio.crs is None else rio.crs.to_wkt())
        grid = Grid(
            width=data.shape[2],
            height=data.shape[1],
            transform=rio.transform(),
            crs=None if crs is None else horizontal_crs(crs),
        )
    return data, rio.nodata, grid


def _choose(count: int, bands: tuple[int, ...] | None, name: str) -> list[int]:
    """Positions from 0 of the one or three bands to use."""
    if bands is None:
        if count not in (1, 3):
            raise RasterError(
                f"{name}: has {count} bands, expected 1 or 3. Fix: bands=(red, green, blue), counted from 1"
            )
        return list(range(count))
    if len(bands) not in (1, 3) or not all(1 <= band <= count for band in bands):
        raise UsageError(f"bands {bands} of {count}: expected one or three numbers from 1 to {count}")
    return [band - 1 for band in bands]
