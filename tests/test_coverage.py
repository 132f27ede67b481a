"""Simplified together: what touched touches still, whatever blocks the raster was painted in."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from samgeo.grid import Grid, parse_crs
from samgeo.pipeline.coverage import simplified_together
from samgeo.pipeline.painting import outlines
from samgeo.pipeline.segment import segment
from samgeo.pipeline.store import PolygonStore
from samgeo.pixels import Window
from samgeo.polygons import assemble, to_map
from samgeo.settings import Settings
from tests.oracle import OracleModel, OracleScene, largest_part
from tests.runs import every_piece

FLAT = Affine(0.5, 0, 500_000, 0, -0.5, 5_000_000)
TURNED = Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.shear(10, 0) @ Affine.scale(0.5, -0.4)


def partition(shape: tuple[int, int], objects: int, seed: int, blur_px: float) -> NDArray[np.int32]:
    """(rows, cols) labels 1 to `objects`, or 0, of blobs with ragged edges; many parts, holes and corners."""
    fields = np.random.default_rng(seed).normal(size=(objects + 1, *shape))
    return np.argmax([gaussian_filter(field, blur_px) for field in fields], axis=0).astype(np.int32)


def store_of(labels: NDArray[np.int32], *, background: bool) -> PolygonStore:
    """One polygon a label; label 0 is the last one if it is wanted."""
    store = PolygonStore()
    frame = Window(row=0, col=0, height=labels.shape[0], width=labels.shape[1])
    parts: dict[int, list[object]] = {}
    for value, polygon in outlines(labels, frame, background=True):
        parts.setdefault(value, []).append(polygon)
    for value in sorted(parts, key=lambda value: (value == 0, value)):
        if value or background:
            store.add(assemble(parts[value], name=f"object {value}"), key=-1)
    return store


def grid_of(labels: NDArray[np.int32], transform: Affine = FLAT) -> Grid:
    return Grid(width=labels.shape[1], height=labels.shape[0], transform=transform, crs=parse_crs(32633))


def polygons(store: PolygonStore) -> list[object]:
    return [store.polygon(index) for index in range(len(store))]


partitions = st.builds(
    partition,
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.integers(1, 6),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
)


@given(partitions, st.floats(0.1, 20), st.integers(3, 25), st.sampled_from([FLAT, TURNED]))
def test_no_gap_and_no_overlap_between_features_across_blocks(
    labels: NDArray[np.int32], tolerance: float, side: int, transform: Affine
) -> None:
    """O11. Everything is covered by features; simplified, everything is still covered once, to the last bit."""
    grid, store = grid_of(labels, transform), store_of(labels, background=True)
    simple = polygons(simplified_together(store, grid, tolerance, max_vertices=10**6, side=side))
    assert len(simple) == len(store)
    assert shapely.is_valid(simple).all()
    assert not shapely.is_empty(simple).any()
    assert shapely.is_valid([to_map(polygon, grid) for polygon in simple]).all()
    whole = shapely.box(0, 0, grid.width, grid.height)
    assert shapely.area(simple).sum() == whole.area  # whole numbers: exact
    assert shapely.equals(shapely.union_all(simple), whole)


@given(partitions, st.floats(0.1, 20), st.integers(3, 25))
def test_features_with_background_between_them_do_not_overlap(
    labels: NDArray[np.int32], tolerance: float, side: int
) -> None:
    """O11."""
    store = store_of(labels, background=False)
    simple = polygons(simplified_together(store, grid_of(labels), tolerance, max_vertices=10**6, side=side))
    assert shapely.area(simple).sum() == pytest.approx(shapely.area(shapely.union_all(simple)), abs=1e-9)
    given_vertices = {
        tuple(xy) for polygon in polygons(store) for xy in shapely.get_coordinates(shapely.segmentize(polygon, 1))
    }
    assert {tuple(xy) for xy in shapely.get_coordinates(simple)} <= given_vertices


def fields() -> NDArray[np.int32]:
    """(150, 200) labels from 1: parcels in one piece that cover all, with ragged edges."""
    rng = np.random.default_rng(0)
    rows, cols = np.indices((150, 200)) + rng.normal(size=(2, 150, 200)) * 0.5
    seeds = rng.uniform((0, 0), (150, 200), (25, 2))
    distance = np.hypot(rows[..., None] - seeds[:, 0], cols[..., None] - seeds[:, 1])
    labels = distance.argmin(-1) + 1
    parts = [largest_part(labels == value) for value in range(1, 26)]
    _, nearest = distance_transform_edt(~np.logical_or.reduce(parts), return_indices=True)
    return np.asarray(labels[tuple(nearest)], np.int32)


@pytest.mark.parametrize("transform", [FLAT, TURNED], ids=["flat", "turned"])
def test_no_gap_and_no_overlap_on_the_map_and_far_fewer_vertices(transform: Affine) -> None:
    """O11."""
    grid, store = grid_of(fields(), transform), store_of(fields(), background=False)
    together = simplified_together(store, grid, 1.5, max_vertices=10**6, side=64)
    simple = [to_map(polygon, grid) for polygon in polygons(together)]
    whole = to_map(shapely.box(0, 0, 200, 150), grid)
    assert shapely.area(shapely.symmetric_difference(shapely.union_all(simple), whole)) < 1e-9 * whole.area
    assert shapely.area(simple).sum() == pytest.approx(whole.area, rel=1e-12)
    assert shapely.get_num_coordinates(simple).sum() < 0.3 * shapely.get_num_coordinates(polygons(store)).sum()


def test_edges_that_no_other_feature_shares_are_simplified_too() -> None:
    labels = np.where(fields() % 4 == 0, fields(), 0).astype(np.int32)
    store = store_of(labels, background=False)
    simple = polygons(simplified_together(store, grid_of(labels), 1.5, max_vertices=10**6, side=64))
    assert shapely.get_num_coordinates(simple).sum() < 0.3 * shapely.get_num_coordinates(polygons(store)).sum()


def tiled(simplify_m: float) -> Settings:
    return Settings(tile_px=48, overlap_px=12, exclusive=True, simplify_m=simplify_m, use_cache=False)


def test_exclusive_and_simplified_features_of_a_run_have_no_gaps_and_overlaps(monkeypatch: pytest.MonkeyPatch) -> None:
    """O11. Through the whole pipeline: --exclusive --simplify; the ids are those without --simplify."""
    monkeypatch.setattr("samgeo.pipeline.result.simplified_together", partial(simplified_together, side=32))
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    labels = fields()
    scene = OracleScene.from_masks([labels == value for value in np.unique(labels)], labels.shape)
    grid = grid_of(labels)
    exact, simple = (
        segment(scene.image, grid=grid, model=OracleModel(scene), settings=tiled(simplify_m))
        for simplify_m in (0.0, 1.5)
    )
    assert len(exact) == len(simple)
    whole = shapely.union_all([feature.geometry for feature in exact])
    shapes = [feature.geometry for feature in simple]
    assert shapely.area(shapely.symmetric_difference(shapely.union_all(shapes), whole)) < 1e-9 * whole.area
    assert shapely.area(shapes).sum() == pytest.approx(whole.area, rel=1e-12)
    assert sum(map(shapely.get_num_coordinates, shapes)) < 0.5 * sum(
        shapely.get_num_coordinates(feature.geometry) for feature in exact
    )
    for before, after in zip(exact, simple, strict=True):
        assert shapely.intersects(before.geometry, shapely.point_on_surface(after.geometry))
