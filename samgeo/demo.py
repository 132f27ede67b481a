"""The demo: a made-up scene as a GeoTIFF, everything in it as a GeoPackage, and a picture of both."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from samgeo.commit import staged
from samgeo.errors import UsageError
from samgeo.pipeline.segment import Report, Settings, segment
from samgeo.train.scenes import Scene, make_scene

if TYPE_CHECKING:
    import geopandas

CRS = "EPSG:32633"
ORIGIN = (500_000.0, 5_538_000.0)
"""Map coordinates of the scene's upper left corner; the place is real, the scene is not."""
GSD_M = 0.5
RESOLUTION_M = 1.0
"""What the model sees: half the scene's pixels each way are enough for fields, in a quarter of the time."""
PICTURE_PX = 1600
COLOURS = ((255, 214, 10), (0, 200, 255), (255, 85, 85), (120, 255, 120), (255, 130, 230), (255, 160, 60))
"""Outlines and tints that stand out from roofs, fields and water."""
TINT = 0.25


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demo left behind."""

    raster: Path
    """The scene, a GeoTIFF."""
    vector: Path
    """The objects, a GeoPackage."""
    picture: Path
    """Both, a PNG."""
    features: int
    """Number of objects."""
    seconds: float
    """How long segmenting and writing took."""
    somewhere: tuple[float, float]
    """Map coordinates x, y of a point on one of the objects."""


def run_demo(folder: Path, *, size_px: int = 4096, seed: int = 10, progress: Report | None = None) -> Demo:
    """Make, segment and draw a scene; what an earlier demo left in the folder is replaced.

    size_px: side of the scene. seed: which scene. progress: as `segment` takes it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    raster, vector, picture = (folder / f"demo.{ending}" for ending in ("tif", "gpkg", "png"))
    image = make_scene(seed, height_px=size_px, width_px=size_px, gsd_m=GSD_M).image
    write_scene(raster, image)
    start = time.perf_counter()
    settings = Settings(resolution_m=RESOLUTION_M, min_area_m2=4.0, overwrite=True, resume=False)
    with segment(raster, output=vector, settings=settings, progress=progress) as result:
        seconds = time.perf_counter() - start
        geometries = [feature.geometry for feature in result]
    with staged(picture, overwrite=True) as temporary:
        draw(image, geometries).save(temporary, format="PNG", optimize=True)
    return Demo(
        raster=raster,
        vector=vector,
        picture=picture,
        features=len(geometries),
        seconds=seconds,
        somewhere=_somewhere(geometries),
    )


def write_scene(path: Path, image: NDArray[np.uint8], *, gsd_m: float = GSD_M) -> None:
    """Write (H, W, 3) uint8 RGB as a tiled, compressed GeoTIFF with overviews, placed at `ORIGIN`.

    gsd_m: ground metres of a pixel.
    """
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.transform import from_origin

    height, width = image.shape[:2]
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": 3,
        "dtype": "uint8",
        "crs": CRS,
        "transform": from_origin(*ORIGIN, gsd_m, gsd_m),
        "photometric": "rgb",
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "predictor": 2,
    }
    with staged(path, overwrite=True) as temporary, rasterio.open(temporary, "w", **profile) as dataset:
        dataset.write(np.moveaxis(image, -1, 0))
        dataset.build_overviews([2, 4, 8], Resampling.average)


def outlines(scene: Scene, *, gsd_m: float = GSD_M) -> geopandas.GeoDataFrame:
    """The true outlines of the whole objects of a scene that `write_scene` wrote, with their `label`."""
    import geopandas
    from rasterio.transform import from_origin

    from samgeo.grid import Grid, parse_crs
    from samgeo.polygons import mask_to_polygon

    height, width = scene.image.shape[:2]
    place = from_origin(*ORIGIN, gsd_m, gsd_m)
    grid = Grid(width=width, height=height, transform=place, crs=parse_crs(CRS))
    wholes = [mask for mask, parent in zip(scene.objects, scene.parents, strict=True) if parent == -1]
    labels = [mask.label for mask in wholes]
    return geopandas.GeoDataFrame({"label": labels}, geometry=[mask_to_polygon(one, grid) for one in wholes], crs=CRS)


def draw(image: NDArray[np.uint8], geometries: Iterable[Any], *, size_px: int = PICTURE_PX) -> Image.Image:
    """The image with the polygons drawn over it, at most `size_px` wide and high.

    image: (H, W, 3) uint8 RGB of the scene. geometries: polygons in the map coordinates of the scene.
    """
    height, width = image.shape[:2]
    scale = min(1.0, size_px / max(height, width))
    base = Image.fromarray(image).resize((round(width * scale), round(height * scale)), Image.Resampling.LANCZOS)
    tinted, lines = base.copy(), []
    painter = ImageDraw.Draw(tinted)
    for index, geometry in enumerate(sorted(geometries, key=shapely.area, reverse=True)):
        colour = COLOURS[index % len(COLOURS)]
        for part in shapely.get_parts(geometry):
            painter.polygon(_on_picture(part.exterior, scale), fill=colour)
            lines += [(_on_picture(ring, scale), colour) for ring in (part.exterior, *part.interiors)]
    picture = Image.blend(base, tinted, TINT)
    painter = ImageDraw.Draw(picture)
    for line, colour in lines:
        painter.line(line, fill=colour, width=max(1, size_px // 1000), joint="curve")
    return picture


def _on_picture(ring: Any, scale: float) -> list[tuple[float, float]]:
    """A ring's map coordinates as pixels of the picture."""
    x, y = np.asarray(ring.coords)[:, :2].T
    pixels = np.stack([(x - ORIGIN[0]) / GSD_M * scale, (ORIGIN[1] - y) / GSD_M * scale], axis=1)
    return [(float(a), float(b)) for a, b in pixels]


def _somewhere(geometries: list[Any]) -> tuple[float, float]:
    """A point on an object of middling size."""
    if not geometries:
        raise UsageError("the demo found nothing; expected objects. Fix: another --seed, and please report this one")
    middling = sorted(geometries, key=shapely.area)[len(geometries) * 3 // 4]
    point = shapely.point_on_surface(middling)
    return round(float(point.x), 1), round(float(point.y), 1)
