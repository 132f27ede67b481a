"""Address rasters that a model can see: each pixel has a colour of its own, and a click is answered with its pixel.

The red of a pixel is its row and the green its column. A feature therefore covers the pixel that a click reached, in
whatever window it was seen: every error of reading, placing, tiling or outlining shows as another pixel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import rasterio.features
import rasterio.warp
from affine import Affine
from numpy.typing import NDArray

from samgeo.model.contract import Embedding
from samgeo.pixels import PixelPrompts
from samgeo.settings import Settings
from tests.doubles import address_raster
from tests.oracle import Bool, OracleEmbedding, OracleModel, OracleScene, code_of

WIDTH, HEIGHT = 120, 90
TILED = Settings(tile_px=48, overlap_px=8, use_cache=False)
"""Six windows and more, so that most clicks are seen in a window that does not begin at the raster's corner."""
PIXELS = ((0, 1), (0, 119), (89, 0), (89, 119), (17, 63), (44, 44), (45, 80))
"""(row, column): the corners of the raster, and pixels where windows meet."""

LAEA = (
    'PROJCS["somewhere of its own",GEOGCS["WGS 84",DATUM["WGS_1984",SPHEROID["WGS 84",6378137,298.257223563]],'
    'PRIMEM["Greenwich",0],UNIT["degree",0.0174532925199433]],PROJECTION["Lambert_Azimuthal_Equal_Area"],'
    'PARAMETER["latitude_of_center",47.123],PARAMETER["longitude_of_center",11.456],PARAMETER["false_easting",1000],'
    'PARAMETER["false_northing",-2000],UNIT["metre",1],AXIS["Easting",EAST],AXIS["Northing",NORTH]]'
)
"""A CRS that no register has."""


class AddressModel(OracleModel):
    """Answers a click with the pixel under it, found by its colour, and a box with the pixels whose centre it holds."""

    def __init__(self, *, tile_px: int = 48) -> None:
        super().__init__(OracleScene(image=np.zeros((1, 1, 3), np.uint8), objects_of={}, masks=()), tile_px=tile_px)

    def _meant(self, embedding: Embedding, prompt: PixelPrompts) -> list[Bool]:
        assert isinstance(embedding, OracleEmbedding)
        if prompt.boxes is not None:
            left, top, right, bottom = prompt.boxes[0]
            rows, cols = np.indices(embedding.shape)
            return [(cols >= left) & (cols <= right) & (rows >= top) & (rows <= bottom)]
        assert prompt.points is not None
        codes = code_of(embedding.colours)
        col, row = np.floor(prompt.points[0, 0] + 0.5).astype(int).tolist()
        return [codes == codes[row, col]]


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One way of lying on the map."""

    crs: Any
    """CRS of the raster, as rasterio takes it."""
    transform: Affine
    """Of its pixels."""
    others: tuple[Any, ...]
    """CRSs on the same datum, for prompts."""
    profile: Mapping[str, Any] = field(default_factory=dict)
    """More of the file."""


def _turned(degrees: float, a: float, e: float, x: float = 5e5, y: float = 5e6) -> Affine:
    return Affine.translation(x, y) @ Affine.rotation(degrees) @ Affine.scale(a, e)


KINDS = {
    "utm": Kind(crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6), others=("EPSG:4326", "EPSG:3857")),
    "utm south": Kind(
        crs="EPSG:32733", transform=Affine(0.1, 0, 5e5, 0, -0.1, 7e6), others=("EPSG:4326", "EPSG:32734")
    ),
    "lon lat": Kind(
        crs="EPSG:4326", transform=Affine(5e-6, 0, 13.4, 0, -5e-6, 52.5), others=("EPSG:32633", "EPSG:3857")
    ),
    "web mercator": Kind(
        crs="EPSG:3857", transform=Affine(0.6, 0, 1.49e6, 0, -0.6, 6.89e6), others=("EPSG:4326", "EPSG:32633")
    ),
    "polar north": Kind(
        crs="EPSG:3413", transform=Affine(30, 0, -1800, 0, -30, 1350), others=("EPSG:4326", "EPSG:3995")
    ),
    "polar south": Kind(
        crs="EPSG:3031", transform=Affine(10, 0, -1.5e6, 0, -10, 2e5), others=("EPSG:4326", "EPSG:3976")
    ),
    "wkt only": Kind(crs=LAEA, transform=Affine(2, 0, 1500, 0, -2, -900), others=("EPSG:4326", "EPSG:32632")),
    "rotated": Kind(crs="EPSG:32633", transform=_turned(31, 0.5, -0.5), others=("EPSG:4326", "EPSG:3857")),
    "sheared": Kind(
        crs="EPSG:32633",
        transform=Affine(0.5, 0.21, 5e5, -0.08, -0.4, 5e6),
        others=("EPSG:4326", "EPSG:32632"),
    ),
    "south up": Kind(crs="EPSG:32633", transform=Affine(0.5, 0, 5e5, 0, 0.5, 5e6), others=("EPSG:4326", "EPSG:3857")),
    "right to left": Kind(
        crs="EPSG:32633", transform=Affine(-0.5, 0, 5e5, 0, -0.5, 5e6), others=("EPSG:4326", "EPSG:3857")
    ),
    "not square": Kind(
        crs="EPSG:32633", transform=Affine(0.3, 0, 5e5, 0, -1.7, 5e6), others=("EPSG:4326", "EPSG:3857")
    ),
    "antimeridian in degrees": Kind(
        crs="EPSG:4326", transform=Affine(0.001, 0, 179.94, 0, -0.001, -16.5), others=("EPSG:3832", "EPSG:32760")
    ),
    "antimeridian in degrees from 0 to 360": Kind(
        crs="EPSG:4326", transform=Affine(0.001, 0, 180.5, 0, -0.001, -16.5), others=("EPSG:3832", "EPSG:32701")
    ),
    "antimeridian in utm": Kind(
        crs="EPSG:32760", transform=Affine(10, 0, 819_000, 0, -10, 8_118_000), others=("EPSG:4326", "EPSG:32701")
    ),
    "antimeridian in mercator": Kind(
        crs="EPSG:3832", transform=Affine(10, 0, 3_338_984, 0, -10, -1.9e6), others=("EPSG:4326", "EPSG:32760")
    ),
    "feet": Kind(crs="EPSG:2263", transform=Affine(1, 0, 984_000, 0, -1, 200_000), others=("EPSG:4269", "EPSG:32118")),
    "grads": Kind(crs="EPSG:4807", transform=Affine(5e-6, 0, 0.1, 0, -5e-6, 52.0), others=("EPSG:27572", "EPSG:27571")),
    "pixel is point": Kind(
        crs="EPSG:32633",
        transform=Affine(0.5, 0, 5e5, 0, -0.5, 5e6),
        others=("EPSG:4326", "EPSG:3857"),
        profile={"AREA_OR_POINT": "Point"},
    ),
}


def write_kind(path: Path, kind: Kind) -> Path:
    """The address raster of a kind."""
    profile = dict(kind.profile)
    tags = {key: profile.pop(key) for key in ("AREA_OR_POINT",) if key in profile}
    size = {"width": WIDTH, "height": HEIGHT, "dtype": "uint8", "photometric": "rgb"}
    address_raster(path, crs=kind.crs, transform=kind.transform, **size, **profile)
    if tags:
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(**tags)
    return path


def places(path: Path, *, at: tuple[float, float], crs: Any = None) -> NDArray[np.float64]:
    """(n, 2) x, y of a place in each of `PIXELS`, as GDAL and its PROJ say.

    at: how far across and down in the pixel. crs: of the result; None for the raster's own.
    """
    rows, cols = np.array(PIXELS).T
    with rasterio.open(path) as dataset:
        x, y = dataset.transform @ (cols + at[0], rows + at[1])
        own = dataset.crs
    if crs is not None:
        x, y = rasterio.warp.transform(own, crs, list(x), list(y))
    return np.stack([x, y], axis=1)


def covered(path: Path, geometry: Any) -> list[tuple[int, int]]:
    """(row, column) of the pixels that a geometry in the raster's CRS covers, by GDAL's rasterizing."""
    with rasterio.open(path) as dataset:
        burned = rasterio.features.rasterize([geometry], out_shape=dataset.shape, transform=dataset.transform)
        rows, cols = dataset.read(1), dataset.read(2)
    inside = burned > 0
    return sorted(zip(rows[inside].tolist(), cols[inside].tolist(), strict=True))
