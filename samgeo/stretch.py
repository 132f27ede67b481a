"""Stretch: band values of any type to the 8-bit RGB that networks were trained on; fitted once for a whole raster.

    value = 255 * (band - low) / (high - low), rounded, cut to 0..255

One low and one high for each band, so that equal pixels get equal values wherever they lie. Scaling each tile by its
own extremes, as is often done, makes seams of brightness that a network sees as edges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import UsageError
from samgeo.pixels import Window

PERCENTILES = (2.0, 98.0)
"""Where low and high lie in the values of a band: what QGIS takes for its cumulative count cut."""

SAMPLE_PX = 2_000_000
"""About how many pixels of a raster are looked at."""

LONELY = 10.0
"""See `undeclared_fill`."""

_BLOCKS = 8


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """What is black and what is white in each of one or three bands."""

    low: tuple[float, ...]
    """For each band the value that becomes 0."""
    high: tuple[float, ...]
    """For each band the value that becomes 255. A band whose high is not above its low becomes 0 throughout."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or len(self.low) not in (1, 3):
            raise UsageError(
                f"stretch of {len(self.low)} low and {len(self.high)} high values: expected 1 or 3 of both"
            )
        if not all(map(math.isfinite, (*self.low, *self.high))):
            raise UsageError(f"stretch from {self.low} to {self.high}: expected finite numbers")

    @classmethod
    def identity(cls, bands: int) -> Self:
        """For `bands` bands (1 or 3) that are 8-bit already."""
        return cls(low=(0.0,) * bands, high=(255.0,) * bands)

    @classmethod
    def fit(
        cls,
        bands: NDArray[Any],
        valid: NDArray[np.bool_],
        *,
        percentiles: tuple[float, float] = PERCENTILES,
    ) -> Self:
        """From the percentiles of a sample, each band by itself.

        bands: (B, n) any real dtype; valid: (n,). Pixels that are not valid or not finite do not count. Where the two
        percentiles fall together (a class map, a few bright objects on an even ground) the extremes are taken.
        """
        pairs = [_percentile_range(band[valid], percentiles) for band in bands]
        return cls(low=tuple(low for low, _ in pairs), high=tuple(high for _, high in pairs))

    def apply(self, bands: NDArray[Any], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """(h, w, 3) RGB of bands (B, h, w) with B = 1 or 3 as fitted; one band is repeated. Not valid: black."""
        if len(bands) != len(self.low):
            raise UsageError(f"stretch of {len(self.low)} bands on {len(bands)} bands: expected the same number")
        rgb = np.empty((*valid.shape, 3), dtype=np.uint8)
        whole = bool(valid.all())
        for channel, band in enumerate(bands):
            value = self._apply_band(band, channel)
            rgb[..., channel] = value if whole else np.where(valid, value, 0)
        if len(bands) == 1:
            rgb[..., 1:] = rgb[..., :1]
        return rgb

    def _apply_band(self, band: NDArray[Any], index: int) -> NDArray[np.uint8]:
        low, high = self.low[index], self.high[index]
        if band.dtype == np.uint8 and (low, high) == (0.0, 255.0):
            return band
        if not high > low:
            return np.zeros(band.shape, dtype=np.uint8)
        # Bounded to the range before anything is subtracted, so that no value overflows; NaN becomes low.
        values = np.nan_to_num(band.astype(np.float64), nan=low, posinf=high, neginf=low).clip(low, high)
        share = (
            1.0 if math.isfinite(high - low) else 0.5
        )  # half of the smallest numbers is 0, twice the largest infinite
        return np.rint((values * share - low * share) / (high * share - low * share) * 255).astype(np.uint8)

    def to_dict(self) -> dict[str, list[float]]:
        """As JSON can store it; `from_dict` gives back an equal stretch."""
        return {"low": list(self.low), "high": list(self.high)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Sequence[float]]) -> Self:
        """The stretch that `to_dict` stored."""
        return cls(low=tuple(stored["low"]), high=tuple(stored["high"]))


def sample_windows(height: int, width: int, *, sample_px: int = SAMPLE_PX) -> list[Window]:
    """Windows of about `sample_px` pixels together, spread evenly over a raster; all of it where it is no larger.

    Blocks at full resolution, not every n-th pixel: they cost few reads, and no overview, which may be missing,
    stale or made by another resampling, has a say.
    """
    if height * width <= sample_px:
        return [Window(row=0, col=0, height=height, width=width)]
    # Along an axis shorter than a block is high, one block takes all of it and the other axis the rest of the sample.
    side = math.isqrt(sample_px) // _BLOCKS
    rows = _spread(height, side if width > side * _BLOCKS else sample_px // (width * _BLOCKS))
    cols = _spread(width, side if height > side * _BLOCKS else sample_px // (height * _BLOCKS))
    return [
        Window(row=row, col=col, height=row_end - row, width=col_end - col)
        for row, row_end in rows
        for col, col_end in cols
    ]


def undeclared_fill(values: NDArray[Any]) -> tuple[float, float] | None:
    """The least or greatest of the values (n,) that looks like nodata which nobody declared, and its share of them.

    So many values are exactly it that it becomes an end of the stretch, and it lies `LONELY` times further away from
    the others than these are spread: what is left of the contrast is next to nothing.
    """
    values = values[np.isfinite(values)].astype(np.float64)
    for extreme in (np.min, np.max) if values.size else ():
        value = float(extreme(values))
        others = values[values != value]
        share = 1 - others.size / values.size
        if others.size == 0 or share < PERCENTILES[0] / 100:
            continue
        low, high = np.percentile(others, PERCENTILES)
        if abs(float(extreme(others)) - value) > LONELY * (high - low) > 0:
            return value, share
    return None


def _spread(size: int, side: int) -> list[tuple[int, int]]:
    """The middle `side` pixels of each of `_BLOCKS` equal parts of an axis; the whole axis where they would meet."""
    if size <= side * _BLOCKS:
        return [(0, size)]
    starts = [((2 * part + 1) * size // _BLOCKS - side) // 2 for part in range(_BLOCKS)]
    return [(start, start + side) for start in starts]


def _percentile_range(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    values = values[np.isfinite(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    low, high = (float(value) for value in np.percentile(values, percentiles))
    return (low, high) if high > low else (float(values.min()), float(values.max()))
