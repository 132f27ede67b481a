"""Tiles of a raster for a screen: level z shows 2**z working pixels, across and down, in one pixel of a tile.

Level 0 is the working grid; the top level shows the whole of it in one tile. Levels below 0 are there where the raster
has finer pixels than the working grid. Tiles at the lower and right border are cut.
"""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from samgeo.errors import UsageError
from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.raster.reader import Raster

TILE_PX = 512
"""Side of a tile."""
FINEST = -6
"""Levels below this are not needed: a tile would show a few working pixels."""
JPEG_QUALITY = 90


def levels(raster: Raster) -> tuple[int, int]:
    """The lowest and the top level of a raster."""
    finer = max(raster.native_grid.width / raster.grid.width, raster.native_grid.height / raster.grid.height)
    top = math.ceil(math.log2(max(raster.grid.shape) / TILE_PX)) if max(raster.grid.shape) > TILE_PX else 0
    return max(FINEST, -math.ceil(math.log2(finer))) if finer > 1 else 0, top


def tile_window(grid: Grid, z: int, x: int, y: int) -> Window:
    """The working pixels that the tile in column x, row y of level z shows. Raises `UsageError` if there are none."""
    side = int(TILE_PX * 2.0**z)
    whole = Window(row=y * side, col=x * side, height=side, width=side)
    inside = whole.intersection(grid.window)
    if inside.is_empty:
        raise UsageError(f"tile {z}/{x}/{y}: expected one on the raster")
    return inside


def tile(raster: Raster, z: int, x: int, y: int) -> tuple[str, bytes]:
    """Its MIME type and its bytes: JPEG, or PNG where pixels are not valid, which are transparent there.

    Raises as `Raster.look`.
    """
    window = tile_window(raster.grid, z, x, y)
    shape = math.ceil(window.height / 2.0**z), math.ceil(window.width / 2.0**z)
    return encoded(*raster.look(window, shape))


def encoded(rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> tuple[str, bytes]:
    """MIME type and bytes of (h, w, 3) RGB whose pixels are valid, or not, as (h, w) says."""
    buffer = io.BytesIO()
    if valid.all():
        Image.fromarray(rgb).save(buffer, "JPEG", quality=JPEG_QUALITY, subsampling=0)
        return "image/jpeg", buffer.getvalue()
    alpha = np.where(valid, 255, 0).astype(np.uint8)
    Image.fromarray(np.dstack([rgb, alpha])).save(buffer, "PNG", compress_level=1)
    return "image/png", buffer.getvalue()
