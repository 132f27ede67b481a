"""A picture of a raster with outlines over it: what a notebook shows of a result without a map to move."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import shapely
from PIL import Image, ImageDraw

from samgeo.errors import UsageError
from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.raster.reader import Raster
from samgeo.session import Session

COLOURS = ("#ffd60a", "#22c8ff", "#ff5c5c", "#7dff7d", "#ff8be6", "#b69bff", "#ffa03c", "#3ce0b4", "#d3e34f")
"""One for each label, as the map in the browser has them; what has no label has a colour by its position."""
TINT = 0.25
"""How much of an object's colour lies over the image."""


def picture(
    source: object,
    features: Any = None,
    *,
    bounds: tuple[float, float, float, float] | None = None,
    size_px: int = 1000,
    width_px: int = 2,
) -> Image.Image:
    """The raster, or a part of it, with features drawn over it; at most `size_px` wide and high.

    source: what `Raster` takes, or a `Raster` or `Session`. features: a GeoDataFrame in any CRS, a `Segmentation`, or
    geometries in the raster's CRS. bounds: x_min, y_min, x_max, y_max in the raster's CRS; None for all of it.
    width_px: of the lines.

    Raises `UsageError` for bounds beside the raster, and as `Raster.look`.
    """
    if isinstance(source, Session):
        source = source.raster
    if not isinstance(source, Raster):
        with Raster(source) as raster:
            return picture(raster, features, bounds=bounds, size_px=size_px, width_px=width_px)
    window = source.grid.window if bounds is None else _window(source.grid, bounds)
    scale = min(1.0, size_px / max(window.shape))
    shape = max(1, round(window.height * scale)), max(1, round(window.width * scale))
    rgb, _ = source.look(window, shape)
    enlarge = max(1, size_px // (2 * max(shape)))  # a small part is easier to see in large pixels
    base = Image.fromarray(rgb).resize((shape[1] * enlarge, shape[0] * enlarge), Image.Resampling.NEAREST)
    drawn = _geometries(features, source.grid)
    sizes = base.width / window.width, base.height / window.height
    return _painted(base, drawn, source.grid.subgrid(window), sizes, width_px)


def _window(grid: Grid, bounds: tuple[float, float, float, float]) -> Window:
    left, bottom, right, top = bounds
    cols, rows = grid.to_pixel([left, right, right, left], [bottom, bottom, top, top])
    row, col = math.floor(rows.min()), math.floor(cols.min())
    wanted = Window(row=row, col=col, height=math.ceil(rows.max()) - row, width=math.ceil(cols.max()) - col)
    inside = wanted.intersection(grid.window)
    if inside.is_empty:
        raise UsageError(f"bounds {bounds}: expected some on the raster, whose bounds are {grid.bounds}")
    return inside


def _geometries(features: Any, grid: Grid) -> list[tuple[Any, str]]:
    """Geometries in the raster's CRS and their colours, the largest first."""
    if features is None:
        return []
    if hasattr(features, "to_gdf"):
        features = features.to_gdf()
    labels: Iterable[Any] = []
    if hasattr(features, "geometry"):
        labels = features.get("label", [])
        features = features.geometry
        features = features if grid.crs_wkt is None or features.crs is None else features.to_crs(grid.crs_wkt)
    found = list(features)
    names = [label if isinstance(label, str) else None for label in labels] or [None] * len(found)
    known = list(dict.fromkeys(name for name in names if name is not None))
    places = [index if name is None else known.index(name) for index, name in enumerate(names)]
    pairs = [(geometry, COLOURS[place % len(COLOURS)]) for geometry, place in zip(found, places, strict=True)]
    return sorted(pairs, key=lambda pair: -shapely.area(pair[0]))


def _painted(
    base: Image.Image, drawn: list[tuple[Any, str]], grid: Grid, sizes: tuple[float, float], width_px: int
) -> Image.Image:
    """The image with tinted areas, and lines around them."""
    tinted, lines = base.copy(), []
    painter = ImageDraw.Draw(tinted)
    for geometry, colour in drawn:
        for part in shapely.get_parts(geometry):
            if part.geom_type != "Polygon":
                continue
            rings = [_on_picture(ring, grid, sizes) for ring in shapely.get_rings(part)]
            if len(rings) == 1:
                painter.polygon(rings[0], fill=colour)
            else:  # the image shows through the holes
                area = Image.new("1", base.size)
                on_area = ImageDraw.Draw(area)
                for index, ring in enumerate(rings):
                    on_area.polygon(ring, fill=int(index == 0))
                tinted.paste(colour, mask=area)
            lines += [(ring, colour) for ring in rings]
    result = Image.blend(base, tinted, TINT)
    painter = ImageDraw.Draw(result)
    for line, colour in lines:
        painter.line(line, fill=colour, width=width_px, joint="curve")
    return result


def _on_picture(ring: Any, grid: Grid, sizes: tuple[float, float]) -> list[tuple[float, float]]:
    x, y = shapely.get_coordinates(ring).T
    cols, rows = grid.to_pixel(x, y)
    return [(float(a), float(b)) for a, b in np.stack([cols * sizes[0], rows * sizes[1]], axis=1)]
