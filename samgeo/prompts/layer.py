"""PromptLayer: prompts of one kind as they were given, read from a file, a table, GeoJSON or plain numbers.

Nothing is placed here: coordinates stay in the layer's own CRS, and every row keeps the name its user knows it by.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from samgeo.errors import PromptError, RasterError, SamgeoWarning
from samgeo.grid import horizontal_crs, parse_crs
from samgeo.prompts.files import read_file
from samgeo.prompts.text import storable

Kind = Literal["points", "boxes", "masks"]
Frame = CRS | Literal["pixel", "raster"]
"""What coordinates refer to. pixel: columns and rows of the raster as stored, (0, 0) its upper left corner, (0.5, 0.5)
the centre of its first pixel. raster: map coordinates in whatever CRS the raster has."""

CRS84 = "OGC:CRS84"
"""Longitude, latitude on WGS 84: what GeoJSON is in (RFC 7946, section 4)."""

CRS_OPTION = "--prompt-crs"
"""What states the CRS of prompts that have none."""

_OGC_URN = "urn:ogc:def:crs:"


@dataclass(frozen=True, kw_only=True, eq=False)
class PromptLayer:
    """n prompts of one kind; a multipoint counts as one prompt a point."""

    kind: Kind
    """What the rows are."""
    name: str
    """Where they come from, for messages: a path, or `points`."""
    frame: Frame
    """What the coordinates refer to."""
    geometries: NDArray[np.object_]
    """(n,) two-dimensional geometries; None where there is none."""
    rows: NDArray[np.int64]
    """(n,) row of the layer that a prompt stands in."""
    parts: NDArray[np.int64]
    """(n,) which point of a multipoint it is, from 1; 0 if it is the only one."""
    ids: NDArray[np.object_]
    """(rows,) what tells a row from the others: feature id, index label, position."""
    columns: Mapping[str, NDArray[np.object_]]
    """Name to the (rows,) values of a column."""
    prefix: str
    """What its ids start with."""
    option: str = CRS_OPTION
    """What states their CRS on the command line that they come from, for messages."""

    def __len__(self) -> int:
        return len(self.geometries)

    @property
    def in_pixels(self) -> bool:
        """True if the coordinates are columns and rows. Comparing a CRS with a text looks for one of that name."""
        return not isinstance(self.frame, CRS) and self.frame == "pixel"

    def object_id(self, index: int) -> str:
        """What a feature calls its prompt: where it comes from and its id there, such as boxes/17."""
        return f"{self.prefix}/{self.ids[self.rows[index]]}"

    def prompt_id(self, index: int) -> str:
        """What a report calls a prompt: as above, and which point of a multipoint, such as points/17.2."""
        part = self.parts[index]
        return f"{self.object_id(index)}.{part}" if part else self.object_id(index)


def read_layer(kind: Kind, source: Any, *, crs: object = None, option: str = CRS_OPTION) -> PromptLayer:
    """Read prompts from whatever holds them.

    source: GeoDataFrame or GeoSeries; path of anything GDAL reads (FILE|layername=NAME where a file has several
        layers); GeoJSON as a dict; a sequence of shapely geometries, of x,y for points, or of x_min,y_min,x_max,y_max
        for boxes, or an array of these.
    crs: for sources without a CRS of their own: any CRS, "pixel" or "raster" (see `Frame`). GeoJSON has one: longitude
        and latitude, or what an old `crs` member says.
    option: what `crs` is called in messages.

    Raises `PromptError` if it cannot be read, holds nothing, or has no CRS.
    """
    name = str(source) if isinstance(source, (str, Path)) else f"the {kind}"
    table = _as_table(kind, source)
    if table is None:
        frame = _frame(name, None, crs, option)
        geometries = _from_numbers(kind, source, frame)
        ids = np.arange(len(geometries)).astype(object)
        return replace(_make_layer(kind, name, frame, geometries, ids=ids, columns={}), option=option)
    columns = {str(c): table[c].to_numpy(dtype=object) for c in table.columns if c != table.geometry.name}
    geometries = shapely.force_2d(np.asarray(table.geometry.array, dtype=object))
    ids = np.asarray(table.index, dtype=object)
    frame = _frame(name, table.crs, crs, option)
    return replace(_make_layer(kind, name, frame, geometries, ids=ids, columns=columns), option=option)


def read_frame(crs: object, *, option: str = CRS_OPTION) -> Frame | None:
    """A CRS, "pixel", "raster", or None if nothing was said. Raises `PromptError` for what is none of these.

    option: as of `read_layer`.
    """
    if isinstance(crs, str) and crs in ("pixel", "raster"):
        return crs  # type: ignore[return-value]
    try:
        parsed = parse_crs(crs)
        return None if parsed is None else horizontal_crs(parsed)
    except RasterError as error:
        raise PromptError(f"{option} {crs}: {error}, pixel, or raster") from error


def _frame(name: str, own: object, stated: object, option: str) -> Frame:
    if own is not None:
        try:
            return horizontal_crs(CRS.from_user_input(own.to_wkt() if hasattr(own, "to_wkt") else own))
        except RasterError as error:
            raise PromptError(f"{name}: {error}. Fix: save it in a CRS of maps") from error
    frame = read_frame(stated, option=option)
    if frame is None:
        raise PromptError(
            f"{name}: no coordinate reference system. Expected one, since coordinates without it are not places. "
            f'Fix: {option} EPSG:CODE ({_argument(option)}= in Python); "raster" if they are in the raster\'s own, '
            '"pixel" if they are columns and rows'
        )
    return frame


def _argument(option: str) -> str:
    """The argument of that name in Python."""
    return "crs" if option == CRS_OPTION else option.lstrip("-").replace("-", "_")


def _as_table(kind: Kind, source: Any) -> Any:
    """A GeoDataFrame of a source that is a layer; None if it is geometries or numbers."""
    if isinstance(source, (str, Path)):
        return read_file(str(source))
    if isinstance(source, Mapping):
        return _from_geojson(kind, source)
    if "geopandas" not in sys.modules:  # nobody can have made one of its tables
        return None
    import geopandas

    if isinstance(source, geopandas.GeoSeries):
        return geopandas.GeoDataFrame(geometry=source)
    return source if isinstance(source, geopandas.GeoDataFrame) else None


def _make_layer(
    kind: Kind,
    name: str,
    frame: Frame,
    geometries: NDArray[np.object_],
    *,
    ids: NDArray[np.object_],
    columns: Mapping[str, NDArray[np.object_]],
) -> PromptLayer:
    """geometries, ids, columns: by row of the layer."""
    if len(geometries) == 0:
        raise PromptError(f"{name}: 0 features; expected at least one. Fix: another file or layer")
    ids, columns = (
        _column(name, ids),
        {storable(column): _column(name, values) for column, values in columns.items()},
    )
    rows, parts = np.arange(len(geometries)), np.zeros(len(geometries), dtype=np.int64)
    if kind == "points":
        geometries, rows, parts = _explode(geometries)
    return PromptLayer(
        kind=kind,
        name=name,
        frame=frame,
        geometries=geometries,
        rows=rows,
        parts=parts,
        ids=ids,
        columns=columns,
        prefix=kind,
    )


def _column(name: str, values: Sequence[Any] | NDArray[np.object_]) -> NDArray[np.object_]:
    """Values without characters that no file holds; warns of them."""
    clean = np.fromiter(map(storable, values), dtype=object, count=len(values))
    changed = np.fromiter((a is not b and a != b for a, b in zip(clean, values, strict=True)), bool, len(values))
    if changed.any():
        warnings.warn(
            f"{name}: {changed.sum()} texts hold characters that no file can (NUL, half a surrogate pair), the first "
            f"is {clean[changed][0][:60]!r}; \N{REPLACEMENT CHARACTER} stands for them",
            SamgeoWarning,
            stacklevel=5,
        )
    return clean


def _explode(given: NDArray[np.object_]) -> tuple[NDArray[np.object_], NDArray[np.int64], NDArray[np.int64]]:
    """Every point of a multipoint by itself: points, the row that each comes from, and its number there from 1."""
    multi = shapely.get_type_id(given) == shapely.GeometryType.MULTIPOINT
    counts = np.where(multi, np.maximum(shapely.get_num_geometries(given), 1), 1)
    rows = np.repeat(np.arange(len(given)), counts)
    position = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    points, inner = given[rows], multi[rows] & ~shapely.is_empty(given[rows])
    points[inner] = shapely.get_geometry(points[inner], position[inner])
    return points, rows, np.where(counts[rows] > 1, position + 1, 0)


def _from_geojson(kind: Kind, data: Mapping[str, Any]) -> Any:
    """A GeoDataFrame of a FeatureCollection, a Feature or a bare geometry."""
    import geopandas

    what = data.get("type")
    if what == "FeatureCollection":
        features = data.get("features")
    elif what == "Feature":
        features = [data]
    else:
        features = [{"type": "Feature", "geometry": data, "properties": {}}]
    if not isinstance(features, Sequence) or not all(isinstance(feature, Mapping) for feature in features):
        raise PromptError(f"the {kind}: GeoJSON whose features are no list of objects; expected a FeatureCollection")
    try:
        geometries = [_geojson_geometry(feature.get("geometry")) for feature in features]
    except (ValueError, TypeError, KeyError, AttributeError, shapely.errors.ShapelyError) as error:
        raise PromptError(f"the {kind}: GeoJSON of type {what!r} that cannot be read: {error}") from error
    properties = [feature.get("properties") or {} for feature in features]
    names = dict.fromkeys(name for row in properties for name in row)
    ids = _column(f"the {kind}", [feature.get("id", position) for position, feature in enumerate(features)])
    return geopandas.GeoDataFrame(
        {storable(name): _column(f"the {kind}", [row.get(name) for row in properties]) for name in names},
        geometry=np.array([*geometries, None], dtype=object)[:-1],
        index=ids,
        crs=_geojson_crs(kind, data),
    )


def _geojson_geometry(geometry: Any) -> Any:
    return None if geometry is None else shapely.from_geojson(json.dumps(geometry))


def _geojson_crs(kind: Kind, data: Mapping[str, Any]) -> str:
    """The CRS of GeoJSON as WKT2: that of the `crs` member of the 2008 format, or longitude and latitude."""
    member = data.get("crs")
    if member is None:
        return CRS84
    try:
        return str(CRS.from_user_input(member["properties"]["name"]).to_wkt())
    except (KeyError, TypeError, RuntimeError) as error:
        raise PromptError(
            f"the {kind}: the GeoJSON's crs member {str(member)[:80]} names no CRS; expected a name like "
            f"{_OGC_URN}EPSG::32633, or no crs member for longitude and latitude"
        ) from error


def _from_numbers(kind: Kind, source: Any, frame: Frame) -> NDArray[np.object_]:
    """Geometries of a sequence of geometries or numbers."""
    items = source if isinstance(source, np.ndarray) else list(source)
    if len(items) and isinstance(items[0], shapely.Geometry):
        return np.asarray(shapely.force_2d(np.array([*items, None], dtype=object)[:-1]), dtype=object)
    width = {"points": 2, "boxes": 4}.get(kind)
    if width is None:
        raise PromptError(f"the {kind}: {type(source).__name__}; expected a layer, or shapely polygons")
    try:
        numbers = np.asarray(items, dtype=np.float64)
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if numbers.shape == (width,):
        numbers = numbers[None]
    if numbers.ndim != 2 or numbers.shape[1] != width:
        expected = "x, y" if kind == "points" else "x_min, y_min, x_max, y_max"
        raise PromptError(
            f"the {kind}: {str(source)[:60]}; expected a layer, shapely geometries, or rows of {expected}"
        )
    return points_of(numbers) if kind == "points" else boxes_of(numbers, frame=frame)


def points_of(xy: NDArray[np.float64]) -> NDArray[np.object_]:
    """(n,) points of an (n, 2) array; coordinates that are not finite stay as they are."""
    return np.asarray(shapely.points(xy), dtype=object)


def boxes_of(bounds: NDArray[np.float64], *, frame: Frame) -> NDArray[np.object_]:
    """(n,) rectangles of an (n, 4) array of x_min, y_min, x_max, y_max; corners may come in any order.

    Where x is a longitude, a box from 179 to -179 is the two degrees across the antimeridian (RFC 7946, section 5.2).
    """
    x, y = bounds[:, [0, 2]].copy(), bounds[:, [1, 3]]
    if isinstance(frame, CRS) and frame.is_geographic:
        x[:, 1] += np.where(x[:, 0] - x[:, 1] > 180, 360, 0)
    left, right, low, high = x.min(axis=1), x.max(axis=1), y.min(axis=1), y.max(axis=1)
    corners = [(left, low), (right, low), (right, high), (left, high), (left, low)]
    rings = np.stack([np.stack(corner, axis=1) for corner in corners], axis=1)
    return np.asarray(shapely.polygons(rings), dtype=object)
