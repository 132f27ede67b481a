"""A window seen from further away: pixels of the working grid put together, `scale` by `scale` to one.

Read in blocks, so that memory depends on what is returned and not on how far away it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Window
from samgeo.raster.reader import Raster

BLOCK_PX = 2**22
"""Working pixels read at once; more only where a single coarse pixel has more."""


def read_rgb_coarse(raster: Raster, window: Window, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(h, w, 3) uint8 RGB and valid (h, w) of a window in pixels of `scale` x `scale` working pixels.

    Each is the mean of its valid working pixels, and valid if half of them are; with a raster that is read by
    "nearest", it is the working pixel in its middle. A scale of 1 gives the working pixels.
    """
    if scale == 1:
        return raster.read_rgb(window)
    rgb, valid = np.zeros((*window.shape, 3), np.uint8), np.zeros(window.shape, bool)
    height, width = (-(-size // scale) for size in raster.grid.shape)
    there = window.intersection(Window(row=0, col=0, height=height, width=width))
    reduced = _middle if raster.resampling == "nearest" else _mean
    for block in _blocks(there, max(1, BLOCK_PX // scale**2)):
        inside = block.shift(-window.row, -window.col).slices()
        rgb[inside], valid[inside] = reduced(raster, block.scaled(scale), scale)
    return rgb, valid


def _blocks(window: Window, pixels: int) -> Iterator[Window]:
    """Parts of a window of at most so many pixels: rows together if they fit, else pieces of rows."""
    if window.is_empty:
        return
    rows, cols = max(1, pixels // window.width), min(window.width, pixels)
    for row in range(window.row, window.row_end, rows):
        for col in range(window.col, window.col_end, cols):
            yield Window(row=row, col=col, height=rows, width=cols).intersection(window)


Seen = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def _middle(raster: Raster, window: Window, scale: int) -> Seen:
    bands, valid = raster.read(window)
    middle = slice(scale // 2, None, scale)
    picked = valid[middle, middle]
    return raster.stretch.apply(bands[:, middle, middle], picked), picked


def _mean(raster: Raster, window: Window, scale: int) -> Seen:
    """Pixels that are not valid are black in `rgb`, so that sums leave them out."""
    rgb, valid = raster.read_rgb(window)
    count, total = _sums(valid, scale), _sums(rgb, scale)
    mean = (2 * total + count[..., None]) // np.maximum(2 * count, 1)[..., None]  # rounded
    enough = 2 * count >= scale * scale
    return np.where(enough[..., None], mean, 0).astype(np.uint8), enough


def _sums(pixels: NDArray[Any], scale: int) -> NDArray[np.uint32]:
    """Of each `scale` x `scale` pixels (h, w, ...); whole rows are added, then what is left of them."""
    rows: NDArray[np.uint32] = reduce(np.add, (pixels[k::scale].astype(np.uint32) for k in range(scale)))
    total: NDArray[np.uint32] = reduce(np.add, (rows[:, k::scale] for k in range(scale)))
    return total
