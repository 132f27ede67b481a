"""Checks of placed prompts: whole layers that lie somewhere else, swapped axes, datums that are not sharp enough."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from samgeo.errors import PromptError, SamgeoWarning
from samgeo.grid import Grid
from samgeo.prompts.layer import PromptLayer
from samgeo.prompts.placed import Refusals
from samgeo.prompts.placement import NO_DOMAIN, NODATA, OK, OUTSIDE, Placed
from samgeo.prompts.route import Route

Valid = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
"""(rows, columns) of n pixels -> (n,) whether the raster has data there."""

FEW_SHARE, ALL_BUT_NONE = 0.1, 0.01
"""Below the first share of hits one looks for a reason; below the second there must be one."""
MANY = 5
"""So few prompts may all miss the raster without a fault in their CRS."""


def hits_few(placed: Placed) -> bool:
    """True if nearly all prompts that have a place miss the raster."""
    hits, tried = _hits(placed)
    return tried > 0 and hits < FEW_SHARE * tried


def check_swapped(layer: PromptLayer, placed: Placed, swapped: Placed) -> None:
    """Raise `PromptError` if the prompts of a layer that miss the raster hit it with x and y swapped."""
    (hits, tried), (swapped_hits, _) = _hits(placed), _hits(swapped)
    if swapped_hits > max(hits, tried / 2):
        first, second = ("column", "row") if layer.in_pixels else ("x or longitude", "y or latitude")
        raise PromptError(
            f"{layer.name}: {hits} of {tried} {layer.kind} lie on the raster, but {swapped_hits} do with the two "
            f"coordinates swapped; expected {first} before {second}. Fix: swap them"
        )


def check_extent(layer: PromptLayer, placed: Placed, grid: Grid) -> None:
    """Raise `PromptError` if hardly any prompt lies on the raster, unless the layer covers it and much more."""
    hits, tried = _hits(placed)
    covers = (placed.extent[:2] <= 0).all() and (placed.extent[2:] >= [grid.width, grid.height]).all()
    if tried >= MANY and hits < ALL_BUT_NONE * tried and not (hits and covers):
        raise PromptError(
            f"{layer.name}: {hits} of {tried} {layer.kind} lie on the raster. {_extents([placed], grid)}. "
            f"Expected prompts on it. Fix: state the right CRS of the layer{_degrees_hint(layer)}"
        )


def check_datum(layer: PromptLayer, placed: Placed, route: Route, grid: Grid, *, strict: bool) -> None:
    """Warn if the change of datum may move prompts by more than a pixel, or nobody knows by how much.

    strict: raise `PromptError` instead.
    """
    used = route.worst(placed.way[placed.verdict == OK])
    pixel_m = grid.gsd_m
    if used.accuracy_m is not None and used.accuracy_m <= pixel_m:
        return
    far = "by an unknown distance"
    if used.accuracy_m is not None:
        far = f"by {used.accuracy_m:g} m, which is {used.accuracy_m / pixel_m:.3g} px"
    grids = f" A better operation lacks its grid file here: {route.better}." if route.better else ""
    text = f"{layer.name}: prompts may be off {far}; a pixel is {pixel_m:.3g} m. Operation: {used.name}.{grids}"
    if strict:
        named = grid.crs.name if grid.crs else "its CRS"
        raise PromptError(
            f"{text} Expected at most a pixel with --strict-crs. Fix: give the prompts in the raster's {named}, "
            f"{'install the grid file with projsync, ' if route.better else ''}or leave --strict-crs out"
        )
    warnings.warn(text, SamgeoWarning, stacklevel=3)


def refuse_nodata(placed: Placed, valid: Valid) -> None:
    """Give clicks on pixels without data their verdict."""
    good = np.flatnonzero(placed.verdict == OK)
    cols, rows = np.floor(placed.points[good]).astype(np.int64).T
    placed.verdict[good[~np.asarray(valid(rows, cols), dtype=bool)]] = NODATA


def nothing_left(refusals: Refusals, placed: Sequence[Placed], grid: Grid) -> str:
    """What to say when no prompt can be used."""
    first = "; ".join(str(refusal) for refusal, _ in zip(refusals, range(3), strict=False))
    more = f"; and {len(refusals) - 3} more" if len(refusals) > 3 else ""
    return (
        f"0 of {len(refusals)} prompts can be used: {first}{more}. {_extents(placed, grid)}. "
        "Expected at least one on the raster. Fix: check the coordinates and the CRS that they are in"
    )


def _hits(placed: Placed) -> tuple[int, int]:
    """Prompts on the raster, and prompts that are anywhere."""
    hits = int(np.isin(placed.verdict, (OK, NODATA)).sum())
    return hits, hits + int(np.isin(placed.verdict, (OUTSIDE, NO_DOMAIN)).sum())


def _extents(placed: Sequence[Placed], grid: Grid) -> str:
    """Where prompts and raster lie, in the raster's CRS."""
    extents = np.array([one.extent for one in placed])
    bounds = ", ".join(f"{number:.8g}" for number in grid.bounds)
    if np.isnan(extents).all():
        return f"The raster spans {bounds}"
    low, high = np.nanmin(extents[:, :2], axis=0), np.nanmax(extents[:, 2:], axis=0)
    x, y = grid.to_map([low[0], high[0]], [low[1], high[1]])
    found = ", ".join(f"{number:.8g}" for number in (min(x), min(y), max(x), max(y)))
    return f"In the raster's CRS the prompts span {found} and the raster {bounds} (x_min, y_min, x_max, y_max)"


def _degrees_hint(layer: PromptLayer) -> str:
    named = layer.frame.name if isinstance(layer.frame, CRS) else f"the raster's, {layer.frame}"
    return f", it was read as {named}"
