"""Placement: a layer of prompts brought to the pixels of a grid, with a verdict for every row.

Everything is done for many rows at once. Pixel positions here are the grid's: an integer is a pixel's corner.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.grid import Grid
from samgeo.prompts.edges import FEWEST, cut, pieces_for, redrawn, vertices_of
from samgeo.prompts.layer import PromptLayer
from samgeo.prompts.route import Target, to_pixels

Floats = NDArray[np.float64]

GROUP = 2**18
"""So many vertices are placed at once."""
MIN_SIDE_PX = 1e-6
"""A box narrower than this has no area."""

OK, EMPTY, WRONG_TYPE, NOT_FINITE, NO_DOMAIN, OUTSIDE, NODATA, NO_AREA = range(8)
"""Verdicts on a row."""

_POINT = (shapely.GeometryType.POINT,)
_AREA = (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON)


@dataclass(frozen=True, kw_only=True, eq=False)
class Placed:
    """The n rows of one layer in pixels of the grid; what a refused row has in the arrays means nothing."""

    verdict: NDArray[np.int8]
    """(n,) OK or why a row is refused."""
    distance_px: NDArray[np.float32]
    """(n,) how far a row that is `OUTSIDE` is from the raster."""
    points: Floats
    """(n, 2) column and row: the click, or a point inside a polygon; NaN for boxes."""
    boxes: Floats
    """(n, 4) first column, first row, last column, last row, cut to the raster; NaN for points."""
    polygons: NDArray[np.object_]
    """(n,) polygons as they were drawn; None for points and boxes."""
    way: NDArray[np.int8]
    """(n,) which of the route's operations brought a row here; of several that its vertices took, the last one."""
    extent: Floats
    """(4,) first column, first row, last column, last row of everything; NaN where nothing is on the map."""


def place(layer: PromptLayer, target: Target, *, swapped: bool = False) -> Placed:
    """Bring all rows to pixels and judge them. swapped: read y before x.

    Rows are placed in groups of `GROUP` vertices, so that memory is bounded by what is kept. Edges are straight in the
    layer's CRS and curves on the raster, so they are cut into pieces, the more the more they bend.
    """
    placed = _nothing(len(layer))
    curved = layer.kind != "points" and bool(target.route.transformers)
    pieces = np.full(len(layer), FEWEST if curved else 1)
    vertices = np.maximum(shapely.get_num_coordinates(layer.geometries), 1)
    for rows in _groups(np.arange(len(layer)), vertices * pieces):
        pieces[rows] = _fill(placed, layer, rows, pieces[rows], (target, swapped))
    if curved:
        bent = np.flatnonzero(pieces > FEWEST)
        for rows in _groups(bent, (vertices * pieces)[bent]):
            _fill(placed, layer, rows, pieces[rows], (target, swapped))
    return placed


def _nothing(count: int) -> Placed:
    """For `count` rows that are still to be placed."""
    return Placed(
        verdict=np.full(count, OK, dtype=np.int8),
        distance_px=np.zeros(count, dtype=np.float32),
        points=np.full((count, 2), np.nan),
        boxes=np.full((count, 4), np.nan),
        polygons=np.full(count, None, dtype=object),
        way=np.zeros(count, dtype=np.int8),
        extent=np.full(4, np.nan),
    )


def _groups(rows: NDArray[np.int64], vertices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Some of `rows` at a time, in order, of at most `GROUP` vertices or one row; vertices: how many each has."""
    ends = np.cumsum(vertices)
    start = 0
    while start < len(rows):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + GROUP, side="right")))
        yield rows[start:end]
        start = end


def _fill(
    placed: Placed,
    layer: PromptLayer,
    rows: NDArray[np.int64],
    pieces: NDArray[np.int64],
    how: tuple[Target, bool],
) -> NDArray[np.int64]:
    """Place some rows, with edges cut into (n,) `pieces`. Returns into how many they should be cut."""
    (target, swapped), grid = how, how[0].grid
    geometries = layer.geometries[rows]
    verdict = _usable(geometries, layer.kind)
    geometries[verdict != OK] = None
    corners = vertices_of(geometries)
    vertices = cut(corners, pieces)
    pixels, ways = to_pixels(vertices.xy[:, ::-1] if swapped else vertices.xy, vertices.part, layer, target)
    way = np.zeros(len(rows), dtype=np.int8)
    np.maximum.at(way, vertices.row, ways)
    _judge(verdict, vertices.row, _finite(pixels), NO_DOMAIN)
    bounds = _bounds(pixels, vertices.row, len(rows))
    placed.distance_px[rows] = _distance(bounds, grid)
    placed.way[rows] = way
    _widen(placed.extent, bounds[verdict == OK])
    if layer.kind == "points":
        placed.points[rows] = bounds[:, :2]
        verdict[(verdict == OK) & ~_on_grid(bounds[:, :2], grid)] = OUTSIDE
    else:
        boxes = np.clip(bounds, 0, [grid.width, grid.height] * 2)
        verdict[(verdict == OK) & ((bounds[:, 2:] - bounds[:, :2]) < MIN_SIDE_PX).any(axis=1)] = NO_AREA
        verdict[(verdict == OK) & ((boxes[:, 2:] - boxes[:, :2]) < MIN_SIDE_PX).any(axis=1)] = OUTSIDE
        placed.boxes[rows] = boxes
    if layer.kind == "masks":
        good = np.flatnonzero(verdict == OK)
        polygons = redrawn(vertices, pixels, len(rows))[good]
        placed.polygons[rows[good]] = polygons
        placed.points[rows[good]], placed.boxes[rows[good]], seen = _within(polygons, grid)
        verdict[good[~seen]] = OUTSIDE
    placed.verdict[rows] = verdict
    near = (verdict == OK) | (verdict == OUTSIDE)
    return np.where(near, pieces_for(pixels, vertices, pieces), pieces)


def _usable(given: NDArray[np.object_], kind: str) -> NDArray[np.int8]:
    """Verdicts by the geometries alone."""
    verdict = np.full(len(given), OK, dtype=np.int8)
    allowed = {"points": _POINT, "masks": _AREA}.get(kind)
    if allowed is not None:
        verdict[~np.isin(shapely.get_type_id(given), allowed)] = WRONG_TYPE
    verdict[shapely.is_missing(given) | shapely.is_empty(given)] = EMPTY
    xy, row = shapely.get_coordinates(given, return_index=True)
    _judge(verdict, row, _finite(xy), NOT_FINITE)
    return verdict


def _finite(xy: Floats) -> NDArray[np.bool_]:
    """(v,) True for positions that are numbers."""
    return np.asarray(np.isfinite(xy).all(axis=1))


def _judge(verdict: NDArray[np.int8], row: NDArray[np.int64], good: NDArray[np.bool_], otherwise: int) -> None:
    """Give a verdict to rows that are good so far and have a vertex that is not."""
    bad = np.unique(row[~good])
    verdict[bad[verdict[bad] == OK]] = otherwise


def _widen(extent: Floats, bounds: Floats) -> None:
    """Make an extent hold (n, 4) more bounds."""
    if len(bounds):
        extent[:2] = np.fmin(extent[:2], bounds[:, :2].min(axis=0))
        extent[2:] = np.fmax(extent[2:], bounds[:, 2:].max(axis=0))


def _bounds(pixels: Floats, row: NDArray[np.int64], count: int) -> Floats:
    """(n, 4) bounds of the vertices of each row; NaN where there are none."""
    boxes = np.full((count, 4), np.nan)
    if len(row):
        starts = np.flatnonzero(np.diff(row, prepend=-1))
        boxes[row[starts], :2] = np.minimum.reduceat(pixels, starts)
        boxes[row[starts], 2:] = np.maximum.reduceat(pixels, starts)
    return boxes


def _distance(boxes: Floats, grid: Grid) -> NDArray[np.float32]:
    """(n,) pixels from boxes to the raster; 0 where they meet."""
    with np.errstate(invalid="ignore", over="ignore"):
        before, after = np.maximum(-boxes[:, 2:], 0), np.maximum(boxes[:, :2] - [grid.width, grid.height], 0)
        return np.asarray(np.hypot(*(before + after).T), dtype=np.float32)


def _on_grid(points: Floats, grid: Grid) -> NDArray[np.bool_]:
    """(n,) half open: the left and the upper edge belong to the raster, the right and the lower one do not."""
    return np.asarray(((points >= 0) & (points < [grid.width, grid.height])).all(axis=1))


def _within(polygons: NDArray[Any], grid: Grid) -> tuple[Floats, Floats, NDArray[np.bool_]]:
    """(n, 2) an inner point and (n, 4) the bounds of what each polygon has on the grid, and (n,) whether it has any."""
    whole = shapely.box(0, 0, grid.width, grid.height)
    shapely.prepare(whole)
    parts = polygons.copy()
    sticking_out = ~shapely.contains_properly(whole, parts)
    parts[sticking_out] = shapely.intersection(parts[sticking_out], whole)
    seen = shapely.area(parts) > MIN_SIDE_PX**2
    parts[~seen] = None
    inner = shapely.point_on_surface(parts)
    points = np.stack([shapely.get_x(inner), shapely.get_y(inner)], axis=1)
    return points, np.asarray(shapely.bounds(parts)), seen & _on_grid(points, grid)
