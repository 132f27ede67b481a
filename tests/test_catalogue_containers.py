"""What files can be: tiny, huge, sparse, cut off, damaged, several in one, moving, or no file at all. Rows Z1 to Z18.

Z4 is in test_raster_metamorphic, Z15 and the network's part of Z9 and Z18 in test_raster_remote.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from click.testing import CliRunner
from pyproj import CRS

from samgeo.cli import samgeo
from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning, UnsafeInputError
from samgeo.pipeline.segment import segment
from samgeo.pixels import Window
from samgeo.raster import access
from samgeo.raster.reader import Raster
from samgeo.settings import Settings
from tests.doubles import NORTH_UP
from tests.oracle import OracleModel
from tests.rasters import do_the_fix, everything, noise, tiff_header, vrt_band, write, write_vrt
from tests.sandbox import in_child
from tests.scenes import random_scene

SMALL_TILES = Settings(tile_px=32, overlap_px=8, use_cache=False)

# Z1 to Z5: sizes ----------------------------------------------------------------------------------------------------


def test_z1_no_width_or_height_is_refused_before_there_is_any_output(tmp_path: Path) -> None:
    path = tmp_path / "flat.tif"
    for width, height in [(0, 5), (5, 0), (0, 0)]:
        path.write_bytes(tiff_header(width, height))
        with pytest.raises(RasterError, match=r"flat\.tif: cannot be opened.*Fix: "):
            segment(path, model=OracleModel(random_scene(1)), output=tmp_path / "out.gpkg", settings=SMALL_TILES)
    assert [file.name for file in tmp_path.iterdir()] == ["flat.tif"]


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (1, 3000), (7, 5), (64, 64), (65, 64), (64, 65)])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_z2_the_smallest_and_thinnest_rasters_are_read_as_any_other(
    tmp_path: Path, shape: tuple[int, int], dtype: str
) -> None:
    bands = noise(3, *shape, dtype=dtype)
    with Raster(write(tmp_path / "thin.tif", bands)) as raster:
        values, valid = everything(raster)
        assert np.array_equal(values, bands)
        assert valid.all()
        rgb, _ = raster.read_rgb(raster.grid.window)
        for row in range(0, shape[0], 64):
            for col in range(0, shape[1], 64):
                tile = Window(row=row, col=col, height=64, width=64)
                inside = tile.intersection(raster.grid.window)
                part, part_valid = raster.read_rgb(tile)
                assert np.array_equal(part[: inside.height, : inside.width], rgb[inside.slices()])
                assert part_valid.sum() == inside.height * inside.width
    for resolution in (0.2, 3.0, 100.0):
        with Raster(tmp_path / "thin.tif", resolution_m=resolution) as raster:
            assert everything(raster)[1].all()


def test_z3_reading_a_raster_that_is_nine_times_larger_takes_no_more_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(access.GDAL_OPTIONS, "GDAL_CACHEMAX", 8 * 2**20)  # smaller than the smaller raster

    def peak(side: int) -> int:
        """KiB that reading takes at most, beyond what the process had."""
        with rasterio.open(tmp_path / f"{side}.tif", "w", driver="GTiff", width=side, height=side, **profile):
            pass
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmHWM")
        with Raster(tmp_path / f"{side}.tif") as raster:
            for row in range(0, side, 512):
                for col in range(0, side, 512):
                    raster.read_rgb(Window(row=row, col=col, height=512, width=512))
        return resident("VmHWM") - before

    profile = {
        "count": 3,
        "dtype": "uint8",
        "tiled": True,
        "SPARSE_OK": True,
        "crs": "EPSG:32633",
        "transform": NORTH_UP,
    }
    assert in_child(lambda: str(peak(2048))) is not None  # what a first read loads once
    small, large = (int(in_child(lambda side=side: str(peak(side))).text) for side in (2048, 6144))
    assert large - small < 16 * 1024


def resident(field: str) -> int:
    """KiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field))


@pytest.mark.parametrize("nodata", [None, 0, 7])
def test_z5_a_block_that_was_never_written_is_nodata_where_there_is_such_a_value_and_zero_elsewhere(
    tmp_path: Path, nodata: int | None
) -> None:
    bands = noise(3, 64, 64, dtype="uint16")
    with rasterio.open(
        tmp_path / "sparse.tif", "w", driver="GTiff", width=64, height=64, count=3, dtype="uint16", nodata=nodata,
        tiled=True, blockxsize=32, blockysize=32, SPARSE_OK=True, crs="EPSG:32633", transform=NORTH_UP,
    ) as dataset:  # fmt: skip
        dataset.write(bands[:, :32, :32], window=((0, 32), (0, 32)))
    with Raster(tmp_path / "sparse.tif") as raster:
        values, valid = everything(raster)
        high = raster.stretch.high
    assert np.array_equal(values[:, :32, :32], bands[:, :32, :32])
    assert valid[:32, :32].all()
    outside = valid.copy()
    outside[:32, :32] = nodata is None
    assert (outside == (nodata is None)).all()
    if nodata is None:
        assert not values[:, 32:].any()
    else:
        with Raster(write(tmp_path / "dense.tif", bands[:, :32, :32])) as dense:
            assert dense.stretch.high == high


# Z6 to Z8: damage ---------------------------------------------------------------------------------------------------

LAYOUTS = {
    "strips": {},
    "tiles": {"tiled": True, "blockxsize": 32, "blockysize": 32},
    "deflate": {"compress": "deflate", "blockysize": 7},
    "planar": {"interleave": "band", "compress": "lzw"},
    "jpeg": {"compress": "jpeg", "photometric": "ycbcr", "tiled": True, "blockxsize": 32, "blockysize": 32},
    "cog": {"driver": "COG"},
    "png": {"driver": "PNG"},
    "plain jpeg": {"driver": "JPEG"},
    "jpeg 2000": {"driver": "JP2OpenJPEG"},
    "envi": {"driver": "ENVI"},
    **{codec: {"compress": codec} for codec in ("packbits", "zstd", "lzma", "lerc", "webp")},
    "masked": {"compress": "deflate", "mask": np.ones((100, 120), dtype=bool)},
}


def outcome(
    path: Path, window: Window | None = None
) -> tuple[tuple[np.ndarray, np.ndarray] | None, RasterError | None]:
    """What a raster gives, or the error that it ends in."""
    try:
        with Raster(path) as raster:
            return raster.read(window or raster.grid.window), None
    except RasterError as error:
        return None, error


@pytest.mark.parametrize("layout", LAYOUTS)
def test_z6_a_file_that_was_cut_off_anywhere_is_refused_or_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    monkeypatch.setenv("GTIFF_IGNORE_READ_ERRORS", "YES")  # a user's environment that asks for holes
    monkeypatch.setenv("GDAL_NUM_THREADS", "4")
    profile = dict(LAYOUTS[layout])
    driver = profile.pop("driver", None)
    path = write(tmp_path / "scene.tif", noise(3, 100, 120), **profile)
    if driver:
        rasterio.shutil.copy(path, tmp_path / "copy.tif", driver=driver)
        path = tmp_path / "copy.tif"
    content = path.read_bytes()
    with Raster(path) as raster:
        whole = everything(raster)
    refused = 0
    for twentieth in range(20):
        path.write_bytes(content[: len(content) * twentieth // 20])
        found, error = outcome(path)
        if error is None:
            assert all(np.array_equal(*pair) for pair in zip(found, whole, strict=True))
        else:
            refused += 1
            assert path.name in str(error)
            assert f"{path.stat().st_size:,} bytes. Fix: copy or download it again" in str(error)
    assert refused >= 15  # what is at the very end of some files is not needed to read them


def test_z6_a_mask_that_was_cut_off_is_an_error_and_not_no_mask(tmp_path: Path) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 100, 120))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=False), rasterio.open(path, "r+") as dataset:
        dataset.write_mask(np.eye(100, 120) > 0)
    mask = tmp_path / "scene.tif.msk"
    content = mask.read_bytes()
    with Raster(path) as raster:
        assert everything(raster)[1].sum() == 100
    for twentieth in range(20):
        mask.write_bytes(content[: len(content) * twentieth // 20])
        _, error = outcome(path)
        assert "scene.tif" in str(error)
        assert "Fix: " in str(error)


def test_z6_a_vrt_names_its_source_that_was_cut_off(tmp_path: Path) -> None:
    source = write(tmp_path / "cut.tif", noise(1, 100, 120))
    vrt = write_vrt(tmp_path / "scene.vrt", source, [vrt_band(1)], height=100, width=120)
    os.truncate(source, 5000)
    _, error = outcome(vrt)
    assert "scene.vrt, bands (1,)" in str(error)
    assert "its source cut.tif" in str(error)


def test_z7_a_damaged_block_is_an_error_with_its_window_and_the_others_are_read(tmp_path: Path) -> None:
    bands = noise(3, 100, 100)
    path = write(tmp_path / "scene.tif", bands, compress="deflate", blockysize=10)
    with rasterio.open(path) as dataset:
        start = int(dataset.get_tag_item("BLOCK_OFFSET_0_5", "TIFF", bidx=1))
    content = bytearray(path.read_bytes())
    content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)
    for row in range(0, 100, 10):
        found, error = outcome(path, Window(row=row, col=0, height=10, width=100))
        if row == 50:
            assert f"scene.tif, bands (1, 2, 3), rows {row} to {row + 10}, columns 0 to 100" in str(error)
        else:
            assert np.array_equal(found[0], bands[:, row : row + 10])


@pytest.mark.parametrize(
    "header",
    [
        {"width": 65535, "height": 900, "bands": 65535},
        {"width": 1, "height": 1, "bands": 65535},
        {"width": 65535, "height": 900, "bands": 1000},
        {"width": 65535, "height": 900, "bands": 1000, "planar": 2},
        {"width": 500, "height": 1200, "bands": 1000, "compression": 8},
        {"width": 60_000, "height": 60_000},
        {"width": 60_000, "height": 60_000, "compression": 8},
        {"width": 60_000, "height": 60_000, "tile": 16, "compression": 8},
        {"width": 2**31 - 1, "height": 2**31 - 1},
        {"width": 2**31 - 1, "height": 1},
        {"width": 1, "height": 2**31 - 1},
        {"width": 2**32 - 1, "height": 2**32 - 1},
        {"width": 100, "height": 100, "tile": 65536, "compression": 8},
        {"width": 100, "height": 100, "tile": 2**31 - 16},
    ],
    ids=str,
)
def test_z8_a_header_that_claims_too_much_is_refused_from_the_header_alone(tmp_path: Path, header: dict) -> None:
    path = tmp_path / "bomb.tif"
    path.write_bytes(tiff_header(**header))

    def look() -> str:
        with pytest.raises((ResourceLimitError, RasterError), match=r"bomb\.tif: .*Fix: ") as refused:
            Raster(path)
        return type(refused.value).__name__

    end = in_child(look, seconds=2, memory=512 * 2**20)
    assert end.text in ("ResourceLimitError", "RasterError"), end


# Z9 to Z14: several in one ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resolution", [None, 2.0, 5.0])
def test_z9_overviews_are_never_taken_for_the_picture(tmp_path: Path, resolution: float | None) -> None:
    path = write(tmp_path / "scene.tif", noise(3, 600, 600), tiled=True)
    with Raster(path, resolution_m=resolution) as raster:
        before = everything(raster)[0]
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, "r+") as dataset:
        dataset.build_overviews([2, 4, 8])
    stale = path.with_name("scene.tif.ovr")
    stale.unlink()
    write(stale, np.full((3, 300, 300), 250, dtype=np.uint8))
    with rasterio.open(path) as dataset:
        assert dataset.read(out_shape=(3, 75, 75)).min() == 250  # whoever takes overviews is misled
    with Raster(path, resolution_m=resolution) as raster:
        assert np.array_equal(everything(raster)[0], before)


@pytest.mark.parametrize("source", ["gone.tif", "/no/such/folder/gone.tif"])
def test_z10_a_vrt_whose_source_is_missing_names_it_at_once(tmp_path: Path, source: str) -> None:
    vrt = write_vrt(tmp_path / "scene.vrt", source, [vrt_band(1)])
    vrt.write_text(vrt.read_text().replace("<SourceFilename>", '<SourceFilename relativeToVRT="1">'))
    with pytest.raises(RasterError, match=r"scene\.vrt: its source .*gone\.tif cannot be found.*Fix: "):
        Raster(vrt)


def test_z10_a_vrt_of_a_vrt_names_the_source_that_is_missing(tmp_path: Path) -> None:
    inner = write_vrt(tmp_path / "inner.vrt", str(tmp_path / "gone.tif"), [vrt_band(1)])
    outer = write_vrt(tmp_path / "outer.vrt", str(inner), [vrt_band(1)])
    with pytest.raises(RasterError, match=r"outer\.vrt.*gone\.tif"), Raster(outer) as raster:
        everything(raster)


def test_z11_the_sources_of_a_vrt_are_in_the_metadata_and_no_code_in_it_runs(tmp_path: Path) -> None:
    source = write(tmp_path / "scene.tif", noise(1))
    with Raster(write_vrt(tmp_path / "scene.vrt", source, [vrt_band(1)])) as raster:
        assert raster.describe()["sources"] == [str(source)]
    code = f"<![CDATA[open({str(tmp_path / 'ran')!r}, 'w')]]>"
    derived = (
        '<VRTRasterBand dataType="Byte" band="1" subClass="VRTDerivedRasterBand">'
        f"<PixelFunctionType>f</PixelFunctionType><PixelFunctionLanguage>Python</PixelFunctionLanguage><PixelFunctionCode>{code}</PixelFunctionCode>"
    )
    with (
        pytest.raises(RasterError, match=r"code\.vrt"),
        Raster(write_vrt(tmp_path / "code.vrt", source, [derived])) as raster,
    ):
        everything(raster)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("driver", "suffix", "world"),
    [
        ("PNG", "png", "pgw"),
        ("JPEG", "jpg", "jgw"),
        ("JP2OpenJPEG", "jp2", "j2w"),
        ("PNG", "png", "wld"),
        ("GTiff", "tif", "tfw"),
    ],
)
def test_z12_a_world_file_gives_the_centre_of_the_first_pixel(
    tmp_path: Path, driver: str, suffix: str, world: str
) -> None:
    bands = noise(3, 64, 64)
    plain = write(tmp_path / "plain.tif", bands, crs=None, transform=None)
    path = tmp_path / f"picture.{suffix}"
    rasterio.shutil.copy(plain, path, driver=driver)
    path.with_suffix(f".{world}").write_text("0.5\n0\n0\n-0.5\n500000.25\n4999999.75\n")
    with Raster(path) as raster:
        assert raster.unplaced is None
        assert raster.grid.crs is None
        assert np.allclose(tuple(raster.grid.transform), tuple(NORTH_UP))
        assert np.abs(everything(raster)[0].astype(int) - bands).mean() < 40
    with Raster(path, crs="EPSG:32633") as raster:
        assert raster.grid.crs == CRS(32633)


@pytest.mark.parametrize("driver", ["GPKG", "netCDF"])
def test_z13_a_container_of_rasters_names_them_and_the_command_that_takes_one_out(tmp_path: Path, driver: str) -> None:
    path, bands = tmp_path / "several.db", noise(2)
    if driver == "netCDF":
        rasterio.shutil.copy(write(tmp_path / "two.tif", bands), path, driver=driver)
        names = ("Band1", "Band2")
    else:
        names = ("summer", "winter")
        for name in names:
            write(path, noise(3), driver=driver, crs="EPSG:3857", RASTER_TABLE=name, APPEND_SUBDATASET="YES")
    with pytest.raises(RasterError, match=rf"several\.db: has no bands.*{names[0]}.*{names[1]}") as refused:
        Raster(path)
    with Raster(do_the_fix(refused.value, tmp_path)) as raster:
        assert raster.grid.shape == (20, 30)


def test_z14_of_several_pages_the_first_is_used_and_the_others_are_named(tmp_path: Path) -> None:
    path, pages = tmp_path / "pages.tif", noise(9).reshape(3, 3, 20, 30)
    write(path, pages[0])
    for page in pages[1:]:
        write(path, page, APPEND_SUBDATASET="YES")
    with pytest.warns(SamgeoWarning, match=r"pages\.tif: has 3 pages, the first is used") as told:
        raster = Raster(path)
    with raster:
        assert np.array_equal(everything(raster)[0], pages[0])
        assert raster.describe()["pages"] == 3
        raster.source().open().close()  # who opens it next is not told again
    hint = str(told[0].message).replace("fix: ", "Fix: ")
    with Raster(do_the_fix(RasterError(hint), tmp_path)) as raster:
        assert np.array_equal(everything(raster)[0], pages[1])


# Z16 to Z18: what a name leads to -----------------------------------------------------------------------------------


def test_z16_a_file_that_was_replaced_by_one_of_the_same_size_and_time_is_noticed(tmp_path: Path) -> None:
    path, other = write(tmp_path / "scene.tif", noise(3)), write(tmp_path / "other.tif", noise(3)[::-1])
    assert path.stat().st_size == other.stat().st_size
    with Raster(path) as raster:
        source = raster.source()
        raster.require_unchanged()
        status = path.stat()
        path.write_bytes(other.read_bytes())
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(RasterError, match=r"scene\.tif: has changed while it was read. Fix: "):
            raster.require_unchanged()
    with pytest.raises(RasterError, match=r"scene\.tif: has changed since"):
        source.open()


def test_z16_a_change_of_what_a_vrt_is_made_of_or_of_a_mask_is_noticed(tmp_path: Path) -> None:
    source = write(tmp_path / "scene.tif", noise(1))
    for path, part in [
        (write_vrt(tmp_path / "scene.vrt", source, [vrt_band(1)]), source),
        (source, Path(f"{source}.msk")),
    ]:
        with Raster(path) as raster:
            raster.require_unchanged()
            write(part, noise(1, dtype="uint16"), driver="GTiff")
            with pytest.raises(RasterError, match="has changed"):
                raster.require_unchanged()


def test_z16_a_run_whose_raster_changes_ends_without_an_output(tmp_path: Path) -> None:
    scene = random_scene(3, height=30, width=30)
    path = write(tmp_path / "scene.tif", np.moveaxis(scene.image, -1, 0))

    class Meddler(OracleModel):
        """Somebody saves the raster again while it is being read."""

        def encode(self, images: object) -> object:
            os.utime(path)
            return super().encode(images)

    with pytest.raises(RasterError, match=r"scene\.tif: has changed while it was read"):
        segment(path, model=Meddler(scene), output=tmp_path / "out.gpkg", settings=SMALL_TILES)
    assert not (tmp_path / "out.gpkg").exists()


@pytest.mark.parametrize(
    "name",
    ["with space", "a#b?c%20d", "größe 東京", "quote'\"", "semi;colon&more", "-dash", "x" * 200, "tab\tand\nline"],
)
def test_z17_any_name_of_a_file_is_a_name(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / "plain.tif", noise(3)).rename(tmp_path / f"{name}.tif")
    link = tmp_path / "link.tif"
    link.symlink_to(path)
    for way in (path, str(path), link, f"file://{path}"):
        with Raster(way) as raster:
            assert raster.grid.shape == (20, 30)


def test_z17_what_is_no_file_is_refused_and_nobody_waits_for_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tif")
    (tmp_path / "loop.tif").symlink_to(tmp_path / "loop.tif")
    (tmp_path / "lost.tif").symlink_to(tmp_path / "nowhere.tif")
    bad = os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.tif")
    write(tmp_path / "plain.tif", noise(3)).rename(bad)
    for way, found in [
        (tmp_path / "pipe.tif", "pipe"), (f"file://{tmp_path}/pipe.tif", "pipe"), ("/vsistdin/", "pipe"),
        ("/dev/zero", "device"), (tmp_path, "folder"), (tmp_path / "loop.tif", "symbolic links"),
        (tmp_path / "lost.tif", "No such file"), (f"/{'x' * 5000}", "too long"), ("", "an empty path"),
        (bad, "not UTF-8"), ("a\0b", "null"),
    ]:  # fmt: skip
        end = in_child(lambda way=way: refusal(way), seconds=5)
        assert found in str(end.text), (way, end)
        assert "expected a raster file" in str(end.text) or "Fix: " in str(end.text)


def refusal(way: object) -> str:
    """The message with which a raster is refused."""
    with pytest.raises(RasterError) as refused:
        Raster(way)
    return str(refused.value)


@pytest.mark.parametrize(
    "text",
    [
        "WMS:https://example.org/wms", "WMTS:https://example.org/wmts", "WCS:https://example.org/wcs", "<VRTDataset/>",
        "  <GDAL_WMS/>", "NETCDF:missing.nc:band", '{"type": "gdal"}', "MEM:::DATAPOINTER=1", "PG:dbname=x", "OGR:x",
        "GTIFF_DIR:1:missing.tif", "GTIFF_RAW:missing.tif", "DERIVED_SUBDATASET:AMPLITUDE:missing.tif", "STACTA:x",
        "vrt://missing.tif?bands=1", "vrt:///etc/passwd", "EEDAI:image", "javascript:alert(1)", "data:image/png;base64",
    ],
)  # fmt: skip
def test_z18_a_connection_string_of_gdal_is_unsafe(tmp_path: Path, text: str) -> None:
    with pytest.raises(UnsafeInputError, match=r"a connection string of GDAL.*Fix: rio convert"):
        Raster(text)


@pytest.mark.parametrize(("way", "code"), [("WMS:https://example.org/wms", 8), ("bomb.tif", 7), ("cut.tif", 3)])
def test_each_kind_of_refusal_has_its_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, code: int
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bomb.tif").write_bytes(tiff_header(2**31 - 1, 2**31 - 1))
    Path("cut.tif").write_bytes(b"II*")
    done = CliRunner().invoke(samgeo, ["segment", way, "out.gpkg"])
    assert done.exit_code == code
    (line,) = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert way in line
    assert "Fix: " in line
    assert not Path("out.gpkg").exists()
