"""What stands out in imagery that has no outlines: fields of Spain, crowns and roofs of California, land around ships.

The first two have near infrared, which tells plants from shadows, water and roofs. Numbers are those of the imagery.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from samgeo.pixels import Mask
from samgeo.train.regions import find_regions

T = TypeVar("T", bound=np.generic)

GREEN = 1.1
"""Least near infrared of a crown, over its red."""
CROWN_PX = 900
"""Largest crown; what is larger is a lawn with a tree on it."""
CROWN_DEPTH_PX, OTHER_DEPTH_PX = 3, 5
"""How far the innermost pixel of a crown, and of another region, is at least from the outline."""
OTHER_SCORE = 0.75
"""Least score of a region that is neither a field nor a crown."""
PORT_PX = 60
"""Smallest region around ships: a roof of 10 m imagery."""
SHADOW = 0.6
"""What is not brighter than this share of the image's median is a shadow."""


@cache
def spanish_fields(path: Path) -> tuple[Mask, ...]:
    """Fields, and whatever else stands out, in the bands of 10 m of a Sentinel-2 scene; once for all views of it."""
    values = _read(path, (2, 3, 4, 8))
    return tuple(replace(region, label="field" if _is_field(region, values) else None) for region in _regions(values))


def _is_field(region: Mask, values: NDArray[np.float32]) -> bool:
    """Neither under water, which is dark in near infrared, nor a roof or a greenhouse, which are bright in red."""
    _, _, red, infrared = _pixels(region, values).mean(axis=0)
    return bool(infrared > 1000 and red < 2300)


@cache
def urban_crowns(path: Path, points: Path) -> tuple[Mask, ...]:
    """Crowns around the points of trees, and whatever else stands out, in an image of red, green, blue, near infrared.

    Shadows, fragments and lawns with their trees are left out. Once for all views of the image.
    """
    values = _read(path, (1, 2, 3, 4))
    trees = _trees(path, points, values.shape[:2])
    dark = SHADOW * float(np.median(values.mean(axis=2)))
    return tuple(_crowns_and_others(_regions(values), values, trees, dark))


def around_ships(image: NDArray[np.uint8], ships: Sequence[Mask]) -> tuple[Mask, ...]:
    """Roofs, quays, basins and fields in an (H, W, 3) image of a port; what has a ship in it is left out."""
    return tuple(
        region
        for region in _regions(image.astype(np.float32))
        if region.score >= OTHER_SCORE and region.area_px >= PORT_PX and not any(map(region.common_px, ships))
    )


def _crowns_and_others(
    regions: Sequence[Mask], values: NDArray[np.float32], trees: NDArray[np.bool_], dark: float
) -> Iterator[Mask]:
    for region in regions:
        pixels, count = _pixels(region, values), np.count_nonzero(_pixels(region, trees))
        red, _, _, infrared = pixels.mean(axis=0)
        depth = ndimage.distance_transform_edt(np.pad(region.pixels, 1)).max()
        if count == 1:
            if infrared > GREEN * red and region.area_px <= CROWN_PX and depth >= CROWN_DEPTH_PX:
                yield replace(region, label="tree")
        elif count == 0 and region.score >= OTHER_SCORE and depth >= OTHER_DEPTH_PX and pixels.mean() > dark:
            yield region


def _trees(path: Path, points: Path, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """(H, W), true where there is a point of a tree."""
    import geopandas
    import rasterio

    trees = np.zeros(shape, dtype=bool)
    with rasterio.open(path) as dataset:
        for point in geopandas.read_file(points).to_crs(dataset.crs.to_wkt()).geometry:
            row, col = dataset.index(point.x, point.y)
            trees[np.clip(row, 0, shape[0] - 1), np.clip(col, 0, shape[1] - 1)] = True
    return trees


def _read(path: Path, bands: Sequence[int]) -> NDArray[np.float32]:
    """(H, W, C)."""
    import rasterio

    with rasterio.open(path) as dataset:
        values: NDArray[np.generic] = dataset.read(bands)
    return values.transpose(1, 2, 0).astype(np.float32)


def _regions(values: NDArray[np.float32]) -> list[Mask]:
    low, high = np.percentile(values, (2, 98), axis=(0, 1))
    return find_regions((values - low) / (high - low))


def _pixels(region: Mask, values: NDArray[T]) -> NDArray[T]:
    """(H, W, ...) -> (N, ...), those of the region."""
    return values[region.window.slices()][region.pixels]
