"""Placement: a layer of prompts brought to the pixels of a grid, with a verdict for every row.

Everything is done for all rows at once. pyproj reprojects, by the one operation that PROJ ranks first for the area of
the raster, so that what was done can be told. Pixel positions here are the grid's: an integer is a pixel's corner.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError
from pyproj.transformer import AreaOfInterest, Transformer, TransformerGroup

from samgeo.errors import PromptError
from samgeo.grid import Grid, has_ground_units, to_geodetic
from samgeo.prompts.layer import PromptLayer

Floats = NDArray[np.float64]

EDGE_PIECES = 32
"""An edge of a box is a curve in most other CRSs; it is cut into so many pieces before it is reprojected."""
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


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One way from a CRS to another."""

    name: str
    """What PROJ calls it."""
    accuracy_m: float | None
    """How far off the result may be, in metres; None where nobody has stated it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """How coordinates of a layer become map coordinates of a grid."""

    transformers: tuple[Transformer, ...] = ()
    """The best first; the others are for places that it has no answer for. None: they are that already, or pixels."""
    operations: tuple[Operation, ...]
    """What each of them does; the one that says that nothing is done where there are none."""
    better: str | None = None
    """A better operation that lacks a grid file on this machine."""

    def worst(self, ways: NDArray[np.int8]) -> Operation:
        """The least accurate of the operations that placed some prompts; ways: their numbers, see `Placed.way`."""
        used = [self.operations[int(number)] for number in np.unique(ways)] or [self.operations[0]]
        return max(used, key=lambda one: np.inf if one.accuracy_m is None else one.accuracy_m)


def find_route(layer: PromptLayer, grid: Grid) -> Route:
    """The best way from the layer's CRS to the grid's. Raises `PromptError` if there is none."""
    source, target = layer.frame, grid.crs
    if not isinstance(source, CRS):
        return Route(operations=(Operation(name=f"none: {source} coordinates", accuracy_m=0.0),))
    if target is None:
        raise PromptError(
            f"{layer.name}: in {source.name}, and the raster has no CRS, so they cannot be placed. "
            "Fix: state the raster's CRS with --raster-crs EPSG:CODE, or with rio edit-info --crs in the file"
        )
    local = next((crs for crs in (source, target) if not has_ground_units(crs)), None)
    # PROJ takes local CRSs for the same if they have the same axes and units, wherever they are.
    if source.equals(target, ignore_axis_order=True) and (local is None or source.name == target.name):
        return Route(operations=(Operation(name="none: same CRS", accuracy_m=0.0),))
    if local is not None:
        raise PromptError(
            f"{layer.name}: in {source.name}, and the raster is in {target.name}: no way from one to the other, since "
            f"{local.name} is a local CRS. Fix: prompts in the raster's own coordinates, with --prompt-crs raster"
        )
    try:
        return _best_route(source.to_wkt(), target.to_wkt(), _area(grid))
    except ProjError as error:
        raise PromptError(f"{layer.name}: no way from {source.name} to the raster's {target.name}: {error}") from error


@lru_cache(maxsize=32)
def _best_route(source: str, target: str, area: AreaOfInterest | None) -> Route:
    """source, target: WKT2. Asking PROJ takes a fifth of a second. Raises `ProjError` if there is no way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyproj warns of missing grids; `better` says it
        group = TransformerGroup(CRS.from_wkt(source), CRS.from_wkt(target), always_xy=True, area_of_interest=area)
    if not group.transformers:
        raise ProjError("PROJ knows none")
    return Route(
        transformers=tuple(group.transformers),
        operations=tuple(
            Operation(name=one.description, accuracy_m=float(one.accuracy) if one.accuracy >= 0 else None)
            for one in group.transformers
        ),
        better=None if group.best_available else str(group.unavailable_operations[0].name),
    )


def place(layer: PromptLayer, grid: Grid, route: Route, *, native: Grid, swapped: bool = False) -> Placed:
    """Bring all rows to pixels of `grid` and judge them.

    native: the grid of the raster as it is stored, which "pixel" coordinates refer to. swapped: read y before x.
    """
    geometries = layer.geometries.copy()
    verdict = _usable(layer)
    geometries[verdict != OK] = None
    if layer.kind != "points" and route.transformers:
        geometries = _densified(geometries)
    xy, row = shapely.get_coordinates(geometries, return_index=True)
    part = shapely.get_coordinates(shapely.get_parts(geometries), return_index=True)[1]
    pixels, ways = _to_pixels(xy[:, ::-1] if swapped else xy, part, layer, (grid, route, native))
    way = np.zeros(len(layer), dtype=np.int8)
    np.maximum.at(way, row, ways)
    _judge(verdict, row, np.isfinite(pixels[:, 0]) & np.isfinite(pixels[:, 1]), NO_DOMAIN)
    boxes, polygons = _bounds(pixels, row, len(layer)), np.full(len(layer), None, dtype=object)
    distance, finite = _distance(boxes, grid), boxes[verdict == OK]
    extent = np.full(4, np.nan)
    if len(finite):
        extent = np.concatenate([finite[:, :2].min(axis=0), finite[:, 2:].max(axis=0)])
    if layer.kind == "points":
        points, inside = boxes[:, :2], _on_grid(boxes[:, :2], grid)
        boxes = np.full((len(layer), 4), np.nan)
    else:
        sides = boxes[:, 2:] - boxes[:, :2]
        verdict[(verdict == OK) & (sides < MIN_SIDE_PX).any(axis=1)] = NO_AREA
        boxes = np.clip(boxes, 0, [grid.width, grid.height] * 2)
        inside = (boxes[:, 2] - boxes[:, 0] >= MIN_SIDE_PX) & (boxes[:, 3] - boxes[:, 1] >= MIN_SIDE_PX)
        points = np.full((len(layer), 2), np.nan)
    verdict[(verdict == OK) & ~inside] = OUTSIDE
    if layer.kind == "masks":
        good = np.flatnonzero(verdict == OK)
        polygons[good] = _redrawn(geometries, pixels, row)[good]
        points[good], boxes[good], seen = _within(polygons[good], grid)
        verdict[good[~seen]] = OUTSIDE
    return Placed(
        verdict=verdict, distance_px=distance, points=points, boxes=boxes, polygons=polygons, way=way, extent=extent
    )


def _usable(layer: PromptLayer) -> NDArray[np.int8]:
    """Verdicts by the geometries alone."""
    given = layer.geometries
    verdict = np.full(len(layer), OK, dtype=np.int8)
    kinds = shapely.get_type_id(given)
    allowed = {"points": _POINT, "masks": _AREA}.get(layer.kind)
    if allowed is not None:
        verdict[~np.isin(kinds, allowed)] = WRONG_TYPE
    verdict[shapely.is_missing(given) | shapely.is_empty(given)] = EMPTY
    xy, row = shapely.get_coordinates(given, return_index=True)
    _judge(verdict, row, np.isfinite(xy[:, 0]) & np.isfinite(xy[:, 1]), NOT_FINITE)
    return verdict


def _judge(verdict: NDArray[np.int8], row: NDArray[np.int64], good: NDArray[np.bool_], otherwise: int) -> None:
    """Give a verdict to rows that are good so far and have a vertex that is not."""
    bad = np.unique(row[~good])
    verdict[bad[verdict[bad] == OK]] = otherwise


def _densified(geometries: NDArray[np.object_]) -> NDArray[np.object_]:
    bounds = shapely.bounds(geometries)
    longest = np.maximum(bounds[:, 2] - bounds[:, 0], bounds[:, 3] - bounds[:, 1])
    # A geometry without extent has no edges to cut; it is refused later.
    return np.asarray(shapely.segmentize(geometries, np.where(longest > 0, longest / EDGE_PIECES, 1.0)), dtype=object)


def _to_pixels(
    xy: Floats, part: NDArray[np.int64], layer: PromptLayer, way: tuple[Grid, Route, Grid]
) -> tuple[Floats, NDArray[np.int8]]:
    """(v, 2) columns and rows of vertices, and (v,) which operation of the route each took.

    part: (v,) which point or polygon of which prompt they belong to.
    """
    grid, route, native = way
    ways = np.zeros(len(xy), dtype=np.int8)
    if layer.in_pixels:
        if native == grid:
            return xy, ways
        x, y = native.to_map(xy[:, 0], xy[:, 1])
    else:
        x, y, ways = _reprojected(xy[:, 0], xy[:, 1], route)
    turn = _turn(grid.crs)
    if turn is not None:
        x = _unrolled(x, part, turn, grid)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too far for a float is refused, not warned of
        return np.stack(grid.to_pixel(x, y), axis=1), ways


def _reprojected(x: Floats, y: Floats, route: Route) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """Map coordinates, inf where no operation has an answer, and the number of the operation that each took."""
    ways = np.zeros(len(x), dtype=np.int8)
    if not route.transformers:
        return x, y, ways
    new_x, new_y = np.full(len(x), np.inf), np.full(len(x), np.inf)
    left = np.arange(len(x))
    for number, transformer in enumerate(route.transformers):
        new_x[left], new_y[left] = transformer.transform(x[left], y[left])
        ways[left] = number
        left = left[~(np.isfinite(new_x[left]) & np.isfinite(new_y[left]))]
        if len(left) == 0:
            break
    return new_x, new_y, ways


def _turn(crs: CRS | None) -> float | None:
    """After so many units x is the same meridian again; None where it never is, or where no raster goes on so far."""
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None
    if crs.is_geographic:
        return 2 * np.pi / crs.axis_info[0].unit_conversion_factor
    method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    if method != "Popular Visualisation Pseudo Mercator" or crs.ellipsoid is None:
        return None
    return 2 * np.pi * crs.ellipsoid.semi_major_metre / crs.axis_info[0].unit_conversion_factor


def _unrolled(x: Floats, part: NDArray[np.int64], turn: float, grid: Grid) -> Floats:
    """x moved by whole turns so that it comes to lie on the grid's side of the globe.

    Each part moves as one: a prompt that was split at the antimeridian (RFC 7946, section 3.1.9) comes together.
    """
    left, _, right, _ = grid.bounds
    lowest = np.full(int(part.max(initial=-1)) + 1, np.inf)
    np.fmin.at(lowest, part, x)
    with np.errstate(invalid="ignore"):
        return x - turn * np.floor((lowest[part] - (left + right) / 2) / turn + 0.5)


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


def _redrawn(geometries: NDArray[np.object_], pixels: Floats, row: NDArray[np.int64]) -> NDArray[np.object_]:
    """The polygons with vertices in pixels, valid."""
    finite = np.where(np.isfinite(pixels), pixels, 0.0)
    drawn = shapely.set_coordinates(geometries.copy(), finite) if len(row) else geometries
    broken = ~shapely.is_valid(drawn) & ~shapely.is_missing(drawn)
    drawn[broken] = shapely.make_valid(drawn[broken], method="structure")
    return np.asarray(drawn, dtype=object)


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


def _area(grid: Grid) -> AreaOfInterest | None:
    """Longitudes and latitudes of the raster, which decide how good an operation is."""
    if grid.crs is None or not has_ground_units(grid.crs):
        return None
    ring = grid.footprint()
    lon, lat = to_geodetic(grid.crs, ring[:, 0], ring[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    west, east = np.clip([lon.min(), lon.max()], -180, 180)
    south, north = np.clip([lat.min(), lat.max()], -90, 90)
    return AreaOfInterest(float(west), float(south), float(east), float(north))
