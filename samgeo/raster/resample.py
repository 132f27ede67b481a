"""Pixels of the working grid from pixels of the native grid, each from its own footprint whatever window it is in.

Coarser: the mean of the native pixels, weighted by the share of the footprint that each of them covers. Finer:
bilinear. Pixels that are not valid have no weight. GDAL's resampled reads are faster, but the same working pixel can
differ by one between two windows (2 of 100,000 in a trial), and tiling would then be visible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from samgeo.pixels import Window

if TYPE_CHECKING:
    from scipy import sparse

Pixels = tuple[NDArray[Any], NDArray[np.bool_]]
"""Bands (B, h, w) and valid (h, w)."""

CHUNK_PX = 2**22
"""Native pixels read at once: larger windows are made piece by piece."""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """Rows, or columns: `native` pixels along the same line on the ground as `working` pixels."""

    native: int
    """Pixels as stored."""
    working: int
    """Pixels wanted."""
    nearest: bool = False
    """Take the native pixel under the middle of the working pixel, with no averaging: for labels and tests."""

    def support(self, start: int, stop: int) -> tuple[int, int]:
        """First and one past the last native pixel that working pixels `start` to `stop` are made from."""
        reach = 1 if self.native < self.working and not self.nearest else 0
        first = start * self.native // self.working - reach
        last = -(-stop * self.native // self.working) + reach
        return max(0, first), min(self.native, last)

    def indices(self, start: int, stop: int) -> NDArray[np.int64]:
        """(n,) native pixel under the middle of each working pixel."""
        return (2 * np.arange(start, stop) + 1) * self.native // (2 * self.working)

    def weights(self, start: int, stop: int) -> sparse.csr_array:
        """(n, support) share of each native pixel in each working pixel; rows add up to 1."""
        from scipy import sparse  # takes a while to load

        rows, cols, shares = self._overlaps(start, stop) if self.native >= self.working else self._hats(start, stop)
        first, last = self.support(start, stop)
        shape = (stop - start, last - first)
        return sparse.coo_array((shares, (rows - start, cols - first)), shape=shape).tocsr()

    def _overlaps(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """Footprints cut with native pixels; in units of 1 / working native pixels, so that integers are exact."""
        working = np.arange(start, stop)[:, None]
        span = -(-self.native // self.working) + 1
        native = working * self.native // self.working + np.arange(span)[None, :]
        low = np.maximum(working * self.native, native * self.working)
        high = np.minimum((working + 1) * self.native, (native + 1) * self.working)
        inside = high > low
        return np.broadcast_to(working, native.shape)[inside], native[inside], (high - low)[inside] / self.native

    def _hats(self, start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
        """Linear between the middles of two native pixels; beyond the last middle the value stays."""
        working = np.arange(start, stop)
        # Twice the position of the middle, in units of 1 / working: exact.
        position = (2 * working + 1) * self.native - self.working
        before = position // (2 * self.working)
        share = (position - before * 2 * self.working) / (2 * self.working)
        native = np.concatenate([before, before + 1]).clip(0, self.native - 1)
        return np.concatenate([working, working]), native, np.concatenate([1 - share, share])


def read_resampled(read: Callable[[Window], Pixels], window: Window, *, rows: Axis, cols: Axis) -> Pixels:
    """The working pixels of `window`, which lies inside the working grid, made from what `read` gives.

    read: native window -> bands (B, h, w) and valid (h, w). The result has the dtype that `read` gives.
    """
    top, bottom = rows.support(window.row, window.row_end)
    left, right = cols.support(window.col, window.col_end)
    if (bottom - top) * (right - left) > CHUNK_PX and window.height * window.width > 1:
        return _read_halves(read, window, rows=rows, cols=cols)
    bands, valid = read(Window(row=top, col=left, height=bottom - top, width=right - left))
    if rows.nearest or cols.nearest:
        pick_rows = rows.indices(window.row, window.row_end)[:, None] - top
        pick_cols = cols.indices(window.col, window.col_end)[None, :] - left
        return bands[:, pick_rows, pick_cols], valid[pick_rows, pick_cols]
    across = cols.weights(window.col, window.col_end)
    down = rows.weights(window.row, window.row_end)
    return _weighted_means(bands, valid, down, across)


def _read_halves(read: Callable[[Window], Pixels], window: Window, *, rows: Axis, cols: Axis) -> Pixels:
    tall = window.height * rows.native * cols.working >= window.width * cols.native * rows.working
    if window.width == 1 or (tall and window.height > 1):
        axis, half = -2, window.height // 2
        first = replace(window, height=half)
        second = replace(window, row=window.row + half, height=window.height - half)
    else:
        axis, half = -1, window.width // 2
        first = replace(window, width=half)
        second = replace(window, col=window.col + half, width=window.width - half)
    parts = [read_resampled(read, part, rows=rows, cols=cols) for part in (first, second)]
    bands, valid = zip(*parts, strict=True)
    return np.concatenate(bands, axis=axis), np.concatenate(valid, axis=axis)


def _weighted_means(
    bands: NDArray[Any], valid: NDArray[np.bool_], down: sparse.csr_array, across: sparse.csr_array
) -> Pixels:
    """Both axes one after the other. Sparse products add in the order of the columns, the same in every window."""
    weight = across @ (down @ valid.astype(np.float64)).T
    out = np.zeros((len(bands), down.shape[0], across.shape[0]), dtype=bands.dtype)
    # Half of a footprint decides; the small allowance is for sums of shares that should be exactly one half.
    enough = weight.T >= 0.5 - 1e-9
    for band, result in zip(bands, out, strict=True):
        total = across @ (down @ np.where(valid, band, 0).astype(np.float64)).T
        mean = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0).T
        if bands.dtype.kind in "iu":
            limits = np.iinfo(bands.dtype)
            mean = np.rint(mean).clip(limits.min, limits.max)
        result[:] = mean
    return out, enough
