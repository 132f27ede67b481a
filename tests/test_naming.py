"""What is it? A model that tells what its masks show: features get a label, and are stitched as without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from samgeo.grid import Grid, parse_crs
from samgeo.model.contract import Embedding, NamesMasks
from samgeo.model.weights import load_model
from samgeo.pipeline.segment import segment
from samgeo.pixels import Mask
from samgeo.prompts.prompts import Prompts
from samgeo.session import Session
from samgeo.settings import Settings
from samgeo.stitch.link import link
from samgeo.stitch.table import MaskTable
from samgeo.tiling import Tiling
from samgeo.train.scenes import make_scene
from tests.doubles import NORTH_UP
from tests.oracle import OracleModel, OracleScene

SHAPE = (120, 150)
CLASSES = ("small", "large")


def rectangle(row: int, col: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + height, col : col + width] = True
    return mask


SCENE = OracleScene.from_masks(
    [rectangle(5, 5, 20, 31), rectangle(40, 10, 50, 100), rectangle(100, 120, 9, 13), rectangle(5, 100, 3, 3)], SHAPE
)
GRID = Grid(width=SHAPE[1], height=SHAPE[0], transform=NORTH_UP, crs=parse_crs("EPSG:32633"))


class Naming(OracleModel):
    """Calls each piece of an object by its size in the window, surer of large ones, and tiny ones nothing."""

    classes = CLASSES

    def name_masks(self, embedding: Embedding, masks: Sequence[Mask]) -> list[Mask]:
        return [self._named(mask) for mask in masks]

    def _named(self, mask: Mask) -> Mask:
        if mask.area_px < 10:
            return mask
        large = mask.area_px >= 500
        return replace(mask, label=CLASSES[large], label_score=0.9 if large else 0.6)


def run(prompts: Prompts | None = None, *, model: OracleModel, **settings):
    settings = {"tile_px": 48, "overlap_px": 16, "use_cache": False} | settings
    return segment(SCENE.image, prompts, grid=GRID, model=model, settings=Settings(**settings))


def test_the_double_and_the_default_name_masks_and_the_oracle_does_not() -> None:
    assert isinstance(Naming(SCENE), NamesMasks)
    assert isinstance(load_model(), NamesMasks)
    assert not isinstance(OracleModel(SCENE), NamesMasks)


def test_everything_is_called_something_and_stitched_as_without_names() -> None:
    named, plain = run(model=Naming(SCENE)), run(model=OracleModel(SCENE))
    assert [f.geometry.wkb for f in named] == [f.geometry.wkb for f in plain]
    assert [f.attributes["label"] for f in named] == ["large", None, "large", "small"]
    scores = [f.attributes["label_score"] for f in named]
    assert scores[1] == 0
    assert scores[3] == pytest.approx(0.6, abs=1e-3)
    assert 0.5 < scores[2] <= 0.9, "pieces of the large one are called otherwise, and count against it"
    assert "label_score" in named.columns
    assert "label_score" not in plain.columns
    assert named.report["labels"] == {"small": 1, "large": 2}
    assert "words" not in named.report


def test_prompted_objects_are_called_something_too() -> None:
    x, y = GRID.to_map([20.5, 60.5, 126.5, 101.5], [15.5, 65.5, 104.5, 6.5])
    points = Prompts(points=np.stack([x, y], axis=1), crs="EPSG:32633")
    named, plain = run(points, model=Naming(SCENE)), run(points, model=OracleModel(SCENE))
    assert [f.geometry.wkb for f in named] == [f.geometry.wkb for f in plain]
    assert [f.attributes["label"] for f in named] == ["large", "large", "small", None]
    assert [f.attributes["label"] for f in plain] == [None] * 4


def test_a_session_says_what_it_takes_a_candidate_for_and_hears_what_it_is() -> None:
    with Session(SCENE.image, GRID, model=Naming(SCENE), settings=Settings(tile_px=64, use_cache=False)) as session:
        for (col, row), label in (((20.5, 15.5), None), ((126.5, 104.5), "shed"), ((101.5, 6.5), None)):
            x, y = GRID.to_map([col], [row])
            session.add_point(float(x[0]), float(y[0]))
            session.accept(label=label)
        said = [(f.attributes["label"], round(f.attributes["label_score"], 3)) for f in session.features]
    assert said == [("large", 0.9), ("shed", 1.0), (None, 0.0)]


def test_a_column_of_ones_own_called_label_score_keeps_its_values() -> None:
    import geopandas

    x, y = GRID.to_map([20.5], [15.5])
    layer = geopandas.GeoDataFrame({"label_score": [7.0]}, geometry=geopandas.points_from_xy(x, y), crs="EPSG:32633")
    (feature,) = run(Prompts(points=layer), model=Naming(SCENE))
    assert feature.attributes["label_score"] == pytest.approx(0.9)
    assert feature.attributes["prompt_label_score"] == 7.0


def test_a_chain_is_called_what_its_masks_are_called_most_surely() -> None:
    """Three windows in a row show an object that two of them call small."""
    tiling = Tiling(height=32, width=80, tile_px=32, overlap_px=8)
    masks, tables = {}, []
    for tile, (label, sure) in zip(tiling, [(0, 0.5), (1, 0.9), (0, 0.7)], strict=True):
        pixels = np.ones((10, tile.read.width), bool)
        mask = Mask.from_array(pixels).shift(5, tile.read.col)
        mask = replace(mask, label=CLASSES[label], label_score=sure)
        masks[tile.index] = [mask]
        tables.append(MaskTable.from_masks([mask], tile=tile, tiling=tiling, labels=CLASSES, sought=False))
    (found,) = link(MaskTable.concatenate(tables), tiling, lambda tile, index: masks[tile][index].pixels)
    weight = [m[0].area_px for m in masks.values()]
    assert found.label == 0
    assert found.label_score == pytest.approx((0.5 * weight[0] + 0.7 * weight[2]) / sum(weight), abs=1e-3)
    apart = [
        MaskTable.from_masks(masks[tile.index], tile=tile, tiling=tiling, labels=CLASSES, sought=True)
        for tile in tiling
    ]
    assert len(link(MaskTable.concatenate(apart), tiling, lambda tile, index: masks[tile][index].pixels)) == 3


def test_what_the_default_names_it_mostly_names_right() -> None:
    """Buildings and fields of scenes that it was not trained on; much stays without a name."""
    model, right, named, count = load_model(), 0, 0, 0
    assert isinstance(model, NamesMasks)
    for seed in range(1_000_003, 1_000_011):
        scene = make_scene(seed, height_px=384, width_px=384, gsd_m=0.3)
        shown = [mask for mask in scene.objects if mask.label in ("building", "field") and mask.area_px > 1500]
        called = model.name_masks(model.encode(scene.image), shown)
        assert all((mask.label is None) == (mask.label_score == 0) for mask in called)
        right += sum(mask.label == truth.label for mask, truth in zip(called, shown, strict=True))
        named += sum(mask.label is not None for mask in called)
        count += len(shown)
    assert named > 0.3 * count
    assert right > 0.55 * named
