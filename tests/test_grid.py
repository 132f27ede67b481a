"""Grid: exact both ways for every affine, and honest about metres."""

from __future__ import annotations

import json
import math
import pickle

import numpy as np
import pytest
import rasterio.transform
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS, Geod

from samgeo.errors import RasterError, UsageError
from samgeo.grid import MAX_RESCALE, Grid, has_ground_units, horizontal_crs, parse_crs, to_geodetic
from samgeo.pixels import Window

LOCAL = 'LOCAL_CS["site",UNIT["metre",1]]'


def north_up(
    size: float, *, x: float = 500_000.0, y: float = 5_000_000.0, crs: object = 32633, side: int = 100
) -> Grid:
    return Grid(width=side, height=side, transform=Affine(size, 0, x, 0, -size, y), crs=parse_crs(crs))


@st.composite
def affines(draw: st.DrawFn, smallest: float = 0.01, far: float = 2e7) -> Affine:
    """Any rotation, shear, flip and aspect; pixel sides from `smallest`, at most 100 to 1 and not nearly flat."""
    side = draw(st.floats(smallest, 1e4))
    aspect, angle = draw(st.floats(1, 100)), draw(st.floats(0, 360))
    flip_x, flip_y = draw(st.sampled_from([-1, 1])), draw(st.sampled_from([-1, 1]))
    origin = Affine.translation(draw(st.floats(-far, far)), draw(st.floats(-far, far)))
    shape = Affine.rotation(angle) @ Affine.shear(draw(st.floats(-60, 60)), 0)
    return origin @ shape @ Affine.scale(flip_x * side, flip_y * side * aspect)


@given(affines(), st.floats(-10, 1.1), st.floats(-10, 1.1))
def test_round_trip_in_metres(transform: Affine, across: float, down: float) -> None:
    grid = Grid(width=100_000, height=100_000, transform=transform)
    col, row = across * grid.width, down * grid.height
    back_col, back_row = grid.to_pixel(*grid.to_map(col, row))
    assert abs(back_col - col) < 1e-6
    assert abs(back_row - row) < 1e-6


@given(affines(smallest=1e-7, far=180.0), st.integers(0, 20_000), st.integers(0, 20_000))
def test_round_trip_in_degrees(transform: Affine, col: int, row: int) -> None:
    """1e-7 degrees are 1.1 cm."""
    grid = Grid(width=20_000, height=20_000, transform=transform)
    back_col, back_row = grid.to_pixel(*grid.to_map(col, row))
    assert abs(back_col - col) < 1e-6
    assert abs(back_row - row) < 1e-6


@given(affines(), st.integers(-50, 50), st.integers(-50, 50))
def test_agrees_with_affine_and_rasterio(transform: Affine, col: int, row: int) -> None:
    grid = Grid(width=10, height=10, transform=transform)
    x, y = grid.to_map(col + 0.5, row + 0.5)
    assert np.allclose((x, y), transform @ (col + 0.5, row + 0.5), rtol=1e-12)
    assert rasterio.transform.rowcol(transform, float(x), float(y)) == (row, col)


def test_is_vectorised_and_keeps_shapes() -> None:
    grid = north_up(0.5)
    cols, rows = np.meshgrid(np.arange(5), np.arange(3))
    x, y = grid.to_map(cols, rows)
    assert x.shape == y.shape == (3, 5)
    assert x.dtype == y.dtype == np.float64
    assert np.array_equal(grid.to_pixel(x, y), [cols, rows])
    assert grid.to_map(0, 0) == (500_000.0, 5_000_000.0)


def test_corner_and_centre_follow_gdal() -> None:
    grid = north_up(10)
    assert grid.to_map(0.5, 0.5) == (500_005.0, 4_999_995.0)
    assert grid.to_pixel(500_005.0, 4_999_995.0) == (0.5, 0.5)


def test_positions_that_are_no_numbers_stay_none() -> None:
    col, _ = north_up(1).to_pixel([np.nan, np.inf], [5_000_000.0, 5_000_000.0])
    assert not np.isfinite(col).any()
    assert not np.isfinite(north_up(1).to_pixel([np.inf], [np.nan])).any()


@given(affines(), st.integers(-500, 500), st.integers(-500, 500))
def test_subgrid_names_the_same_places(transform: Affine, row: int, col: int) -> None:
    grid = Grid(width=100, height=100, transform=transform)
    part = grid.subgrid(Window(row=row, col=col, height=7, width=9))
    assert part.shape == (7, 9)
    # Near 0 the error is that of the far larger terms that cancel there: a few ulp of 2e7.
    assert np.allclose(part.to_map(3, 4), grid.to_map(col + 3, row + 4), rtol=1e-15, atol=2e-8)


@given(affines(), st.integers(1, 300), st.integers(1, 300), st.floats(0.02, 50))
def test_working_grid_has_the_same_footprint(transform: Affine, width: int, height: int, factor: float) -> None:
    grid = Grid(width=width, height=height, transform=transform)
    coarse = grid.rescaled(grid.gsd_m * factor)
    assert np.allclose(coarse.footprint(), grid.footprint(), rtol=1e-12, atol=1e-6 * grid.gsd_m)
    assert coarse.crs == grid.crs


def test_working_grid_of_a_round_factor() -> None:
    grid = north_up(0.25, side=1000)
    coarse = Grid(width=1000, height=1000, transform=grid.transform, crs=parse_crs(LOCAL)).rescaled(1.0)
    assert coarse.shape == (250, 250)
    assert coarse.transform == Affine(1, 0, 500_000, 0, -1, 5_000_000)


def test_working_grid_makes_pixels_nearly_square() -> None:
    grid = Grid(width=400, height=100, transform=Affine(1, 0, 0, 0, -4, 0))
    assert grid.rescaled(2).shape == (200, 200)
    assert grid.rescaled(1000).shape == (1, 1)


def test_resolution_is_in_ground_metres_not_mercator_metres() -> None:
    grid = north_up(1.0, x=1_000_000, y=8_399_737.9, crs=3857, side=2000)  # latitude 60: one metre is half a metre
    assert grid.pixel_size_m == pytest.approx((0.5, 0.5), rel=5e-3)
    assert grid.rescaled(1.0).shape == pytest.approx((1000, 1000), abs=6)


@pytest.mark.parametrize("resolution", [0, -1, math.nan, math.inf, 2 * MAX_RESCALE, 0.5 / MAX_RESCALE])
def test_refuses_resolutions_that_are_mistakes(resolution: float) -> None:
    with pytest.raises(UsageError, match="--resolution"):
        Grid(width=10, height=10, transform=Affine.identity()).rescaled(resolution)


@pytest.mark.parametrize(
    ("crs", "x", "y", "size", "expected"),
    [
        (32633, 500_000, 5_000_000, 1.0, (1 / 0.9996, 1 / 0.9996)),  # UTM on the central meridian
        (2263, 984_000, 200_000, 1.0, (0.3048, 0.3048)),  # New York, US survey feet
        (27572, 600_000, 2_200_000, 1.0, (1.0, 1.0)),  # Paris meridian in grads
        (3413, 0, 0, 10.0, (10.31, 10.31)),  # middle near the pole, where the scale factor is 0.97
        ("EPSG:25832+5783", 500_000, 5_000_000, 1.0, (1 / 0.9996, 1 / 0.9996)),
        (LOCAL, 7, 7, 2.0, (2.0, 2.0)),
        (None, 7, 7, 2.0, (2.0, 2.0)),
    ],
)
def test_ground_size_of_a_pixel(crs: object, x: float, y: float, size: float, expected: tuple[float, float]) -> None:
    assert north_up(size, x=x, y=y, crs=crs, side=2).pixel_size_m == pytest.approx(expected, rel=2e-3)


def test_ground_size_of_a_pixel_in_degrees() -> None:
    grid = Grid(width=10, height=10, transform=Affine(1e-5, 0, 10, 0, -1e-5, 60), crs=CRS(4326))
    geod = Geod(ellps="WGS84")
    along = geod.inv(10, 60 - 5e-5, 10 + 1e-5, 60 - 5e-5)[2]
    down = geod.inv(10, 60, 10, 60 - 1e-5)[2]
    assert grid.pixel_size_m == pytest.approx((along, down), rel=1e-6)
    assert grid.gsd_m == pytest.approx(math.sqrt(along * down), rel=1e-6)


def test_pixel_size_outside_the_domain_is_an_error_with_the_numbers() -> None:
    with pytest.raises(RasterError, match=r"1e\+12.*UTM zone 33N"):
        _ = north_up(1.0, x=1e12, y=1e12).pixel_size_m
    with pytest.raises(RasterError, match="95"):
        _ = Grid(width=1, height=1, transform=Affine(1e-3, 0, 10, 0, -1e-3, 95), crs=CRS(4326)).pixel_size_m


def test_geodetic_degrees_keep_x_first_and_convert_grads() -> None:
    lon, lat = to_geodetic(CRS(4326), [10.0], [60.0])
    assert (lon[0], lat[0]) == (10.0, 60.0)
    _, lat_paris = to_geodetic(CRS(27572), 600_000, 2_200_000)
    assert 46 < float(lat_paris) < 48
    with pytest.raises(RasterError, match="local CRS"):
        to_geodetic(CRS(LOCAL), 0, 0)
    assert not has_ground_units(CRS(LOCAL))
    assert not has_ground_units(None)


def test_vertical_parts_of_a_crs_are_dropped() -> None:
    assert horizontal_crs(CRS("EPSG:25832+5783")) == CRS(25832)
    assert horizontal_crs(CRS(4979)) == CRS(4326)
    assert horizontal_crs(CRS(32633)) == CRS(32633)


def test_crs_from_text() -> None:
    assert parse_crs("EPSG:32633") == CRS(32633)
    assert parse_crs("") is None
    assert parse_crs(None) is None
    with pytest.raises(RasterError, match="EPSG:999999"):
        parse_crs("EPSG:999999")


@given(affines(), st.integers(1, 10**6), st.integers(1, 10**6), st.sampled_from([4326, 3857, 27572, LOCAL, None]))
def test_json_and_pickle_give_back_an_equal_grid(transform: Affine, width: int, height: int, crs: object) -> None:
    grid = Grid(width=width, height=height, transform=transform, crs=parse_crs(crs))
    stored = Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    for other in (stored, pickle.loads(pickle.dumps(grid))):
        assert other == grid
        assert hash(other) == hash(grid)


def test_equal_means_the_same_place() -> None:
    grid = north_up(1)
    assert grid == north_up(1)
    assert len({grid, north_up(1), north_up(2)}) == 2
    assert grid != north_up(1, crs=32634)
    assert grid != north_up(1, crs=None)


def test_footprint_is_a_closed_ring_on_the_edge() -> None:
    grid = Grid(width=4, height=2, transform=Affine.rotation(30) @ Affine.scale(3, -3))
    ring = grid.footprint(points_per_edge=5)
    assert ring.shape == (21, 2)
    assert np.array_equal(ring[0], ring[-1])
    col, row = grid.to_pixel(ring[:, 0], ring[:, 1])
    on_edge = np.isclose(col, 0) | np.isclose(col, 4) | np.isclose(row, 0) | np.isclose(row, 2)
    assert on_edge.all()
    assert len(np.unique(ring[:-1].round(9), axis=0)) == 20


def test_bounds_and_window() -> None:
    grid = Grid(width=4, height=2, transform=Affine(1, 0, 10, 0, 1, 20))
    assert grid.bounds == (10, 20, 14, 22)
    assert grid.window == Window(row=0, col=0, height=2, width=4)


@pytest.mark.parametrize(
    "transform", [Affine(0, 0, 0, 0, 0, 0), Affine(1, 2, 0, 2, 4, 0), Affine(math.nan, 0, 0, 0, 1, 0)]
)
def test_refuses_transforms_without_an_inverse(transform: Affine) -> None:
    with pytest.raises(RasterError, match="six finite numbers"):
        Grid(width=1, height=1, transform=transform)


def test_refuses_empty_grids() -> None:
    with pytest.raises(RasterError, match="at least 1 x 1"):
        Grid(width=0, height=4, transform=Affine.identity())


def test_prints_what_a_reader_wants() -> None:
    assert str(north_up(1)) == "100 x 100 px, EPSG:32633, origin 500000, 5000000"
    assert "no CRS" in str(north_up(1, crs=None))
