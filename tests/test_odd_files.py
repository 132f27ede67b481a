"""270 files of other projects' bug trackers and fuzzers: each gives the right pixels or one clear error, and soon.

The collection is not part of the repository. Right means: as Pillow, which is not GDAL, reads it; as GDAL reads it in
one go; and equal to its twins, where the collection holds one picture in several encodings.
"""

from __future__ import annotations

import csv
import json
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import rasterio
from click.testing import CliRunner
from PIL import Image
from rasterio.windows import Window as RasterioWindow

from samgeo.cli import samgeo
from samgeo.errors import PromptError, RasterError
from samgeo.pixels import Window
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from tests.sandbox import End, each_in_child

pytestmark = pytest.mark.filterwarnings("ignore")

ON_PURPOSE = {"complex64.tif"}
"""Valid files that are refused."""

LOSSY = {"goes.tif", "test_tiled.tif", "quad-tile.jpg.tiff", "internal_mask.tif", "comp_webp.tif", "jpeg_named.tif"}
"""Pictures that two decoders may see differently by a few grey levels."""

ORIENTATION = 274
"""EXIF tag, which is for photographs: a map lies as its transform says."""

NOT_AS_PILLOW = {
    "int8.tif": "Pillow takes signed bytes for unsigned",
    "minisblack-1c-i8b.tiff": "the same",
    "separate_planar_extra_samples.tiff": "the same",
    "id_000026_sig_06_src_000012_op_havoc_rep_2": "Pillow cuts 16 bits to the upper 8",
    "palette.tif": "a colour table beside the tag that says grey, which Pillow follows",
    "nbits1.tif": "bits are not bytes to Pillow",
    "old-style-jpeg-compression.tif": "depends on the build of libjpeg",
}

PICTURES = """
generated/ comp_lzw.tif rotated_30deg.tif sheared.tif no_crs.tif no_georef.tif identity_with_crs.tif feet_epsg2264.tif
    degrees_square.tif lat_85.tif antimeridian_4326.tif antimeridian_utm1.tif polar_3031.tif polar_3413.tif
    lonlat_360.tif custom_wkt_laea.tif comp_zstd.tif comp_packbits.tif comp_lerc.tif comp_planar.tif comp_bigtiff.tif
    comp_sparse.tif comp_strip1.tif comp_bigendian.tif gcps_only.tif multipage.tif worldfile.png tif_named.png
generated/ rgba.tif rgba.png
generated/ gray_uint8.tif two_band.tif
generated/ plain.jpg jpeg_named.tif
generated/ uint16_12bit_range.tif uint16_full_range.tif int16_negative.tif int8.tif
generated/ all_nan.tif all_zero_nodata0.tif
geo_odd/ float.tif float32.tif
geo_odd/ cog_uint8_rgb_mask.tif cog_uint8_rgb_nodata.tif cog_uint8_rgba.tif
tiff_variants/ 12bit.cropped.rgb.tiff 12bit.cropped.tiff
tiff_variants/ cmyk-3c-8b.tiff cmyk-4c-8b.tiff
tiff_variants/ extra_bits_gray_8b.tiff extra_bits_rgb_8b.tiff
tiff_variants/ gradient-1c-32b.tiff gradient-1c-32b-float.tiff gradient-1c-64b.tiff gradient-1c-64b-float.tiff
tiff_variants/ gradient-3c-32b.tiff gradient-3c-32b-float.tiff gradient-3c-64b.tiff
tiff_variants/ int16.tif int16_zstd.tif
tiff_variants/ miniswhite-1c-1b.tiff palette-1c-1b.tiff
tiff_variants/ random-fp16.tiff random-fp16-pred2.tiff random-fp16-pred3.tiff
tiff_variants/ white-fp16-pred2.tiff white-fp16-pred3.tiff
tiff_variants/ BigTIFF.tif BigTIFFLong.tif BigTIFFMotorola.tif
"""
"""A folder, and files in it that hold the same picture."""

TWINS = [line.split() for line in PICTURES.replace("\n    ", " ").splitlines() if line]


def numbers(bands: np.ndarray) -> np.ndarray:
    return np.isfinite(bands).all(axis=0)


def not_black(bands: np.ndarray) -> np.ndarray:
    return bands.any(axis=0)


def not_clear(bands: np.ndarray) -> np.ndarray:
    return bands[-1] > 0


VALID = {
    "generated/float32_nan_hole.tif": numbers,
    "generated/float32_inf.tif": numbers,
    "generated/all_nan.tif": numbers,
    "generated/float32_fltmin_nodata.tif": lambda bands: (bands > -3.4e38).all(axis=0),
    "generated/all_zero_nodata0.tif": not_black,
    "generated/nodata0_collar.tif": not_black,
    "generated/nodata255_triangle.tif": lambda bands: (bands < 255).any(axis=0),
    "generated/rgba.tif": not_clear,
    "generated/rgba.png": not_clear,
    "generated/la.png": not_clear,
    "generated/gray_alpha.tif": not_clear,
    "geo_odd/float_nan.tif": numbers,
    "geo_odd/all-nodata.tif": not_black,
    "geo_odd/rgb-byte-tenth.tif": not_black,
    "geo_odd/RGBA.uint16.tif": not_clear,
    "geo_odd/alpha.tif": not_clear,
    "geo_odd/clp.tif": not_clear,
    "geo_odd/cog_uint8_rgba.tif": not_clear,
    "tiff_variants/minisblack-2c-8b-alpha.tiff": not_clear,
    "generated/constant.tif": lambda bands: np.ones(bands.shape[1:], dtype=bool),
}
"""Where the stored numbers (B, H, W) are pixels, as somebody says who has looked at them."""


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A file of the collection."""

    path: Path
    expected: str
    end: End | None
    """How opening and reading it ended; None for layers."""

    @property
    def refusal(self) -> str | None:
        """Class and message of the error."""
        said = json.loads(self.end.text) if self.end and self.end.text else {}
        return said.get("refusal")


def open_any(path: Path) -> Raster:
    """A file that asks which bands are meant is opened by its first."""
    try:
        return Raster(path)
    except RasterError as error:
        if "--bands" not in str(error):
            raise
        return Raster(path, bands=(1,))


def read_some(path: Path) -> str:
    """Open a file and read its upper left 2048 x 2048 px as the model would see them."""
    warnings.simplefilter("ignore")
    try:
        with open_any(path) as raster:
            places = [(row, col) for row in range(0, 2048, 512) for col in range(0, 2048, 512)]
            windows = [Window(row=row, col=col, height=512, width=512) for row, col in places]
            seen = [
                raster.read_rgb(window) for window in windows if not window.intersection(raster.grid.window).is_empty
            ]
            assert all(rgb.shape == (512, 512, 3) and not rgb[~valid].any() for rgb, valid in seen)
            return json.dumps({"refusal": None})
    except RasterError as error:
        return json.dumps({"refusal": f"RasterError: {error}"})
    except MemoryError as error:
        if type(error) is MemoryError:
            raise
        return json.dumps({"refusal": f"{type(error).__name__}: {error}"})


@pytest.fixture(scope="module")
def collection(real_data: Path) -> list[Listed]:
    """All of it, each raster tried in a child with 10 s and 1 GiB."""
    folder = real_data / "robustness"
    with (folder / "MANIFEST.csv").open() as file:
        rows = list(csv.DictReader(file))
    rasters = [folder / row["file"] for row in rows if not row["file"].startswith("vectors/")]
    ends = dict(zip(rasters, each_in_child(read_some, rasters), strict=True))
    paths = [folder / row["file"] for row in rows]
    return [
        Listed(path=path, expected=row["expected"], end=ends.get(path)) for path, row in zip(paths, rows, strict=True)
    ]


@pytest.fixture(scope="module")
def readable(collection: list[Listed]) -> list[Path]:
    """The rasters that were not refused."""
    return [each.path for each in collection if each.end and each.end.text and each.refusal is None]


@cache
def see(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """RGB and valid of all of a file."""
    with open_any(path) as raster:
        return raster.read_rgb(raster.grid.window)


def test_all_270_files_are_tried(real_data: Path, collection: list[Listed]) -> None:
    there = {path for path in (real_data / "robustness").rglob("*") if path.is_file()}
    companions = {"README.md", "MANIFEST.csv", "worldfile.pgw"}
    assert {each.path for each in collection} == {path for path in there if path.name not in companions}
    assert len(collection) == 270


@pytest.mark.slow
def test_no_file_crashes_hangs_takes_a_gigabyte_or_raises_what_is_not_documented(collection: list[Listed]) -> None:
    assert {each.path.name: each.end.fault for each in collection if each.end and each.end.fault} == {}


def test_what_should_be_read_is_read_and_what_should_be_refused_is_refused(collection: list[Listed]) -> None:
    for each in collection:
        if each.end is None:
            continue
        if each.refusal and each.path.name not in ON_PURPOSE:
            assert not each.expected.startswith("open") or "error" in each.expected, each.refusal
        if not each.refusal:
            assert each.expected not in ("error", "error-on-read", "error, no huge allocation"), each.path


def test_each_refusal_names_the_file_and_a_fix(collection: list[Listed]) -> None:
    refusals = [(each.path, each.refusal) for each in collection if each.refusal]
    assert len(refusals) > 50
    for path, refusal in refusals:
        assert f"Error: {path}" in refusal
        assert "Fix: " in refusal
        assert "Traceback" not in refusal


@pytest.mark.slow
def test_the_command_answers_every_file_with_a_plan_or_one_line_of_error(
    collection: list[Listed], tmp_path: Path
) -> None:
    codes = Counter()
    for each in collection:
        done = CliRunner().invoke(samgeo, ["segment", str(each.path), str(tmp_path / "out.gpkg"), "--dry-run"])
        codes[done.exit_code] += 1
        assert "Traceback" not in done.output
        if done.exit_code:
            (line,) = [line for line in done.stderr.splitlines() if not line.startswith("Warning:")]
            assert line.startswith(f"Error: {each.path}")
            assert "Fix: " in line
        else:
            assert each.end is not None
    assert set(codes) == {0, 3, 7}
    assert list(tmp_path.iterdir()) == []


def test_pixels_are_those_that_pillow_reads(readable: list[Path]) -> None:
    compared = 0
    for path in readable:
        picture = None if path.name in NOT_AS_PILLOW else pillow(path)
        if picture is None:
            continue
        rgb, valid = see(path)
        difference = np.abs(rgb.astype(int) - picture)[valid]
        compared += 1
        if path.name in LOSSY or path.suffix in (".jpg", ".webp"):
            assert difference.size == 0 or difference.mean() < 5, path
        else:
            assert difference.max(initial=0) <= 1, path
    assert compared > 80


def pillow(path: Path) -> np.ndarray | None:
    """(H, W, 3) of a file of 8 bits that Pillow knows and does not turn as its tags want it."""
    try:
        with Image.open(path) as picture:
            turned = picture.getexif().get(ORIENTATION, 1) != 1
            if picture.mode.startswith(("I", "F")) or turned:
                return None
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError, SyntaxError):
        return None


def test_numbers_are_those_that_gdal_reads_at_once(readable: list[Path]) -> None:
    """Whatever the windows: here of 97 x 113 px."""
    for path in readable:
        with open_any(path) as raster, rasterio.open(path) as dataset:
            plan = raster._pixels.plan
            height, width = min(raster.grid.height, 400), min(raster.grid.width, 400)
            wanted = dataset.read(list(plan.indexes), window=RasterioWindow(0, 0, width, height))
            for window in windows(height, width):
                values, valid = raster.read(window)
                part = wanted[:, *window.slices()]
                if plan.palette is None:
                    assert np.array_equal(values[:, valid], part[:, valid].astype(values.dtype)), path
                assert values.shape[1:] == part.shape[1:]


def windows(height: int, width: int) -> Iterator[Window]:
    """That cover a raster."""
    for row in range(0, height, 97):
        for col in range(0, width, 113):
            yield Window(row=row, col=col, height=min(97, height - row), width=min(113, width - col))


@pytest.mark.parametrize("names", TWINS, ids=lambda names: names[1])
def test_the_same_picture_looks_the_same_in_every_encoding(real_data: Path, names: list[str]) -> None:
    folder = real_data / "robustness" / names[0]
    first = see(folder / names[1])
    for name in names[2:]:
        other = see(folder / name)
        assert np.array_equal(first[0], other[0]), name
        assert np.array_equal(first[1], other[1]), name


def test_a_picture_that_lies_upside_down_is_stored_upside_down(real_data: Path) -> None:
    folder = real_data / "robustness" / "generated"
    upright = see(folder / "comp_lzw.tif")[0]
    assert np.array_equal(see(folder / "south_up.tif")[0], upright[::-1])
    assert np.array_equal(see(folder / "mirrored_x.tif")[0], upright[:, ::-1])


@pytest.mark.parametrize("name", VALID)
def test_what_is_not_there_is_not_valid(real_data: Path, name: str) -> None:
    path = real_data / "robustness" / name
    with rasterio.open(path) as dataset:
        wanted = VALID[name](dataset.read())
    assert np.array_equal(see(path)[1], wanted)


def test_every_layer_is_read_or_refused(real_data: Path, collection: list[Listed]) -> None:
    refused = {}
    layers = [each.path for each in collection if each.end is None]
    assert len(layers) == 7
    for path in [*layers, real_data / "robustness" / "generated" / "text.geojson"]:
        try:
            Prompts(boxes=path)
        except PromptError as error:
            refused[path.name] = str(error)
    assert all(name in message for name, message in refused.items())
    assert "no coordinate reference system" in refused.pop("no_crs.gpkg")
    assert "0 features" in refused.pop("empty.geojson")
    assert refused.pop("text.geojson")
    assert not refused
