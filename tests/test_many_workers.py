"""One scene by every engine: here, threads, spawned processes, a Dask cluster of two. Whoever works, the same bytes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from distributed import LocalCluster

from samgeo import dask_engine
from samgeo.cli import samgeo
from samgeo.errors import ModelError, OutputError, PartialResultError, UsageError
from samgeo.pipeline.segment import ModelAddress, journal_folder, segment
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from tests.oracle import OracleModel, OracleScene, code_of

ENGINES = ("one", "threads", "processes", "dask")
HEIGHT, WIDTH, TILE, OVERLAP = 56, 120, 24, 8
BOXES = ((2, 3, 7, 110), (20, 5, 30, 12), (34, 60, 50, 68), (12, 26, 16, 30), (44, 90, 47, 94), (22, 40, 54, 50))
"""Rows and columns: one through all windows of its row, some in a few, and two that only one window sees."""
RAISES, KILLS = 3, 4
NAMES = {RAISES: "window of 24 x 24 px at column 16, row 0", KILLS: "window of 24 x 24 px at column 80, row 32"}


@cache
def scene():
    masks = []
    for top, left, bottom, right in BOXES:
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return OracleScene.from_masks(masks, (HEIGHT, WIDTH))


class Frail(OracleModel):
    """An oracle that takes its time, stumbles over one object and dies of another."""

    def __init__(self, trouble):
        super().__init__(scene())
        self._trouble = trouble

    def encode(self, image):
        time.sleep(0.02)
        seen = {number for code in np.unique(code_of(image)) for number in scene().objects_of.get(int(code), ())}
        for number in seen & {number for number, _ in self._trouble}:
            if dict(self._trouble)[number] == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            raise ValueError("the model stumbled")
        return super().encode(image)


@dataclass(frozen=True, kw_only=True)
class OracleAddress(ModelAddress):
    """Where other processes find the oracle."""

    name: str = "oracle"
    trouble: tuple[tuple[int, str], ...] = ()

    def load(self):
        return Frail(self.trouble)


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes."""
    with (
        dask.config.set({"distributed.worker.daemon": True}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=60) as local,
    ):
        yield local


@pytest.fixture
def engine(request):
    """What `workers=` takes for the engine of a test; the cluster starts when it is wanted."""
    if request.param == "dask":
        return request.getfixturevalue("cluster").scheduler_address
    return {"one": 1, "threads": ThreadPoolExecutor(2), "processes": 2}[request.param]


@pytest.fixture
def raster(tmp_path):
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_538_000)}
    with rasterio.open(tmp_path / "scene.tif", "w", **profile, **place) as dataset:
        dataset.write(np.moveaxis(scene().image, -1, 0))
    return tmp_path / "scene.tif"


def run(raster, name, workers, *, model=None, prompts=None, progress=None):
    """The digest of the GeoPackage."""
    output = raster.parent / name / "out.gpkg"
    output.parent.mkdir(exist_ok=True)
    settings = Settings(
        tile_px=TILE, overlap_px=OVERLAP, use_cache=False, points_per_side=12, box_nms_thresh=1.0, overwrite=True
    )
    segment(
        raster,
        prompts,
        model=model or OracleAddress(),
        output=output,
        settings=settings,
        workers=workers,
        progress=progress,
    )
    return hashlib.sha256(output.read_bytes()).hexdigest()


def clicks():
    return Prompts(points=[((c + d) / 2, (a + b) / 2) for a, c, b, d in BOXES], crs="pixel")


@pytest.mark.parametrize("engine", ENGINES[1:], indirect=True)
def test_every_engine_writes_the_same_bytes(engine, raster):
    assert run(raster, "many", engine) == run(raster, "one", 1)


class Twice(ThreadPoolExecutor):
    """Runs everything twice, as a cluster may that loses sight of a worker."""

    def submit(self, function, /, *arguments):
        super().submit(function, *arguments)
        return super().submit(function, *arguments)


def test_a_job_that_runs_twice_changes_nothing(raster):
    with Twice(3) as executor:
        assert run(raster, "twice", executor, prompts=clicks()) == run(raster, "one", 1, prompts=clicks())
