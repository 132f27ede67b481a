"""Which of the places that may say where a GeoTIFF lies is believed: tags in the file, and files beside it.

GDAL takes the first that says anything: `.aux.xml` (PAM), the tags (INTERNAL), a MapInfo `.tab`, a world file. A world
file of an older version beside new tags is the usual case of two that disagree.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.io import DatasetReader

from samgeo.errors import SamgeoWarning
from samgeo.raster.access import quiet_about_georeference

SOURCES = ("PAM", "INTERNAL", "TABFILE", "WORLDFILE")
"""In the order in which GDAL asks them, by the names of its option GEOREF_SOURCES."""
BESIDE = (".tfw", ".tifw", ".wld", ".tab", ".TFW", ".TIFW", ".WLD", ".TAB")
"""Endings, in the place of the GeoTIFF's own, of files that may say where it lies."""
TOLERANCE_PX = 0.1
"""World files are rounded."""


def believed_source(dataset: DatasetReader, path: str) -> str | None:
    """The name of the source that says where a local GeoTIFF lies; None for other rasters.

    Warns where another source says otherwise.
    """
    if dataset.driver != "GTiff" or not os.path.isfile(path):
        return None
    stem = os.path.splitext(path)[0]
    if not any(os.path.exists(beside) for beside in (f"{path}.aux.xml", *(stem + ending for ending in BESIDE))):
        return "INTERNAL"
    said = {source: transform for source in SOURCES if (transform := _transform_of(path, source)) is not None}
    believed = next((source for source, one in said.items() if one == dataset.transform), None)
    for source, transform in said.items():
        if source != believed and _apart_px(transform, dataset) > TOLERANCE_PX:
            warnings.warn(
                f"{path}: {believed} puts its upper left corner at {dataset.transform.c:.10g}, "
                f"{dataset.transform.f:.10g}, {source} at {transform.c:.10g}, {transform.f:.10g}; {believed} is "
                f"believed. If that is wrong: GDAL_GEOREF_SOURCES={source} in the environment",
                SamgeoWarning,
                stacklevel=5,
            )
    return believed


def _transform_of(path: str, source: str) -> Affine | None:
    """What one source alone says; None if it says nothing."""
    with quiet_about_georeference(), rasterio.open(Path(path), GEOREF_SOURCES=source) as dataset:
        return None if dataset.transform.is_identity else dataset.transform


def _apart_px(transform: Affine, dataset: DatasetReader) -> float:
    """How many pixels apart the farthest corner lies by a transform and by the dataset's own."""
    corners = np.array([(0, dataset.width, 0, dataset.width), (0, 0, dataset.height, dataset.height)], dtype=float)
    cols, rows = ~dataset.transform @ tuple(transform @ tuple(corners))
    return float(np.hypot(cols - corners[0], rows - corners[1]).max())
