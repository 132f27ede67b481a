"""From masks to polygons: pixel-exact outlines, one canonical form, ground measures, and outlines made pleasant.

    mask ─► outline ─► assemble ─► simplify, square, smooth ─► to_map ─► measure
            └────────────── pixel space ───────────────┘       └── map ──┘

Pixel space here is the grid's: x = column, y = row, an integer is a pixel's corner, so that an outline has whole
numbers and the polygon of a mask covers its pixels and nothing else. Pixels belong together where they share an edge;
outlines traced through corners would not be valid polygons. The canonical form has a vertex at every turn and at no
other place, and one order of rings and vertices: equal sets of pixels give equal bytes, however they were put together.

Simplifying works on each object alone. Edges that neighbours share come apart by up to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod
from rasterio.features import shapes

from samgeo.errors import ResourceLimitError
from samgeo.grid import Grid, has_ground_units, to_geodetic
from samgeo.pixels import Mask

Polygonal = Any
"""A shapely Polygon or MultiPolygon; shapely comes without annotations."""
Floats = NDArray[np.float64]

MAX_VERTICES = 5_000_000
"""More vertices than this in one feature are refused: a million cost about 240 MB while they are written."""

_EDGE_M = 500.0
"""Edges are cut to this length before they are measured, since a straight line on the map is no geodesic: without it
a cell of 100 km in degrees would be measured 1 in 1000 wrong, with it 1 in 10 million."""

_SQUARE_IOU = 0.8
"""A squared outline must overlap the given one by so much, or the object is none with right angles."""


def pixel_polygons(mask: Mask) -> Polygonal:
    """The canonical outline of a mask in pixel space; a polygon, or a multipolygon if parts share no pixel edge.

    A mask without pixels gives an empty polygon.
    """
    if mask.window.is_empty:  # GDAL has no rasters without pixels
        return shapely.Polygon()
    pixels = np.ascontiguousarray(mask.pixels)
    found = shapes(pixels.view(np.uint8), mask=pixels, connectivity=4)
    parts = [shapely.Polygon(rings[0], rings[1:]) for rings in (shape["coordinates"] for shape, _ in found)]
    outline = parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts) if parts else shapely.Polygon()
    offset = np.array([mask.window.col, mask.window.row], dtype=float)
    return canonical(shapely.transform(outline, lambda xy: xy + offset))


def assemble(pieces: Sequence[Polygonal], *, name: str, max_vertices: int = MAX_VERTICES) -> Polygonal:
    """One object from pieces in pixel space that touch or lie apart, in canonical form.

    name: what an error calls the object. Raises `ResourceLimitError` if the pieces have more than `max_vertices`.
    """
    parts = np.asarray(pieces, dtype=object)
    check_vertices(parts, max_vertices, name)
    return canonical(parts[0] if len(parts) == 1 else shapely.disjoint_subset_union_all(parts))


def check_vertices(geometry: Polygonal | NDArray[np.object_], max_vertices: int, name: str) -> None:
    """Raise `ResourceLimitError` that calls the object `name` if it has more vertices than permitted."""
    count = int(np.sum(shapely.get_num_coordinates(geometry)))
    if count > max_vertices:
        raise ResourceLimitError(
            f"{name}: its outline has {count:,} vertices; expected at most {max_vertices:,}. Fix: a coarser "
            f"--resolution, or permit it with --max-vertices {count} (about {count * 240 / 1e6:,.0f} MB of memory)"
        )


def canonical(geometry: Polygonal) -> Polygonal:
    """The one form of a valid polygon of pixel space: vertices at turns only, rings and vertices in GEOS's order."""
    parts = shapely.get_parts(geometry)
    return shapely.normalize(_drop_straight(parts[0] if len(parts) == 1 else geometry))


def mask_to_polygon(mask: Mask, grid: Grid) -> Polygonal:
    """The canonical outline of a mask in map coordinates. A mask without pixels gives an empty polygon."""
    return to_map(pixel_polygons(mask), grid)


def to_map(geometry: Polygonal, grid: Grid) -> Polygonal:
    """From pixel space to the map coordinates of the grid."""
    return shapely.transform(geometry, lambda xy: np.stack(grid.to_map(xy[:, 0], xy[:, 1]), axis=1))


@dataclass(frozen=True, kw_only=True)
class Ground:
    """How large a feature is on the ground."""

    area_m2: float
    """Square metres; holes are taken off."""
    perimeter_m: float
    """Metres along all rings, those of holes too."""


def measure(geometry: Polygonal, crs: CRS | None) -> Ground:
    """Area and perimeter on the ground of a polygon in map coordinates.

    Geodesic on the CRS's ellipsoid (Karney 2013, doi 10.1007/s00190-012-0578-z). Without a CRS, and in local and
    engineering CRSs, planar in the units of the coordinates.
    """
    if crs is None or not has_ground_units(crs):
        return Ground(area_m2=float(shapely.area(geometry)), perimeter_m=float(shapely.length(geometry)))
    geod = crs.get_geod()
    assert geod is not None  # has_ground_units was asked
    cut = shapely.segmentize(geometry, _EDGE_M / _metres_a_unit(crs))
    area, perimeter = 0.0, 0.0
    for part in shapely.get_parts(cut):
        for index, ring in enumerate(shapely.get_rings(part)):
            ring_area, ring_length = _measure_ring(ring, crs, geod)
            area += ring_area if index == 0 else -ring_area
            perimeter += ring_length
    return Ground(area_m2=area, perimeter_m=perimeter)


def area_m2(geometry: Polygonal, crs: CRS | None) -> float:
    """The area that `measure` finds."""
    return measure(geometry, crs).area_m2


def perimeter_m(geometry: Polygonal, crs: CRS | None) -> float:
    """The perimeter that `measure` finds."""
    return measure(geometry, crs).perimeter_m


def simplify(geometry: Polygonal, tolerance_m: float, grid: Grid) -> Polygonal:
    """Fewer vertices: no vertex that is dropped lies farther than about `tolerance_m` ground metres from the outline.

    geometry: in pixel space; the vertices that stay are vertices of it. Rings keep their topology and stay valid
    (Douglas and Peucker 1973, in GEOS's topology-preserving form).
    """
    to_ground, to_pixel = _ground_frame(geometry, grid)
    simple = shapely.simplify(_linear(geometry, to_ground), tolerance_m, preserve_topology=True)
    return shapely.normalize(shapely.transform(_linear(simple, to_pixel), np.rint))


def smooth(geometry: Polygonal, *, rounds: int = 3, reach_px: float = 4.0) -> Polygonal:
    """Round the pixel steps off by cutting corners (Chaikin 1974), none by more than half of `reach_px`.

    geometry: in pixel space. Straight edges longer than `reach_px` are divided first, so that large corners stay.
    An outline that would cross itself is cut in fewer rounds.
    """
    divided = shapely.segmentize(geometry, reach_px)
    for count in range(rounds, 0, -1):
        rounded = _map_rings(divided, partial(_cut_corners, rounds=count))
        if shapely.is_valid(rounded):
            return shapely.normalize(_drop_straight(rounded, within=1e-9))
    return geometry


def square(geometry: Polygonal, grid: Grid, *, tolerance_m: float | None = None) -> Polygonal:
    """Make all corners of an outline right angles on the ground, as most buildings have them.

    geometry: in pixel space. tolerance_m: steps and jogs shorter than this are noise; None: two pixels.

    Each part is turned to its main direction; its edges are sorted into those along and those across, each run of
    equal edges becomes one line at its mean place, and lines closer than the tolerance become one. A part whose squared
    form does not fit (IoU with the outline below `_SQUARE_IOU`, such as a round tank) keeps its outline, simplified.
    """
    tolerance = 2 * grid.gsd_m if tolerance_m is None else tolerance_m
    to_ground, to_pixel = _ground_frame(geometry, grid)
    # Staircases have the middles of their steps on the true edge, and their corners on either side of it.
    middles = _map_rings(shapely.segmentize(geometry, 1.0), lambda ring: (ring + np.roll(ring, -1, axis=0)) / 2)
    parts = shapely.get_parts(_linear(middles, to_ground))
    squared = [_square_part(part, tolerance) for part in parts]
    whole = squared[0] if len(squared) == 1 else shapely.MultiPolygon(squared)
    if not shapely.is_valid(whole):
        whole = shapely.union_all(squared)
    return shapely.normalize(_linear(whole, to_pixel))


def _square_part(part: Any, tolerance: float) -> Any:
    """A polygon in metres with right angles, or simplified where these do not fit."""
    simple = shapely.simplify(part, tolerance / 2, preserve_topology=True)
    turn = _main_direction(shapely.get_coordinates(simple.exterior))
    rings = [_square_ring(shapely.get_coordinates(ring)[:-1], turn, tolerance) for ring in shapely.get_rings(simple)]
    if rings[0] is None:
        return simple
    squared = shapely.Polygon(rings[0], [ring for ring in rings[1:] if ring is not None])
    if not shapely.is_valid(squared):
        return simple
    common = shapely.area(shapely.intersection(squared, part))
    union = shapely.area(squared) + shapely.area(part) - common
    return squared if common >= _SQUARE_IOU * union else simple


def _main_direction(xy: Floats) -> Floats:
    """(2, 2) rotation that brings most of a closed ring's length along the axes."""
    edges = np.diff(xy, axis=0) @ np.array([1, 1j])
    lengths = np.abs(edges)
    edges, lengths = edges[lengths > 0], lengths[lengths > 0]
    # Directions count modulo 90 degrees; long edges say more than short ones.
    angle = np.angle(np.sum(lengths**2 * (edges / lengths) ** 4)) / 4
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _square_ring(xy: Floats, turn: Floats, tolerance: float) -> Floats | None:
    """(m, 2) right-angled form of an open ring of n vertices; None if it collapses."""
    turned = xy @ turn.T
    steps = np.roll(turned, -1, axis=0) - turned
    across = np.abs(steps[:, 1]) > np.abs(steps[:, 0])
    changes = np.flatnonzero(across != np.roll(across, 1))
    if len(changes) < 4:
        return None
    # A run is all edges from one change to the next; its line lies at the mean of their middles, by length.
    order = np.roll(np.arange(len(xy)), -changes[0])
    run = np.cumsum(across[order] != np.roll(across[order], 1)) - 1
    axis = np.where(across[order], 0, 1)
    middles = (turned + steps / 2)[order, axis]
    weights = np.abs(steps[order, 1 - axis])
    sums = np.bincount(run, weights)
    lines = [
        _Line(place=float(place), weight=float(weight), upright=bool(across[order[start]]))
        for place, weight, start in zip(
            np.bincount(run, weights * middles) / sums, sums, np.unique(run, return_index=True)[1], strict=True
        )
    ]
    lines = _merge_lines(lines, tolerance)
    corners = [
        (one.place, other.place) if one.upright else (other.place, one.place)
        for one, other in zip(lines, lines[1:] + lines[:1], strict=True)
    ]
    return np.array(corners) @ turn


class _Line(NamedTuple):
    """An infinite line along an axis."""

    place: float
    """Its x if it is upright, else its y."""
    weight: float
    """How much length of outline it stands for."""
    upright: bool
    """True if it runs along y."""


def _merge_lines(lines: list[_Line], tolerance: float) -> list[_Line]:
    """Lines that are alternately upright and not, once each edge between two corners is as long as `tolerance`."""
    while len(lines) > 4:
        following = lines[1:] + lines[:1]
        spans = [abs(after.place - lines[k - 1].place) for k, after in enumerate(following)]
        short = min(range(len(lines)), key=spans.__getitem__)
        if spans[short] >= tolerance:
            break
        # The short edge goes; the two lines that it joins become one at their mean.
        turned = lines[short - 1 :] + lines[: short - 1] if short else lines[-1:] + lines[:-1]
        before, _, after = turned[:3]
        weight = before.weight + after.weight
        place = (before.place * before.weight + after.place * after.weight) / weight
        lines = [_Line(place=place, weight=weight, upright=before.upright), *turned[3:]]
    return lines


def _ground_frame(geometry: Polygonal, grid: Grid) -> tuple[Floats, Floats]:
    """(2, 2) matrices from pixels to ground metres around the middle of a geometry, and back.

    The metres run east and north, so angles and lengths there are those on the ground, whatever the CRS and affine.
    """
    left, top, right, bottom = shapely.bounds(geometry)
    col, row = (left + right) / 2, (top + bottom) / 2
    x, y = grid.to_map([col - 0.5, col + 0.5, col, col], [row, row, row - 0.5, row + 0.5])
    along, down = np.array([x[1] - x[0], y[1] - y[0]]), np.array([x[3] - x[2], y[3] - y[2]])
    if grid.crs is not None and has_ground_units(grid.crs):
        lon, lat = to_geodetic(grid.crs, x, y)
        geod = grid.crs.get_geod()
        assert geod is not None  # has_ground_units was asked
        azimuth, _, length = geod.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])
        along, down = np.stack([length * np.sin(np.radians(azimuth)), length * np.cos(np.radians(azimuth))], axis=1)
    to_ground = np.stack([along, down], axis=1)
    return to_ground, np.linalg.inv(to_ground)


def _linear(geometry: Polygonal, matrix: Floats) -> Polygonal:
    return shapely.transform(geometry, lambda xy: xy @ matrix.T)


def _metres_a_unit(crs: CRS) -> float:
    """About how many metres one unit of the map coordinates is at the equator."""
    factor = float(crs.axis_info[0].unit_conversion_factor)
    return factor * 6.371e6 if crs.is_geographic else factor


def _measure_ring(ring: Any, crs: CRS, geod: Geod) -> tuple[float, float]:
    """Square metres inside a ring and metres along it."""
    xy = shapely.get_coordinates(ring)
    area, length = geod.polygon_area_perimeter(*to_geodetic(crs, xy[:, 0], xy[:, 1]))
    return abs(area), length


def _map_rings(geometry: Polygonal, change: Callable[[Floats], Floats]) -> Polygonal:
    """The geometry with every ring, an open (n, 2) array, changed."""
    parts = [
        shapely.Polygon(rings[0], rings[1:])
        for part in shapely.get_parts(geometry)
        for rings in [[change(shapely.get_coordinates(ring)[:-1]) for ring in shapely.get_rings(part)]]
    ]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


def _cut_corners(ring: Floats, rounds: int) -> Floats:
    for _ in range(rounds):
        following = np.roll(ring, -1, axis=0)
        ring = np.stack([0.75 * ring + 0.25 * following, 0.25 * ring + 0.75 * following], axis=1).reshape(-1, 2)
    return ring


def _drop_straight(geometry: Polygonal, within: float = 0.0) -> Polygonal:
    """The same set of points without vertices on straight lines. Exact for whole numbers below 2**25.

    within: twice the area of the triangle with its neighbours that still counts as straight.
    """
    kind, xy, offsets = shapely.to_ragged_array([geometry])
    index = np.arange(len(xy))
    before, after = index - 1, index + 1
    # The last vertex of a ring repeats the first: before the first comes the last but one, and the reverse.
    first, last = offsets[0][:-1], offsets[0][1:] - 1
    before[first], after[last] = last - 1, first + 1
    incoming, outgoing = xy - xy[before], xy[after] - xy
    turns = np.abs(incoming[:, 0] * outgoing[:, 1] - incoming[:, 1] * outgoing[:, 0]) > within
    turns[last] = False
    ring_of = np.repeat(np.arange(len(first)), np.diff(offsets[0]))[turns]
    kept = xy[turns]
    starts = np.searchsorted(ring_of, np.arange(len(offsets[0])))
    closed = np.insert(kept, starts[1:], kept[starts[:-1]], axis=0)
    return shapely.from_ragged_array(kind, closed, (starts + np.arange(len(starts)), *offsets[1:]))[0]
