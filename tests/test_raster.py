"""Raster: the right pixels at the right place, or one error that says what to do."""

from __future__ import annotations

import json
import os
import pickle
import threading
import warnings
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
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp

from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning, UnsafeInputError, UsageError
from samgeo.grid import Grid
from samgeo.pixels import Window
from samgeo.raster import dataset as dataset_module
from samgeo.raster import resample
from samgeo.raster.reader import Raster
from samgeo.raster.resample import Axis, read_resampled
from samgeo.stretch import Stretch
from tests.doubles import NORTH_UP, UTM_33N, address_raster

LOCAL_PIXELS = Affine(1.0, 0.0, 0.0, 0.0, -1.0, 0.0)


def write(path: Path, bands: np.ndarray, *, crs: object = UTM_33N, transform: object = NORTH_UP, **profile) -> Path:
    """A GeoTIFF of bands (B, h, w); `colours`, `mask`, `colormap`, `gcps`, `tags` as the dataset takes them."""
    extras = {key: profile.pop(key, None) for key in ("colours", "mask", "colormap", "gcps", "descriptions", "rpcs")}
    size = {"count": len(bands), "height": bands.shape[1], "width": bands.shape[2], "dtype": bands.dtype}
    place = {key: value for key, value in (("crs", crs), ("transform", transform)) if value is not None}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", **{"driver": "GTiff", **size, **place, **profile}) as ds,
        ):
            if extras["colours"]:
                ds.colorinterp = extras["colours"]
            if extras["colormap"]:
                ds.write_colormap(1, extras["colormap"])
            if extras["gcps"]:
                ds.gcps = extras["gcps"]
            if extras["rpcs"]:
                ds.rpcs = extras["rpcs"]
            if extras["descriptions"]:
                ds.descriptions = extras["descriptions"]
            ds.write(bands)
            if extras["mask"] is not None:
                ds.write_mask(extras["mask"])
    return path


def noise(count: int, height: int = 20, width: int = 30, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(7).integers(1, 100, (count, height, width)).astype(dtype)


def everything(raster: Raster) -> tuple[np.ndarray, np.ndarray]:
    return raster.read(raster.grid.window)


# Where pixels come from ------------------------------------------------------------------------------------------


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


# Arrays ----------------------------------------------------------------------------------------------------------


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


# The working grid ------------------------------------------------------------------------------------------------

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


# Which bands are the picture -------------------------------------------------------------------------------------

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


@pytest.mark.parametrize(
    ("count", "colours", "asked", "expected"),
    [
        (1, (ColorInterp.gray,), None, (1,)),
        (3, (ColorInterp.gray, ColorInterp.undefined, ColorInterp.undefined), None, (1, 2, 3)),
        (3, RGB[::-1], None, (3, 2, 1)),
        (4, (*RGB, ColorInterp.undefined), None, (1, 2, 3)),
        (4, (*RGB, ColorInterp.alpha), None, (1, 2, 3)),
        (2, (ColorInterp.gray, ColorInterp.alpha), None, (1,)),
        (5, (ColorInterp.gray, *[ColorInterp.undefined] * 4), (4, 3, 2), (4, 3, 2)),
        (5, (ColorInterp.gray, *[ColorInterp.undefined] * 4), (5,), (5,)),
    ],
)
def test_bands_are_chosen_by_what_the_file_says(
    tmp_path: Path, count: int, colours: tuple, asked: tuple | None, expected: tuple
) -> None:
    bands = noise(count)
    photometric = {"photometric": "MINISBLACK"} if count == 4 else {}
    path = write(tmp_path / "scene.tif", bands, colours=colours, **photometric)
    with Raster(path, bands=asked) as raster:
        values, _ = everything(raster)
    assert np.array_equal(values, bands[[index - 1 for index in expected]])


def test_refuses_to_guess_which_bands_are_colours(tmp_path: Path) -> None:
    names = ("coastal", "blue", "green", "red", *[f"b{index}" for index in range(5, 14)])
    path = write(tmp_path / "s2.tif", noise(13, dtype="uint16"), descriptions=names)
    with pytest.raises(RasterError, match=r"s2\.tif: has 13 bands \(1 coastal, 2 blue.*--bands 4,3,2"):
        Raster(path)
    with pytest.raises(RasterError, match=r"has 2 bands.*--bands R,G,B"):
        Raster(write(tmp_path / "two.tif", noise(2)))
    with pytest.raises(RasterError, match="has 4 bands"):
        Raster(write(tmp_path / "four.tif", noise(4, dtype="uint16"), photometric="MINISBLACK"))
    with pytest.raises(RasterError, match="has 4 bands"):
        Raster(write(tmp_path / "cmyk.tif", noise(4, dtype="uint16"), photometric="CMYK"))


@pytest.mark.parametrize("bands", [(1, 2), (0,), (14, 1, 2), (1, 2, 3, 4)])
def test_refuses_bands_that_are_not_there(tmp_path: Path, bands: tuple) -> None:
    path = write(tmp_path / "s2.tif", noise(13, dtype="uint16"))
    with pytest.raises(UsageError, match="--bands"):
        Raster(path, bands=bands)


def test_a_palette_becomes_colours(tmp_path: Path) -> None:
    indices = np.arange(6, dtype=np.uint8).reshape(1, 2, 3) % 3
    colormap = {0: (10, 20, 30, 255), 1: (200, 100, 0, 255), 2: (7, 7, 7, 0)}
    path = write(tmp_path / "palette.tif", indices, colormap=colormap, photometric="palette")
    with Raster(path) as raster:
        rgb, _ = raster.read_rgb(raster.grid.window)
    assert np.array_equal(rgb[0, 0], (10, 20, 30))
    assert np.array_equal(rgb[1, 1], (200, 100, 0))


def test_refuses_complex_and_mixed_bands(tmp_path: Path) -> None:
    with pytest.raises(RasterError, match=r"complex.*gdal_calc"):
        Raster(write(tmp_path / "sar.tif", noise(1, dtype="complex64")))
    one, two = (write(tmp_path / f"{kind}.tif", noise(1, dtype=kind)) for kind in ("uint8", "uint16"))
    source = "<SourceFilename>{}</SourceFilename><SourceBand>1</SourceBand>"
    parts = [
        f'<VRTRasterBand dataType="{kind}" band="{index}"><SimpleSource>{source.format(path)}'
        "</SimpleSource></VRTRasterBand>"
        for index, (kind, path) in enumerate([("Byte", one), ("UInt16", two), ("UInt16", two)], start=1)
    ]
    mixed = tmp_path / "mixed.vrt"
    mixed.write_text(f'<VRTDataset rasterXSize="30" rasterYSize="20">{"".join(parts)}</VRTDataset>')
    with pytest.raises(RasterError, match=r"types.*uint16.*uint8"):
        Raster(mixed)


# Which pixels are valid ------------------------------------------------------------------------------------------


def test_nodata_mask_alpha_and_nan_are_not_valid(tmp_path: Path) -> None:
    hole = np.zeros((20, 30), dtype=bool)
    hole[4:9, 10:12] = True
    plain, numbers = noise(3), noise(3, dtype="float32")
    nodata = np.where(hole, 0, plain).astype(np.uint8)
    minimum = float(np.finfo(np.float32).min)
    alpha = np.concatenate([plain, np.where(hole, 0, 255)[None].astype(np.uint8)])
    cases = [
        write(tmp_path / "nodata.tif", nodata, nodata=0),
        write(tmp_path / "float.tif", np.where(hole, minimum, numbers), nodata=minimum),
        write(tmp_path / "nan.tif", np.where(hole, np.nan, numbers), nodata=np.nan),
        write(tmp_path / "no_nodata.tif", np.where(hole, np.inf, numbers)),
        write(tmp_path / "mask.tif", plain, mask=~hole),
        write(tmp_path / "alpha.tif", alpha, colours=(*RGB, ColorInterp.alpha)),
        write(tmp_path / "int16.tif", np.where(hole, -32768, numbers).astype(np.int16), nodata=-32768),
    ]
    for path in cases:
        with Raster(path) as raster:
            rgb, valid = raster.read_rgb(raster.grid.window)
            assert np.array_equal(valid, ~hole), path.name
            assert (rgb[hole] == 0).all(), path.name
            assert np.isfinite([*raster.stretch.low, *raster.stretch.high]).all()


def test_black_in_one_band_is_a_colour_but_a_sentinel_in_one_band_is_a_hole(tmp_path: Path) -> None:
    colour = noise(3)
    colour[0, 0, 0] = 0
    with Raster(write(tmp_path / "rgb.tif", colour, nodata=0)) as raster:
        assert everything(raster)[1].all()
    number = noise(3, dtype="float32")
    number[0, 0, 0] = -9999
    with Raster(write(tmp_path / "float.tif", number, nodata=-9999)) as raster:
        assert not everything(raster)[1][0, 0]


def test_alpha_masks_even_among_many_bands(tmp_path: Path) -> None:
    bands = noise(6)
    bands[5] = 255
    bands[5, 2, 2] = 0
    meaning = [ColorInterp.undefined] * 5 + [ColorInterp.alpha]
    path = write(tmp_path / "scene.tif", bands, colours=meaning, photometric="MINISBLACK")
    with Raster(path, bands=(3, 2, 1)) as raster:
        _, valid = everything(raster)
    assert np.argwhere(~valid).tolist() == [[2, 2]]


def test_all_nodata_reads_as_black(tmp_path: Path) -> None:
    path = write(tmp_path / "empty.tif", np.zeros((3, 9, 9), dtype=np.uint16), nodata=0)
    with Raster(path) as raster:
        rgb, valid = raster.read_rgb(raster.grid.window)
    assert not valid.any()
    assert not rgb.any()


# One look --------------------------------------------------------------------------------------------------------


def test_the_stretch_is_fitted_once_and_travels(tmp_path: Path) -> None:
    bands = noise(3, 200, 200, "uint16") * 40
    bands[:, :50] = 60_000
    path = write(tmp_path / "scene.tif", bands, nodata=60_000)
    with Raster(path) as raster:
        assert raster.stretch is raster.stretch
        assert max(raster.stretch.high) < 4000
        source = pickle.loads(pickle.dumps(raster.source()))
        rgb, valid = raster.read_rgb(Window(row=90, col=90, height=50, width=50))
    with source.open() as again:
        assert again.stretch == raster.stretch
        other, other_valid = again.read_rgb(Window(row=90, col=90, height=50, width=50))
    assert np.array_equal(other, rgb)
    assert np.array_equal(other_valid, valid)


def test_eight_bits_are_not_stretched_and_one_bit_is(tmp_path: Path) -> None:
    with Raster(write(tmp_path / "dark.tif", noise(3))) as raster:
        assert raster.stretch == Stretch.identity(3)
    bits = (noise(1) > 50).astype(np.uint8)
    with Raster(write(tmp_path / "bits.tif", bits, nbits=1)) as raster:
        rgb, _ = raster.read_rgb(raster.grid.window)
    assert np.array_equal(rgb[..., 0], bits[0] * 255)


def test_a_large_raster_is_sampled_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = np.linspace(0, 60_000, 3000).astype(np.uint16)
    bands = np.broadcast_to(rows[None, :, None], (1, 3000, 3000))
    path = write(tmp_path / "large.tif", bands, tiled=True, compress="deflate")
    with Raster(path) as raster:
        read, native = [], raster._pixels.read
        monkeypatch.setattr(raster._pixels, "read", lambda window: read.append(window) or native(window))
        assert raster.stretch.low[0] == pytest.approx(1200, abs=1500)
        assert raster.stretch.high[0] == pytest.approx(58_800, abs=1500)
    assert sum(window.height * window.width for window in read) <= 2_000_000


def test_a_small_island_in_a_large_empty_raster_is_found(tmp_path: Path) -> None:
    bands = np.zeros((1, 3000, 3000), dtype=np.uint16)
    bands[0, 2:60, 2:60] = 500 + np.arange(58)
    path = write(tmp_path / "island.tif", bands, nodata=0, tiled=True, compress="deflate")
    with Raster(path) as raster:
        assert 500 <= raster.stretch.low[0] < 510
        assert 547 < raster.stretch.high[0] <= 557


# Where the raster lies -------------------------------------------------------------------------------------------


def test_no_crs_is_placed_in_unknown_units(tmp_path: Path) -> None:
    path = address_raster(tmp_path / "address.tif", width=8, height=8, crs=None)
    with Raster(path) as raster:
        assert raster.grid.crs is None
        assert raster.unplaced is None
        raster.require_placed()
    with Raster(path, crs="EPSG:32633") as raster:
        assert raster.grid.crs == CRS(32633)
        with raster.source().open() as again:
            assert again.grid == raster.grid


@pytest.mark.parametrize("crs", [None, UTM_33N])
def test_no_transform_is_not_an_identity_transform(tmp_path: Path, crs: str | None) -> None:
    path = address_raster(tmp_path / "nothing.tif", width=8, height=8, crs=crs, transform=None)
    with Raster(path) as raster:
        assert "no geotransform" in str(raster.unplaced)
        assert raster.grid.crs is None
        with pytest.raises(RasterError, match=r"nothing\.tif.*gdal_edit"):
            raster.require_placed()
        assert everything(raster)[1].all()
    stated = address_raster(tmp_path / "identity.tif", width=8, height=8, transform=Affine.identity())
    with Raster(stated) as raster:
        assert raster.unplaced is None


def test_control_points_and_coefficients_alone_name_gdalwarp(tmp_path: Path) -> None:
    corners = [(0, 0, 10, 50), (0, 30, 11, 50), (20, 0, 10, 49), (20, 30, 11, 49)]
    points = [GroundControlPoint(row=row, col=col, x=x, y=y) for row, col, x, y in corners]
    gcps = (points, rasterio.crs.CRS.from_epsg(4326))
    rpcs = rasterio.rpc.RPC(
        height_off=0, height_scale=1, lat_off=0, lat_scale=1, line_off=0, line_scale=1, long_off=0, long_scale=1,
        samp_off=0, samp_scale=1, line_num_coeff=[1] * 20, line_den_coeff=[1] * 20, samp_num_coeff=[1] * 20,
        samp_den_coeff=[1] * 20,
    )  # fmt: skip
    for extra, hint in [({"gcps": gcps}, "4 ground control.*gdalwarp -t_srs EPSG:4326"), ({"rpcs": rpcs}, "-rpc")]:
        path = write(tmp_path / "scene.tif", noise(3), crs=None, transform=None, **extra)
        with Raster(path) as raster:
            assert everything(raster)[1].all()
            with pytest.raises(RasterError, match=hint):
                raster.require_placed()
        path.unlink()


def test_heights_of_a_compound_crs_are_left_out_and_said(tmp_path: Path) -> None:
    path = address_raster(tmp_path / "address.tif", width=8, height=8, crs="EPSG:25832+5783")
    with pytest.warns(SamgeoWarning, match="heights are left out"), Raster(path) as raster:
        assert raster.grid.crs == CRS(25832)


def test_a_crs_that_cannot_be_understood_is_said_and_not_guessed(real_data: Path) -> None:
    path = real_data / "robustness" / "geo_odd" / "unsupported-srs.tif"
    with pytest.warns(SamgeoWarning, match="cannot be understood"):
        raster = Raster(path)
    with raster:
        assert raster.grid.crs is None
        assert everything(raster)[1].any()


def test_an_extent_outside_its_crs_is_refused_with_the_numbers(tmp_path: Path) -> None:
    degrees = Affine(1e-3, 0, 10, 0, -1e-3, 95)
    with pytest.raises(RasterError, match=r"address\.tif.*94\.99"):
        Raster(address_raster(tmp_path / "address.tif", width=8, height=8, crs="EPSG:4326", transform=degrees))


# What is refused -------------------------------------------------------------------------------------------------


def test_a_truncated_file_names_file_bands_window_and_size(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 200, 200), blockysize=10)
    os.truncate(path, path.stat().st_size // 2)
    with Raster(path) as raster:
        assert raster.read(Window(row=0, col=0, height=10, width=10))[1].all()
        with pytest.raises(
            RasterError, match=r"scene\.tif, bands \(1, 2, 3\), rows 150 to 200, columns 0 to 40.*bytes"
        ):
            raster.read(Window(row=150, col=0, height=60, width=40))


@pytest.mark.parametrize(
    "text", ["WMS:https://example.org/wms", "<VRTDataset/>", "NETCDF:missing.nc:band", '{"type": "gdal"}', "MEM:::X=1"]
)
def test_connection_strings_of_gdal_are_unsafe(text: str) -> None:
    with pytest.raises(UnsafeInputError, match="connection string"):
        Raster(text)


def test_refuses_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "text.tif").write_text("<html>not found</html>")
    (tmp_path / "empty.tif").touch()
    (tmp_path / "loop.tif").symlink_to("loop.tif")
    for name, found in [
        ("missing.tif", "cannot be found"), ("pipe.tif", "pipe"), (".", "folder"), ("text.tif", "not recognized"),
        ("empty.tif", "0 bytes"), ("loop.tif", "symbolic links"), ("x" * 5000, "too long"), ("a\0b", "null"),
    ]:  # fmt: skip
        with pytest.raises(RasterError, match=found):
            Raster(f"{tmp_path}/{name}")


def test_headers_that_declare_absurd_sizes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "huge.tif"
    write(path, np.zeros((3, 1, 1), dtype=np.uint8))
    with Raster(path):
        pass
    for limit, found in [
        ("MAX_PIXELS", "1 x 1 px"),
        ("MAX_BANDS", "3 bands"),
        ("MAX_BLOCK_BYTES", "blocks of 1 bytes"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(dataset_module, limit, 0)
            with pytest.raises(ResourceLimitError, match=found):
                Raster(path)
    size = {"width": 60_000, "height": 60_000, "count": 1, "dtype": "uint8", "tiled": True, "SPARSE_OK": True}
    with rasterio.open(tmp_path / "sparse.tif", "w", driver="GTiff", crs=UTM_33N, transform=NORTH_UP, **size):
        pass
    with Raster(tmp_path / "sparse.tif") as raster:  # 3.6 GB declared in a few hundred kB is an honest sparse file
        assert not raster.read(Window(row=59_000, col=0, height=2, width=2))[0].any()
    monkeypatch.setattr(dataset_module, "MAX_EXPANSION", 100)
    with pytest.raises(ResourceLimitError, match="not believable"):
        Raster(tmp_path / "sparse.tif")


def test_a_container_of_rasters_names_them(tmp_path: Path) -> None:
    path = tmp_path / "several.gpkg"
    for name in ("summer", "winter"):
        write(path, noise(3), driver="GPKG", crs="EPSG:3857", RASTER_TABLE=name, APPEND_SUBDATASET="YES")
    with pytest.raises(RasterError, match=r"no bands.*GPKG:.*summer.*winter.*gdal_translate"):
        Raster(path)


def test_a_vrt_names_its_missing_source(tmp_path: Path) -> None:
    path = tmp_path / "scene.vrt"
    source = "<SourceFilename>gone.tif</SourceFilename><SourceBand>1</SourceBand>"
    band = f'<VRTRasterBand dataType="Byte" band="1"><SimpleSource>{source}</SimpleSource></VRTRasterBand>'
    place = f"<SRS>EPSG:32633</SRS><GeoTransform>{', '.join(map(str, NORTH_UP.to_gdal()))}</GeoTransform>"
    path.write_text(f'<VRTDataset rasterXSize="2" rasterYSize="2">{place}{band}</VRTDataset>')
    with Raster(path) as raster, pytest.raises(RasterError, match=r"gone\.tif"):
        everything(raster)


def test_passwords_and_signatures_stay_out_of_messages() -> None:
    url = "https://user:secret@example.org/data/ortho.tif?X-Signature=abc"
    assert dataset_module.display_name(url) == "https://example.org/data/ortho.tif"


def test_a_file_that_changed_since_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3))
    with Raster(path) as raster:
        source = raster.source()
    os.utime(path, ns=(1, 1))
    with pytest.raises(RasterError, match="has changed"):
        source.open()


def test_reading_after_close_is_an_error(tmp_path: Path) -> None:
    with Raster(write(tmp_path / "scene.tif", noise(3))) as raster:
        pass
    with pytest.raises(UsageError, match="closed"):
        everything(raster)


# Threads, metadata, real files -----------------------------------------------------------------------------------


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


def test_odd_real_files_give_a_picture_or_one_clear_error(real_data: Path) -> None:
    """The 68 generated files of the collection of odd rasters, one property each; no crash, no foreign error."""
    folder = real_data / "robustness" / "generated"
    refused: dict[str, Exception] = {}
    for path in sorted(folder.glob("*.*")):
        try:
            with Raster(path) as raster:
                rgb, valid = raster.read_rgb(Window(row=0, col=0, height=128, width=128))
                raster.read_rgb(Window(row=max(0, raster.grid.height - 64), col=0, height=128, width=128))
            assert rgb.shape == (128, 128, 3)
            assert valid.shape == (128, 128)
        except (RasterError, ResourceLimitError) as error:
            refused[path.stem] = error
    assert {"bands_13_uint16", "complex64", "truncated_half", "empty", "random", "zero_width"} <= set(refused)
    assert all(name in str(error) for name, error in refused.items())
    assert len(refused) < 20
