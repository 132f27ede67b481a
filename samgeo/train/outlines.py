"""What somebody drew to labelled windows, read as `samgeo segment` reads: same stretch, tiles and reprojection."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import rasterio
import rasterio.features
import shapely
from numpy.typing import NDArray
from rasterio.errors import NotGeoreferencedWarning

from samgeo.errors import RasterError, ResourceLimitError, UsageError
from samgeo.grid import Grid
from samgeo.pipeline.tilejob import clip
from samgeo.pixels import Mask, Window, fill_invalid
from samgeo.prompts.assembly import REASONS
from samgeo.prompts.placed import PlacedPrompts, Refusal
from samgeo.prompts.placement import NODATA
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.tiling import Tiling
from samgeo.train.datasets import GEO_ENDINGS, Picture, burn, has_pictures, read_pictures
from samgeo.train.labelled import LARGE_PX, MIN_AREA_PX, MIN_SHARE, LabelledImage

SHAPES = ("uint8", "uint16", "int16", "int32")
"""Types of label rasters that GDAL makes shapes of."""
OVERLAP_PX = 2
"""Windows share next to nothing, so that one that is held out shows nothing that was trained on."""
MOST_BYTES = 8 << 30
"""What windows may take in memory."""
LABEL_RASTERS = (*GEO_ENDINGS, ".png")
"""Endings of files whose pixels say what is drawn."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Outlines on a raster, and which could not be used."""

    windows: list[LabelledImage]
    """Those in which something is drawn, in row-major order."""
    outlines: int
    """How many outlines were used."""
    refused: list[str]
    """Why others were not, a line each."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    """A raster in windows."""

    windows: list[LabelledImage]
    """Those in which something is drawn, in row-major order."""
    blank: list[int]
    """Numbers of the objects that no window shows because there is no data."""


def read_drawn(
    labels: Any,
    raster: Any,
    *,
    bands: Sequence[int] | None = None,
    resolution_m: float | None = None,
    crs: object = None,
    labels_crs: object = None,
    tile_px: int,
) -> Placement:
    """Windows of whatever says what is drawn where.

    labels: polygons or a label raster over `raster`; or JSON of COCO or SA-1B, or a folder of that, over pictures that
    are beside it or in the folder `raster`. labels_crs: of labels that have none. Others as of `Raster`.

    Raises what `labelled_windows`, `read_pictures` and `Raster` do, and UsageError where one of both is missing.
    """
    path = Path(labels) if isinstance(labels, (str, Path)) else None
    if path is not None and has_pictures(path):
        if resolution_m is not None:
            raise UsageError(f"{path}: says what is drawn in pixels of pictures, which cannot be read at --resolution")
        if labels_crs is not None:
            raise UsageError(f"{path}: says what is drawn in pixels of pictures. Fix: leave --labels-crs out")
        windows: list[LabelledImage] = []
        pictures = outlines = held = 0
        for one in read_pictures(path, None if raster is None else Path(raster)):
            pictures, outlines = pictures + 1, outlines + len(one.objects)
            found = _picture_windows(one, bands=bands, tile_px=tile_px)
            windows += found
            held += sum(window.image.nbytes for window in found)
            if held > MOST_BYTES:
                raise ResourceLimitError(
                    f"{path}: {len(windows)} windows of {tile_px} px and more do not fit into {MOST_BYTES >> 30} GB. "
                    "Fix: fewer pictures at once"
                )
        if not windows:
            raise UsageError(f"{path}: nothing of 16 pixels is drawn in its {pictures} pictures")
        return Placement(windows=windows, outlines=outlines, refused=[])
    if raster is None:
        raise UsageError(f"{labels}: no raster that it lies on. Fix: name RASTER behind it")
    with Raster(raster, bands=bands, resolution_m=resolution_m, crs=crs) as source:
        if path is None or path.suffix.lower() not in LABEL_RASTERS:
            return labelled_windows(source, labels, tile_px=tile_px, crs=labels_crs)
        drawn = outlines_of(path, source.native_grid)
        return labelled_windows(source, drawn, tile_px=tile_px, crs="raster" if labels_crs is None else labels_crs)


def outlines_of(path: Path, grid: Grid) -> geopandas.GeoDataFrame:
    """The parts of a label raster that touch along an edge, as polygons; 0 and nodata are nothing.

    grid: of the raster which it describes, for a picture that says not where it lies. Raises UsageError, RasterError.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(path)
        with dataset:
            if dataset.count != 1 or not np.issubdtype(dataset.dtypes[0], np.integer):
                kind = f"{dataset.count} bands of {dataset.dtypes[0]}"
                raise UsageError(f"{path}: {kind}: expected one band of whole numbers, one for each class or object")
            values, drawn = dataset.read(1), dataset.read_masks(1) > 0
            transform, crs = dataset.transform, dataset.crs
    except rasterio.RasterioIOError as error:
        raise RasterError(f"{path}: cannot be read as a raster ({error}): expected one with a value a class") from error
    if crs is None and transform.is_identity:
        if values.shape != grid.shape:
            raise UsageError(f"{path}: {values.shape} px and no place: expected {grid.shape}, as the raster has")
        transform, crs = grid.transform, grid.crs
    drawn &= values != 0
    if not drawn.any():
        raise UsageError(
            f"{path}: every pixel is 0 or nodata, which is nothing: expected a number for each class or object. "
            "Fix: another file"
        )
    if values.dtype not in SHAPES:  # of other types GDAL makes no shapes
        values = np.unique(values, return_inverse=True)[1].reshape(values.shape).astype(np.int32)
    parts = rasterio.features.shapes(values, mask=drawn, connectivity=4, transform=transform)
    return geopandas.GeoDataFrame(geometry=[shapely.geometry.shape(outline) for outline, _ in parts], crs=crs)


def labelled_windows(raster: Raster, labels: Any, *, tile_px: int, crs: object = None) -> Placement:
    """Cut a raster into windows of `tile_px` with the outlines that are drawn there.

    labels, crs: polygons in any CRS, see `Prompts.from_labels`.
    Nothing follows from what is not drawn: labels may be as incomplete as they are.

    Raises PromptError as `Prompts.to_pixels` does, and UsageError where no outline can be used.
    """
    placed = Prompts.from_labels(labels, crs=crs).to_pixels(raster.grid, native_grid=raster.native_grid)
    objects = dict(_burned(placed, raster.grid))
    cut = _cut(raster, list(objects.values()), tile_px=tile_px)
    if not cut.windows:
        raise UsageError(
            f"{raster.name}: no outline covers 16 pixels of it that have data: expected polygons that are visible there"
        )
    numbers = list(objects)
    blank = [Refusal(prompt_id=placed[numbers[k]].prompt_id, reason=REASONS[NODATA]) for k in cut.blank]
    refused = [str(refusal) for refusal in (*placed.refusals, *blank)]
    return Placement(windows=cut.windows, outlines=len(objects) - len(blank), refused=refused)


def hold_out(windows: Sequence[LabelledImage], share: float) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Windows to train on, and about `share` of all to judge by, evenly among them; one window cannot be shared."""
    if len(windows) < 2 or share <= 0:
        return list(windows), []
    count = min(max(1, round(share * len(windows))), len(windows) - 1)
    chosen = {int((k + 0.5) * len(windows) / count) for k in range(count)}
    return [w for k, w in enumerate(windows) if k not in chosen], [w for k, w in enumerate(windows) if k in chosen]


def _picture_windows(picture: Picture, *, bands: Sequence[int] | None, tile_px: int) -> list[LabelledImage]:
    with Raster(picture.file, bands=bands) as source:
        picture.check(source.grid.shape)
        return _cut(source, picture.objects, tile_px=tile_px).windows


def _burned(placed: PlacedPrompts, grid: Grid) -> Iterator[tuple[int, Mask]]:
    """The number of each outline of which there are enough pixels, and those."""
    for number, polygon in enumerate(placed.polygons):
        mask = burn(shapely.get_parts(polygon).tolist(), grid.shape)
        if mask is not None:
            yield number, mask


def _cut(raster: Raster, objects: Sequence[Mask], *, tile_px: int) -> _Cut:
    """Windows as a tile job shows them: whole beyond the end of the raster too, masks only where there is data."""
    tiling = Tiling(height=raster.grid.height, width=raster.grid.width, tile_px=tile_px, overlap_px=OVERLAP_PX)
    windows: list[LabelledImage] = []
    shown: set[int] = set()
    blank: set[int] = set()
    places = shapely.STRtree([_box(mask.window) for mask in objects])
    for tile in tiling:
        touching = np.sort(places.query(_box(tile.read))).tolist()
        near = {k: part for k in touching if (part := _seen(objects[k], tile.read)) is not None}
        if not near:
            continue
        rgb, valid = raster.read_rgb(tile.read)
        clipped = {number: clip(part, valid) for number, part in near.items()}
        seen = {number: part for number, part in clipped.items() if part.area_px >= MIN_AREA_PX}
        shown |= seen.keys()
        blank |= near.keys() - seen.keys()
        if seen:
            windows.append(_labelled(raster, tile.read, fill_invalid(rgb, valid), tuple(seen.values())))
    return _Cut(windows=windows, blank=sorted(blank - shown))


def _box(window: Window) -> shapely.Polygon:
    return shapely.box(window.col, window.row, window.col_end, window.row_end)


def _labelled(raster: Raster, window: Window, image: NDArray[np.uint8], objects: tuple[Mask, ...]) -> LabelledImage:
    return LabelledImage(
        image=image,
        objects=objects,
        source=f"{raster.name}/row {window.row}, column {window.col}",
        gsd_m=raster.grid.gsd_m,
        complete=False,
    )


def _seen(mask: Mask, window: Window) -> Mask | None:
    """What of an object lies in a window, in its pixels, or None if that is a sliver."""
    if mask.window.intersection(window).is_empty:
        return None
    part = mask.crop(window)
    enough = part.area_px >= max(MIN_AREA_PX, min(MIN_SHARE * mask.area_px, LARGE_PX))
    return part.shift(-window.row, -window.col) if enough else None
