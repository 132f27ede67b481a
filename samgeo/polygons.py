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
from itertools import pairwise
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
a cell of 100 km in degrees would be measured 1 in 8000 wrong at 60 degrees north, with it 1 in a billion."""

_NEGLIGIBLE_PX = 0.05
"""Vertices of a smooth outline that matter less are left out; they would be two of three."""

_SQUARE_IOU = 0.8
"""A squared outline must overlap the given one by so much, or the object is none with right angles."""
_ROUND = 0.87
"""Share of a circle's area at equal length from which on an outline counts as round; a square has 0.79, a circle 1."""


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
    """From pixel space to the map coordinates of the grid; outer rings run against the clock there."""
    moved = shapely.transform(geometry, lambda xy: np.stack(grid.to_map(xy[:, 0], xy[:, 1]), axis=1))
    # Rows run down in pixel space and up on most maps. A grid that mirrors otherwise turns the rings around.
    return shapely.orient_polygons(moved) if grid.transform.determinant > 0 else moved


@dataclass(frozen=True, kw_only=True)
class Ground:
    """How large a feature is on the ground."""

    area_m2: float
    """Square metres; holes are taken off."""
    perimeter_m: float
    """Metres along all rings, those of holes too."""


def measure(geometry: Polygonal, crs: CRS | None) -> Ground:
    """Area and perimeter on the ground of a polygon in map coordinates.

    Geodesic on the CRS's ellipsoid (Karney 2013, doi 10.1007/s00190-012-0578-z), for rings that enclose less than half
    of it. Without a CRS, and in local and engineering CRSs, planar in the units of the coordinates.
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
    to_ground, _ = _ground_frame(geometry, grid)
    vertices = shapely.get_coordinates(geometry)
    # The third coordinate tells which vertices stay, so that they need not be brought back from the ground.
    numbered = shapely.transform(
        shapely.force_3d(geometry),
        lambda xyz: np.column_stack([xyz[:, :2] @ to_ground.T, np.arange(len(xyz))]),
        include_z=True,
    )
    simple = shapely.simplify(numbered, tolerance_m, preserve_topology=True)
    kept = shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64)
    return shapely.normalize(shapely.set_coordinates(shapely.force_2d(simple), vertices[kept]))


def smooth(geometry: Polygonal, *, rounds: int = 3, reach_px: float = 4.0) -> Polygonal:
    """Round the pixel steps off by cutting corners (Chaikin 1974), none by more than half of `reach_px`.

    geometry: in pixel space. Straight edges longer than `reach_px` are divided first, so that large corners stay.
    An outline that would cross itself is cut in fewer rounds.
    """
    divided = shapely.segmentize(geometry, reach_px)
    for count in range(rounds, 0, -1):
        rounded = _map_rings(divided, partial(_cut_corners, rounds=count))
        if shapely.is_valid(rounded):
            return shapely.normalize(shapely.simplify(rounded, _NEGLIGIBLE_PX, preserve_topology=True))
    return geometry


def square(geometry: Polygonal, grid: Grid, *, tolerance_m: float | None = None) -> Polygonal:
    """Make all corners of an outline right angles on the ground, as most buildings have them.

    geometry: in pixel space. tolerance_m: steps and jogs shorter than this are noise; None: two pixels.

    Each part is turned to its main direction; its edges are sorted into those along and those across, each run of
    equal sides becomes one line at its mean place, and lines closer than the tolerance become one. A part whose squared
    form does not fit (IoU with the outline below `_SQUARE_IOU`) or that is round, such as a tank, keeps its outline,
    simplified.
    """
    tolerance = 2 * grid.gsd_m if tolerance_m is None else tolerance_m
    to_ground, to_pixel = _ground_frame(geometry, grid)
    squared = [_square_part(part, to_ground, tolerance) for part in shapely.get_parts(geometry)]
    whole = squared[0] if len(squared) == 1 else shapely.MultiPolygon(squared)
    if not shapely.is_valid(whole):
        whole = shapely.union_all(squared)
    return shapely.normalize(_linear(whole, to_pixel))


def _square_part(part: Any, to_ground: Floats, tolerance: float) -> Any:
    """A polygon of pixel space in metres with right angles, or simplified where these do not fit."""
    rings = [_middles(ring) @ to_ground.T for ring in shapely.get_rings(part)]
    sides = [_sides(ring, tolerance / 2) for ring in rings]
    turn = _main_direction(sides[0])
    squared_rings = [_square_ring(each, turn, tolerance) for each in sides]
    outline = _linear(part, to_ground)
    if squared_rings[0] is not None and not _is_round(sides[0]):
        squared = shapely.Polygon(squared_rings[0], [ring for ring in squared_rings[1:] if ring is not None])
        if shapely.is_valid(squared) and _overlap(squared, outline) >= _SQUARE_IOU:
            return squared
    return shapely.simplify(outline, tolerance / 2, preserve_topology=True)


def _is_round(sides: list[Floats]) -> bool:
    """True if the sides enclose more than any right-angled outline of their length could: pi / 4 of a circle's area."""
    corners = shapely.Polygon([side[0] for side in sides])
    return bool(4 * np.pi * shapely.area(corners) > _ROUND * shapely.length(corners) ** 2)


def _overlap(one: Any, other: Any) -> float:
    """Intersection over union."""
    common = float(shapely.area(shapely.intersection(one, other)))
    return common / (float(shapely.area(one)) + float(shapely.area(other)) - common)


def _middles(ring: Any) -> Floats:
    """(n, 2) middles of the pixel edges along a ring.

    A true edge runs through the middles of the steps that stand for it, and through its corners nowhere.
    """
    xy = shapely.get_coordinates(shapely.segmentize(ring, 1.0))
    return np.asarray((xy[1:] + xy[:-1]) / 2)


def _sides(ring: Floats, tolerance: float) -> list[Floats]:
    """The points of an open ring, side by side: (k, 2) each, cut where Douglas and Peucker put a vertex."""
    numbered = np.column_stack([ring, np.arange(len(ring))])
    closed = shapely.Polygon(np.concatenate([numbered, numbered[:1]]))
    simple = shapely.simplify(closed, tolerance, preserve_topology=True)
    cuts = np.unique(shapely.get_coordinates(simple, include_z=True)[:, 2].astype(np.int64))
    turned = np.concatenate([ring, ring[: cuts[0] + 1]])
    return [turned[start : end + 1] for start, end in pairwise([*cuts, len(ring) + cuts[0]])]


def _main_direction(sides: list[Floats]) -> Floats:
    """(2, 2) rotation that brings most of the sides along the axes."""
    total = 0j
    for side in sides:
        # A vertex may stand on the next side already, so a side that has enough points goes without its ends.
        inner = side[1:-1] if len(side) > 5 else side
        offset = (inner - inner.mean(axis=0)) @ np.array([1, 1j])
        # Twice the angle of the main axis is the angle of the sum of squares; directions count modulo 90 degrees.
        axis = np.angle(np.sum(offset**2)) / 2
        total += np.hypot(*(side[-1] - side[0])) ** 2 * np.exp(4j * axis)
    angle = np.angle(total) / 4
    return np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def _square_ring(sides: list[Floats], turn: Floats, tolerance: float) -> Floats | None:
    """(m, 2) right-angled form of a ring; None if it has fewer than four sides that alternate."""
    lines: list[_Line] = []
    for side in sides:
        points = side @ turn.T
        reach = np.abs(points[-1] - points[0])
        upright = bool(reach[1] > reach[0])
        inner = points[1:-1] if len(points) > 5 else points
        place = float(inner[:, 0 if upright else 1].mean())
        line = _Line(place=place, weight=max(float(reach.max()), 1e-9), upright=upright)
        if lines and lines[-1].upright == upright:
            line = _joined(lines.pop(), line)
        lines.append(line)
    if len(lines) > 1 and lines[0].upright == lines[-1].upright:
        lines[0] = _joined(lines.pop(), lines[0])
    if len(lines) < 4:
        return None
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
        lines = [_joined(turned[0], turned[2]), *turned[3:]]
    return lines


def _joined(one: _Line, other: _Line) -> _Line:
    """One line for two parallel ones."""
    weight = one.weight + other.weight
    place = (one.place * one.weight + other.place * other.weight) / weight
    return _Line(place=place, weight=weight, upright=one.upright)


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


def _drop_straight(geometry: Polygonal) -> Polygonal:
    """The same set of points without vertices on straight lines. Exact for whole numbers below 2**25."""
    kind, xy, offsets = shapely.to_ragged_array([geometry])
    index = np.arange(len(xy))
    before, after = index - 1, index + 1
    # The last vertex of a ring repeats the first: before the first comes the last but one, and the reverse.
    first, last = offsets[0][:-1], offsets[0][1:] - 1
    before[first], after[last] = last - 1, first + 1
    incoming, outgoing = xy - xy[before], xy[after] - xy
    turns = incoming[:, 0] * outgoing[:, 1] != incoming[:, 1] * outgoing[:, 0]
    turns[last] = False
    ring_of = np.repeat(np.arange(len(first)), np.diff(offsets[0]))[turns]
    kept = xy[turns]
    starts = np.searchsorted(ring_of, np.arange(len(offsets[0])))
    closed = np.insert(kept, starts[1:], kept[starts[:-1]], axis=0)
    return shapely.from_ragged_array(kind, closed, (starts + np.arange(len(starts)), *offsets[1:]))[0]
