"""Raster: where it lies, or one error that says what to do."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import CRS
from rasterio.control import GroundControlPoint

from samgeo.errors import RasterError, ResourceLimitError, SamgeoWarning, UnsafeInputError, UsageError
from samgeo.pixels import Window
from samgeo.raster import header
from samgeo.raster.paths import display_name
from samgeo.raster.reader import Raster
from tests.doubles import NORTH_UP, UTM_33N, address_raster
from tests.rasters import everything, noise, write

# Where the raster lies ----------------------------------------------------------------------------------------------


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


# What is refused ----------------------------------------------------------------------------------------------------


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
        ("MAX_BLOCK_BYTES", "blocks of 3 bytes"),
    ]:
        with monkeypatch.context() as patch:
            patch.setattr(header, limit, 0)
            with pytest.raises(ResourceLimitError, match=found):
                Raster(path)
    size = {"width": 60_000, "height": 60_000, "count": 1, "dtype": "uint8", "tiled": True, "SPARSE_OK": True}
    with rasterio.open(tmp_path / "sparse.tif", "w", driver="GTiff", crs=UTM_33N, transform=NORTH_UP, **size):
        pass
    with Raster(tmp_path / "sparse.tif") as raster:  # 3.6 GB declared in a few hundred kB is an honest sparse file
        assert not raster.read(Window(row=59_000, col=0, height=2, width=2))[0].any()
    monkeypatch.setattr(header, "MAX_EXPANSION", 100)
    with pytest.raises(ResourceLimitError, match="not believable"):
        Raster(tmp_path / "sparse.tif")


def test_a_container_of_rasters_names_them(tmp_path: Path) -> None:
    path = tmp_path / "several.gpkg"
    for name in ("summer", "winter"):
        write(path, noise(3), driver="GPKG", crs="EPSG:3857", RASTER_TABLE=name, APPEND_SUBDATASET="YES")
    with pytest.raises(RasterError, match=r"no bands.*GPKG:.*summer.*winter.*rio convert"):
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
    assert display_name(url) == "https://example.org/data/ortho.tif"


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
