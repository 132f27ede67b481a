"""A window seen from further away: pixels of the working grid put together, `scale` by `scale` to one.

Read in strips, so that memory depends on what is returned and not on how far away it is.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Window
from samgeo.raster.reader import Raster

STRIP_PX = 2**22
"""Working pixels read at once."""


def read_rgb_coarse(raster: Raster, window: Window, scale: int) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """(h, w, 3) uint8 RGB and valid (h, w) of a window in pixels of `scale` x `scale` working pixels.

    Each is the mean of its valid working pixels, and valid if half of them are; with a raster that is read by
    "nearest", it is the working pixel in its middle. A scale of 1 gives the working pixels.
    """
    if scale == 1:
        return raster.read_rgb(window)
    rgb, valid = np.zeros((*window.shape, 3), np.uint8), np.zeros(window.shape, bool)
    rows = max(1, STRIP_PX // (window.width * scale * scale))
    for start in range(0, window.height, rows):
        count = min(rows, window.height - start)
        strip = Window(
            row=(window.row + start) * scale,
            col=window.col * scale,
            height=count * scale,
            width=window.width * scale,
        )
        reduced = _middle if raster.resampling == "nearest" else _mean
        rgb[start : start + count], valid[start : start + count] = reduced(*raster.read_rgb(strip), scale)
    return rgb, valid


Seen = tuple[NDArray[np.uint8], NDArray[np.bool_]]


def _middle(rgb: NDArray[np.uint8], valid: NDArray[np.bool_], scale: int) -> Seen:
    half = scale // 2
    return rgb[half::scale, half::scale], valid[half::scale, half::scale]


def _mean(rgb: NDArray[np.uint8], valid: NDArray[np.bool_], scale: int) -> Seen:
    """Pixels that are not valid are black in `rgb`, so that sums leave them out."""
    rows, cols = np.arange(0, valid.shape[0], scale), np.arange(0, valid.shape[1], scale)
    count = np.add.reduceat(np.add.reduceat(valid.astype(np.uint32), rows, axis=0), cols, axis=1)
    total = np.add.reduceat(np.add.reduceat(rgb.astype(np.uint32), rows, axis=0), cols, axis=1)
    mean = (2 * total + count[..., None]) // np.maximum(2 * count, 1)[..., None]  # rounded
    enough = 2 * count >= scale * scale
    return np.where(enough[..., None], mean, 0).astype(np.uint8), enough
