"""What pixels can be: one band or thirteen, any number, no number, a hole, a colour table. Rows P1 to P17."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.enums import ColorInterp
from rasterio.rio.main import main_group

from samgeo.errors import RasterError, SamgeoWarning
from samgeo.pipeline.segment import segment
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from samgeo.stretch import Stretch
from tests.oracle import OracleModel
from tests.rasters import do_the_fix, everything, noise, vrt_band, write, write_vrt
from tests.scenes import random_scene

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
FLOAT_MIN = float(np.finfo(np.float32).min)
HOLE = np.zeros((20, 30), dtype=bool)
HOLE[4:9, 10:12] = True


def look(path: Path, **options: object) -> tuple[np.ndarray, np.ndarray]:
    """What the model sees of a whole raster, and where it is valid."""
    with Raster(path, **options) as raster:
        return raster.read_rgb(raster.grid.window)


# P1 to P4: which bands are the picture ------------------------------------------------------------------------------


def test_p1_one_band_is_repeated_and_the_metadata_says_so(tmp_path: Path) -> None:
    bands = noise(1)
    with Raster(write(tmp_path / "grey.tif", bands)) as raster:
        rgb, _ = raster.read_rgb(raster.grid.window)
        assert raster.describe()["picture"] == "band 1 as grey"
    assert np.array_equal(rgb, np.moveaxis(np.repeat(bands, 3, axis=0), 0, -1))


def test_p2_the_second_of_two_bands_is_a_mask_if_it_is_called_alpha_and_else_a_question(tmp_path: Path) -> None:
    bands = np.stack([noise(1)[0], np.where(HOLE, 0, 255).astype(np.uint8)])
    rgb, valid = look(write(tmp_path / "alpha.tif", bands, colours=(ColorInterp.gray, ColorInterp.alpha)))
    assert np.array_equal(valid, ~HOLE)
    assert np.array_equal(rgb[valid, 0], bands[0][~HOLE])
    path = write(tmp_path / "two.tif", bands, colours=(ColorInterp.gray, ColorInterp.undefined))
    with pytest.raises(RasterError, match=r"two\.tif: has 2 bands.*Fix: --bands 1 "):
        Raster(path)
    assert look(path, bands=(1,))[1].all()


def test_p3_a_fourth_band_is_a_mask_only_if_it_is_called_alpha(tmp_path: Path) -> None:
    bands = np.concatenate([noise(3), np.where(HOLE, 0, 90)[None].astype(np.uint8)])
    infrared = write(tmp_path / "nir.tif", bands, colours=(*RGB, ColorInterp.undefined), photometric="RGB", alpha="NO")
    assert look(infrared)[1].all()
    assert np.array_equal(look(write(tmp_path / "alpha.tif", bands, colours=(*RGB, ColorInterp.alpha)))[1], ~HOLE)


@pytest.mark.parametrize(
    ("names", "proposed"),
    [
        ([f"B{band:02}" for band in (1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12)], "4,3,2"),
        ([f"B{band}" for band in (1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 11, 12)], "4,3,2"),
        (["Blue", "Green", "Red", *["more"] * 10], "3,2,1"),
    ],
)
def test_p4_thirteen_bands_are_refused_with_those_that_are_named_red_green_and_blue(
    tmp_path: Path, names: list[str], proposed: str
) -> None:
    bands = noise(13, dtype="uint16")
    path = write(tmp_path / "many.tif", bands, descriptions=names)
    with pytest.raises(RasterError, match=rf"many\.tif: has 13 bands.*Fix: --bands {proposed} "):
        Raster(path)
    chosen = tuple(int(index) for index in proposed.split(","))
    with Raster(path, bands=chosen) as raster:
        assert np.array_equal(everything(raster)[0], bands[[index - 1 for index in chosen]])
        assert raster.describe()["picture"] == "bands {}, {}, {}".format(*chosen)


# P5 to P8: which numbers --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64"])
def test_p5_values_are_stretched_between_the_percentiles_of_the_whole_raster(tmp_path: Path, dtype: str) -> None:
    bands = (
        np.random.default_rng(5).normal(500, 150, (3, 40, 50)).clip(1) * (200 if dtype[-2:] == "32" else 1)
    ).astype(dtype)
    rgb, _ = look(write(tmp_path / "scene.tif", bands))
    for band, channel in zip(bands.astype(float), np.moveaxis(rgb, -1, 0), strict=True):
        low, high = np.percentile(band, (2, 98))
        assert np.abs(channel - (255 * (band - low) / (high - low)).clip(0, 255)).max() <= 0.5 + 1e-6


def test_p6_signed_and_packed_values_keep_their_order_and_their_white(tmp_path: Path) -> None:
    signed = np.arange(-128, 128).reshape(1, 16, 16).astype(np.int8)
    rgb, _ = look(write(tmp_path / "int8.tif", signed))
    assert (np.diff(rgb[..., 0].ravel().astype(int)) >= 0).all()
    assert (rgb[0, 0, 0], rgb[-1, -1, 0]) == (0, 255)
    for bits in (1, 2, 4):
        values = (np.arange(64).reshape(1, 8, 8) % 2**bits).astype(np.uint8)
        rgb, _ = look(write(tmp_path / f"{bits}.tif", values, nbits=bits))
        assert np.array_equal(rgb[..., 0], np.rint(values[0] * (255 / (2**bits - 1))))
    twelve = (np.arange(4096) % 4096).reshape(1, 64, 64).astype(np.uint16)
    with Raster(write(tmp_path / "12.tif", twelve, nbits=12)) as raster:
        assert np.array_equal(everything(raster)[0], twelve)


@pytest.mark.parametrize("dtype", ["complex64", "complex128"])
def test_p7_complex_values_are_refused_with_the_command_that_makes_amplitudes(tmp_path: Path, dtype: str) -> None:
    values = (noise(1) + 1j * noise(1)[:, ::-1]).astype(dtype)
    path = write(tmp_path / "sar.tif", values)
    with pytest.raises(RasterError, match=r"sar\.tif: bands \(1,\) are complex") as refused:
        Raster(path)
    with Raster(do_the_fix(refused.value, tmp_path)) as raster:
        assert np.allclose(everything(raster)[0], np.abs(values))


@pytest.mark.parametrize("dtype", ["CInt16", "CInt32", "CFloat64"])
def test_p7_complex_values_of_any_size_are_refused(tmp_path: Path, dtype: str) -> None:
    vrt = write_vrt(tmp_path / "sar.vrt", write(tmp_path / "plain.tif", noise(1)), [vrt_band(1, dtype)])
    with pytest.raises(RasterError, match=r"sar\.vrt: bands \(1,\) are complex"):
        Raster(vrt)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("nodata", [None, -9999, np.nan])
def test_p8_what_is_no_number_is_not_valid_and_does_not_move_the_stretch(
    tmp_path: Path, number: float, nodata: float | None
) -> None:
    bands = noise(3, dtype="float32")
    clean = Stretch.fit(bands[:, ~HOLE], np.ones(np.count_nonzero(~HOLE), dtype=bool))
    bands[1, HOLE] = number
    with Raster(write(tmp_path / "scene.tif", bands, nodata=nodata)) as raster:
        rgb, valid = raster.read_rgb(raster.grid.window)
        assert raster.stretch == clean
    assert np.array_equal(valid, ~HOLE)
    assert not rgb[HOLE].any()


# P9 to P11: which pixels are not there ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "nodata", "hole"),
    [
        ("uint8", 0, 0), ("uint8", 255, 255), ("int8", -128, -128), ("uint16", 65535, 65535), ("int16", -32768, -32768),
        ("uint32", 2**32 - 1, 2**32 - 1), ("int32", -(2**31), -(2**31)), ("int64", -9999, -9999),
        ("float32", -9999, -9999), ("float32", 0.1, np.float32(0.1)), ("float32", FLOAT_MIN, FLOAT_MIN),
        ("float32", np.nan, np.nan), ("float64", 1e300, 1e300), ("float64", -9999.9, -9999.9),
    ],
)  # fmt: skip
def test_p9_pixels_of_the_nodata_value_are_not_valid_in_any_type(
    tmp_path: Path, dtype: str, nodata: float, hole: float
) -> None:
    bands = noise(3, dtype=dtype)
    with Raster(write(tmp_path / "clean.tif", bands[:, ~HOLE][:, None])) as raster:
        clean = raster.stretch
    bands[:, HOLE] = hole
    with Raster(write(tmp_path / "scene.tif", bands, nodata=nodata)) as raster:
        assert np.array_equal(everything(raster)[1], ~HOLE)
        assert raster.stretch == clean


@pytest.mark.parametrize("text", ["-3.4028234663852886e+38", "-3.4028235e+38", "-3.40282346638529e+38"])
def test_p9_a_float_is_the_nodata_value_however_it_was_rounded_as_text(tmp_path: Path, text: str) -> None:
    bands = noise(1, dtype="float32")
    bands[:, HOLE] = FLOAT_MIN
    content = write(tmp_path / "scene.tif", bands, nodata=FLOAT_MIN).read_bytes()
    stored = b"-3.4028234663852886e+38"
    assert content.count(stored) == 1
    (tmp_path / "scene.tif").write_bytes(content.replace(stored, text.encode().ljust(len(stored), b"\0")))
    assert np.array_equal(look(tmp_path / "scene.tif")[1], ~HOLE)


@pytest.mark.parametrize("nodata", [-9999, 256, 1.5, "nan"])
def test_p9_a_nodata_value_that_the_type_cannot_hold_hides_nothing(tmp_path: Path, nodata: object) -> None:
    source = write(tmp_path / "scene.tif", np.zeros((3, 20, 30), dtype=np.uint8))
    vrt = write_vrt(tmp_path / "scene.vrt", source, [vrt_band(index, nodata=nodata) for index in (1, 2, 3)])
    assert look(vrt)[1].all()


def test_p9_each_band_may_have_a_nodata_value_of_its_own(tmp_path: Path) -> None:
    bands = noise(3, dtype="int16")
    for index in range(3):
        bands[index, index, index] = -index - 1
    bands[0, 5, 5] = -2  # the nodata value of another band
    source = write(tmp_path / "scene.tif", bands)
    parts = [vrt_band(index, "Int16", nodata=-index) for index in (1, 2, 3)]
    _, valid = look(write_vrt(tmp_path / "scene.vrt", source, parts))
    assert np.argwhere(~valid).tolist() == [[0, 0], [1, 1], [2, 2]]


def test_p9_zeros_are_valid_where_nobody_said_otherwise(tmp_path: Path) -> None:
    for nodata in (None, 255):
        assert look(write(tmp_path / "zeros.tif", np.zeros((3, 20, 30), dtype=np.uint8), nodata=nodata))[1].all()


@pytest.mark.parametrize(
    ("dtype", "fill"), [("float32", -9999), ("float32", FLOAT_MIN), ("int16", 32767), ("uint16", 0)]
)
def test_p9_a_fill_value_that_nobody_declared_is_told_and_not_guessed(tmp_path: Path, dtype: str, fill: float) -> None:
    bands = (noise(1, dtype="float64") + 5000).astype(dtype)
    hole = np.arange(20)[:, None] < np.full(30, 2)
    bands[:, hole] = fill
    path = write(tmp_path / "scene.tif", bands)
    with Raster(path) as raster:
        with pytest.warns(SamgeoWarning, match=r"scene\.tif: 10% of the pixels are.*Fix, if it means nodata") as told:
            rgb, valid = raster.read_rgb(raster.grid.window)
        assert valid.all()
        assert np.ptp(rgb[~hole]) < 10
        raster.source().open().close()
    command = shlex.split(str(told[0].message).partition("nodata: ")[2])
    assert CliRunner().invoke(main_group, command[1:], catch_exceptions=False).exit_code == 0
    rgb, valid = look(path)
    assert np.array_equal(valid, ~hole)
    assert np.ptp(rgb[~hole]) == 255


@pytest.mark.parametrize("values", [[0, 255], [0, 1, 2, 3], [7], [0, 100, 200, 1000]])
def test_p9_maps_of_classes_have_no_fill_value(tmp_path: Path, values: list[int]) -> None:
    bands = np.array(values, dtype=np.uint16)[np.arange(600) % len(values)].reshape(1, 20, 30)
    assert look(write(tmp_path / "classes.tif", bands))[1].all()  # and no warning


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_p10_alpha_hides_where_it_is_zero_and_nowhere_else(tmp_path: Path, dtype: str) -> None:
    alpha = np.full((20, 30), np.iinfo(dtype).max, dtype=dtype)
    alpha[0, :3] = 1, 2, 100  # nearly transparent is still there
    alpha[HOLE] = 0
    path = write(
        tmp_path / "scene.tif", np.concatenate([noise(3, dtype=dtype), alpha[None]]), colours=(*RGB, ColorInterp.alpha)
    )
    assert np.array_equal(look(path)[1], ~HOLE)


@pytest.mark.parametrize("internal", [True, False])
def test_p11_a_mask_hides_whether_it_lies_in_the_file_or_beside_it(tmp_path: Path, internal: bool) -> None:
    path = write(tmp_path / "scene.tif", noise(3), mask=~HOLE if internal else None)
    if not internal:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
            dataset.write_mask(~HOLE)
    assert path.with_name("scene.tif.msk").exists() is not internal
    assert np.array_equal(look(path)[1], ~HOLE)


# P12, P13: colours of another kind ----------------------------------------------------------------------------------

TABLE = {0: (10, 20, 30, 255), 1: (200, 100, 0, 255), 2: (7, 7, 7, 0), 3: (255, 255, 255, 255)}
COLOURS = np.array(list(TABLE.values()), dtype=np.uint8)
PLACES = (np.arange(600) % 4).astype(np.uint8).reshape(20, 30)


@pytest.mark.parametrize("bands", [None, (1,)])
@pytest.mark.parametrize(
    "profile", [{}, {"nbits": 4}, {"compress": "lzw", "tiled": True, "blockxsize": 16, "blockysize": 16}]
)
def test_p12_places_in_a_colour_table_become_their_colours(tmp_path: Path, profile: dict, bands: tuple | None) -> None:
    path = write(tmp_path / "palette.tif", PLACES[None], colormap=TABLE, photometric="palette", **profile)
    with Raster(path, bands=bands) as raster:
        rgb, valid = raster.read_rgb(raster.grid.window)
        assert raster.describe()["picture"] == "band 1 through its palette"
    assert np.array_equal(rgb, COLOURS[PLACES][..., :3])
    assert valid.all()  # a TIFF has no alpha in its table


def test_p12_a_transparent_entry_of_a_colour_table_is_a_hole(tmp_path: Path) -> None:
    picture = Image.fromarray(PLACES).convert("P")
    picture.putdata(PLACES.ravel().tolist())
    picture.putpalette(COLOURS[:, :3].ravel().tolist())
    picture.save(tmp_path / "palette.png", transparency=bytes(COLOURS[:, 3].tolist()))
    rgb, valid = look(tmp_path / "palette.png")
    assert np.array_equal(valid, PLACES != 2)
    assert np.array_equal(rgb[valid], COLOURS[PLACES[valid]][:, :3])


def test_p12_places_in_colour_tables_are_never_taken_for_brightness(tmp_path: Path) -> None:
    source = write(tmp_path / "source.tif", np.repeat(PLACES[None], 3, axis=0))
    table = "<ColorInterp>Palette</ColorInterp><ColorTable>{}</ColorTable>".format(
        "".join('<Entry c1="{}" c2="{}" c3="{}" c4="{}"/>'.format(*colour) for colour in TABLE.values())
    )
    frames = write_vrt(tmp_path / "frames.vrt", source, [vrt_band(index, more=table) for index in (1, 2, 3)])
    with pytest.raises(RasterError, match=r"frames\.vrt: band 1 holds places in a colour table.*Fix: --bands 1"):
        Raster(frames)
    colours = COLOURS[PLACES][..., :3]
    rgb, valid = look(frames, bands=(1,))
    assert np.array_equal(rgb[valid], colours[valid])
    wide = write_vrt(tmp_path / "wide.vrt", source, [vrt_band(1, "Int16", more=table)])
    with pytest.raises(RasterError, match=r"wide\.vrt: band 1 holds.*as int16.*Fix: gdal_translate -expand rgb"):
        Raster(wide)


def from_inks(inks: np.ndarray, full: float) -> np.ndarray:
    """(3, H, W) red, green and blue of (4, H, W) cyan, magenta, yellow and black."""
    return (full - inks[:3].astype(float)) * (full - inks[3].astype(float)) / full


def test_p13_inks_of_eight_bits_become_colours(tmp_path: Path) -> None:
    inks = noise(4)
    rgb, valid = look(write(tmp_path / "cmyk.tif", inks, photometric="CMYK"))
    assert np.abs(np.moveaxis(rgb, -1, 0) - from_inks(inks, 255)).max() <= 1
    assert valid.all()


@pytest.mark.parametrize(("dtype", "full"), [("uint16", 65535.0), ("float32", 1.0)])
def test_p13_other_inks_are_refused_with_the_command_that_makes_colours(
    tmp_path: Path, dtype: str, full: float
) -> None:
    inks = (noise(4).astype(float) / 100 * full).astype(dtype)
    with pytest.raises(RasterError, match=r"cmyk\.tif: has 4 bands \(1 cyan") as refused:
        Raster(write(tmp_path / "cmyk.tif", inks, photometric="CMYK"))
    with Raster(do_the_fix(refused.value, tmp_path)) as raster:
        assert np.allclose(everything(raster)[0], from_inks(inks, full), atol=full / 30000)


def test_p13_jpeg_and_lab_colours_become_red_green_and_blue(tmp_path: Path) -> None:
    ramp = np.indices((64, 64)).sum(axis=0).astype(np.uint8)
    colours = np.stack([ramp, 255 - ramp, ramp // 2 + 50])
    path = write(tmp_path / "ycbcr.tif", colours, compress="JPEG", photometric="YCBCR", jpeg_quality=95)
    assert np.abs(np.moveaxis(look(path)[0], -1, 0).astype(int) - colours).mean() < 3
    lab = np.stack([np.full((20, 30), 255), np.zeros((20, 30)), np.zeros((20, 30))]).astype(np.uint8)
    rgb, _ = look(write(tmp_path / "lab.tif", lab, photometric="CIELAB"))
    assert rgb.min() > 220  # full lightness without a hue is white, up to the white point


@pytest.mark.parametrize("space", ["CIELAB", "ICCLAB", "ITULAB"])
@pytest.mark.parametrize("profile", [{}, {"BIGTIFF": "YES"}, {"ENDIANNESS": "BIG"}])
def test_p13_lab_colours_that_gdal_hands_out_as_they_are_are_refused(tmp_path: Path, space: str, profile: dict) -> None:
    path = write(tmp_path / "lab.tif", noise(3, dtype="uint16"), photometric=space, **profile)
    with pytest.raises(RasterError, match=r"lab\.tif: its colours are (CIE|ICC|ITU)Lab.*Fix: --bands 1 "):
        Raster(path)
    assert look(path, bands=(1,))[1].all()


def test_p13_three_bands_without_a_meaning_are_red_green_and_blue_in_this_order(tmp_path: Path) -> None:
    bands = noise(3)
    for colours in [(ColorInterp.gray, *[ColorInterp.undefined] * 2), (ColorInterp.undefined,) * 3]:
        rgb, _ = look(write(tmp_path / "scene.tif", bands, colours=colours, photometric="MINISBLACK"))
        assert np.array_equal(np.moveaxis(rgb, -1, 0), bands)


# P15 to P17; P14 is in test_raster_metamorphic ------------------------------------------------------------------------


def test_p15_nothing_but_nodata_is_an_empty_layer_and_a_warning(tmp_path: Path) -> None:
    scene = random_scene(1)
    for dtype in ("uint8", "float32"):
        path = write(tmp_path / f"{dtype}.tif", np.zeros((3, 50, 50), dtype=dtype), nodata=0)
        settings = Settings(tile_px=32, overlap_px=8, use_cache=False)
        with pytest.warns(match=f"{dtype}.tif: every pixel is nodata"):
            result = segment(path, model=OracleModel(scene), output=tmp_path / f"{dtype}.gpkg", settings=settings)
        assert len(result) == 0
        with rasterio.open(path) as dataset:
            assert dataset.count == 3
        assert (tmp_path / f"{dtype}.gpkg").exists()


def test_p16_scale_and_offset_change_nothing_and_are_stated(tmp_path: Path) -> None:
    bands = noise(3, dtype="int16")
    plain, scaled = write(tmp_path / "plain.tif", bands), write(tmp_path / "scaled.tif", bands)
    with rasterio.open(scaled, "r+") as dataset:
        dataset.scales, dataset.offsets = (0.0001, 2, 1), (-0.1, 0, 5)
    assert np.array_equal(look(plain)[0], look(scaled)[0])
    for path, stated in [(plain, None), (scaled, "present, not applied")]:
        with Raster(path) as raster:
            assert json.loads(json.dumps(raster.describe()))["scale_and_offset"] == stated


def test_p17_bands_of_different_types_are_refused(tmp_path: Path) -> None:
    source = write(tmp_path / "scene.tif", noise(3, dtype="uint16"))
    parts = [vrt_band(index, kind) for index, kind in enumerate(("Byte", "UInt16", "Float32"), start=1)]
    mixed = write_vrt(tmp_path / "mixed.vrt", source, parts)
    with pytest.raises(
        RasterError, match=r"mixed\.vrt: bands \(1, 2, 3\) have the types.*Fix: gdal_translate -ot Float32"
    ):
        Raster(mixed)
    assert look(mixed, bands=(2,))[1].all()


def test_p13_pictures_of_a_library_that_is_not_gdal_look_the_same(tmp_path: Path) -> None:
    picture = Image.fromarray(np.moveaxis(noise(3), 0, -1))
    for mode, suffix in [
        ("RGB", "tif"),
        ("RGB", "png"),
        ("L", "tif"),
        ("P", "tif"),
        ("P", "png"),
        ("1", "tif"),
        ("CMYK", "tif"),
    ]:
        path = tmp_path / f"{mode}.{suffix}"
        picture.convert(mode).save(path)
        rgb, _ = look(path)
        assert np.abs(rgb.astype(int) - np.asarray(Image.open(path).convert("RGB"))).max() <= 1, path.name
