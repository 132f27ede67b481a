"""One scene by every engine: here, threads, spawned processes, a Dask cluster of two. Whoever works, the same bytes."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
import warnings
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial

import dask
import numpy as np
import pytest
import rasterio
from affine import Affine
from click.testing import CliRunner
from distributed import LocalCluster

from samgeo import __version__, dask_engine
from samgeo.cli import samgeo
from samgeo.errors import (
    ModelError,
    OutputError,
    PartialResultError,
    RasterError,
    SamgeoWarning,
    UsageError,
    WeightsError,
)
from samgeo.pipeline.segment import ModelAddress, journal_folder, segment
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from tests.oracle import OracleModel, OracleScene

ENGINES = ("one", "threads", "processes", "dask")
HEIGHT, WIDTH, TILE, OVERLAP = 56, 120, 24, 8
BOXES = ((2, 3, 7, 110), (20, 5, 30, 12), (34, 60, 50, 68), (12, 26, 16, 30), (44, 90, 47, 94), (22, 40, 54, 50))
"""Rows and columns: one through all windows of its row, some in a few, some in one."""
RAISES, KILLS = (0, 16), (32, 80)
NAMES = {RAISES: "window of 24 x 24 px at column 16, row 0", KILLS: "window of 24 x 24 px at column 80, row 32"}
"""Two windows by row and column of their corner, and what errors call them."""


@cache
def scene():
    masks = []
    for top, left, bottom, right in BOXES:
        mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
        mask[top:bottom, left:right] = True
        masks.append(mask)
    return OracleScene.from_masks(masks, (HEIGHT, WIDTH))


class Frail(OracleModel):
    """An oracle that takes its time, stumbles over some windows and dies of others."""

    def __init__(self, trouble):
        super().__init__(scene())
        self._trouble = trouble

    def encode(self, image):
        time.sleep(0.02)
        for (row, col), what in self._trouble:
            if np.array_equal(image, scene().image[row : row + TILE, col : col + TILE]):
                if what == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                raise ValueError("the model stumbled")
        return super().encode(image)


@dataclass(frozen=True, kw_only=True)
class OracleAddress(ModelAddress):
    """Where other processes find the oracle."""

    name: str = "oracle"
    trouble: tuple[tuple[tuple[int, int], str], ...] = ()

    def load(self):
        return Frail(self.trouble)

    def fetch(self, report):
        """It comes from nowhere."""


@pytest.fixture(scope="module")
def cluster():
    """A Dask cluster of two processes."""
    with (
        dask.config.set({"distributed.worker.daemon": True}),
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60) as local,
    ):
        yield local


@pytest.fixture
def engine(request):
    """What `workers=` takes for the engine of a test; the cluster starts when it is wanted."""
    if request.param == "dask":
        cluster = request.getfixturevalue("cluster")
        try:
            cluster.wait_for_workers(2, timeout=30)  # those that the last test killed come back
        except TimeoutError:  # unless they were killed while Dask was starting them
            cluster.scale(0)
            cluster.scale(2)
            cluster.wait_for_workers(2, timeout=60)
        return cluster.scheduler_address
    return {"one": 1, "threads": ThreadPoolExecutor(2), "processes": 2}[request.param]


@pytest.fixture(scope="module")
def raster(tmp_path_factory):
    path = tmp_path_factory.mktemp("raster") / "scene.tif"
    profile = {"driver": "GTiff", "width": WIDTH, "height": HEIGHT, "count": 3, "dtype": "uint8"}
    place = {"crs": "EPSG:32633", "transform": Affine(0.5, 0, 500_000, 0, -0.5, 5_538_000)}
    with rasterio.open(path, "w", **profile, **place) as dataset:
        dataset.write(np.moveaxis(scene().image, -1, 0))
    return path


@pytest.fixture(scope="module")
def whole(raster, tmp_path_factory):
    """What one worker writes that nothing happens to."""
    return run(raster, tmp_path_factory.mktemp("whole"), 1)


def run(raster, folder, workers, *, model=None, prompts=None, progress=None):
    """The digest of the GeoPackage."""
    output = folder / "out.gpkg"
    settings = Settings(tile_px=TILE, overlap_px=OVERLAP, use_cache=False, points_per_side=12, box_nms_thresh=1.0)
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
def test_every_engine_writes_the_same_bytes(engine, raster, whole, tmp_path):
    assert run(raster, tmp_path, engine) == whole


class Twice(ThreadPoolExecutor):
    """Runs everything twice, as a cluster may that loses sight of a worker."""

    def submit(self, function, /, *arguments):
        super().submit(function, *arguments)
        return super().submit(function, *arguments)


def test_a_job_that_runs_twice_changes_nothing(raster, whole, tmp_path):
    with Twice(3) as executor:
        assert run(raster, tmp_path, executor) == whole


def test_a_prompted_job_that_runs_twice_changes_nothing(raster, tmp_path):
    digests = set()
    with Twice(3) as executor:
        for name, workers in {"one": 1, "twice": executor}.items():
            (tmp_path / name).mkdir()
            digests.add(run(raster, tmp_path / name, workers, prompts=clicks()))
    assert len(digests) == 1


class Killer:
    """A listener that kills a random one of some processes when so many windows are done."""

    def __init__(self, workers, at):
        self.workers, self.left, self.killed = workers, sorted(at), []
        self._choose = random.Random(0)

    def __call__(self, progress):
        if self.left and progress.done >= self.left[0]:
            self.left.pop(0)
            self.killed.append(self._choose.choice(self.workers()))
            os.kill(self.killed[-1], signal.SIGKILL)


def pool_processes():
    return [process.pid for process in multiprocessing.active_children() if process.name.startswith("SpawnProcess")]


def dask_processes(cluster):
    return [nanny.pid for nanny in cluster.workers.values() if nanny.pid]


# CPython's pool may trip over a job that is submitted at the very moment a worker dies; its manager thread then ends
# with "dictionary changed size during iteration". What counts is that no job is lost.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(("engine", "patience"), [("processes", 0), ("dask", 0), ("dask", 3)], indirect=["engine"])
def test_workers_killed_at_random_change_no_byte(engine, patience, raster, whole, tmp_path, request):
    workers = pool_processes
    if isinstance(engine, str):
        cluster = request.getfixturevalue("cluster")
        cluster.scheduler.allowed_failures = patience
        workers = partial(dask_processes, cluster)
    killer = Killer(workers, at=(3, 9))
    assert run(raster, tmp_path, engine, progress=killer) == whole
    assert len(set(killer.killed)) == 2
    assert not set(killer.killed) & set(workers())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("engine", ENGINES, indirect=True)
def test_tiles_that_keep_failing_are_named_the_rest_is_done_and_only_they_are_missing(
    engine, raster, whole, tmp_path, request
):
    trouble = {RAISES: "raise"} | ({KILLS: "kill"} if engine == 2 or isinstance(engine, str) else {})
    if isinstance(engine, str):
        request.getfixturevalue("cluster").scheduler.allowed_failures = 0
    with pytest.raises(PartialResultError) as caught:
        run(raster, tmp_path, engine, model=OracleAddress(trouble=tuple(trouble.items())))
    assert caught.value.exit_code == 10
    named = str(caught.value).splitlines()[1:]
    assert len(named) == len(trouble)
    for window, what in trouble.items():
        error = "ValueError: the model stumbled" if what == "raise" else ("BrokenProcessPool", "KilledWorker")
        (line,) = [line for line in named if line.startswith(f"  {NAMES[window]}: ")]
        assert any(word in line for word in ([error] if isinstance(error, str) else error))
    assert not (tmp_path / "out.gpkg").exists()
    told = []
    assert run(raster, tmp_path, 1, progress=told.append) == whole
    assert told[0].done == told[0].total - len(trouble)


@pytest.mark.parametrize("engine", ["dask"], indirect=True)
def test_a_worker_that_does_not_see_the_folder_ends_the_run_with_its_name(engine, raster, tmp_path, monkeypatch):
    @contextmanager
    def elsewhere(folder):
        yield folder / "not-here"

    monkeypatch.setattr(dask_engine, "_marked", elsewhere)
    folder = journal_folder(tmp_path / "out.gpkg")
    with pytest.raises(OutputError, match=rf"{folder}: the Dask worker on .* does not see this folder.*shared disk"):
        run(raster, tmp_path, engine)


def test_a_worker_says_where_a_raster_or_model_is_missing(tmp_path):
    def fail(error):
        raise error

    mark = tmp_path / "mark"
    mark.touch()
    for error in (RasterError("ortho.tif: cannot be found"), WeightsError("sam.pt: damaged")):
        with pytest.raises(type(error), match=rf"{error} \(says the Dask worker on .+\)"):
            dask_engine._visit(fail, mark, __version__, error)
    with pytest.raises(UsageError, match=rf"has samgeo {__version__}; expected 9\.9"):
        dask_engine._visit(fail, mark, "9.9", error)


def test_other_weights_at_the_same_address_are_refused(raster, tmp_path):
    class Elsewhere(Executor):
        """Runs each job at once, and finds another model at the address."""

        def submit(self, function, job):
            future = Future()
            try:
                future.set_result(function(replace(job, run=replace(job.run, model_sha256="0" * 64))))
            except ModelError as error:
                future.set_exception(error)
            return future

    with pytest.raises(ModelError, match="oracle: its weights are not those that the run began with"):
        run(raster, tmp_path, Elsewhere())


def test_no_scheduler_and_no_library_are_told_with_what_to_do(raster, tmp_path, monkeypatch):
    monkeypatch.setattr(dask_engine, "CONNECT_SECONDS", 0.2)
    for address in ("tcp://127.0.0.1:9", "nowhere", "http://a b"):
        with pytest.raises(UsageError, match=rf"--dask {address}: no scheduler answers there.*dask worker"):
            run(raster, tmp_path, address)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match=r"pip install 'samgeo\[dask\]'"):
        run(raster, tmp_path, "tcp://127.0.0.1:9")


def dask_process(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "distributed.cli." + arguments[0], *map(str, arguments[1:])],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def test_a_scheduler_that_dies_stops_the_run_and_another_engine_goes_on_to_the_same_bytes(raster, whole, tmp_path):
    file = tmp_path / "scheduler.json"
    scheduler = dask_process("dask_scheduler", "--port", 0, "--dashboard-address", ":0", "--scheduler-file", file)
    worker = dask_process("dask_worker", "--scheduler-file", file, "--no-nanny", "--no-dashboard")

    def kill_scheduler(progress):
        if progress.done == 5:
            scheduler.kill()

    try:
        while not file.exists():
            time.sleep(0.05)
        with (
            warnings.catch_warnings(action="ignore", category=SamgeoWarning),  # perhaps there is no worker yet
            pytest.raises(PartialResultError, match=rf"--dask {file}: the scheduler is gone; .* kept in .*--dask"),
        ):
            run(raster, tmp_path, str(file), progress=kill_scheduler)
    finally:
        for process in (scheduler, worker):
            process.kill()
            process.wait()
    told = []
    assert run(raster, tmp_path, 1, progress=told.append) == whole
    assert 5 <= told[0].done < told[0].total


@pytest.mark.parametrize("engine", ["dask"], indirect=True)
def test_the_command_runs_on_a_cluster(engine, raster, tmp_path):
    outputs = [tmp_path / name / "boxes.gpkg" for name in ("one", "dask")]
    boxes = ["--box", "100,34,120,50", "--box", "10,20,24,30", "--prompt-crs", "pixel", "--no-cache"]
    for output, options in zip(outputs, ([], ["--dask", engine]), strict=True):
        output.parent.mkdir()
        done = CliRunner().invoke(samgeo, ["segment", str(raster), str(output), *boxes, *options])
        assert done.exit_code == 0, done.output
    assert outputs[0].read_bytes() == outputs[1].read_bytes()
    both = ["segment", str(raster), str(tmp_path / "c.gpkg"), "--dask", "tcp://h:1", "--workers", "2"]
    assert "--workers 2 with --dask" in CliRunner().invoke(samgeo, both).output
