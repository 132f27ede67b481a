"""Outlines over a raster to labelled windows, read as `samgeo segment` reads: same stretch, tiles and reprojection."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import shapely

from samgeo.errors import UsageError
from samgeo.grid import Grid
from samgeo.pixels import Mask, Window
from samgeo.prompts.placed import PlacedPrompts
from samgeo.prompts.prompts import Prompts
from samgeo.raster.reader import Raster
from samgeo.tiling import Tiling
from samgeo.train.datasets import burn
from samgeo.train.labelled import LARGE_PX, MIN_AREA_PX, MIN_SHARE, LabelledImage

OVERLAP_PX = 2
"""Windows share next to nothing, so that one that is held out shows nothing that was trained on."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Outlines on a raster, and which could not be used."""

    windows: list[LabelledImage]
    """Those in which something is drawn, in row-major order."""
    outlines: int
    """How many outlines were used."""
    refused: list[str]
    """Why others were not, a line each."""


def labelled_windows(raster: Raster, labels: Any, *, tile_px: int) -> Placement:
    """Cut a raster into windows of `tile_px` with the outlines that are drawn there.

    labels: polygons in any CRS, see `Prompts(masks=)`.
    Nothing follows from what is not drawn: labels may be as incomplete as they are.

    Raises PromptError as `Prompts.to_pixels` does, and UsageError where no outline can be used.
    """
    grid = raster.grid
    placed = Prompts(masks=labels).to_pixels(grid, native_grid=raster.native_grid)
    objects = list(_burned(placed, grid))
    tiling = Tiling(height=grid.height, width=grid.width, tile_px=tile_px, overlap_px=OVERLAP_PX)
    windows = [window for tile in tiling if (window := _window(raster, tile.read, objects)) is not None]
    if not windows:
        raise UsageError(f"{raster.name}: no outline covers 16 pixels of it: expected polygons that are visible there")
    return Placement(windows=windows, outlines=len(objects), refused=[str(refusal) for refusal in placed.refusals])


def hold_out(windows: Sequence[LabelledImage], share: float) -> tuple[list[LabelledImage], list[LabelledImage]]:
    """Windows to train on, and about `share` of all to judge by, evenly among them; one window cannot be shared."""
    if len(windows) < 2 or share <= 0:
        return list(windows), []
    count = min(max(1, round(share * len(windows))), len(windows) - 1)
    chosen = {int((k + 0.5) * len(windows) / count) for k in range(count)}
    return [w for k, w in enumerate(windows) if k not in chosen], [w for k, w in enumerate(windows) if k in chosen]


def _burned(placed: PlacedPrompts, grid: Grid) -> Iterator[Mask]:
    for polygon in placed.polygons:
        mask = burn(shapely.get_parts(polygon).tolist(), grid.shape)
        if mask is not None:
            yield mask


def _window(raster: Raster, window: Window, objects: Sequence[Mask]) -> LabelledImage | None:
    """What of the raster lies in a window, or None if nothing is drawn there."""
    inside = window.intersection(raster.grid.window)
    seen = tuple(part for mask in objects if (part := _seen(mask, inside)) is not None)
    if not seen:
        return None
    return LabelledImage(
        image=raster.read_rgb(inside)[0],
        objects=seen,
        source=f"{raster.name}/row {inside.row}, column {inside.col}",
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
