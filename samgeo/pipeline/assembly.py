"""Assembly: from stitched masks to the polygons that are kept, in the order of their ids. All in pixel space."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.errors import PromptError, UsageError
from samgeo.grid import Grid
from samgeo.pipeline.painting import take_overlaps_away
from samgeo.pipeline.store import PolygonStore
from samgeo.pixels import Mask
from samgeo.polygons import area_m2, assemble, check_vertices, pixel_polygons, to_map
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from samgeo.stitch.link import Stitched
from samgeo.stitch.table import Crops


def add_object(store: PolygonStore, pieces: Iterable[Mask], *, name: str, max_vertices: int, **row: float) -> None:
    """Put one object, given as masks that share no pixel, into the store; one without pixels is left out."""
    outlines = []
    for piece in pieces:
        if not piece.window.is_empty:
            outlines.append(pixel_polygons(piece))
            check_vertices(outlines[-1], max_vertices, name)
    if outlines:
        whole = outlines[0] if len(outlines) == 1 else assemble(outlines, name=name, max_vertices=max_vertices)
        store.add(whole, **row)


def add_stitched(
    store: PolygonStore, stitched: Stitched, crops: Crops, settings: Settings, *, kept: NDArray[np.bool_]
) -> None:
    """Put the objects that are kept, (objects,) bool, into the store, tile by tile: each part file is read once."""
    store.make_room(int(np.count_nonzero(kept)))
    first_tile = stitched.table.tile[stitched.rows[stitched.starts[:-1]]]
    order = np.argsort(first_tile, kind="stable")
    for index in map(int, order[kept[order]]):  # as a list they would take more memory than the table
        found = stitched[index]
        add_object(
            store,
            stitched.pieces(index, crops),
            name=f"the object at row {found.window.row}, column {found.window.col}",
            max_vertices=settings.max_vertices,
            key=-1,
            score=found.score,
            stability=found.stability,
            tiles=found.tiles,
            label=found.label,
            label_score=found.label_score,
        )


def finish(store: PolygonStore, grid: Grid, settings: Settings, *, exclusive: bool, area: Any = None) -> None:
    """Take overlaps away if asked for, drop what is too small or not in the area of interest, and put into id order.

    area: what `read_aoi` gave.
    """
    if exclusive:
        take_overlaps_away(store, grid.shape, max_vertices=settings.max_vertices)
    store.keep(_id_order(store))
    if settings.min_area_m2 > 0 or area is not None:
        wanted = (_is_wanted(store.polygon(k), grid, settings.min_area_m2, area) for k in range(len(store)))
        store.keep(np.flatnonzero(np.fromiter(wanted, bool, len(store))))


def read_aoi(aoi: object, grid: Grid) -> Any:
    """The area of interest in pixel space, prepared.

    aoi: geometry in the CRS of the grid, GeoDataFrame, GeoJSON or file. Raises `UsageError` if it cannot be read, or
    does not meet the raster.
    """
    source = [aoi] if isinstance(aoi, shapely.Geometry) else aoi
    try:
        placed = Prompts(masks=source, crs="raster").to_pixels(grid)
    except (PromptError, TypeError) as error:
        raise UsageError(f"--aoi: expected polygons on the raster: {error}") from error
    area = shapely.union_all([polygon for polygon in placed.polygons if polygon is not None])
    shapely.prepare(area)
    return area


def _is_wanted(polygon: Any, grid: Grid, min_area_m2: float, area: Any) -> bool:
    """True for an object that is large enough and has its representative point in the area of interest."""
    if area is not None and not shapely.intersects(area, shapely.point_on_surface(polygon)):
        return False
    return min_area_m2 == 0 or area_m2(to_map(polygon, grid), grid.crs) >= min_area_m2


def _id_order(store: PolygonStore) -> NDArray[np.int64]:
    """Prompt order; else first pixel row-major, then the larger, then by the bytes of the polygon."""
    table = store.table
    order = np.lexsort((-table["area_px"], table["first_col"], table["row"], table["key"]))
    same = np.ones(max(0, len(order) - 1), bool)
    for name in ("key", "row", "first_col", "area_px"):
        same &= np.diff(table[name][order]) == 0
    for start, end in _runs(same):
        order[start:end] = sorted(order[start:end].tolist(), key=store.wkb)
    return order


def _runs(same: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Start and end of each run of equal neighbours; same[k] says that k and k + 1 are equal."""
    edges = np.diff(np.concatenate([[False], same, [False]]).astype(np.int8))
    return [
        (int(start), int(end) + 1)
        for start, end in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1), strict=True)
    ]
