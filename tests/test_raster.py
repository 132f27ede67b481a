"""Raster: the right pixels at the right place."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from pyproj import CRS

from samgeo.errors import RasterError, UsageError
from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.raster import resample
from samgeo.raster.reader import Raster
from samgeo.raster.resample import Axis, read_resampled
from samgeo.stretch import Stretch
from tests.doubles import NORTH_UP, UTM_33N, address_raster
from tests.rasters import LOCAL_PIXELS, everything, noise, write

# Where pixels come from ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "profile",
    [
        {},
        {"tiled": True, "blockxsize": 16, "blockysize": 32},
        {"interleave": "band", "compress": "deflate"},
        {"BIGTIFF": "YES", "compress": "zstd", "ENDIANNESS": "BIG"},
    ],
)
def test_every_window_holds_its_own_addresses(tmp_path: Path, profile: dict) -> None:
    path = address_raster(tmp_path / "address.tif", width=70, height=50, **profile)
    with Raster(path) as raster:
        for window in [
            Window(row=0, col=0, height=50, width=70),
            Window(row=13, col=40, height=5, width=1),
            Window(row=-4, col=60, height=12, width=20),
            Window(row=45, col=-3, height=100, width=100),
            Window(row=500, col=500, height=3, width=4),
            Window(row=3, col=3, height=0, width=5),
        ]:
            bands, valid = raster.read(window)
            rows, cols = np.indices(window.shape) + np.array([window.row, window.col])[:, None, None]
            inside = (rows >= 0) & (rows < 50) & (cols >= 0) & (cols < 70)
            assert np.array_equal(valid, inside)
            assert np.array_equal(bands[0], np.where(inside, rows, 0))
            assert np.array_equal(bands[1], np.where(inside, cols, 0))


@pytest.mark.parametrize(
    "transform",
    [
        NORTH_UP,
        Affine.translation(5e5, 5e6) @ Affine.rotation(30) @ Affine.scale(0.5, -0.5),
        Affine.translation(5e5, 5e6) @ Affine.shear(20, 5) @ Affine.scale(0.5, -2),
        Affine(0.5, 0, 5e5, 0, 0.5, 5e6),
        Affine(-0.5, 0, 5e5, 0, -0.25, 5e6),
    ],
)
def test_map_positions_reach_the_pixels_that_gdal_says(tmp_path: Path, transform: Affine) -> None:
    path = address_raster(tmp_path / "address.tif", width=70, height=50, transform=transform)
    with Raster(path) as raster, rasterio.open(path) as dataset:
        assert raster.grid.crs == CRS(UTM_33N)
        bands, _ = everything(raster)
        for row, col in [(0, 0), (49, 69), (17, 3)]:
            x, y = dataset.xy(row, col)
            at_col, at_row = (int(np.floor(value)) for value in raster.grid.to_pixel(x, y))
            assert (bands[0, at_row, at_col], bands[1, at_row, at_col]) == (row, col)


def test_reads_an_open_dataset_and_leaves_it_open(tmp_path: Path) -> None:
    path = address_raster(tmp_path / "address.tif", width=8, height=8)
    with rasterio.open(path) as dataset:
        with Raster(dataset) as raster, Raster(str(path)) as other:
            assert np.array_equal(everything(raster)[0], everything(other)[0])
        assert not dataset.closed


def test_paths_that_look_like_something_else(tmp_path: Path) -> None:
    for name in ["with space.tif", "a#b?c%20d.tif", "größe 東京.tif", "MEM:x.tif", "{brace}.tif", "-dash.tif"]:
        path = write(tmp_path / "plain.tif", noise(3)).rename(tmp_path / name)
        with Raster(path) as raster:
            assert raster.grid.shape == (20, 30)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        with Raster("MEM:x.tif") as raster:
            assert raster.name == str(tmp_path / "MEM:x.tif")


# Arrays -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["bands last", "bands first"])
def test_reads_an_array_with_its_grid(layout: str) -> None:
    image = np.moveaxis(noise(3), 0, -1)
    grid = Grid(width=30, height=20, transform=NORTH_UP, crs=CRS(UTM_33N))
    with Raster(image if layout == "bands last" else np.moveaxis(image, -1, 0), grid=grid) as raster:
        rgb, valid = raster.read_rgb(Window(row=18, col=28, height=4, width=4))
        assert np.array_equal(rgb[:2, :2], image[18:, 28:])
        assert valid.sum() == 4
        assert raster.grid == grid
        with pytest.raises(RasterError, match="in memory"):
            raster.source()


def test_masked_and_nan_pixels_of_arrays_are_not_valid() -> None:
    values = noise(1, dtype="float32")[0]
    values[2, 3] = np.nan
    masked = np.ma.masked_array(values, mask=np.zeros(values.shape, dtype=bool))
    masked.mask[5, 5] = True
    with Raster(masked, grid=Grid(width=30, height=20, transform=NORTH_UP)) as raster:
        _, valid = everything(raster)
    assert {tuple(place) for place in np.argwhere(~valid)} == {(2, 3), (5, 5)}


def test_refuses_arrays_that_cannot_be_placed() -> None:
    grid = Grid(width=3, height=3, transform=NORTH_UP)
    with pytest.raises(UsageError, match="expected grid="):
        Raster(np.zeros((3, 3)))
    with pytest.raises(UsageError, match="first or last"):
        Raster(np.zeros((3, 3, 3)), grid=grid)
    with pytest.raises(UsageError, match=r"\(4, 4\) for a grid of \(3, 3\)"):
        Raster(np.zeros((4, 4)), grid=grid)
    with pytest.raises(RasterError, match="4 bands"):
        Raster(np.zeros((4, 3, 3)), grid=grid)
    with pytest.raises(RasterError, match="complex"):
        Raster(np.zeros((3, 3), dtype=complex), grid=grid)
    with pytest.raises(UsageError, match="type int"):
        Raster(7)


class LazyArray:
    """As much of a DataArray with the rio accessor as is used, counting what is loaded."""

    def __init__(self, values: np.ndarray, loaded: list[int]) -> None:
        self._values, self._loaded = values, loaded
        self.dims, self.name, self.shape, self.dtype = ("band", "y", "x"), "scene", values.shape, values.dtype
        crs = rasterio.crs.CRS.from_epsg(32633)
        self.rio = SimpleNamespace(y_dim="y", x_dim="x", crs=crs, nodata=0, transform=lambda: NORTH_UP)

    def transpose(self, *dims: str) -> LazyArray:
        assert dims == ("band", "y", "x")
        return self

    def __getitem__(self, key: object) -> LazyArray:
        return LazyArray(self._values[key], self._loaded)

    @property
    def values(self) -> np.ndarray:
        self._loaded.append(self._values.size)
        return self._values


def test_reads_a_data_array_window_by_window() -> None:
    loaded: list[int] = []
    bands = noise(3)
    bands[:, 1, 1] = 0
    with Raster(LazyArray(bands, loaded)) as raster:
        assert raster.grid == Grid(width=30, height=20, transform=NORTH_UP, crs=CRS(UTM_33N))
        assert not loaded
        values, valid = raster.read(Window(row=0, col=0, height=2, width=2))
    assert np.array_equal(values, bands[:, :2, :2])
    assert np.array_equal(valid, [[True, True], [True, False]])
    assert loaded == [12]


# The working grid ---------------------------------------------------------------------------------------------------

sizes = st.integers(1, 60)


@st.composite
def cuts(draw: st.DrawFn, working: int) -> tuple[int, int]:
    start = draw(st.integers(0, working - 1))
    return start, draw(st.integers(start + 1, working))


@given(sizes, sizes, st.booleans(), st.data())
def test_shares_of_a_working_pixel_do_not_depend_on_the_window(
    native: int, working: int, nearest: bool, data: st.DataObject
) -> None:
    axis = Axis(native=native, working=working, nearest=nearest)
    start, stop = data.draw(cuts(working))
    first, last = axis.support(start, stop)
    assert 0 <= first < last <= native
    assert np.array_equal(axis.indices(start, stop), axis.indices(0, working)[start:stop])
    assert ((axis.indices(start, stop) >= first) & (axis.indices(start, stop) < last)).all()
    if nearest:
        return
    part, whole = axis.weights(start, stop).toarray(), axis.weights(0, working).toarray()
    assert np.array_equal(part, whole[start:stop, first:last])
    assert np.allclose(whole.sum(axis=1), 1)
    if native >= working:
        assert np.allclose(whole.sum(axis=0), working / native)


@given(st.data())
def test_any_window_of_the_working_grid_equals_the_cut_whole(data: st.DataObject) -> None:
    """Bit for bit, with holes, in both directions, also when windows are made piece by piece."""
    height, width = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 40))
    rows = Axis(native=height, working=data.draw(sizes))
    cols = Axis(native=width, working=data.draw(sizes))
    random = np.random.default_rng(data.draw(st.integers(0, 1000)))
    bands = random.normal(0, 1000, (3, height, width)).astype(np.float32)
    holes = random.random((height, width)) > 0.2
    bands[:, ~holes] = np.nan

    def read(window: Window) -> tuple[np.ndarray, np.ndarray]:
        return bands[:, *window.slices()], holes[window.slices()]

    whole = Window(row=0, col=0, height=rows.working, width=cols.working)
    values, valid = read_resampled(read, whole, rows=rows, cols=cols)
    (top, bottom), (left, right) = data.draw(cuts(rows.working)), data.draw(cuts(cols.working))
    window = Window(row=top, col=left, height=bottom - top, width=right - left)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resample, "CHUNK_PX", data.draw(st.integers(1, 400)))
        part, part_valid = read_resampled(read, window, rows=rows, cols=cols)
    assert np.array_equal(part, values[:, *window.slices()])
    assert np.array_equal(part_valid, valid[window.slices()])
    assert np.isfinite(part).all()


@pytest.mark.parametrize("resolution", [0.5, 0.7, 1.0, 1.9, 0.2])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_tiles_of_a_file_at_any_resolution_add_up_to_the_whole(tmp_path: Path, resolution: float, dtype: str) -> None:
    bands = noise(3, 90, 110, dtype)
    bands[:, 30:50, 20:33] = 0
    path = write(tmp_path / "scene.tif", bands, nodata=0, tiled=True, blockxsize=32, blockysize=16)
    with Raster(path, resolution_m=resolution) as raster:
        whole, whole_valid = everything(raster)
        assert raster.grid.gsd_m == pytest.approx(resolution, rel=0.02)
        assert 0 < (~whole_valid).sum() < whole_valid.size / 4
        for row in range(0, raster.grid.height, 37):
            for col in range(0, raster.grid.width, 41):
                window = Window(row=row, col=col, height=40, width=50)
                inside = window.intersection(raster.grid.window)
                part, valid = raster.read(window)
                assert np.array_equal(part[:, : inside.height, : inside.width], whole[:, *inside.slices()])
                assert np.array_equal(valid[: inside.height, : inside.width], whole_valid[inside.slices()])


def test_coarser_pixels_are_means_and_finer_pixels_are_linear(tmp_path: Path) -> None:
    path = address_raster(tmp_path / "address.tif", width=40, height=40, transform=LOCAL_PIXELS, crs=None)
    with Raster(path, resolution_m=4) as raster:
        bands, _ = everything(raster)
        assert raster.grid.shape == (10, 10)
        assert np.array_equal(bands[0, :, 0], np.rint(np.arange(10) * 4 + 1.5))
    values = np.arange(40, dtype=np.float32)[None].repeat(2, axis=0)
    with Raster(values, grid=Grid(width=40, height=2, transform=LOCAL_PIXELS), resolution_m=0.5) as raster:
        bands, _ = everything(raster)
        expected = (np.arange(80) + 0.5) / 2 - 0.5
        assert np.allclose(bands[0, 0], expected.clip(0, 39))


@pytest.mark.parametrize("resolution", [4.0, 3.0, 0.5, 0.3])
def test_resampling_agrees_with_gdal(tmp_path: Path, resolution: float) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 60, 90), transform=LOCAL_PIXELS, crs=None)
    for resampling, gdal in [("auto", "average" if resolution > 1 else "bilinear"), ("nearest", "nearest")]:
        with Raster(path, resolution_m=resolution, resampling=resampling) as raster, rasterio.open(path) as dataset:
            bands, _ = everything(raster)
            wanted = dataset.read(out_shape=bands.shape, resampling=rasterio.enums.Resampling[gdal])
        assert np.abs(bands.astype(int) - wanted).max() <= (0 if resampling == "nearest" else 1)


def test_pixels_that_are_not_valid_have_no_weight(tmp_path: Path) -> None:
    bands = np.full((3, 8, 8), 100.0, dtype=np.float32)
    bands[:, :4, :3] = -9999
    path = write(tmp_path / "scene.tif", bands, nodata=-9999, transform=LOCAL_PIXELS, crs=None)
    with Raster(path, resolution_m=4) as raster:
        values, valid = everything(raster)
    assert np.array_equal(valid, [[False, True], [True, True]])  # a quarter of the first footprint is not enough
    assert (values[:, valid] == 100).all()


def test_nearest_keeps_values_as_they_are(tmp_path: Path) -> None:
    bands = np.where(noise(3, 33, 47) > 50, 200, 3).astype(np.uint8)
    with Raster(write(tmp_path / "scene.tif", bands), resolution_m=1.3, resampling="nearest") as raster:
        values, _ = everything(raster)
    assert set(np.unique(values)) == {3, 200}
    with pytest.raises(UsageError, match="resampling"):
        Raster(tmp_path / "scene.tif", resampling="cubic")


# Threads, metadata, real files --------------------------------------------------------------------------------------


def test_many_threads_read_one_raster(tmp_path: Path) -> None:
    path = address_raster(tmp_path / "address.tif", width=300, height=300, tiled=True, compress="deflate")
    barrier = threading.Barrier(4)

    def read(row: int) -> bool:
        if row < 4:
            barrier.wait(10)
        bands, _ = raster.read(Window(row=row, col=row, height=40, width=40))
        return bool((bands[0, 0] == row).all() and (bands[1, :, 0] == row).all())

    with Raster(path) as raster, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))
    with rasterio.open(path) as dataset, Raster(dataset) as raster, ThreadPoolExecutor(4) as pool:
        assert all(pool.map(read, range(200)))


def test_description_is_json_and_complete(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3, dtype="float32"), nodata=np.nan)
    with Raster(path, resolution_m=1) as raster:
        told = json.loads(json.dumps(raster.describe()))
        assert Grid.from_dict(told["grid"]) == raster.grid
        assert Stretch.from_dict(told["stretch"]) == raster.stretch
    assert (told["dtype"], told["nodata"], told["georeference"]) == ("float32", "nan", "transform")
