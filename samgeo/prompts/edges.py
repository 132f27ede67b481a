"""Edges of boxes and outlines: straight in the CRS that they were drawn in, curves in most others.

vertices_of    rings, lines and points of many rows, as columns
cut            each edge of a row into so many pieces
pieces_for     how many there should be, by how far the edges bend on the raster
redrawn        polygons again
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

FEWEST, MOST = 4, 4096
"""Pieces of an edge. With four, an edge that bends both ways shows it too."""
TOLERANCE_PX = 0.01
"""How far the pieces may be from the curve."""

_POLYGON = shapely.GeometryType.POLYGON


@dataclass(frozen=True, kw_only=True, eq=False)
class Vertices:
    """v vertices, in the order of their rows."""

    xy: Floats
    """(v, 2)."""
    path: Integers
    """(v,) which ring, line or point a vertex is on; an edge joins two that follow each other on one."""
    part: Integers
    """(v,) which polygon, line or point it belongs to."""
    row: Integers
    """(v,) which row."""
    corner: NDArray[np.bool_]
    """(v,) True for those that were given, False for those that cut an edge."""


def vertices_of(geometries: NDArray[np.object_]) -> Vertices:
    """The vertices of (n,) geometries of any type; None has none."""
    parts, row_of = shapely.get_parts(geometries, return_index=True)
    while (shapely.get_type_id(parts) > _POLYGON).any():  # collections of collections
        parts, inner = shapely.get_parts(parts, return_index=True)
        row_of = row_of[inner]
    areas = np.flatnonzero(shapely.get_type_id(parts) == _POLYGON)
    rings, ring_of = shapely.get_rings(parts[areas], return_index=True)
    others = np.setdiff1d(np.arange(len(parts)), areas)
    paths, part_of = np.concatenate([rings, parts[others]]), np.concatenate([areas[ring_of], others])
    order = np.argsort(part_of, kind="stable")
    xy, path = shapely.get_coordinates(paths[order], return_index=True)
    part = part_of[order][path]
    return Vertices(xy=xy, path=path, part=part, row=row_of[part], corner=np.ones(len(xy), dtype=bool))


def cut(vertices: Vertices, pieces: Integers) -> Vertices:
    """With each edge of row r cut into pieces[r] of equal length; the vertices themselves stay."""
    begins = np.zeros(len(vertices.path), dtype=bool)  # True where an edge begins
    begins[:-1] = vertices.path[1:] == vertices.path[:-1]
    counts = np.where(begins, pieces[vertices.row], 1)
    source = np.repeat(np.arange(len(counts)), counts)
    number = np.arange(len(source)) - np.repeat(np.cumsum(counts) - counts, counts)  # which piece of its edge
    following = np.minimum(source + 1, max(len(counts) - 1, 0))
    step = np.where(begins[source, None], vertices.xy[following] - vertices.xy[source], 0.0)
    return Vertices(
        xy=vertices.xy[source] + (number / counts[source])[:, None] * step,
        path=vertices.path[source],
        part=vertices.part[source],
        row=vertices.row[source],
        corner=number == 0,
    )


def pieces_for(pixels: Floats, vertices: Vertices, pieces: Integers) -> Integers:
    """(n,) into how many pieces the edges of each row should be cut so that they follow their curves.

    pixels: (v, 2) of vertices whose edges were cut into (n,) `pieces`. Where two pieces meet, the curve is four times
    as far from the straight line across both as it is from each, and that falls with the square of their number.
    """
    inner = np.flatnonzero(~vertices.corner)
    with np.errstate(invalid="ignore", over="ignore"):
        bends = np.hypot(*(pixels[inner] - (pixels[inner - 1] + pixels[inner + 1]) / 2).T)
    farthest = np.zeros(len(pieces))
    np.maximum.at(farthest, vertices.row[inner], np.nan_to_num(bends, posinf=0.0))
    wanted = np.ceil(pieces * np.sqrt(farthest / 4 / TOLERANCE_PX))
    return np.clip(wanted, pieces, MOST).astype(np.int64)


def redrawn(vertices: Vertices, pixels: Floats, count: int) -> NDArray[np.object_]:
    """(count,) the polygons whose rings have these vertices (v, 2), valid; None for rows without any."""
    drawn = np.full(count, None, dtype=object)
    if len(pixels) == 0:
        return drawn
    rings = shapely.linearrings(np.where(np.isfinite(pixels), pixels, 0.0), indices=vertices.path)
    place = np.unique(vertices.part[_firsts(vertices.path)], return_inverse=True)[1]
    polygons = shapely.polygons(rings, indices=place)
    row_of = vertices.row[_firsts(vertices.part)]
    rows, place, sizes = np.unique(row_of, return_inverse=True, return_counts=True)
    drawn[rows] = shapely.multipolygons(polygons, indices=place)
    alone = np.flatnonzero(sizes[place] == 1)
    drawn[row_of[alone]] = polygons[alone]
    broken = ~shapely.is_valid(drawn) & ~shapely.is_missing(drawn)
    drawn[broken] = shapely.make_valid(drawn[broken], method="structure")
    return drawn


def _firsts(numbers: Integers) -> Integers:
    """Positions at which sorted numbers change, the first among them."""
    return np.flatnonzero(np.diff(numbers, prepend=-1))
