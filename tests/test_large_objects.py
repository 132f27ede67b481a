"""Objects larger than a window come back whole and once, from a model that trembles and misses, too."""

from __future__ import annotations

import geopandas
import numpy as np
import pytest
import shapely

from samgeo.pipeline.result import Segmentation
from samgeo.pipeline.segment import segment
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from tests.oracle import NoisyOracle, OracleModel, OracleScene
from tests.test_pipeline import all_seen, grid_of, tiled  # noqa: F401


def lake_and_huts() -> OracleScene:
    """A lake that reaches through sixteen windows, and huts around it."""
    y, x = np.mgrid[:180, :180]
    lake = np.hypot(y - 92, x - 88) < 68 + 6 * np.sin(np.arctan2(y - 92, x - 88) * 5)
    huts = [np.hypot(y - r, x - c) < 5 for r, c in ((8, 8), (8, 90), (172, 20), (170, 170))]
    return OracleScene.from_masks([lake, *huts], (180, 180))


SCENE = lake_and_huts()
GRID = grid_of(SCENE)
TRUTH = [mask_to_polygon(Mask.from_array(mask), GRID) for mask in SCENE.masks]


def run(model: OracleModel, prompts: Prompts | None = None, tile: int = 48) -> Segmentation:
    raster = Raster(SCENE.image, grid=GRID, resampling="nearest")
    return segment(raster, prompts, model=model, settings=tiled(tile, 12))


def ious(result: Segmentation) -> np.ndarray:
    """(features, objects)."""
    shapes = [feature.geometry for feature in result]
    return np.array([[a.intersection(b).area / a.union(b).area for b in TRUTH] for a in shapes]).reshape(-1, len(TRUTH))


def placed(rows: list[tuple[float, float]]) -> list[shapely.Point]:
    x, y = GRID.to_map([col + 0.5 for _, col in rows], [row + 0.5 for row, _ in rows])
    return list(shapely.points(x, y))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.usefixtures("all_seen")
def test_everything_finds_a_lake_whole_and_once_although_windows_miss_it(seed: int) -> None:
    found = ious(run(NoisyOracle(SCENE, jitter_px=0.7, miss=0.12, seed=seed, tile_px=48)))
    assert found[:, 0].max() > 0.9
    assert np.count_nonzero(found[:, 0] > 0.02) == 1, "nothing else lies in the lake"


def test_a_box_larger_than_a_window_gets_its_object_whole_although_windows_disagree() -> None:
    boxes = Prompts(boxes=[shapely.box(*TRUTH[0].bounds), shapely.box(*TRUTH[1].bounds)], crs="EPSG:32633")
    result = run(NoisyOracle(SCENE, jitter_px=1.0, miss=0.0, tile_px=48), boxes)
    assert ious(result)[0, 0] > 0.9


@pytest.mark.parametrize("tile", [24, 48, 96])
def test_one_click_gets_an_object_whole_although_windows_disagree(tile: int) -> None:
    clicks = Prompts(points=geopandas.GeoSeries(placed([(60, 60), (8, 8)]), crs=32633))
    result = run(NoisyOracle(SCENE, jitter_px=0.7, miss=0.0, tile_px=tile), clicks, tile)
    assert ious(result)[0, 0] > 0.85


def test_clicks_that_no_window_shows_together_are_all_heard() -> None:
    """Two clicks on the lake, on opposite shores, and one beside it."""
    rows = geopandas.GeoDataFrame(
        {"object": ["lake"] * 3, "label": [1, 1, 0]}, geometry=placed([(40, 88), (150, 88), (8, 8)]), crs=32633
    )
    result = run(OracleModel(SCENE, tile_px=48), Prompts(points=rows, object_column="object", label_column="label"))
    assert ious(result)[0, 0] == pytest.approx(1)
    assert result.report["prompts"]["clicks_left_out"] == {}
