"""Prompts of the tests: rows of layers at pixels of one grid."""

from __future__ import annotations

import geopandas as gpd
import shapely
from affine import Affine

from samgeo.grid import Grid, parse_crs

GRID = Grid(width=200, height=100, transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), crs=parse_crs(32633))
LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'


def at(col: float, row: float, grid: Grid = GRID) -> tuple[float, float]:
    """Map coordinates of a pixel position, GDAL's corner convention."""
    x, y = grid.to_map(col, row)
    return float(x), float(y)


def table(rows: list[dict[str, object]], crs: object = 32633) -> gpd.GeoDataFrame:
    return gpd.GeoDataFrame(rows, geometry="geometry", crs=crs)


def click(col: float, row: float, **columns: object) -> dict[str, object]:
    return {**columns, "geometry": shapely.Point(at(col, row))}


def box(left: float, top: float, right: float, bottom: float, **columns: object) -> dict[str, object]:
    return {**columns, "geometry": shapely.box(*at(left, bottom), *at(right, top))}


def refusals(placed: object) -> dict[str, str]:
    return {refusal.prompt_id: refusal.reason for refusal in placed.refused}


def geojson(x: float, y: float, **members: object) -> dict[str, object]:
    feature = {"type": "Feature", "properties": {"a": 1}, "geometry": {"type": "Point", "coordinates": [x, y]}}
    return {"type": "FeatureCollection", "features": [feature], **members}
