"""Looking at a raster: fewer pixels through overviews, bounded, and never what a model sees."""

from __future__ import annotations

import time
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.enums import ColorInterp, Resampling

from samgeo.errors import ResourceLimitError, SamgeoWarning, UsageError
from samgeo.pixels import Window
from samgeo.raster import reader
from samgeo.raster.reader import Raster
from tests.doubles import NORTH_UP
from tests.rasters import everything, noise, write

WHOLE = Window(row=0, col=0, height=600, width=800)


def steps(count: int = 3) -> np.ndarray:
    """(B, 600, 800) of squares of 100 px, each of one value."""
    values = np.random.default_rng(3).integers(1, 250, (count, 6, 8)).astype("uint8")
    return values.repeat(100, axis=1).repeat(100, axis=2)


def test_all_pixels_of_a_window_are_those_that_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 60, 80))
    with Raster(path) as raster:
        window = Window(row=10, col=20, height=30, width=40)
        seen, read = raster.look(window, window.shape), raster.read_rgb(window)
    assert all(np.array_equal(a, b) for a, b in zip(seen, read, strict=True))


@pytest.mark.parametrize("overviews", [[], [2, 4, 8]], ids=["none", "three"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_fewer_pixels_show_the_same_picture(tmp_path: Path, dtype: str, overviews: list[int]) -> None:
    path = write(tmp_path / "scene.tif", steps().astype(dtype), tiled=True)
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews(overviews, Resampling.average)
    with Raster(path) as raster:
        rgb, valid = raster.look(WHOLE, (6, 8))
        full, _ = raster.read_rgb(WHOLE)
    assert valid.all()
    assert (
        np.abs(rgb.astype(int) - full[50::100, 50::100]).max() <= 40
        if overviews
        else np.array_equal(rgb, full[50::100, 50::100])
    )


def test_the_overview_is_what_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 600, 800), tiled=True)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4])
    path.with_name("scene.tif.ovr").unlink()
    write(path.with_name("scene.tif.ovr"), np.full((3, 300, 400), 250, dtype=np.uint8))
    with Raster(path) as raster:
        assert (raster.look(WHOLE, (300, 400))[0] == 250).all()
        assert raster.read_rgb(WHOLE)[0].max() < 250, "what a model sees is never an overview"


@pytest.mark.parametrize("how", ["nodata", "mask", "alpha", "nan"])
def test_what_is_not_valid_is_not_shown(tmp_path: Path, how: str) -> None:
    bands, gone = steps(), np.zeros((600, 800), bool)
    gone[:300] = True
    more: dict = {}
    if how == "nodata":
        bands[:, gone], more = 0, {"nodata": 0}
    elif how == "mask":
        more = {"mask": ~gone}
    elif how == "alpha":
        bands = np.concatenate([bands, np.where(gone, 0, 255)[None].astype("uint8")])
        more = {"colours": (ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha)}
    else:
        bands = np.where(gone, np.nan, bands).astype("float32")
    with Raster(write(tmp_path / "scene.tif", bands, **more)) as raster:
        rgb, valid = raster.look(WHOLE, (60, 80))
    assert not valid[:30].any()
    assert valid[30:].all()
    assert (rgb[:30] == 0).all()


def test_palettes_are_looked_through(tmp_path: Path) -> None:
    index = (np.arange(8)[None, :] % 2).repeat(100, axis=1).repeat(600, axis=0)[None].astype("uint8")
    colours = {0: (10, 20, 30, 255), 1: (200, 150, 100, 255)}
    with Raster(write(tmp_path / "scene.tif", index, colormap=colours)) as raster:
        rgb, _ = raster.look(WHOLE, (6, 8))
    assert rgb[0, :2].tolist() == [[10, 20, 30], [200, 150, 100]]


@pytest.mark.parametrize("resolution", [0.25, 2.0, 3.3])
def test_a_working_grid_shows_the_same_place(tmp_path: Path, resolution: float) -> None:
    path = write(tmp_path / "scene.tif", steps(), transform=Affine(1, 0, 500_000, 0, -1, 5_538_000))
    with Raster(path, resolution_m=resolution) as raster:
        rgb, valid = raster.look(raster.grid.window, (6, 8))
        half = raster.grid.window
        half = Window(row=half.height // 2, col=0, height=half.height // 2, width=half.width)
        lower, _ = raster.look(half, (3, 8))
    with Raster(path) as raster:
        full, _ = raster.read_rgb(WHOLE)
    assert valid.all()
    assert np.abs(rgb.astype(int) - full[50::100, 50::100]).max() <= 8
    assert np.abs(lower.astype(int) - rgb[3:]).max() <= 8


@pytest.mark.parametrize("masked", [False, True])
def test_arrays_are_looked_at_too(masked: bool) -> None:
    from tests.clicked import GRID

    image = np.random.default_rng(0).integers(1, 255, (*GRID.shape, 3), dtype=np.uint8)
    source = np.ma.masked_equal(image, image[0, 0, 0]) if masked else image
    with Raster(source, grid=GRID) as raster:
        rgb, _ = raster.look(GRID.window, (12, 16))
        full, _ = everything_rgb(raster)
    assert np.array_equal(rgb, full[5::10, 5::10])


def everything_rgb(raster: Raster) -> tuple:
    return raster.read_rgb(raster.grid.window)


def test_a_large_file_without_overviews_is_told_once_and_shown_from_nearby(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "LOOK_PX", 300_000)
    path = write(tmp_path / "my scene.tif", noise(3, 600, 800), tiled=True)
    command = rf"rio overview --build 2,4 '{path}'"
    with Raster(path) as raster:
        with pytest.warns(SamgeoWarning, match=command):
            raster.warn_if_slow_to_look_at()
        with pytest.raises(ResourceLimitError, match=f"zoom in, or {command}"):
            raster.look(WHOLE, (300, 400))
        raster.look(Window(row=0, col=0, height=300, width=400), (300, 400))
    with rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2])
    monkeypatch.setattr(reader, "WHOLE_LOOK", (256, 256))
    with Raster(path) as raster:
        raster.warn_if_slow_to_look_at()
        raster.look(WHOLE, (300, 400))


def test_looks_stay_inside(tmp_path: Path) -> None:
    with Raster(write(tmp_path / "scene.tif", noise(3))) as raster:
        with pytest.raises(UsageError, match="expected a window inside"):
            raster.look(Window(row=0, col=0, height=21, width=30), (10, 10))
        everything(raster)
    with pytest.raises(UsageError, match="is closed"):
        raster.look(Window(row=0, col=0, height=20, width=30), (10, 10))


def test_the_whole_of_a_huge_file_is_shown_at_once(tmp_path: Path) -> None:
    """100,000 x 100,000 px, 30 GB of pixels, of which the file holds none; overviews are 16 times smaller and less."""
    path = tmp_path / "huge.tif"
    layout = {"tiled": True, "blockxsize": 512, "blockysize": 512, "compress": "deflate", "SPARSE_OK": True}
    profile = {"driver": "GTiff", "count": 3, "dtype": "uint8", "crs": "EPSG:32633", "transform": NORTH_UP, **layout}
    with rasterio.open(path, "w", width=100_000, height=100_000, BIGTIFF="YES", **profile):
        pass
    with rasterio.open(path.with_name("huge.tif.ovr"), "w", width=6250, height=6250, **profile) as dataset:
        dataset.write(np.full((3, 6250, 6250), 77, np.uint8))
        dataset.build_overviews([2, 4, 8, 16])
    with Raster(path) as raster:
        raster.warn_if_slow_to_look_at()
        tracemalloc.start()
        start = time.process_time()
        rgb, _ = raster.look(raster.grid.window, (800, 800))
        seconds = time.process_time() - start
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (rgb == 77).all()
    assert seconds < 1
    assert peak < 64 * 2**20
