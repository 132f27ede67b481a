"""Tiling is invisible: any tiles, overlap, offset, order and workers give the same file, byte for byte.

The scenes have everything that is hard to put together: blobs, rings, U shapes, spirals, chains, nested and touching
objects, and thin lines through every window. Left out are those in which no look at overlaps alone can tell two objects
apart (docs/decisions/0004-stitching.md).
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from samgeo.grid import Grid
from samgeo.pipeline.segment import segment
from samgeo.pixels import Mask
from samgeo.polygons import mask_to_polygon
from samgeo.raster.reader import Raster
from samgeo.tiling import Tiling
from tests.oracle import Bool, OracleModel, OracleScene, largest_part
from tests.scenes import random_scene
from tests.test_pipeline import all_seen, grid_of, sha, tiled, write_tif  # noqa: F401
from tests.test_stitch import can_be_told_apart

SIDE = 110
"""Of the scenes, in pixels."""
MARGIN = 13
"""Pixels that a scene can be moved by."""

pytestmark = pytest.mark.usefixtures("all_seen")


def spiral(rng: np.random.Generator) -> Bool:
    """A line of two pixels that turns inwards, with gaps of a few."""
    out = np.zeros((SIDE, SIDE), dtype=bool)
    low, high, gap = int(rng.integers(0, 20)), int(rng.integers(70, SIDE)), int(rng.integers(5, 12))
    out[low : low + 2, low:high] = True
    while high - low > 2 * gap:
        out[low:high, high - 2 : high] = out[high - 2 : high, low:high] = True
        out[low + gap : high, low : low + 2] = True
        out[low + gap : low + gap + 2, low : high - gap] = True
        low, high = low + gap, high - gap
    return out


def line_through_everything(rng: np.random.Generator) -> Bool:
    out = np.zeros((SIDE, SIDE), dtype=bool)
    for band in range(0, SIDE, 2 * (step := int(rng.integers(9, 16)))):
        out[band, :] = out[band : band + 2 * step, -1 if band // (2 * step) % 2 else 0] = True
    return out


def hard_scenes(first: int) -> Iterator[tuple[OracleScene, list[Tiling]]]:
    """Scenes with three tilings each in which objects can be told apart."""
    for seed in itertools.count(first):
        rng = np.random.default_rng([23, seed])
        masks = list(random_scene(seed, height=SIDE, width=SIDE, objects=6, disjoint=seed % 2 == 0).masks)
        extra = spiral(rng) if seed % 3 else line_through_everything(rng)
        if seed % 2 == 0:
            extra = largest_part(extra & ~np.logical_or.reduce([*masks, np.zeros_like(extra)]))
        scene = OracleScene.from_masks([*masks, extra] if extra.any() else masks, (SIDE, SIDE))
        tilings = [Tiling(height=SIDE, width=SIDE, tile_px=t, overlap_px=o) for t, o in sizes(rng)]
        if all(can_be_told_apart(scene, tiling) for tiling in tilings):
            yield scene, tilings


def sizes(rng: np.random.Generator) -> list[tuple[int, int]]:
    tiles = rng.choice(np.arange(24, 100), 3, replace=False).tolist()
    return [(tile, int(rng.choice([2, 3, tile // 8 + 2, tile // 4, tile // 2]))) for tile in tiles]


def truth(scene: OracleScene, grid: Grid) -> list[bytes]:
    """The true polygons in the order of the ids."""
    masks = [Mask.from_array(mask) for mask in scene.masks]
    order = sorted(masks, key=lambda m: (m.window.row, m.window.col + int(np.argmax(m.pixels[0])), -m.area_px))
    return [mask_to_polygon(mask, grid).wkb for mask in order]


class AnyOrder(ThreadPoolExecutor):
    """Four threads that dawdle, so that jobs end in any order."""

    def __init__(self, seed: int) -> None:
        super().__init__(4)
        self._rng = np.random.default_rng(seed)

    def submit(self, function: Callable[..., Any], /, *args: Any, **more: Any) -> Future[Any]:
        pause = float(self._rng.random()) / 50

        def dawdle() -> Any:
            time.sleep(pause)
            return function(*args, **more)

        return super().submit(dawdle)


def check(scene: OracleScene, tilings: list[Tiling], folder: Path) -> None:
    grid = grid_of(scene)
    wanted = truth(scene, grid)
    files = set()
    for tiling in tilings:
        raster = Raster(scene.image, grid=grid, resampling="nearest")
        settings = tiled(tiling.tile_px, tiling.overlap_px)
        with segment(raster, model=OracleModel(scene), settings=settings) as result:
            assert [feature.geometry.wkb for feature in result] == wanted, tiling
            assert [feature.attributes["id"] for feature in result] == list(range(1, len(wanted) + 1))
            table = result.to_gdf().drop(columns="tiles")  # how many windows it took is no promise
        files.add(table.to_json(drop_id=True))
    assert len(files) == 1
    with AnyOrder(1) as dawdlers, ThreadPoolExecutor(3) as threads:
        path = write_tif(folder / "scene.tif", scene)
        hashes = set()
        for workers in (1, threads, dawdlers):
            settings = tiled(tilings[0].tile_px, tilings[0].overlap_px, overwrite=True)
            segment(path, model=OracleModel(scene), settings=settings, output=folder / "all.fgb", workers=workers)
            hashes.add(sha(folder / "all.fgb"))
    assert len(hashes) == 1


def moved(scene: OracleScene, rows: int, cols: int) -> tuple[OracleScene, Grid]:
    """The same objects on the same ground, in a raster that begins further up and to the left."""
    pad = ((rows, 0), (cols, 0))
    masks = [np.pad(mask, pad) for mask in scene.masks]
    old = grid_of(scene)
    x, y = old.to_map([-cols], [-rows])
    transform = type(old.transform)(*old.transform[:2], x[0], *old.transform[3:5], y[0])
    shape = (SIDE + rows, SIDE + cols)
    grid = replace(old, height=shape[0], width=shape[1], transform=transform)
    return OracleScene.from_masks(masks, shape), grid


def check_offset(scene: OracleScene, tiling: Tiling, rows: int, cols: int) -> None:
    further, grid = moved(scene, rows, cols)
    there = replace(tiling, height=SIDE + rows, width=SIDE + cols)
    if not can_be_told_apart(further, there):
        return
    raster = Raster(further.image, grid=grid, resampling="nearest")
    settings = tiled(tiling.tile_px, tiling.overlap_px)
    with segment(raster, model=OracleModel(further), settings=settings) as result:
        assert [feature.geometry.wkb for feature in result] == truth(further, grid), (tiling, rows, cols)


def test_any_tiles_order_and_workers_give_the_same_file(tmp_path: Path) -> None:
    for scene, tilings in itertools.islice(hard_scenes(1), 6):
        check(scene, tilings, tmp_path)


def test_any_offset_gives_the_same_objects() -> None:
    rng = np.random.default_rng(5)
    for scene, tilings in itertools.islice(hard_scenes(50), 6):
        check_offset(scene, tilings[0], *rng.integers(0, MARGIN, 2).tolist())


@pytest.mark.sweep
def test_sweep_of_scenes_tiles_offsets_orders_and_workers(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for scene, tilings in itertools.islice(hard_scenes(1000), 300):
        check(scene, tilings, tmp_path)
        check_offset(scene, tilings[1], *rng.integers(0, MARGIN, 2).tolist())
