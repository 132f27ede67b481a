"""A raster as one picture on a web map: warped to Web Mercator, in the page itself, with no server behind it."""

from __future__ import annotations

import base64
import math

import numpy as np
from pyproj import Transformer
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import calculate_default_transform, reproject

from samgeo.notebook.tiles import encoded
from samgeo.raster.reader import Raster

MOST_PX = 2048
"""Longer side of the picture."""
MERCATOR, LONLAT = "EPSG:3857", "EPSG:4326"
Bounds = tuple[tuple[float, float], tuple[float, float]]


def overlay(raster: Raster) -> tuple[str, Bounds]:
    """The whole raster as a data URL, and its south-west and north-east corner as latitude and longitude.

    Raises as `Raster.look`.
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
    west, south, east, north = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    corners = grid.bounds
    _, width, height = calculate_default_transform(grid.crs_wkt, MERCATOR, shape[1], shape[0], *corners)
    fit = min(1.0, MOST_PX / max(width, height))
    width, height = max(1, round(width * fit)), max(1, round(height * fit))
    bands = np.concatenate([np.moveaxis(rgb, -1, 0), np.where(valid, 255, 0).astype(np.uint8)[None]])
    warped = np.zeros((4, height, width), np.uint8)
    target = from_bounds(west, south, east, north, width, height)
    places = {"src_transform": seen, "src_crs": grid.crs_wkt, "dst_transform": target, "dst_crs": MERCATOR}
    reproject(bands, warped, **places, resampling=Resampling.bilinear)
    mime, data = encoded(np.ascontiguousarray(np.moveaxis(warped[:3], 0, -1)), warped[3] > 127)
    lons, lats = Transformer.from_crs(MERCATOR, LONLAT, always_xy=True).transform([west, east], [south, north])
    bounds = (float(lats[0]), float(lons[0])), (float(lats[1]), float(lons[1]))
    return f"data:{mime};base64,{base64.b64encode(data).decode()}", bounds
