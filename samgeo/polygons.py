"""From masks to polygons: pixel-exact outlines, one canonical form, ground measures, and outlines made pleasant.

    mask ─► outline ─► assemble ─► simplify, smooth, `square` ─► to_map ─► measure
            └─────────────── pixel space ────────────────┘       └── map ──┘

Pixel space here is the grid's: x = column, y = row, an integer is a pixel's corner, so that an outline has whole
numbers and the polygon of a mask covers its pixels and nothing else. Pixels belong together where they share an edge;
outlines traced through corners would not be valid polygons. The canonical form has a vertex at every turn and at no
other place, and one order of rings and vertices: equal sets of pixels give equal bytes, however they were put together.

Simplifying here works on each object alone: edges that neighbours share come apart by up to the tolerance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
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

_SMOOTH_PX = 2.5
"""Standard deviation of the Gaussian that smooths outlines, along them."""
_NEGLIGIBLE_PX = 0.05
"""Vertices of a smooth outline that matter less are left out; they would be two of three."""


def pixel_polygons(mask: Mask) -> Polygonal:
    """The canonical outline of a mask in pixel space; a polygon, or a multipolygon if parts share no pixel edge.

    A mask without pixels gives an empty polygon.
    """
    if mask.window.is_empty:  # GDAL has no rasters without pixels
        return shapely.Polygon()
    if mask.pixels.all():  # no need to follow the outline
        box = mask.window
        return shapely.normalize(shapely.box(box.col, box.row, box.col_end, box.row_end))
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
    """From pixel space to the map coordinates of the grid; outer rings run against the clock there.

    geometry: a polygon or an array of them. A valid one gives a valid one: where rounding moves a vertex of one edge
    across another edge that it lay on, both get a vertex there.
    """
    moved = shapely.transform(geometry, lambda xy: np.stack(grid.to_map(xy[:, 0], xy[:, 1]), axis=1))
    valid = shapely.is_valid(moved)
    if not np.all(valid):
        moved = np.where(valid, moved, shapely.make_valid(moved, method="structure", keep_collapsed=False))[()]
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
    return measure_all([geometry], crs)[0]


def measure_all(geometries: Sequence[Polygonal], crs: CRS | None) -> list[Ground]:
    """What `measure` finds of each; what takes longest for a small feature, to ask what its CRS is, is done once."""
    features = np.asarray(geometries, dtype=object)
    geod = crs.get_geod() if crs is not None and has_ground_units(crs) else None
    if crs is None or geod is None:
        area, perimeter = shapely.area(features), shapely.length(features)
    else:
        cut = shapely.segmentize(features, _EDGE_M / _metres_a_unit(crs))
        parts, feature = shapely.get_parts(cut, return_index=True)
        rings, part = shapely.get_rings(parts, return_index=True)
        lon, lat = to_geodetic(crs, *shapely.get_coordinates(rings).T)
        ends = np.cumsum(shapely.get_num_coordinates(rings)).tolist()
        measured = [geod.polygon_area_perimeter(lon[a:b], lat[a:b]) for a, b in pairwise([0, *ends])]
        ring_area, ring_length = np.array(measured).reshape(-1, 2).T
        sign = np.where(np.diff(part, prepend=-1) > 0, 1, -1)  # the first ring of a part is its outer one
        area = np.bincount(feature[part], sign * np.abs(ring_area), len(features))
        perimeter = np.bincount(feature[part], ring_length, len(features))
    return [Ground(area_m2=a, perimeter_m=p) for a, p in zip(area.tolist(), perimeter.tolist(), strict=True)]


def area_m2(geometry: Polygonal, crs: CRS | None) -> float:
    """The area that `measure` finds."""
    return measure(geometry, crs).area_m2


def perimeter_m(geometry: Polygonal, crs: CRS | None) -> float:
    """The perimeter that `measure` finds."""
    return measure(geometry, crs).perimeter_m


def simplify(geometry: Polygonal, tolerance_m: float, grid: Grid) -> Polygonal:
    """Fewer vertices: no vertex that is dropped lies farther than about `tolerance_m` ground metres from the outline.

    geometry: in pixel space; the vertices that stay are vertices of it. Rings keep their topology and stay valid
    (Douglas and Peucker 1973, in GEOS's topology-preserving form, which may leave a hole outside of its ring where one
    is as large as the tolerance: the outline then takes a smaller one).
    """
    to_ground, _ = ground_frame(geometry, grid)
    for tolerance in (tolerance_m, tolerance_m / 2, tolerance_m / 4, tolerance_m / 8):
        found = thinned(geometry, to_ground, partial(shapely.simplify, preserve_topology=True), tolerance)
        if shapely.is_valid(found):
            return shapely.normalize(found)
    return geometry


def thinned(geometry: Any, to_ground: Floats, simple: Callable[..., Any], tolerance_m: float) -> Any:
    """A geometry of pixel space, or an array of them, as `simple(geometry, tolerance=...)` leaves it.

    `simple` drops vertices. It works where lengths are those on the ground but for rotation and one factor, by a matrix
    so short that whole pixels stay exact: what lies on a line there lies on it in pixel space, so that what is valid
    there is valid here. A third coordinate tells which vertices stay.
    """
    shape = np.linalg.cholesky(to_ground.T @ to_ground).T  # to_ground without its rotation
    metres = shape[0, 0]
    exact = np.rint(shape / metres * 2**20) / 2**20
    vertices = shapely.get_coordinates(geometry)
    numbered = shapely.transform(
        shapely.force_3d(geometry),
        lambda xyz: np.column_stack([xyz[:, :2] @ exact.T, np.arange(len(xyz))]),
        include_z=True,
    )
    found = simple(numbered, tolerance=tolerance_m / metres)
    kept = shapely.get_coordinates(found, include_z=True)[:, 2].astype(np.int64)
    return shapely.set_coordinates(shapely.force_2d(found), vertices[kept])


def smooth(geometry: Polygonal) -> Polygonal:
    """Take the pixel steps away and round the corners by about a pixel. Valid.

    geometry: in pixel space. The outline moves by less than two pixels. A Gaussian smooths the ring, and again what it
    took away, so that bends much longer than `_SMOOTH_PX` stay and areas with them (Tukey 1977: "twicing"). Where an
    outline would cross itself, all of it is smoothed less.
    """
    for reach_px in (_SMOOTH_PX, _SMOOTH_PX / 2, _SMOOTH_PX / 4):
        smoothed = _map_rings(geometry, partial(_smoothed, reach_px=reach_px))
        if shapely.is_valid(smoothed):
            return shapely.normalize(shapely.simplify(smoothed, _NEGLIGIBLE_PX, preserve_topology=True))
    return geometry


def _smoothed(ring: Floats, reach_px: float) -> Floats:
    from scipy.ndimage import gaussian_filter1d  # takes a while to load

    xy = middles(ring)
    sigma = min(reach_px, len(xy) / 12)  # small rings stay
    once = gaussian_filter1d(xy, sigma, axis=0, mode="wrap")
    return np.asarray(once + gaussian_filter1d(xy - once, sigma, axis=0, mode="wrap"))


def middles(ring: Floats) -> Floats:
    """(m, 2) middles of the pixel edges along an open ring of pixel space, (n, 2).

    A true edge runs through the middles of the pixel steps that stand for it, and through their corners nowhere.
    """
    xy = shapely.get_coordinates(shapely.segmentize(shapely.LinearRing(ring), 1.0))
    return np.asarray((xy[1:] + xy[:-1]) / 2)


def ground_frame(geometry: Polygonal, grid: Grid) -> tuple[Floats, Floats]:
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


def linear(geometry: Polygonal, matrix: Floats) -> Polygonal:
    """A geometry with a (2, 2) matrix applied to its vertices."""
    return shapely.transform(geometry, lambda xy: xy @ matrix.T)


def _metres_a_unit(crs: CRS) -> float:
    """About how many metres one unit of the map coordinates is at the equator."""
    factor = float(crs.axis_info[0].unit_conversion_factor)
    return factor * 6.371e6 if crs.is_geographic else factor


def _map_rings(geometry: Polygonal, change: Callable[[Floats], Floats]) -> Polygonal:
    """The geometry with every ring, an open (n, 2) array, changed."""
    parts = [
        shapely.Polygon(rings[0], rings[1:])
        for part in shapely.get_parts(geometry)
        for rings in [[change(shapely.get_coordinates(ring)[:-1]) for ring in shapely.get_rings(part)]]
    ]
    return parts[0] if len(parts) == 1 else shapely.MultiPolygon(parts)


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
