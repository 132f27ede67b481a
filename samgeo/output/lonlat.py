"""Geometries in longitude and latitude as RFC 7946 wants them: split at the antimeridian, shells counter-clockwise."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from samgeo.errors import OutputError

Geometries = NDArray[np.object_]
_PIECES_PER_EDGE = 64


def to_lonlat(geometries: Geometries, crs_wkt: str) -> Geometries:
    """(n,) MultiPolygons in the CRS -> (n,) MultiPolygons in WGS 84 longitude, latitude in degrees.

    See RFC 7946, 3.1.6 for the order of vertices, 3.1.9 for the antimeridian.

    Raises `OutputError` for a CRS without a place on Earth, for coordinates outside its domain, and for a polygon
    around a pole, which has no outline in longitude and latitude.
    """
    crs = CRS.from_wkt(crs_wkt)
    try:
        transformer = Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except Exception as error:
        raise OutputError(f"{crs.name}: no way to longitude and latitude. Fix: write .gpkg") from error
    moved = _transform(geometries, transformer)
    bounds = shapely.bounds(moved)  # (n, 4)
    wide = (bounds[:, 0] < -180) | (bounds[:, 2] > 180)
    if not crs.is_geographic:
        wide |= bounds[:, 2] - bounds[:, 0] > 180
    for index in np.flatnonzero(wide):
        moved[index] = _split(geometries[index], moved[index], None if crs.is_geographic else transformer)
    return np.asarray(shapely.orient_polygons(moved), dtype=object)


def way_to_lonlat(crs: CRS) -> Transformer:
    """To WGS 84 longitude, latitude. Raises `OutputError` for a CRS that is not on Earth."""
    try:
        return Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except ProjError as error:
        raise OutputError(f"{crs.name}: no way to longitude and latitude. Fix: write .gpkg") from error


def _transform(geometries: Any, transformer: Transformer) -> Any:
    def move(xy: NDArray[np.float64]) -> NDArray[np.float64]:
        lonlat = np.stack(transformer.transform(xy[:, 0], xy[:, 1]), axis=-1)
        if not np.isfinite(lonlat).all():
            x, y = xy[~np.isfinite(lonlat).all(axis=1)][0]
            raise OutputError(f"the point {x}, {y} has no longitude and latitude. Fix: write .gpkg")
        return lonlat

    return shapely.transform(geometries, move)


def _split(source: Any, moved: Any, transformer: Transformer | None) -> Any:
    """The parts of one MultiPolygon on the two sides of the antimeridian, each within -180 to 180.

    In a projected CRS an edge that seems to run around the Earth may do so or may cross the antimeridian; only short
    edges tell which, so the outline is taken again with points along its edges.
    """
    if transformer is not None:
        left, bottom, right, top = source.bounds
        dense = shapely.segmentize(source, max(right - left, top - bottom) / _PIECES_PER_EDGE)
        dense = _transform(dense, transformer)
        if not _crosses(dense):
            return moved
        moved = shapely.MultiPolygon([_unwrapped(polygon) for polygon in shapely.get_parts(dense)])
    parts = []
    for turn in (-1, 0, 1):
        inside = shapely.intersection(moved, shapely.box(360 * turn - 180, -90, 360 * turn + 180, 90))
        inside = shapely.transform(inside, lambda xy, turn=turn: xy - (360 * turn, 0))
        parts += [part for part in shapely.get_parts(inside) if part.geom_type == "Polygon" and not part.is_empty]
    return shapely.MultiPolygon(parts)


def _crosses(geometry: Any) -> bool:
    rings = (shapely.get_coordinates(ring)[:, 0] for ring in shapely.get_rings(geometry))
    return any((np.abs(np.diff(longitudes)) > 180).any() for longitudes in rings)


def _unwrapped(polygon: Any) -> Any:
    """The polygon with longitudes that run on past 180 where it crosses the antimeridian."""
    rings: list[NDArray[np.float64]] = []
    for ring in shapely.get_rings(polygon):
        lonlat = shapely.get_coordinates(ring)
        lonlat[:, 0] = np.unwrap(lonlat[:, 0], period=360)
        if abs(lonlat[0, 0] - lonlat[-1, 0]) > 180:
            raise OutputError("a polygon around a pole has no outline in longitude and latitude. Fix: write .gpkg")
        if rings:  # a hole belongs where its shell is
            lonlat[:, 0] += 360 * np.round((rings[0][:, 0].mean() - lonlat[:, 0].mean()) / 360)
        rings.append(lonlat)
    return shapely.Polygon(rings[0], rings[1:])
