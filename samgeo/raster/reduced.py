"""A window in fewer pixels than it has, for looking at: GDAL's own reduced reads, through the overviews of a file.

What a model sees never comes from here: overviews may be old, sampled in any way, or missing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.enums import Resampling
from rasterio.io import DatasetReader
from rasterio.windows import Window as RasterioWindow

from samgeo.raster.bands import BandPlan, read_valid

Span = tuple[float, float, float, float]
"""First row, first column, height and width in native pixels, fractions too."""

NO_NETWORK = {"CPL_VSIL_CURL_ALLOWED_EXTENSIONS": "none"}
"""Options of GDAL under which a file on this machine cannot make it fetch anything."""


def overview_factors(dataset: DatasetReader) -> list[int]:
    """How many times smaller each overview is that may be used."""
    return [] if _names_others(dataset) else sorted(dataset.overviews(1))


def decoded_px(factors: list[int], span: Span, shape: tuple[int, int]) -> float:
    """How many pixels are decoded to show a span in `shape` pixels, given the overviews that there are."""
    reduction = min(span[2] / shape[0], span[3] / shape[1])
    used = max((factor for factor in factors if factor <= 1.1 * reduction), default=1)
    return span[2] * span[3] / used**2


def read_reduced(
    dataset: DatasetReader, plan: BandPlan, span: Span, shape: tuple[int, int], *, mean: bool
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Bands (B, h, w) and valid (h, w) of a span in `shape` (h, w) pixels.

    mean: average what is left out where values are whole numbers; else, and for masks, take the nearest pixel.
    """
    if _names_others(dataset):
        return _nearest_of_all(dataset, plan, span, shape)
    part = RasterioWindow(span[1], span[0], span[3], span[2])
    whole = np.dtype(dataset.dtypes[plan.indexes[0] - 1]).kind in "iu"  # the mean with a NaN in it is none
    smooth = mean and whole and plan.palette is None
    bands = dataset.read(
        list(plan.indexes),
        window=part,
        out_shape=(len(plan.indexes), *shape),
        resampling=Resampling.average if smooth else Resampling.nearest,
    )
    return bands, read_valid(dataset, plan, part, shape)


def nearest(start: float, length: float, count: int) -> NDArray[np.int64]:
    """(count,) pixels under the middles of `count` equal parts of a stretch of a row or column."""
    return np.floor(start + (np.arange(count) + 0.5) * length / count).astype(np.int64)


def _names_others(dataset: DatasetReader) -> bool:
    """Whether a file names overviews that are not its own, anywhere; a reduced read would make GDAL fetch them."""
    return "OVERVIEW_FILE" in dataset.tags(ns="OVERVIEWS")


def _nearest_of_all(
    dataset: DatasetReader, plan: BandPlan, span: Span, shape: tuple[int, int]
) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """As `read_reduced`, from the pixels as stored."""
    rows, cols = nearest(span[0], span[2], shape[0]), nearest(span[1], span[3], shape[1])
    part = RasterioWindow(cols[0], rows[0], cols[-1] - cols[0] + 1, rows[-1] - rows[0] + 1)
    pick = (rows - rows[0])[:, None], (cols - cols[0])[None, :]
    bands = dataset.read(list(plan.indexes), window=part)
    return bands[:, pick[0], pick[1]], read_valid(dataset, plan, part)[pick]
