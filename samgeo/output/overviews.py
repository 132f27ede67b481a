"""Are the overviews of a raster of ids what they should be, and does the file begin as a Cloud Optimized GeoTIFF does?

GDAL makes each overview from the one before, by taking one pixel of every two by two. Which one is GDAL's own business,
so any pixel next to it will do: what a disk loses reads as zeros, or as whatever was there before.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.windows import Window

BLOCK_PX = 512


def begins_as_cog(path: Path) -> bool:
    """True if the first directory comes before all pixels; one that was written twice comes last.

    See https://gdal.org/drivers/raster/cog.html: the directory follows the header and a list of structural metadata.
    """
    with path.open("rb") as handle:
        header = handle.read(16)
    is_big = header[2:4] == b"\x2b\x00"
    offset = int.from_bytes(header[8:16] if is_big else header[4:8], "little")
    return header[:2] == b"II" and 0 < offset < 1024


def wrong_overview_blocks(path: Path) -> int:
    """How many blocks of all overviews hold an id that is not in the level before, there or next to it.

    GDAL makes overviews until one fits into a block; blocks of levels that are not there count as well.
    """
    with rasterio.open(path, driver="GTiff") as base:
        levels = len(base.overviews(1))
        sides = base.shape
    wrong = -levels
    while max(sides) > BLOCK_PX:
        sides, wrong = (sides[0] // 2, sides[1] // 2), wrong + 1
    for level in range(levels):
        finer = {"overview_level": level - 1} if level else {}
        with (
            rasterio.open(path, driver="GTiff", **finer) as fine,
            rasterio.open(path, driver="GTiff", overview_level=level) as coarse,
        ):
            for row, col in product(range(0, coarse.height, BLOCK_PX), range(0, coarse.width, BLOCK_PX)):
                wrong += not _is_sampled(coarse, fine, row, col)
    return wrong


def _is_sampled(coarse: Any, fine: Any, row: int, col: int) -> bool:
    """True if one block of `coarse` holds pixels of `fine` from where they should come from."""
    rows = _sources(row, coarse.height, fine.height)
    cols = _sources(col, coarse.width, fine.width)
    found = coarse.read(1, window=Window(col, row, len(cols), len(rows)))
    top, left = rows[0] - 1, cols[0] - 1
    source = _padded(fine, int(top), int(left), int(rows[-1] + 2 - top), int(cols[-1] + 2 - left))
    known = np.zeros(found.shape, bool)
    for down, right in product((-1, 0, 1), repeat=2):
        known |= found == source[np.ix_(rows - top + down, cols - left + right)]
    return bool(known.all())


def _sources(start: int, size: int, finer_size: int) -> NDArray[np.intp]:
    """Where the pixels of a block come from, along one side."""
    pixels = np.arange(start, min(start + BLOCK_PX, size))
    return np.minimum((0.5 + pixels * (finer_size / size)).astype(np.intp), finer_size - 1)


def _padded(dataset: Any, row: int, col: int, height: int, width: int) -> NDArray[np.int32]:
    """(height, width) ids from a row and column that may be one beyond the edge; -1 there."""
    out = np.full((height, width), -1, np.int32)
    top, left = max(row, 0), max(col, 0)
    bottom, right = min(row + height, dataset.height), min(col + width, dataset.width)
    inside = dataset.read(1, window=Window(left, top, right - left, bottom - top))
    out[top - row : bottom - row, left - col : right - col] = inside
    return out
