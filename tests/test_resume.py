"""Going on from a stopped run: only with the same imagery, model and settings, wherever they lie now."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from samgeo.errors import OutputError, UsageError
from samgeo.pipeline.segment import Progress, segment
from samgeo.prompts.prompts import Prompts
from samgeo.settings import Settings
from tests.runs import (
    SCENE,
    SlowOracle,
    every_piece,
    everything_in,
    exit_code,
    fork,
    journal_folder,
    outcome,
    run,
    visible,
    write_scene,
)

CLICKS = [(500_000 + col + 0.5, 5_538_000 - row - 0.5) for mask in SCENE.masks for row, col in [np.argwhere(mask)[0]]]


class StopError(Exception):
    pass


def stop_when_assembling(progress: Progress) -> None:
    if progress.phase == "assembling":
        raise StopError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a raster, the output of a whole run, and a run that was stopped when all its windows were done."""
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    work, whole = tmp_path / "work", tmp_path / "whole"
    for place in (work, whole):
        place.mkdir()
    write_scene(work / "scene.tif")
    run(work / "scene.tif", whole / "out.gpkg")
    with pytest.raises(StopError):
        run(work / "scene.tif", work / "out.gpkg", progress=stop_when_assembling)
    return work


def windows(folder: Path) -> int:
    return len(list((folder / "out.gpkg.samgeo").rglob("tile-*.part")))


def digest_of(output: Path) -> str:
    return visible(output)["out.gpkg"]


def test_a_run_that_is_interrupted_while_it_tells_how_far_it_is_leaves_no_worker_behind(tmp_path, monkeypatch):
    """Also while the traceback, which holds every frame, is kept."""
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    before = set(threading.enumerate())

    def interrupt(progress: Progress) -> None:
        if progress.done:
            raise KeyboardInterrupt

    for workers in (1, 2):
        with pytest.raises(KeyboardInterrupt) as caught:
            segment(
                write_scene(tmp_path / "scene.tif"),
                model=SlowOracle(),
                output=tmp_path / "out.gpkg",
                workers=workers,
                settings=Settings(tile_px=48, overlap_px=8, use_cache=False),
                progress=interrupt,
            )
        assert caught.tb
        assert set(threading.enumerate()) == before, workers


def test_times_and_places_of_files_do_not_count(folder, tmp_path):
    """Touched, copied, and moved with everything: the pixels are the same."""
    os.utime(folder / "scene.tif", (0, 0))
    moved = tmp_path / "elsewhere"
    shutil.copytree(folder, moved, copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    told = []
    count = windows(moved)
    run(moved / "scene.tif", moved / "out.gpkg", progress=told.append)
    assert told[0] == Progress(phase="tiles", done=count, total=count)
    assert told[count] == Progress(phase="checking", done=count, total=count)


@pytest.mark.parametrize("prompts", [None, Prompts(points=CLICKS, crs="EPSG:32633")], ids=["everything", "prompts"])
def test_a_raster_that_was_replaced_is_noticed_even_with_the_same_name_size_and_time(tmp_path, monkeypatch, prompts):
    """One pixel in one window, which no sample of the raster sees."""
    monkeypatch.setattr("samgeo.pipeline.tilejob.generate_masks", every_piece)
    monkeypatch.setattr("samgeo.pipeline.plan.content_digest", lambda raster: "all alike")
    raster, output = write_scene(tmp_path / "scene.tif"), tmp_path / "out.gpkg"
    again = partial(
        segment,
        raster,
        prompts,
        model=SlowOracle(),
        output=output,
        settings=Settings(tile_px=48, overlap_px=8, use_cache=False),
    )
    with pytest.raises(StopError):
        again(progress=stop_when_assembling)
    before = raster.stat()
    image = SCENE.image.copy()
    image[20:70, 30:80] ^= 1
    write_scene(raster, image)
    os.utime(raster, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert raster.stat().st_size == before.st_size
    with pytest.raises(UsageError, match=r"saw other pixels in the .*window of 48 x 48 px.*--no-resume"):
        again()
    assert not output.exists()
    write_scene(raster)
    again()
    assert output.exists()


def test_a_damaged_part_is_done_again(folder, tmp_path):
    parts, count = sorted((folder / "out.gpkg.samgeo").rglob("tile-*.part")), windows(folder)
    for part, damage in zip(parts, (lambda b: b[:-1], lambda b: b"", lambda b: b[:99] + b"?" + b[100:]), strict=False):
        part.write_bytes(damage(part.read_bytes()))
    told = []
    run(folder / "scene.tif", folder / "out.gpkg", progress=told.append)
    assert told[0] == Progress(phase="tiles", done=count - 3, total=count)
    assert digest_of(folder / "out.gpkg") == digest_of(tmp_path / "whole" / "out.gpkg")


def test_other_filters_and_another_format_of_the_outlines_go_on_from_the_same_windows(folder):
    told, count = [], windows(folder)
    run(folder / "scene.tif", folder / "out.gpkg", progress=told.append, simplify_m=2.0, min_area_m2=3.0)
    assert told[0] == Progress(phase="tiles", done=count, total=count)


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_the_second_of_two_runs_refuses_and_names_the_first_and_a_dead_one_is_no_obstacle(folder):
    output = folder / "out.gpkg"

    def hold(progress: Progress) -> None:
        if progress.phase == "assembling":
            time.sleep(60)

    holder = fork(lambda: run(folder / "scene.tif", output, progress=hold))
    lock = journal_folder(output) / ".lock"
    while str(holder) not in lock.read_text():
        time.sleep(0.01)
    for resume in (True, False):
        status, error = outcome(lambda resume=resume: run(folder / "scene.tif", output, resume=resume))
        assert status == OutputError.exit_code
        assert f"{output}: process {holder} on {os.uname().nodename} is writing it" in error
    os.kill(holder, signal.SIGKILL)
    assert exit_code(holder) == -signal.SIGKILL
    run(folder / "scene.tif", output)
    assert everything_in(folder) == ["out.gpkg", "scene.tif"]


@pytest.mark.alone
@pytest.mark.skipif(sys.platform == "win32", reason="fork")
def test_of_eight_runs_at_once_one_writes_and_the_others_refuse(folder, tmp_path):
    output = folder / "out.gpkg"
    runs = [fork(lambda: run(folder / "scene.tif", output)) for _ in range(8)]
    codes = sorted(exit_code(child) for child in runs)
    assert codes == [0] + [OutputError.exit_code] * 7
    assert everything_in(folder) == ["out.gpkg", "scene.tif"]
    assert digest_of(output) == digest_of(tmp_path / "whole" / "out.gpkg")
