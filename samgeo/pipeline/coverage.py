"""Coverage: features that touch are simplified together, so that no gap and no overlap comes between them.

Block by block, as they are painted: in a block, all features and what is between them cover everything, so the edges
that two share can be simplified once for both (`shapely.coverage_simplify`). What lies on the lines between blocks
stays as it is, so pieces of neighbouring blocks fit together. Vertices that stay are whole pixels: no rounding.
"""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.grid import Grid
from samgeo.pipeline.painting import BLOCK_PX, blocks, outlines, paint
from samgeo.pipeline.store import PolygonStore
from samgeo.pixels import Window
from samgeo.polygons import assemble, ground_frame, thinned


def simplified_together(
    store: PolygonStore, grid: Grid, tolerance_m: float, *, max_vertices: int, side: int = BLOCK_PX
) -> PolygonStore:
    """The polygons of a store in which none overlap, in the same order, simplified; their other columns are empty.

    tolerance_m: where a vertex and its two neighbours span a triangle smaller than the square of this, in ground
    metres, the vertex goes (Visvalingam and Whyatt 1993). side: of the blocks, in pixels.
    """
    pieces = PolygonStore(store.output)
    numbers = np.arange(1, len(store) + 1, dtype=np.int32)
    for block in blocks(*grid.shape, side):
        found = list(outlines(paint(store, numbers, block), block, background=True))
        simple = _simplified(np.array([piece for _, piece in found]), block, grid, tolerance_m)
        for (number, _), piece in zip(found, simple, strict=True):
            if number:
                pieces.add(piece, key=number - 1)
    owners = pieces.table["key"]
    order = np.argsort(owners, kind="stable")
    together = PolygonStore(store.output)
    for start, end in pairwise(np.searchsorted(owners, np.arange(len(store) + 1), sorter=order)):
        parts = [pieces.polygon(int(piece)) for piece in order[start:end]]
        name = f"object {len(together) + 1}"
        together.add(assemble(parts, name=name, max_vertices=max_vertices))
    pieces.close()
    return together


def _simplified(pieces: NDArray[Any], block: Window, grid: Grid, tolerance_m: float) -> NDArray[Any]:
    """(n,) polygons of pixel space that cover a block, simplified; the edge of the block stays as it is."""
    frame = shapely.box(block.col, block.row, block.col_end, block.row_end)
    to_ground, _ = ground_frame(frame, grid)
    simple = partial(shapely.coverage_simplify, simplify_boundary=False)
    return np.asarray(thinned(pieces, to_ground, simple, tolerance_m))
