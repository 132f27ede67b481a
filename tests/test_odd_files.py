"""Files of other projects' bug trackers and fuzzers: each gives pixels or one clear error, and soon."""

from __future__ import annotations

import csv
import time
import warnings
from pathlib import Path

import pytest

from samgeo.errors import PromptError, RasterError, SamgeoError
from samgeo.pixels import Window
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster

SIDE = 512
NO_PIXELS = {"complex64.tif"}
"""Valid files that are refused on purpose."""


def read_all(path: Path) -> int:
    """Read the upper left 2048 x 2048 px; the number of valid ones. A file that asks for bands is read by its first."""
    try:
        raster = Raster(path)
    except RasterError as error:
        if "--bands" not in str(error):
            raise
        raster = Raster(path, bands=(1,))
    with raster:
        height, width = raster.grid.shape
        places = [(row, col) for row in range(0, height, SIDE)[:4] for col in range(0, width, SIDE)[:4]]
        windows = [Window(row=row, col=col, height=SIDE, width=SIDE) for row, col in places]
        return sum(int(raster.read_rgb(window)[1].sum()) for window in windows)


def listed(real_data: Path) -> list[tuple[Path, str]]:
    """Files and what is expected of each."""
    folder = real_data / "robustness"
    with (folder / "MANIFEST.csv").open() as file:
        return [(folder / row["file"], row["expected"]) for row in csv.DictReader(file)]


@pytest.mark.slow
def test_every_raster_is_read_or_refused(real_data: Path) -> None:
    wrong = []
    for path, expected in listed(real_data):
        if path.parent.name == "vectors":
            continue
        started = time.process_time()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                read_all(path)
            refused = None
        except SamgeoError as error:
            refused = str(error)
            if str(path) not in refused and path.name not in refused:
                wrong.append(f"{path.name}: the error does not name the file: {refused}")
        if refused and expected.startswith("open") and "error" not in expected and path.name not in NO_PIXELS:
            wrong.append(f"{path.name}: expected pixels, refused: {refused}")
        if not refused and expected == "error":
            wrong.append(f"{path.name}: expected an error, was read")
        if time.process_time() - started > 20:
            wrong.append(f"{path.name}: took {time.process_time() - started:.0f} s")
    assert not wrong, "\n".join(wrong)


def test_every_layer_is_read_or_refused(real_data: Path) -> None:
    refused = {}
    for path in sorted((real_data / "robustness" / "vectors").glob("*.g*")):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Prompts(boxes=path)
        except PromptError as error:
            refused[path.name] = str(error)
    assert all(name in message for name, message in refused.items())
    assert "no coordinate reference system" in refused.pop("no_crs.gpkg")
    assert "0 features" in refused.pop("empty.geojson")
    assert not refused
