"""Raster: which bands are the picture, which pixels are valid, and one look for all."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from rasterio.enums import ColorInterp

from samgeo.errors import RasterError, UsageError
from samgeo.pixels import Window
from samgeo.raster.reader import Raster
from samgeo.stretch import Stretch
from tests.rasters import everything, noise, write

# Which bands are the picture ----------------------------------------------------------------------------------------

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
    with pytest.raises(RasterError, match=r"has 2 bands.*--bands 1 "):
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
    with pytest.raises(RasterError, match=r"complex.*rio calc"):
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


# Which pixels are valid ---------------------------------------------------------------------------------------------


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


def test_valid_pixels_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("samgeo.raster.reader.BLOCK_PX", 8)
    hole = np.random.default_rng(0).random((20, 30)) < 0.3
    with Raster(write(tmp_path / "mask.tif", noise(3), mask=~hole)) as raster:
        rows, cols = np.random.default_rng(1).integers(0, (20, 30), (500, 2)).T
        assert np.array_equal(raster.valid_at(rows, cols), ~hole[rows, cols])
        assert raster.valid_at(rows[:0], cols[:0]).shape == (0,)


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


# One look -----------------------------------------------------------------------------------------------------------


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
