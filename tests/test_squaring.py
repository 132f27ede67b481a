"""Squaring: outlines as a cadastre draws them, from masks with soft corners and ragged edges."""

from __future__ import annotations

import math
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
from rasterio.features import rasterize
from scipy.ndimage import gaussian_filter

from samgeo.grid import Grid, parse_crs
from samgeo.pixels import Mask
from samgeo.polygons import ground_frame, linear, pixel_polygons, to_map
from samgeo.squaring import square

UTM = Grid(width=400, height=400, transform=Affine(0.1, 0, 500_000, 0, -0.1, 5_000_000), crs=parse_crs(32633))
DEGREES = Grid(width=400, height=400, transform=Affine(2e-6, 0, 10, 0, -1e-6, 60), crs=parse_crs(4326))
SHEARED = Grid(
    width=400,
    height=400,
    transform=Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.shear(20, 0) @ Affine.scale(0.1),
    crs=parse_crs(32633),
)

PLANS = {
    "rectangle": shapely.box(0, 0, 160, 90),
    "L": shapely.Polygon([(0, 0), (180, 0), (180, 75), (90, 75), (90, 150), (0, 150)]),
    "T": shapely.Polygon([(0, 0), (200, 0), (200, 70), (135, 70), (135, 160), (65, 160), (65, 70), (0, 70)]),
    "U": shapely.Polygon([(0, 0), (200, 0), (200, 150), (140, 150), (140, 60), (60, 60), (60, 150), (0, 150)]),
    "yard": shapely.Polygon(shapely.box(0, 0, 180, 150).exterior, [shapely.box(50, 40, 110, 100).exterior]),
}
"""Buildings in pixels."""


def burn(geometry: object, shape: tuple[int, int]) -> NDArray[np.bool_]:
    return rasterize([geometry], shape, dtype="uint8").astype(bool)


def soft(geometry: object, shape: tuple[int, int], *, seed: int = 0, blur_px: float = 5.0) -> NDArray[np.bool_]:
    """The pixels of a geometry as a small model sees it: corners round, edges ragged, a few holes and crumbs."""
    rng = np.random.default_rng(seed)
    sure = gaussian_filter(burn(geometry, shape).astype(float), blur_px)
    noise = gaussian_filter(rng.normal(size=shape), 4.0)
    return np.asarray(sure + 0.12 * noise / noise.std() > 0.5)


def placed(plan: object, grid: Grid, angle: float) -> object:
    """A plan drawn on the ground at an angle, in pixels of the grid."""
    to_ground, to_pixel = ground_frame(shapely.box(100, 100, 300, 300), grid)
    size = math.sqrt(abs(np.linalg.det(to_ground)))
    drawn = linear(shapely.affinity.rotate(shapely.affinity.scale(plan, size, size), angle), to_pixel)
    x, y = shapely.get_coordinates(drawn.centroid)[0]
    return shapely.affinity.translate(drawn, 200 - x, 200 - y)


def outline_of(array: NDArray[np.bool_]) -> object:
    return pixel_polygons(Mask.from_array(array))


def corners(polygon: object) -> int:
    return sum(len(ring.coords) - 1 for ring in shapely.get_rings(shapely.get_parts(polygon)))


def corners_deg(polygon: object) -> NDArray[np.float64]:
    angles = []
    for ring in shapely.get_rings(shapely.get_parts(polygon)):
        xy = shapely.get_coordinates(ring)[:-1] @ np.array([1, 1j])
        angles.append(np.abs(np.degrees(np.angle((np.roll(xy, 1) - xy) / (np.roll(xy, -1) - xy)))))
    return np.concatenate(angles)


def iou(one: object, other: object) -> float:
    return float(shapely.area(shapely.intersection(one, other)) / shapely.area(shapely.union(one, other)))


GRIDS = {"utm": UTM, "degrees": DEGREES, "sheared": SHEARED}


@pytest.mark.parametrize(("grid", "angle"), [("utm", 0), ("utm", 17), ("utm", 45), ("degrees", 63), ("sheared", 17)])
@pytest.mark.parametrize("plan", PLANS)
def test_a_soft_mask_of_a_building_becomes_its_plan(plan: str, grid: str, angle: float) -> None:
    """As many corners as the plan has, all of them right angles on the ground, nearer to the plan than the mask."""
    on = GRIDS[grid]
    truth = placed(PLANS[plan], on, angle)
    outline = outline_of(soft(truth, on.shape))
    squared = square(outline, on)
    assert shapely.is_valid(squared)
    assert np.allclose(corners_deg(linear(squared, ground_frame(outline, on)[0])), 90, atol=0.1)
    assert corners(squared) == corners(truth)
    assert iou(squared, truth) > max(0.93, iou(outline, truth))
    assert shapely.area(squared) == pytest.approx(shapely.area(truth), rel=0.03)


@pytest.mark.parametrize("angle", [0, 30])
def test_a_sharp_mask_keeps_its_plan(angle: float) -> None:
    truth = placed(PLANS["L"], UTM, angle)
    squared = square(outline_of(burn(truth, UTM.shape)), UTM)
    assert corners(squared) == 6
    assert iou(squared, truth) > 0.99


def test_an_oblique_side_stays_oblique() -> None:
    """A trapezoid, as roofs in crooked streets are."""
    truth = placed(shapely.Polygon([(0, 0), (200, 0), (140, 110), (0, 110)]), UTM, 10)
    squared = square(outline_of(soft(truth, UTM.shape)), UTM)
    assert corners(squared) == 4
    assert np.count_nonzero(np.abs(corners_deg(squared) - 90) < 0.1) == 2
    assert iou(squared, truth) > 0.95


def test_a_round_tank_stays_round() -> None:
    tank = outline_of(burn(shapely.Point(200, 200).buffer(60), UTM.shape))
    left = square(tank, UTM)
    assert iou(left, tank) > 0.97
    assert corners(left) > 8


def test_an_odd_object_keeps_its_outline() -> None:
    """A spiral: no few straight sides are much like it."""
    turn = np.linspace(0, 6 * np.pi, 300)
    path = shapely.LineString(np.stack([200 + 8 * turn * np.cos(turn), 200 + 8 * turn * np.sin(turn)], axis=1))
    odd = outline_of(burn(path.buffer(8), UTM.shape))
    assert iou(square(odd, UTM), odd) > 0.8


def test_crumbs_and_pinholes_of_the_mask_are_left_out() -> None:
    array = soft(placed(PLANS["rectangle"], UTM, 25), UTM.shape)
    array[200:206, 200:206] = False
    array[5:12, 5:12] = True
    squared = square(outline_of(array), UTM)
    assert squared.geom_type == "Polygon"
    assert corners(squared) == 4


def test_two_buildings_of_one_object_stay_two() -> None:
    pair = shapely.union(shapely.box(40, 40, 160, 120), shapely.box(200, 150, 330, 260))
    squared = square(outline_of(soft(pair, UTM.shape)), UTM)
    assert len(shapely.get_parts(squared)) == 2
    assert corners(squared) == 8


def test_squaring_does_not_depend_on_where_the_building_stands() -> None:
    """But for ties that rounding breaks, which move a line by fractions of a pixel."""
    array = soft(placed(PLANS["T"], UTM, 33), UTM.shape)
    here = square(outline_of(array), UTM)
    there = square(shapely.affinity.translate(outline_of(array), 1000, 2000), UTM)
    assert np.allclose(shapely.get_coordinates(there), shapely.get_coordinates(here) + np.array([1000, 2000]), atol=0.5)


@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_square_is_valid_whatever_the_mask(array: NDArray[np.bool_]) -> None:
    outline = outline_of(array)
    if shapely.is_empty(outline):
        return
    squared = square(outline, UTM)
    assert shapely.is_valid(squared)
    assert squared.geom_type in {"Polygon", "MultiPolygon"}
    assert shapely.area(squared) > 0


@given(st.integers(0, 2**32), st.integers(2, 9), st.sampled_from([UTM, SHEARED]))
def test_square_of_blobs_is_valid(seed: int, blur_px: int, grid: Grid) -> None:
    outline = outline_of(gaussian_filter(np.random.default_rng(seed).random((40, 50)), blur_px) > 0.5)
    if not shapely.is_empty(outline):
        squared = square(outline, grid)
        assert shapely.is_valid(squared)
        assert shapely.is_valid(to_map(squared, grid))


@pytest.mark.parametrize(("seed", "grid"), [(415, SHEARED), (1532, UTM)])
def test_o9_where_squared_parts_touch_they_are_valid_on_the_map_too(seed: int, grid: Grid) -> None:
    """Blobs whose squared outlines touch themselves: rounding to map coordinates would let them cross."""
    outline = outline_of(gaussian_filter(np.random.default_rng(seed).random((40, 50)), 2) > 0.5)
    polygon = to_map(square(outline, grid), grid)
    assert shapely.is_valid(polygon)
    assert polygon.geom_type in {"Polygon", "MultiPolygon"}


def test_real_roofs(real_data: Path) -> None:
    """Footprints seen softly: squared they have about as many corners as were drawn, and are nearer to them."""
    folder = real_data / "buildings_oam_tanzania"
    with rasterio.open(folder / "tanzania_b.tif") as dataset:
        crs = parse_crs(dataset.crs.to_wkt())
        fine = Grid(width=dataset.width, height=dataset.height, transform=dataset.transform, crs=crs)
    grid = fine.rescaled(0.15)
    found = []
    for footprint in gpd.read_file(folder / "tanzania_b_buildings.gpkg").geometry:
        drawn = shapely.transform(footprint, lambda xy: np.stack(grid.to_pixel(xy[:, 0], xy[:, 1]), axis=1))
        left, top, right, bottom = drawn.bounds
        moved = shapely.affinity.translate(drawn, 20 - left, 20 - top)
        outline = outline_of(soft(moved, (int(bottom - top) + 40, int(right - left) + 40), blur_px=3.0))
        if moved.area > 400:
            squared = square(outline, grid)
            found.append((iou(outline, moved), iou(squared, moved), corners(moved), corners(squared), corners(outline)))
    soft_iou, square_iou, wanted, got, before = np.mean(found, axis=0)
    assert square_iou > soft_iou
    assert 0.6 * wanted < got < 1.2 * wanted
    assert before > 8 * got
