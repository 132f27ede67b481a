"""Polygons: pixel-exact, the same bytes however they were cut, measured on the ground."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from pyproj import Geod
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

from samgeo.errors import ResourceLimitError
from samgeo.grid import Grid, parse_crs
from samgeo.pixels import Mask, Window
from samgeo.polygons import (
    area_m2,
    assemble,
    canonical,
    mask_to_polygon,
    measure,
    perimeter_m,
    pixel_polygons,
    simplify,
    smooth,
    to_map,
)

pixels = arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12)))
UTM = Grid(width=64, height=64, transform=Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000), crs=parse_crs(32633))


def mask_of(array: NDArray[np.bool_], row: int = 0, col: int = 0) -> Mask:
    return Mask(window=Window(row=row, col=col, height=array.shape[0], width=array.shape[1]), pixels=array)


def burn(geometry: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if shapely.is_empty(geometry):
        return np.zeros(shape, bool)
    return rasterize([geometry], shape, dtype="uint8").astype(bool)


def from_text(text: str) -> NDArray[np.bool_]:
    return np.array([[c == "#" for c in line.strip()] for line in text.strip().splitlines()])


@given(pixels)
def test_outline_is_pixel_exact_and_valid(array: NDArray[np.bool_]) -> None:
    outline = pixel_polygons(mask_of(array))
    assert shapely.is_valid(outline)
    assert np.array_equal(burn(outline, array.shape), array)
    assert shapely.area(outline) == np.count_nonzero(array)
    assert np.array_equal(shapely.get_coordinates(outline) % 1, np.zeros_like(shapely.get_coordinates(outline)))


@given(pixels, st.integers(-3, 10**6), st.integers(-3, 10**6))
def test_position_shifts_and_nothing_else(array: NDArray[np.bool_], row: int, col: int) -> None:
    here, there = pixel_polygons(mask_of(array)), pixel_polygons(mask_of(array, row, col))
    assert shapely.to_wkb(shapely.transform(here, lambda xy: xy + np.array([col, row]))) == shapely.to_wkb(there)


@given(pixels, st.data())
def test_cutting_never_shows(array: NDArray[np.bool_], data: st.DataObject) -> None:
    rows, cols = array.shape
    row_cuts = sorted({0, rows, *data.draw(st.lists(st.integers(1, rows), max_size=3))})
    col_cuts = sorted({0, cols, *data.draw(st.lists(st.integers(1, cols), max_size=3))})
    whole = mask_of(array)
    pieces = [
        pixel_polygons(whole.crop(Window(row=top, col=left, height=bottom - top, width=right - left)))
        for top, bottom in pairwise(row_cuts)
        for left, right in pairwise(col_cuts)
    ]
    pieces = data.draw(st.permutations([piece for piece in pieces if not shapely.is_empty(piece)]))
    if pieces:
        assert shapely.to_wkb(assemble(pieces, name="object 1")) == shapely.to_wkb(pixel_polygons(whole))


@given(pixels)
def test_canonical_is_a_fixed_point(array: NDArray[np.bool_]) -> None:
    outline = pixel_polygons(mask_of(array))
    assert shapely.to_wkb(canonical(shapely.segmentize(outline, 1))) == shapely.to_wkb(outline)


def test_no_pixels_no_outline() -> None:
    assert shapely.is_empty(pixel_polygons(Mask.from_array(np.zeros((4, 4), bool))))


def test_a_large_noisy_mask_burns_back() -> None:
    array = np.random.default_rng(3).random((300, 400)) < 0.6
    outline = pixel_polygons(mask_of(array))
    assert shapely.is_valid(outline)
    assert np.array_equal(burn(outline, array.shape), array)


def test_holes_islands_and_corners() -> None:
    array = from_text("""
        #######.
        #.....#.
        #.###.#.
        #.#.#.#.
        #.###.#.
        #.....#.
        #######.
        .......#
    """)
    outline = pixel_polygons(mask_of(array))
    assert outline.geom_type == "MultiPolygon"
    assert sorted((len(part.interiors), part.area) for part in outline.geoms) == [(0, 1), (1, 8), (1, 24)]


def test_a_hole_that_touches_the_outside_at_a_corner_is_a_hole() -> None:
    outline = pixel_polygons(
        mask_of(
            from_text("""
        ####
        #.##
        ##.#
        .###
    """)
        )
    )
    assert outline.geom_type == "Polygon"
    assert len(outline.interiors) == 2
    assert shapely.is_valid(outline)


def test_too_many_vertices_name_the_object() -> None:
    board = mask_of(np.indices((20, 20)).sum(0) % 2 == 0)
    with pytest.raises(ResourceLimitError, match=r"object 7.*1,000 vertices.*at most 999.*--max-vertices 1000"):
        assemble([pixel_polygons(board)], name="object 7", max_vertices=999)
    assert assemble([pixel_polygons(board)], name="object 7", max_vertices=1000).area == 200


@given(
    pixels,
    st.floats(0, 360),
    st.floats(-40, 40),
    st.sampled_from([(1, -1), (1, 1), (-1, 1), (-1, -1)]),
)
def test_the_affine_carries_area(array: NDArray[np.bool_], angle: float, shear: float, flip: tuple[int, int]) -> None:
    transform = Affine.translation(5e5, 5e6) @ Affine.rotation(angle) @ Affine.shear(shear, 0) @ Affine.scale(*flip)
    grid = Grid(width=12, height=12, transform=transform)
    polygon = mask_to_polygon(mask_of(array), grid)
    assert area_m2(polygon, None) == pytest.approx(np.count_nonzero(array) * abs(transform.determinant), rel=1e-6)
    back = shapely.transform(polygon, lambda xy: np.stack(grid.to_pixel(xy[:, 0], xy[:, 1]), 1))
    assert np.array_equal(burn(shapely.transform(back, np.rint), array.shape), array)


def test_ground_sizes_are_geodesic() -> None:
    mercator = Grid(width=9, height=9, transform=Affine(2, 0, 1_113_194.9, 0, -2, 8_399_737.9), crs=parse_crs(3857))
    size = measure(mask_to_polygon(mask_of(np.ones((9, 9), bool)), mercator), mercator.crs)
    # At 60 degrees north a Web Mercator metre is half a metre.
    assert size.area_m2 == pytest.approx(81, rel=0.005)
    assert size.perimeter_m == pytest.approx(36, rel=0.005)
    flat = parse_crs('LOCAL_CS["site",UNIT["metre",1]]')
    assert measure(shapely.box(0, 0, 2, 3), flat) == measure(shapely.box(0, 0, 2, 3), None)
    assert (area_m2(shapely.box(0, 0, 2, 3), flat), perimeter_m(shapely.box(0, 0, 2, 3), flat)) == (6, 10)


def test_ground_sizes_do_not_depend_on_vertices_along_an_edge() -> None:
    """A cell of 1 x 1 degrees at 60 north, whose upper edge is a parallel and no geodesic."""
    crs = parse_crs(4326)
    cell = shapely.box(10, 60, 11, 61)
    exact = _cell_area(60, 61)
    assert area_m2(cell, crs) == pytest.approx(exact, rel=1e-7)
    assert area_m2(shapely.segmentize(cell, 0.001), crs) == pytest.approx(exact, rel=1e-7)


def _cell_area(south: float, north: float) -> float:
    """Square metres of one degree of longitude between two parallels (Snyder 1987, equation 3-12)."""
    geod = Geod(ellps="WGS84")
    e = math.sqrt(geod.es)

    def q(latitude: float) -> float:
        s = math.sin(math.radians(latitude))
        return (1 - geod.es) * (s / (1 - geod.es * s * s) + math.atanh(e * s) / e)

    return geod.a**2 / 2 * (q(north) - q(south)) * math.radians(1)


def test_a_hole_is_taken_off_the_area() -> None:
    ring = np.ones((30, 30), bool)
    ring[10:20, 10:20] = False
    outline = mask_to_polygon(mask_of(ring), UTM)
    scale = area_m2(mask_to_polygon(mask_of(np.ones((30, 30), bool)), UTM), UTM.crs) / 225
    assert area_m2(outline, UTM.crs) == pytest.approx(200 * scale, rel=1e-6)
    assert perimeter_m(outline, UTM.crs) == pytest.approx((60 + 20) * math.sqrt(scale), rel=1e-6)


# ---- outlines made pleasant ----


@given(pixels, st.floats(0.01, 5))
def test_simplify_keeps_vertices_topology_and_distance(array: NDArray[np.bool_], tolerance: float) -> None:
    outline = pixel_polygons(mask_of(array))
    if shapely.is_empty(outline):
        return
    simple = simplify(outline, tolerance, UTM)
    assert shapely.is_valid(simple)
    assert shapely.get_num_coordinates(simple) <= shapely.get_num_coordinates(outline)
    assert len(shapely.get_parts(simple)) == len(shapely.get_parts(outline))
    given_vertices = set(map(tuple, shapely.get_coordinates(outline)))
    assert set(map(tuple, shapely.get_coordinates(simple))) <= given_vertices
    assert shapely.hausdorff_distance(simple.boundary, outline.boundary) * 0.5 <= tolerance * 1.01


TURNED = Affine.translation(4e5, 5e6) @ Affine.rotation(31) @ Affine.shear(9, 0) @ Affine.scale(0.1, -0.13)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 0.5, 1.0, 2.0]), st.sampled_from([0.05, 0.1, 0.3, 1.0]))
def test_o9_simplified_and_smoothed_outlines_are_valid_in_pixels_and_on_the_map(
    seed: int, blur_px: float, tolerance: float
) -> None:
    """Noise with hundreds of rings that touch at corners, on grids where no coordinate is exact."""
    outline = pixel_polygons(mask_of(gaussian_filter(np.random.default_rng(seed).random((30, 35)), blur_px) > 0.5))
    if shapely.is_empty(outline):
        return
    for grid in (
        Grid(width=35, height=30, transform=TURNED, crs=parse_crs(32633)),
        Grid(width=35, height=30, transform=Affine(9e-7, 0, 13.4012345, 0, -9e-7, 52.5163), crs=parse_crs(4326)),
    ):
        for changed in (simplify(outline, tolerance, grid), smooth(outline), outline):
            assert shapely.is_valid(changed)
            assert shapely.is_valid(to_map(changed, grid))
            assert to_map(changed, grid).geom_type in {"Polygon", "MultiPolygon"}


def test_a_hole_never_leaves_its_ring_when_both_are_simplified() -> None:
    """One of 2,000 noise masks for which GEOS alone leaves a hole outside."""
    outline = pixel_polygons(mask_of(gaussian_filter(np.random.default_rng(4555).random((30, 35)), 0.5) > 0.5))
    simple = simplify(outline, 1.0, Grid(width=35, height=30, transform=TURNED, crs=parse_crs(32633)))
    assert shapely.is_valid(simple)
    assert shapely.get_num_coordinates(simple) < shapely.get_num_coordinates(outline) / 2


def test_simplify_is_in_ground_metres() -> None:
    """A bump of 20 m ground size on a lon/lat grid at 60 degrees north, where a degree of longitude is half as long."""
    grid = Grid(width=64, height=64, transform=Affine(1e-4, 0, 10, 0, -1e-4, 60), crs=parse_crs(4326))
    across, along = grid.pixel_size_m
    assert along > 1.9 * across
    bumpy = np.zeros((40, 40), bool)
    bumpy[10:30, 10:30] = True
    bumpy[20, 30:33] = True
    outline = pixel_polygons(mask_of(bumpy))
    assert shapely.area(simplify(outline, across * 2.5, grid)) > shapely.area(outline) - 3
    assert shapely.area(simplify(outline, across * 3.5, grid)) == 400
    assert shapely.get_num_coordinates(simplify(outline, across * 3.5, grid)) == 5


@given(pixels)
def test_smooth_is_valid_and_near(array: NDArray[np.bool_]) -> None:
    outline = pixel_polygons(mask_of(array))
    if shapely.is_empty(outline):
        return
    rounded = smooth(outline)
    assert shapely.is_valid(rounded)
    assert not shapely.is_empty(rounded)
    assert shapely.hausdorff_distance(rounded.boundary, outline.boundary) <= 2


@pytest.mark.parametrize("slope", [0.0, 0.1, 0.3, 1.0])
def test_smooth_takes_pixel_steps_away(slope: float) -> None:
    """The edge of a half-plane, away from its ends, is nearly straight again."""
    rows, cols = np.indices((200, 160))
    rounded = smooth(pixel_polygons(mask_of(rows > 20 + slope * cols)))
    edge = shapely.get_coordinates(shapely.intersection(rounded.exterior, shapely.box(30, 5, 130, 195)))
    heights = edge[:, 1] - slope * edge[:, 0]
    assert np.ptp(heights) < 0.5  # the steps are one pixel high


def test_smooth_keeps_the_area() -> None:
    disc = pixel_polygons(mask_of(burn(shapely.Point(30, 30).buffer(20), (60, 60))))
    assert shapely.area(smooth(disc)) == pytest.approx(shapely.area(disc), rel=0.015)


def test_smooth_leaves_large_corners() -> None:
    side = smooth(pixel_polygons(mask_of(np.ones((100, 100), bool))))
    assert shapely.area(side) > 10_000 - 4 * 2
    assert shapely.get_num_coordinates(side) < 60


def test_to_map_is_the_affine_alone() -> None:
    box = shapely.box(1, 2, 3, 5)
    assert shapely.equals(to_map(box, UTM), shapely.box(500_000.5, 4_999_997.5, 500_001.5, 4_999_999))


def test_real_footprints(real_data: Path) -> None:
    """The outline of a footprint's pixels burns back, and has their area on the ground."""
    folder = real_data / "buildings_oam_tanzania"
    with rasterio.open(folder / "tanzania_b.tif") as dataset:
        crs = parse_crs(dataset.crs.to_wkt())
        fine = Grid(width=dataset.width, height=dataset.height, transform=dataset.transform, crs=crs)
    grid = fine.rescaled(0.3)
    for footprint in gpd.read_file(folder / "tanzania_b_buildings.gpkg").geometry:
        drawn = shapely.transform(footprint, lambda xy: np.stack(grid.to_pixel(xy[:, 0], xy[:, 1]), axis=1))
        array = burn(drawn, grid.shape)
        if np.count_nonzero(array) < 100:
            continue
        outline = pixel_polygons(Mask.from_array(array))
        assert np.array_equal(burn(outline, grid.shape), array)
        size = np.count_nonzero(array) * math.prod(grid.pixel_size_m)
        assert area_m2(to_map(outline, grid), crs) == pytest.approx(size, rel=1e-4)
