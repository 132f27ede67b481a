"""Grid: where the pixels of a raster lie on the map. The only bridge between pixels and map coordinates.

    map x, y  =  transform @ (column, row)

A grid is a value: rows, columns, affine transform, coordinate reference system. It opens nothing and reads nothing.
Pixel coordinates here follow GDAL: (0, 0) is the upper left corner of the first pixel and (0.5, 0.5) its centre. Map
coordinates are x, y in this order whatever the axis order that the authority of the CRS states.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Self

import numpy as np
from affine import Affine
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from samgeo.errors import RasterError, UsageError
from samgeo.pixels import Window

Coordinates = NDArray[np.float64]

MAX_LONGITUDE = 540.0
"""Degrees: rasters may count from 0 to 360 and go on across its end. Beyond lie metres that were taken for degrees."""
MIN_DIGITS_PX = 1e-3
"""Neighbouring numbers of 64 bits, as far from 0 as the raster lies, must be at most so far apart."""
MAX_RESCALE = 1024.0
"""How many native pixels one side of a working pixel may span, and the reverse. Beyond lies a typing mistake."""


def parse_crs(value: object) -> CRS | None:
    """The CRS that an EPSG code, WKT, PROJ text or CRS object names; None and empty text give None.

    Raises `RasterError` if it names none.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return None
    try:
        return CRS.from_user_input(value)
    except CRSError as error:
        raise RasterError(
            f"{str(value)[:80]!r}: found no coordinate reference system in it; expected one like EPSG:32633"
        ) from error


def horizontal_crs(crs: CRS) -> CRS:
    """The two-dimensional part of a compound or three-dimensional CRS; any other CRS as it is.

    Raises `RasterError` for one without such a part: heights alone, or geocentric coordinates.
    """
    if crs.is_compound:
        return horizontal_crs(crs.sub_crs_list[0])
    if crs.is_vertical or crs.is_geocentric:
        kind = "heights alone" if crs.is_vertical else "distances from the centre of the Earth"
        raise RasterError(f"{crs.name}: its coordinates are {kind}; expected a CRS of maps, like EPSG:32633")
    return crs.to_2d() if len(crs.axis_info) > 2 else crs


def to_geodetic(crs: CRS, x: ArrayLike, y: ArrayLike) -> tuple[Coordinates, Coordinates]:
    """Longitude and latitude in degrees on the CRS's own datum, for geodesics on `crs.get_geod()`.

    No datum is changed, so nothing is lost to missing grids; longitudes count from the CRS's own prime meridian.
    Points outside the projection's domain become inf. A CRS without a datum (local, engineering) raises `RasterError`.
    """
    if not has_ground_units(crs):
        raise RasterError(f"{crs.name}: a local CRS has no longitude and latitude; expected a CRS with a datum")
    transformer, degrees = _geodetic_transformer(crs.to_wkt())
    lon, lat = transformer.transform(np.asarray(x, dtype=float), np.asarray(y, dtype=float))
    return np.asarray(lon * degrees), np.asarray(lat * degrees)


def has_ground_units(crs: CRS | None) -> bool:
    """True if distances in this CRS can be measured on an ellipsoid; False for none, local and engineering CRSs."""
    return crs is not None and crs.geodetic_crs is not None and crs.get_geod() is not None


@lru_cache(maxsize=64)
def _geodetic_transformer(wkt: str) -> tuple[Transformer, float]:
    crs = CRS.from_wkt(wkt)
    geodetic = crs.geodetic_crs
    assert geodetic is not None  # has_ground_units was asked first
    to_radians = geodetic.axis_info[0].unit_conversion_factor
    return Transformer.from_crs(crs, geodetic, always_xy=True), math.degrees(to_radians)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Columns, rows, affine transform and CRS of a raster, of a window of it, or of a coarser raster over it."""

    width: int
    """Number of columns, at least 1."""
    height: int
    """Number of rows, at least 1."""
    transform: Affine
    """From (column, row) of a pixel's corner to map (x, y). Any affine that has an inverse."""
    crs: CRS | None = None
    """Horizontal CRS of the map coordinates; None where nobody has said."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.height < 1:
            raise RasterError(f"grid of {self.width} x {self.height} px: expected at least 1 x 1")
        numbers = tuple(self.transform)[:6]
        area = self.transform.determinant
        if not all(map(math.isfinite, (*numbers, area))) or area == 0:
            raise RasterError(f"transform {numbers}: expected six finite numbers that give pixels an area")
        if self._digits_px() > MIN_DIGITS_PX:
            raise RasterError(
                f"transform {numbers}: numbers of 64 bits cannot tell such small pixels apart at such large "
                f"coordinates; expected pixels at least {1 / MIN_DIGITS_PX:g} times the spacing of these numbers"
            )

    def __hash__(self) -> int:
        # Equal CRSs can have different texts, so the hash leaves the CRS out.
        return hash((self.width, self.height, tuple(self.transform)))

    def __str__(self) -> str:
        crs = "no CRS" if self.crs is None else self.crs.to_string() if self.crs.to_epsg() else self.crs.name
        return f"{self.width} x {self.height} px, {crs}, origin {self.transform.c:.10g}, {self.transform.f:.10g}"

    @property
    def window(self) -> Window:
        """All pixels."""
        return Window(row=0, col=0, height=self.height, width=self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.height, self.width

    @cached_property
    def crs_wkt(self) -> str | None:
        """The CRS as WKT2, which is how it travels from one library to another."""
        return None if self.crs is None else str(self.crs.to_wkt())

    def to_map(self, cols: ArrayLike, rows: ArrayLike) -> tuple[Coordinates, Coordinates]:
        """Map x and y of pixel positions; an integer is a pixel's upper left corner. Arrays of any one shape."""
        c, r = np.asarray(cols, dtype=float), np.asarray(rows, dtype=float)
        t = self.transform
        return (t.a * c + t.b * r) + t.c, (t.d * c + t.e * r) + t.f

    def to_pixel(self, x: ArrayLike, y: ArrayLike) -> tuple[Coordinates, Coordinates]:
        """Columns and rows of map positions; an integer is a pixel's upper left corner. Arrays of any one shape.

        The origin is subtracted before the inverse is applied: the inverse of the whole affine would subtract two
        numbers of the size origin / pixel instead, and lose the digits they share. Positions that are not finite
        give positions that are not finite.
        """
        t = self.transform
        dx, dy = np.asarray(x, dtype=float) - t.c, np.asarray(y, dtype=float) - t.f
        with np.errstate(invalid="ignore"):
            return (t.e * dx - t.b * dy) / t.determinant, (t.a * dy - t.d * dx) / t.determinant

    def subgrid(self, window: Window) -> Self:
        """The grid of a window, which may reach beyond this grid."""
        x, y = self.to_map(window.col, window.row)
        t = self.transform
        moved = Affine(t.a, t.b, float(x), t.d, t.e, float(y))
        return type(self)(width=window.width, height=window.height, transform=moved, crs=self.crs)

    def rescaled(self, resolution_m: float) -> Self:
        """The working grid: the same footprint cut into pixels of about `resolution_m` ground metres.

        Rows and columns are whole numbers, so the pixels are as near to that size and to squares as these permit.
        Raises `UsageError` for a resolution that is not a positive number or more than `MAX_RESCALE` away from this
        grid's.
        """
        sizes = self.pixel_size_m
        if not (math.isfinite(resolution_m) and resolution_m > 0):
            raise UsageError(f"--resolution {resolution_m}: expected a number of ground metres above 0")
        if any(not 1 / MAX_RESCALE <= resolution_m / size <= MAX_RESCALE for size in sizes):
            raise UsageError(
                f"--resolution {resolution_m:g}: the pixels of the raster are {sizes[0]:.4g} x {sizes[1]:.4g} m; "
                f"expected a resolution at most {MAX_RESCALE:g} times coarser or finer"
            )
        width = max(1, round(self.width * sizes[0] / resolution_m))
        height = max(1, round(self.height * sizes[1] / resolution_m))
        t, across, down = self.transform, self.width / width, self.height / height
        scaled = Affine(t.a * across, t.b * down, t.c, t.d * across, t.e * down, t.f)
        return type(self)(width=width, height=height, transform=scaled, crs=self.crs)

    def footprint(self, *, points_per_edge: int = 21) -> Coordinates:
        """(n, 2) map x, y of a closed ring around all pixels, each edge cut into `points_per_edge` pieces.

        The ring starts at the upper left corner and runs along the first row. Edges are cut because a straight edge
        is a curve in most other CRSs.
        """
        steps = np.arange(points_per_edge) / points_per_edge
        along = np.concatenate([steps, np.ones_like(steps), 1 - steps, np.zeros_like(steps), [0.0]])
        down = np.concatenate([np.zeros_like(steps), steps, np.ones_like(steps), 1 - steps, [0.0]])
        return np.stack(self.to_map(along * self.width, down * self.height), axis=1)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """x_min, y_min, x_max, y_max of all pixels, in map coordinates."""
        x, y = self.to_map([0, self.width, self.width, 0], [0, 0, self.height, self.height])
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @cached_property
    def pixel_size_m(self) -> tuple[float, float]:
        """Ground metres along a row and along a column of the pixel in the middle.

        Geodesic on the CRS's ellipsoid (Karney 2013, doi 10.1007/s00190-012-0578-z). Without a CRS, and in local and
        engineering CRSs, the units of the map coordinates as they are. Raises `RasterError` where the middle of the
        raster lies outside the domain of its CRS.
        """
        col, row = self.width / 2, self.height / 2
        x, y = self.to_map([col - 0.5, col + 0.5, col, col], [row, row, row - 0.5, row + 0.5])
        if self.crs is None or not has_ground_units(self.crs):
            return math.hypot(x[1] - x[0], y[1] - y[0]), math.hypot(x[3] - x[2], y[3] - y[2])
        lon, lat = to_geodetic(self.crs, x, y)
        if not ((np.abs(lon) <= MAX_LONGITUDE) & (np.abs(lat) <= 90)).all():
            middle = self.to_map(col, row)
            raise RasterError(
                f"the middle of the raster, x {middle[0]:.6g} y {middle[1]:.6g}, lies outside the domain of "
                f"{self.crs.name}. Fix: state the right CRS, for example with rio edit-info --crs"
            )
        geod = self.crs.get_geod()
        assert geod is not None  # has_ground_units was asked above
        lengths = geod.inv(lon[[0, 2]], lat[[0, 2]], lon[[1, 3]], lat[[1, 3]])[2]
        return float(lengths[0]), float(lengths[1])

    def _digits_px(self) -> float:
        """How many pixels lie between neighbouring numbers of 64 bits at the raster's largest coordinate."""
        t = self.transform
        x = abs(t.c) + abs(t.a) * self.width + abs(t.b) * self.height
        y = abs(t.f) + abs(t.d) * self.width + abs(t.e) * self.height
        # The height of a pixel over its longer side: the way across where it is shortest.
        narrow = abs(t.determinant) / max(math.hypot(t.a, t.d), math.hypot(t.b, t.e))
        return math.ulp(max(x, y)) / narrow

    @property
    def gsd_m(self) -> float:
        """Ground sample distance in metres: geometric mean of the two sides in `pixel_size_m`."""
        return math.sqrt(math.prod(self.pixel_size_m))

    def to_dict(self) -> dict[str, Any]:
        """As JSON can store it; `from_dict` gives back an equal grid."""
        numbers = list(self.transform)[:6]
        return {"width": self.width, "height": self.height, "transform": numbers, "crs": self.crs_wkt}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """The grid that `to_dict` stored."""
        crs = None if stored["crs"] is None else CRS.from_wkt(stored["crs"])
        return cls(width=stored["width"], height=stored["height"], transform=Affine(*stored["transform"]), crs=crs)
