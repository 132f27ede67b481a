"""Rasters of the tests: GeoTIFFs of noise with whatever the driver can say of them, VRTs, headers that lie."""

from __future__ import annotations

import re
import shlex
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from click.testing import CliRunner
from rasterio.rio.main import main_group

from samgeo.raster.reader import Raster
from tests.doubles import NORTH_UP, UTM_33N

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


def write_vrt(path: Path, source: Path | str, bands: Sequence[str], *, height: int = 20, width: int = 30) -> Path:
    """A VRT whose bands come from those of a source; each of `bands` is the XML of a band before its source."""
    place = f"<SRS>EPSG:32633</SRS><GeoTransform>{', '.join(map(str, NORTH_UP.to_gdal()))}</GeoTransform>"
    parts = [
        f"{band}<SimpleSource><SourceFilename>{source}</SourceFilename><SourceBand>{index}</SourceBand></SimpleSource>"
        "</VRTRasterBand>"
        for index, band in enumerate(bands, start=1)
    ]
    path.write_text(f'<VRTDataset rasterXSize="{width}" rasterYSize="{height}">{place}{"".join(parts)}</VRTDataset>')
    return path


def vrt_band(index: int, dtype: str = "Byte", *, nodata: object = None, more: str = "") -> str:
    """The start of a band, for `write_vrt`."""
    value = "" if nodata is None else f"<NoDataValue>{nodata}</NoDataValue>"
    return f'<VRTRasterBand dataType="{dtype}" band="{index}">{value}{more}'


def tiff_header(
    width: int, height: int, *, bands: int = 1, bits: int = 8, compression: int = 1, tile: int = 0, planar: int = 1
) -> bytes:
    """A little-endian TIFF that is nothing but a header."""
    tags = {256: width, 257: height, 258: bits, 259: compression, 262: 1, 277: bands, 284: planar}
    tags |= {322: tile, 323: tile, 324: 0, 325: 0} if tile else {273: 8, 278: height, 279: 100}
    kinds = {258: 3, 259: 3, 262: 3, 277: 3, 284: 3}
    entries = [struct.pack("<HHII", tag, kinds.get(tag, 4), 1, value) for tag, value in sorted(tags.items())]
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(entries) + bytes(4)


def do_the_fix(error: BaseException, folder: Path) -> Path:
    """Run the `rio` command that a message ends with, in a folder; the file that it made."""
    found = re.search(r"Fix:.*?(rio (?:convert|calc) .*?\.tif)(?:, then|$)", str(error))
    assert found, f"no command in: {error}"
    command = shlex.split(found[1])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = CliRunner().invoke(main_group, [*command[1:-1], str(folder / command[-1])], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return folder / command[-1]
