"""A raster as one picture on a web map: warped to Web Mercator, in the page itself, with no server behind it."""

from __future__ import annotations

import base64
import math

import numpy as np
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import reproject

from samgeo.errors import RasterError
from samgeo.notebook.tiles import encoded
from samgeo.raster.reader import Raster

MOST_PX = 2048
"""Longer side of the picture."""
LIMIT_M = math.pi * 6_378_137
"""Web maps show so many metres of Web Mercator from the middle, north, south, east and west: 85.05 degrees."""
MERCATOR, LONLAT = "EPSG:3857", "EPSG:4326"
Bounds = tuple[tuple[float, float], tuple[float, float]]


def overlay(raster: Raster) -> tuple[str, Bounds]:
    """The raster as a data URL, and its south-west and north-east corner as latitude and longitude.

    All of it, or what a web map shows: latitudes to 85.05 degrees.

    Raises `RasterError` for a raster beyond them, and as `Raster.look`.
    """
    grid = raster.grid
    scale = min(1.0, MOST_PX / max(grid.shape))
    shape = max(1, math.floor(grid.height * scale)), max(1, math.floor(grid.width * scale))
    rgb, valid = raster.look(grid.window, shape)
    # Corners of a grid whose pixels are as large as the picture's.
    t = grid.transform
    across, down = grid.width / shape[1], grid.height / shape[0]
    seen = type(t)(t.a * across, t.b * down, t.c, t.d * across, t.e * down, t.f)
    edges = grid.footprint()
    x, y = Transformer.from_crs(grid.crs_wkt, MERCATOR, always_xy=True).transform(edges[:, 0], edges[:, 1])
    y = np.clip(y, -LIMIT_M, LIMIT_M)  # at the poles it is infinite
    west, south, east, north = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    if not south < north:
        raise RasterError(f"{raster.name}: lies beyond 85 degrees, where web maps end. Fix: show_raster=False")
    metres = math.hypot(east - west, north - south) / math.hypot(*shape)  # of a pixel: as many on the diagonal
    metres = max(metres, max(east - west, north - south) / MOST_PX)
    width, height = max(1, round((east - west) / metres)), max(1, round((north - south) / metres))
    bands = np.concatenate([np.moveaxis(rgb, -1, 0), np.where(valid, 255, 0).astype(np.uint8)[None]])
    warped = np.zeros((4, height, width), np.uint8)
    target = from_bounds(west, south, east, north, width, height)
    places = {"src_transform": seen, "src_crs": grid.crs_wkt, "dst_transform": target, "dst_crs": MERCATOR}
    reproject(bands, warped, **places, resampling=Resampling.bilinear)
    mime, data = encoded(np.ascontiguousarray(np.moveaxis(warped[:3], 0, -1)), warped[3] > 127)
    lons, lats = Transformer.from_crs(MERCATOR, LONLAT, always_xy=True).transform([west, east], [south, north])
    bounds = (float(lats[0]), float(lons[0])), (float(lats[1]), float(lons[1]))
    return f"data:{mime};base64,{base64.b64encode(data).decode()}", bounds
