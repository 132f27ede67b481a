"""Memory does not grow with the raster: peaks of real processes, and what the tables of many masks take."""

from __future__ import annotations

import multiprocessing
import tracemalloc

import numpy as np
import pytest

from benchmarks.memory import ByColour, by_colour, peak_mib, write_scene
from samgeo.pipeline import everything, tilejob
from samgeo.pipeline.segment import segment
from samgeo.raster import coarse, dataset
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from samgeo.stitch import link

find_pairs = link.find_pairs
FLAT_MIB = 12
"""A window of 512 px and all that is made of it takes less; 16 times the pixels are 48 MiB more."""


def small_buffers(patch):
    """Buffers that have a limit of their own are full at once, so that only what has none can grow."""
    patch.setattr(tilejob, "generate_masks", by_colour)
    patch.setitem(dataset.GDAL_OPTIONS, "GDAL_CACHEMAX", 4 * 2**20)
    patch.setattr(coarse, "BLOCK_PX", 2**16)
    patch.setattr(everything, "AT_HAND_BYTES", 1)


def peak_of_a_run(folder, size, sink):
    """In a process of its own: peak MiB and number of objects of a run on a scene of `size` px on a side."""
    with pytest.MonkeyPatch.context() as patch:
        small_buffers(patch)
        with Raster(folder / f"{size}.tif", resampling="nearest") as raster:
            settings = Settings(use_cache=False, tile_px=512)
            found = segment(raster, model=ByColour(), output=folder / f"{size}.gpkg", settings=settings)
        sink.put((peak_mib(), len(found)))


@pytest.mark.slow
def test_sixteen_times_the_pixels_take_no_more_memory(tmp_path):
    spawn = multiprocessing.get_context("spawn")
    sink, peaks = spawn.Queue(), []
    for size in (1024, 2048, 4096):
        write_scene(tmp_path / f"{size}.tif", size, 400)
        process = spawn.Process(target=peak_of_a_run, args=(tmp_path, size, sink))
        process.start()
        peak, found = sink.get(timeout=120)
        process.join()
        assert found == 401
        peaks.append(peak)
    assert max(peaks) - min(peaks) <= FLAT_MIB, peaks


def tables_of_a_run(folder, side, monkeypatch):
    """Masks, pairs and peak bytes while masks are linked and put together: `side` x `side` windows, equally full."""
    size = 400 + 350 * (side - 1)
    write_scene(folder / f"{size}.tif", size, (size // 20) ** 2)
    counts = []

    def count(table, tiling, crops):
        pairs = find_pairs(table, tiling, crops)
        counts.append((len(table), len(pairs)))
        return pairs

    def tell(progress):
        if progress.phase == "tiles" and progress.done == progress.total:
            tracemalloc.start()

    monkeypatch.setattr(link, "find_pairs", count)
    with Raster(folder / f"{size}.tif", resampling="nearest") as raster:
        try:
            segment(raster, model=ByColour(), settings=Settings(use_cache=False, tile_px=400), progress=tell)
            return np.array([*np.sum(counts, axis=0), tracemalloc.get_traced_memory()[1]])
        finally:
            tracemalloc.stop()


def test_tables_of_a_whole_run_take_at_most_128_bytes_a_mask_and_64_a_pair(tmp_path, monkeypatch):
    small_buffers(monkeypatch)
    tables_of_a_run(tmp_path, 2, monkeypatch)  # what is loaded and made once
    few, many = (tables_of_a_run(tmp_path, side, monkeypatch) for side in (2, 4))
    masks, pairs, size = many - few
    assert masks > 4000
    assert size <= 128 * masks + 64 * pairs, (masks, pairs, size)
