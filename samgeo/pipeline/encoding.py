"""Encoding ahead: fill the embedding cache with the windows of a raster, so that later runs only decode."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from samgeo.embeddings import default_folder
from samgeo.engines import process_pool, run_jobs
from samgeo.pipeline.segment import ModelAddress, Progress, Report, fetch_weights
from samgeo.pipeline.tilejob import as_address, encode, open_cache
from samgeo.pixels import Window
from samgeo.raster.coarse import read_rgb_coarse
from samgeo.raster.reader import Raster, RasterSource
from samgeo.settings import Settings
from samgeo.tiling import Tiling


@dataclass(frozen=True, kw_only=True)
class EncodeJob:
    """One window to encode; small and picklable."""

    source: RasterSource
    """Address of the raster."""
    model: ModelAddress
    """Address of the model."""
    folder: Path
    """Of the cache."""
    window: Window
    """In pixels of `scale` x `scale` pixels of the working grid."""
    scale: int
    """1 at full resolution; more for objects that are looked at from further away."""

    def __str__(self) -> str:
        return self.window.scaled(self.scale).in_words()


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """What encoding ahead did."""

    windows: int
    """All windows of the raster, near and from further away."""
    empty: int
    """Those without a valid pixel, for which there is nothing to encode."""
    folder: Path
    """Of the cache."""


def encode_ahead(
    raster: str | Path,
    *,
    model: ModelAddress | str | None = None,
    settings: Settings | None = None,
    workers: int = 1,
    progress: Report | None = None,
) -> Encoded:
    """Encode every window that `segment` with the same settings will read; those in the cache cost only their reading.

    settings: bands, resolution_m, raster_crs, tile_px and overlap_px count. workers: 1 runs here, more are processes.

    Raises what `segment` raises for a raster or a model that it cannot use.
    """
    settings = settings or Settings()
    address = as_address(model)
    assert isinstance(address, ModelAddress)
    folder = default_folder()
    with Raster(raster, **settings.look) as opened:
        source, grid = opened.source(), opened.grid
    fetch_weights(address, progress or (lambda _: None))
    tile_px, overlap_px = settings.tile(address.load().tile_px)
    tiling = Tiling(height=grid.height, width=grid.width, tile_px=tile_px, overlap_px=overlap_px)
    jobs = [
        EncodeJob(source=source, model=address, folder=folder, window=tile.read, scale=scale)
        for scale in (1, *tiling.scales)
        for tile in tiling.coarser(scale)
    ]
    executor = None if workers == 1 else partial(process_pool, workers)
    empty = 0
    for done, full in enumerate(_run(jobs, executor, workers), start=1):
        empty += not full
        if progress is not None:
            progress(Progress(phase="tiles", done=done, total=len(jobs), pixels=done * (tile_px - overlap_px) ** 2))
    return Encoded(windows=len(jobs), empty=empty, folder=folder)


def encode_window(job: EncodeJob) -> bool:
    """Put the embedding of a window into the cache; False if there is nothing to see in it."""
    with job.source.open() as raster:
        rgb, valid = read_rgb_coarse(raster, job.window, job.scale)
    if not valid.any():
        return False
    encode(job.model.load(), rgb, valid, open_cache(job.folder))
    return True


def _run(jobs: Sequence[EncodeJob], executor: Callable[[], Executor] | None, workers: int) -> Iterator[bool]:
    for _, full in run_jobs(encode_window, jobs, executor=executor, in_flight=workers + 1):
        yield full
