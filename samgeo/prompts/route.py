"""Routes: how coordinates of a layer become pixels of a grid.

pyproj reprojects, by the one operation that PROJ ranks first for the area of the raster, so that what was done can be
told. Pixel positions here are the grid's: an integer is a pixel's corner.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import ProjError
from pyproj.transformer import AreaOfInterest, Transformer, TransformerGroup

from samgeo.errors import PromptError
from samgeo.grid import Grid, has_ground_units, to_geodetic
from samgeo.prompts.layer import PromptLayer

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One way from a CRS to another."""

    name: str
    """What PROJ calls it."""
    accuracy_m: float | None
    """How far off the result may be, in metres; None where nobody has stated it."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Route:
    """How coordinates of a layer become map coordinates of a grid."""

    transformers: tuple[Transformer, ...] = ()
    """The best first; the others are for places that it has no answer for. None: they are that already, or pixels."""
    operations: tuple[Operation, ...]
    """What each of them does; the one that says that nothing is done where there are none."""
    better: str | None = None
    """A better operation that lacks a grid file on this machine."""

    def worst(self, ways: NDArray[np.int8]) -> Operation:
        """The least accurate of the operations that placed some prompts; ways: their numbers, see `Placed.way`."""
        used = [self.operations[int(number)] for number in np.unique(ways)] or [self.operations[0]]
        return max(used, key=lambda one: np.inf if one.accuracy_m is None else one.accuracy_m)


@dataclass(frozen=True, kw_only=True, eq=False)
class Target:
    """Where the prompts of one layer are to be placed."""

    grid: Grid
    """Whose pixels they are to be in."""
    route: Route
    """The way to its map coordinates."""
    native: Grid
    """The grid of the raster as it is stored, which "pixel" coordinates refer to."""


def find_route(layer: PromptLayer, grid: Grid) -> Route:
    """The best way from the layer's CRS to the grid's. Raises `PromptError` if there is none."""
    source, target = layer.frame, grid.crs
    if not isinstance(source, CRS):
        return Route(operations=(Operation(name=f"none: {source} coordinates", accuracy_m=0.0),))
    if target is None:
        raise PromptError(
            f"{layer.name}: in {source.name}, and the raster has no CRS, so they cannot be placed. "
            "Fix: state the raster's CRS with --raster-crs EPSG:CODE, or with rio edit-info --crs in the file"
        )
    local = next((crs for crs in (source, target) if not has_ground_units(crs)), None)
    # PROJ takes local CRSs for the same if they have the same axes and units, wherever they are.
    if source.equals(target, ignore_axis_order=True) and (local is None or source.name == target.name):
        return Route(operations=(Operation(name="none: same CRS", accuracy_m=0.0),))
    if local is not None:
        raise PromptError(
            f"{layer.name}: in {source.name}, and the raster is in {target.name}: no way from one to the other, since "
            f"{local.name} is a local CRS. Fix: prompts in the raster's own coordinates, with {layer.option} raster"
        )
    try:
        return _best_route(source.to_wkt(), target.to_wkt(), _area(grid))
    except ProjError as error:
        raise PromptError(f"{layer.name}: no way from {source.name} to the raster's {target.name}: {error}") from error


@lru_cache(maxsize=32)
def _best_route(source: str, target: str, area: AreaOfInterest | None) -> Route:
    """source, target: WKT2. Asking PROJ takes a fifth of a second. Raises `ProjError` if there is no way."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pyproj warns of missing grids; `better` says it
        group = TransformerGroup(CRS.from_wkt(source), CRS.from_wkt(target), always_xy=True, area_of_interest=area)
    if not group.transformers:
        raise ProjError("PROJ knows none")
    return Route(
        transformers=tuple(group.transformers),
        operations=tuple(
            Operation(name=one.description, accuracy_m=float(one.accuracy) if one.accuracy >= 0 else None)
            for one in group.transformers
        ),
        better=None if group.best_available else str(group.unavailable_operations[0].name),
    )


def to_pixels(
    xy: Floats, part: NDArray[np.int64], layer: PromptLayer, target: Target
) -> tuple[Floats, NDArray[np.int8]]:
    """(v, 2) columns and rows of vertices, and (v,) which operation of the route each took.

    xy: (v, 2) in the layer's CRS. part: (v,) which point or polygon of which prompt they belong to.
    """
    grid, route, native = target.grid, target.route, target.native
    ways = np.zeros(len(xy), dtype=np.int8)
    if layer.in_pixels:
        if native == grid:
            return xy, ways
        x, y = native.to_map(xy[:, 0], xy[:, 1])
    else:
        x, y, ways = _reprojected(xy[:, 0], xy[:, 1], route)
    turn = _turn(grid.crs)
    if turn is not None:
        x = _unrolled(x, part, turn, grid)
    with np.errstate(over="ignore", invalid="ignore"):  # what is too far for a float is refused, not warned of
        return np.stack(grid.to_pixel(x, y), axis=1), ways


def _reprojected(x: Floats, y: Floats, route: Route) -> tuple[Floats, Floats, NDArray[np.int8]]:
    """Map coordinates, inf where no operation has an answer, and the number of the operation that each took."""
    ways = np.zeros(len(x), dtype=np.int8)
    if not route.transformers:
        return x, y, ways
    new_x, new_y = np.full(len(x), np.inf), np.full(len(x), np.inf)
    left = np.arange(len(x))
    for number, transformer in enumerate(route.transformers):
        new_x[left], new_y[left] = transformer.transform(x[left], y[left])
        ways[left] = number
        left = left[~(np.isfinite(new_x[left]) & np.isfinite(new_y[left]))]
        if len(left) == 0:
            break
    return new_x, new_y, ways


def _turn(crs: CRS | None) -> float | None:
    """After so many units x is the same meridian again; None where it never is, or where no raster goes on so far."""
    if crs is None or not (crs.is_geographic or crs.is_projected):
        return None
    if crs.is_geographic:
        return 2 * np.pi / crs.axis_info[0].unit_conversion_factor
    method = crs.coordinate_operation.method_name if crs.coordinate_operation else ""
    if method != "Popular Visualisation Pseudo Mercator" or crs.ellipsoid is None:
        return None
    return 2 * np.pi * crs.ellipsoid.semi_major_metre / crs.axis_info[0].unit_conversion_factor


def _unrolled(x: Floats, part: NDArray[np.int64], turn: float, grid: Grid) -> Floats:
    """x moved by whole turns so that it comes to lie on the grid's side of the globe.

    Each part moves as one: a prompt that was split at the antimeridian (RFC 7946, section 3.1.9) comes together.
    """
    left, _, right, _ = grid.bounds
    lowest = np.full(int(part.max(initial=-1)) + 1, np.inf)
    np.fmin.at(lowest, part, x)
    with np.errstate(invalid="ignore"):
        return x - turn * np.floor((lowest[part] - (left + right) / 2) / turn + 0.5)


def _area(grid: Grid) -> AreaOfInterest | None:
    """Longitudes and latitudes of the raster, which decide how good an operation is."""
    if grid.crs is None or not has_ground_units(grid.crs):
        return None
    ring = grid.footprint()
    lon, lat = to_geodetic(grid.crs, ring[:, 0], ring[:, 1])
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        return None
    west, east = np.clip([lon.min(), lon.max()], -180, 180)
    south, north = np.clip([lat.min(), lat.max()], -90, 90)
    return AreaOfInterest(float(west), float(south), float(east), float(north))
