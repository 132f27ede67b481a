"""Outlines on their way to a browser: how many corners each ring has, and the corners in pixels of the working grid.

`rings` counts the corners of each ring of each polygon, the outer ring first; the bytes are the corners of all rings,
column and row as little-endian float64, where (0, 0) is the upper left corner of the first pixel.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely

from samgeo.grid import Grid

Rings = list[list[int]]


def pack(geometries: Iterable[Any], grid: Grid) -> tuple[list[Rings], bytes]:
    """The rings of each polygon or multipolygon in map coordinates, and all their corners in that order."""
    counts: list[Rings] = []
    corners = [np.zeros((0, 2))]
    for geometry in geometries:
        polygons: Rings = []
        for polygon in shapely.get_parts(geometry):
            rings = shapely.get_rings(polygon)
            polygons.append([int(shapely.count_coordinates(ring)) for ring in rings])
            corners += [shapely.get_coordinates(ring) for ring in rings]
        counts.append(polygons)
    x, y = np.concatenate(corners).T
    return counts, np.stack(grid.to_pixel(x, y), axis=1).astype("<f8").tobytes()
