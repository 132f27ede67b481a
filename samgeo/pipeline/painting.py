"""Painting: where polygons overlap, who keeps the pixels. Label images and exclusive features, block by block.

A higher score, then a smaller area, then the earlier key lies on top. Everything happens in pixel space, where a
polygon covers whole pixels, so what is painted is exactly the masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.features import rasterize, shapes

from samgeo.pipeline.store import PolygonStore
from samgeo.pixels import Window
from samgeo.polygons import assemble

BLOCK_PX = 1024
"""Side of the blocks that are painted at once."""


def blocks(height: int, width: int, side: int) -> Iterator[Window]:
    """The grid cut into squares of `side` pixels, row by row; those at its right and lower edge are smaller."""
    for row in range(0, height, side):
        for col in range(0, width, side):
            yield Window(row=row, col=col, height=min(side, height - row), width=min(side, width - col))


def paint(store: PolygonStore, values: NDArray[np.int32], block: Window) -> NDArray[np.int32]:
    """(block.height, block.width) the value of the topmost polygon on each pixel, 0 where there is none.

    values: (n,) above 0, one for each polygon of the store.
    """
    table = store.table
    near = (table["row"] < block.row_end) & (table["row"] + table["height"] > block.row)
    near &= (table["col"] < block.col_end) & (table["col"] + table["width"] > block.col)
    found = np.flatnonzero(near)
    if found.size == 0:
        return np.zeros(block.shape, np.int32)
    rows = table[found]
    order = found[np.lexsort((-rows["key"], -rows["area_px"], rows["score"]))]  # the topmost comes last
    return np.asarray(
        rasterize(
            ((store.polygon(int(index)), int(values[index])) for index in order),
            out_shape=block.shape,
            transform=Affine.translation(block.col, block.row),
            dtype="int32",
        )
    )


def take_overlaps_away(store: PolygonStore, shape: tuple[int, int], *, max_vertices: int, side: int = BLOCK_PX) -> None:
    """Cut polygons of the store so that no two share a pixel; those of which nothing is left are gone.

    shape: (height, width) of the grid. side: of the blocks that are painted at once, in pixels.
    """
    pieces = PolygonStore(store.output)
    numbers = np.arange(1, len(store) + 1, dtype=np.int32)
    for block in blocks(*shape, side):
        for number, piece in outlines(paint(store, numbers, block), block):
            pieces.add(piece, key=number - 1)
    owners = pieces.table["key"]
    order = np.argsort(owners, kind="stable").astype(np.int32)
    starts = np.searchsorted(owners, np.arange(len(store) + 1), sorter=order).astype(np.int32)
    for index, (start, end) in enumerate(pairwise(starts)):
        if start < end:
            parts = [pieces.polygon(int(piece)) for piece in order[start:end]]
            name = f"object at row {store.table['row'][index]}, column {store.table['col'][index]}"
            store.replace(index, assemble(parts, name=name, max_vertices=max_vertices))
    pieces.close()
    store.keep(np.flatnonzero(np.diff(starts)))


def outlines(labels: NDArray[np.int32], block: Window, *, background: bool = False) -> Iterator[tuple[int, Any]]:
    """Value and polygon of every connected part of a label image, in pixels of the grid; of value 0 too if asked."""
    transform = Affine.translation(block.col, block.row)
    mask = None if background else labels > 0
    for shape, value in shapes(labels, mask=mask, connectivity=4, transform=transform):
        rings = shape["coordinates"]
        yield int(value), shapely.Polygon(rings[0], rings[1:])
