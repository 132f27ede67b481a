# SPDX-License-Identifier: GPL-2.0-or-later
"""Small pieces of an outline: holes are filled, loose parts left out. What is shown and what is saved come by here."""

from qgis.core import QgsDistanceArea, QgsGeometry, QgsPointXY, QgsProject


def measure(crs):
    """Measures true areas and lengths of what lies in a CRS."""
    ruler = QgsDistanceArea()
    ruler.setSourceCrs(crs, QgsProject.instance().transformContext())
    ruler.setEllipsoid(crs.ellipsoidAcronym() or "EPSG:7030")
    return ruler


def without_pieces(polygons, crs, smallest_m2):
    """Polygons, as `frames.outlines` gives them, without holes and parts of less than so many square metres.

    The largest part stays whatever its size. A part that lies in a hole that is filled goes with it.
    """
    if not smallest_m2 or not polygons:
        return polygons
    ruler = measure(crs)

    def size(ring):
        return ruler.measurePolygon([QgsPointXY(x, y) for x, y in ring])

    filled = [[rings[0], *(hole for hole in rings[1:] if size(hole) >= smallest_m2)] for rings in polygons]
    sizes = [size(rings[0]) - sum(map(size, rings[1:])) for rings in filled]
    least = min(smallest_m2, max(sizes))
    grown = {n: _shape(rings) for n, rings in enumerate(filled) if len(rings) < len(polygons[n])}
    return [
        rings
        for n, rings in enumerate(filled)
        if sizes[n] >= least and not any(_lies_in(rings, shape) for other, shape in grown.items() if other != n)
    ]


def sizes(polygons, crs):
    """Attributes of an outline: its true area and the length of its edges."""
    ruler, shapes = measure(crs), [_shape(rings) for rings in polygons]
    return {
        "area_m2": sum(ruler.measureArea(shape) for shape in shapes),
        "perimeter_m": sum(ruler.measurePerimeter(shape) for shape in shapes),
    }


def _shape(rings):
    return QgsGeometry.fromPolygonXY([[QgsPointXY(x, y) for x, y in ring] for ring in rings])


def _lies_in(rings, shape):
    return shape.contains(_shape(rings).pointOnSurface())
