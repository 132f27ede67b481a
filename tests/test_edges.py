"""Edges of boxes and outlines from another CRS follow their curves, however long they are and whatever they enclose."""

from __future__ import annotations

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from samgeo.grid import Grid, parse_crs
from samgeo.prompts.edges import MOST, cut, pieces_for, redrawn, vertices_of
from samgeo.prompts.prompts import Prompts
from tests.prompting import GRID, at, refusals

NORTH = Grid(width=2000, height=3000, transform=Affine(0.5, 0, 700_000, 0, -0.5, 6_800_000), crs=parse_crs(32633))
TO_NORTH = Transformer.from_crs(4326, 32633, always_xy=True)


def in_degrees(polygons: list[shapely.Polygon], grid: Grid = GRID) -> gpd.GeoDataFrame:
    """Polygons drawn in pixels, with the same vertices in longitude and latitude."""
    way = Transformer.from_crs(grid.crs, 4326, always_xy=True)
    return gpd.GeoDataFrame(
        geometry=[
            shapely.transform(one, lambda xy: np.stack(way.transform(*grid.to_map(*xy.T)), axis=1)) for one in polygons
        ],
        crs=4326,
    )


@pytest.mark.parametrize("half_width", [0.05, 1.0, 20.0])
def test_an_edge_through_the_raster_is_exact_however_far_the_box_reaches(half_width: float) -> None:
    """A parallel of 40 degrees is hundreds of kilometres from its chord; half a metre is a pixel here."""
    lon, lat = TO_NORTH.transform(*NORTH.to_map(1000, 1500), direction="INVERSE")
    outline = shapely.box(lon - half_width, lat, lon + half_width, lat + 1)
    placed = Prompts(masks=[outline], crs=4326).to_pixels(NORTH)
    inside = shapely.box(1, 1, NORTH.width - 1, NORTH.height - 1)
    edge = shapely.segmentize(shapely.intersection(placed.polygons[0].boundary, inside), 10)
    cols, rows = shapely.get_coordinates(edge).T
    assert cols.min() == 1
    assert cols.max() == NORTH.width - 1
    _, lats = TO_NORTH.transform(*NORTH.to_map(cols, rows), direction="INVERSE")
    assert np.abs(lats - lat).max() * 111_412 / 0.5 < 0.03  # pixels


@pytest.mark.parametrize("half_width", [0.002, 0.5])
def test_a_box_is_bounded_by_the_extremes_of_its_curves(half_width: float) -> None:
    grid = Grid(width=90_000, height=6000, transform=Affine(1, 0, 655_000, 0, -1, 6_802_000), crs=parse_crs(32633))
    lon, lat = TO_NORTH.transform(*grid.to_map(45_000, 3000), direction="INVERSE")
    placed = Prompts(boxes=[(lon - half_width, lat - 0.002, lon + half_width, lat + 0.002)], crs=4326).to_pixels(grid)
    along = np.linspace(-half_width, half_width, 100_001)
    lons, lats = np.concatenate([lon + along] * 2), np.repeat([lat - 0.002, lat + 0.002], len(along))
    cols, rows = grid.to_pixel(*TO_NORTH.transform(lons, lats))
    assert np.allclose(placed.boxes + 0.5, [[cols.min(), rows.min(), cols.max(), rows.max()]], atol=0.03)


@settings(max_examples=50)
@given(st.floats(-70, 70), st.floats(-170, 170), st.floats(0.01, 20), st.floats(0, 360))
def test_pieces_stay_near_the_curve_of_any_edge(lat: float, lon: float, length: float, angle: float) -> None:
    """Any straight edge in degrees, on a Web Mercator grid of a pixel that the edge is thousands long."""
    step = length * np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    line = shapely.LineString([(lon, lat), (lon + step[0] / 2, lat + step[1] / 2)])
    to_mercator = Transformer.from_crs(4326, 3857, always_xy=True)
    corners = vertices_of(np.array([line], dtype=object))
    scale = 111_000 * length / 4000

    def pixels(xy: np.ndarray) -> np.ndarray:
        return np.stack(to_mercator.transform(*xy.T), axis=1) / scale

    pieces = np.array([4])
    coarse = cut(corners, pieces)
    pieces = pieces_for(pixels(coarse.xy), coarse, pieces)
    assert pieces[0] <= MOST
    drawn = shapely.LineString(pixels(cut(corners, pieces).xy))
    true = shapely.points(pixels(cut(corners, np.array([5003])).xy))
    assert float(shapely.distance(true, drawn).max()) < 0.02


def test_cutting_keeps_rings_and_rows_apart() -> None:
    square = shapely.box(0, 0, 4, 4)
    holed = shapely.Polygon(square.exterior.coords, [[(1, 1), (1, 2), (2, 2), (1, 1)]])
    two = shapely.MultiPolygon([shapely.box(10, 0, 11, 1), shapely.box(12, 0, 13, 1)])
    given = np.array([square, None, holed, two], dtype=object)
    vertices = cut(vertices_of(given), np.array([1, 1, 4, 2]))
    assert np.bincount(vertices.row, minlength=4).tolist() == [5, 0, 17 + 13, 18]
    assert np.bincount(vertices.row, weights=vertices.corner, minlength=4).tolist() == [5, 0, 9, 10]
    assert (np.diff(vertices.path) >= 0).all()
    again = redrawn(vertices, vertices.xy, 4)
    assert again[1] is None
    assert [shapely.equals(one, other) for one, other in zip(again, given, strict=True)] == [True, False, True, True]
    assert [one.geom_type for one in again[[0, 2, 3]]] == ["Polygon", "Polygon", "MultiPolygon"]


def test_collections_of_collections_are_bounded_whole() -> None:
    inner = shapely.GeometryCollection(
        [shapely.MultiPoint([at(3, 4), at(5, 9)]), shapely.box(*at(20, 30), *at(25, 10))]
    )
    nest = shapely.GeometryCollection([inner, shapely.Point(at(40, 2))])
    placed = Prompts(boxes=gpd.GeoDataFrame(geometry=[nest], crs=32633).to_crs(4326)).to_pixels(GRID)
    assert np.allclose(placed.boxes + 0.5, [[3, 2, 40, 30]], atol=1e-2)


def test_outlines_from_another_crs_are_repaired_as_they_are_in_the_rasters_own() -> None:
    bow = shapely.Polygon([(10, 10), (30, 30), (30, 10), (10, 30)])
    twice = shapely.Polygon([(50, 10), (70, 10), (70, 30), (50, 30), (50, 10), (70, 10), (70, 30), (50, 30)])
    holed = shapely.Polygon(shapely.box(80, 10, 99, 30).exterior.coords, [shapely.box(85, 15, 90, 20).exterior.coords])
    given = [bow, twice, holed]
    own = [shapely.transform(one, lambda xy: np.stack(GRID.to_map(*xy.T), axis=1)) for one in given]
    expected = Prompts(masks=own, crs="raster").to_pixels(GRID)
    placed = Prompts(masks=in_degrees(given)).to_pixels(GRID)
    assert shapely.area(expected.polygons) == pytest.approx([200, 400, 19 * 20 - 25])
    assert shapely.area(placed.polygons) == pytest.approx(shapely.area(expected.polygons), rel=1e-3)
    assert np.allclose(placed.boxes, expected.boxes, atol=1e-2)


def test_areas_without_extent_are_refused_one_by_one_in_any_crs() -> None:
    flat = [shapely.box(5, 5, 5, 5), shapely.box(5, 5, 5, 9), shapely.box(5, 5, 5 + 1e-9, 9), shapely.box(5, 5, 9, 9)]
    for kind in ("boxes", "masks"):
        placed = Prompts(**{kind: in_degrees(flat)}).to_pixels(GRID)
        assert list(refusals(placed)) == [f"{kind}/0", f"{kind}/1", f"{kind}/2"]
    boxes = Prompts(boxes=in_degrees(flat)).to_pixels(GRID)
    assert set(refusals(boxes).values()) == {"no width or no height; expected a box with an area"}
