"""FeatureWriter: features streamed into one file that is verified before it gets its name.

Every feature is a MultiPolygon with the same columns. The same features give the same bytes: dates come from
SOURCE_DATE_EPOCH or a constant. Closing reads the file back and compares it with what was given, because on a full disk
GDAL may report success and leave features out, geometries null or the spatial index away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, suppress
from itertools import chain, pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import fiona
import numpy as np
import shapely
from fiona._err import CPLE_BaseError
from fiona.errors import FionaError
from numpy.typing import NDArray
from pyproj import CRS

from samgeo.commit import Ready, date_stamp, probe_writable, staged
from samgeo.errors import OutputError, SamgeoError, UsageError
from samgeo.output import geopackage, shapefile
from samgeo.output.columns import FORMATS, Columns, ending_of
from samgeo.output.style import add_style
from samgeo.output.tally import Tally, Vertices

BATCH_FEATURES, BATCH_VERTICES = 2_000, 500_000
"""So many features or vertices wait in memory before they are written."""

GEOJSON_DECIMALS = 11
"""1e-11 degrees are a micrometre."""

Geometries = NDArray[np.object_]
Record = dict[str, Any]
"""Values by field name."""

# GDAL's own errors come out of fiona's close() as they are, under a name that fiona keeps to itself.
_LIBRARY_ERRORS = (OSError, RuntimeError, ValueError, TypeError, FionaError, CPLE_BaseError, sqlite3.Error)


class Sink(Protocol):
    """An open file of one format."""

    def write(self, geometries: Geometries, records: list[Record]) -> None:
        """Append features: (n,) MultiPolygons in the coordinates of the file, n records."""

    def close(self) -> None:
        """Complete the file."""

    def read_back(self) -> Iterator[tuple[Vertices, list[Any]]]:
        """Coordinates (v, 2) and values of each feature as the file gives them; no coordinates for a null geometry."""


class FeatureWriter:
    """A context manager that takes features one by one; leaving it verifies the file and gives it its name.

    An error in the block, or Ctrl-C, leaves nothing behind, and an older file as it was.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        crs_wkt: str | None,
        columns: Mapping[str, str],
        layer: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        ready: Ready | None = None,
    ) -> None:
        """Describe the file; nothing is made before the block is entered.

        path: its ending says the format: .gpkg .shp .geojson .fgb .parquet.
        crs_wkt: WKT2 of the coordinates that features come in; None where there is none. GeoJSON is written in
            longitude and latitude (RFC 7946), everything else in this CRS.
        columns: name -> int, int32, int64, float, bool, str, date or datetime; all may be null.
        layer: name of the layer; the name of the file if None.
        metadata: a flat dict of what JSON can hold. It goes into a GeoPackage or Parquet file, else beside it into
            OUTPUT.json, together with the names that columns have where a format does not take theirs.
        overwrite: permits replacing a file of one layer.
        ready: called with the complete file before it gets its name.

        Raises `UsageError` for an ending, type or layer name that cannot be written.
        """
        self.path = Path(path)
        self.columns = Columns.for_format(columns, ending_of(self.path))
        self.layer = _layer_name(self.path, layer)
        self.tally = Tally()
        self._crs_wkt = crs_wkt or None
        self._metadata = dict(metadata or {})
        self._overwrite = overwrite
        self._ready = ready
        self._stack = ExitStack()
        self._geometries: list[Any] = []
        self._records: list[Record] = []
        self._vertices = 0
        self._size = shapefile.Size(self.columns) if self.columns.ending == ".shp" else None

    def __enter__(self) -> Self:
        """Open the file beside its final name. Raises `OutputExistsError` and `OutputError`."""
        _check_crs(self.path, self._crs_wkt)
        if self._overwrite and self.columns.ending == ".gpkg":
            geopackage.refuse_other_layers(self.path)
        with ExitStack() as stack:
            self._temporary = stack.enter_context(staged(self.path, overwrite=self._overwrite, ready=self._ready))
            try:
                self._sink = self._open()
            except _LIBRARY_ERRORS as error:
                raise self._failure(error) from error
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._close_quietly()
            self._stack.__exit__(kind, error, trace)
            return
        with self._stack:
            try:
                self._finish()
            except BaseException:
                self._close_quietly()  # some systems cannot remove an open file
                raise

    def write(self, geometry: Any, properties: Mapping[str, Any]) -> None:
        """Append one feature.

        geometry: a shapely Polygon or MultiPolygon that is not empty, in the CRS of `crs_wkt`.
        properties: values by column; a column that is missing is null.

        Raises `OutputError` that names the feature and what the format cannot hold, or the disk's refusal.
        """
        kind = getattr(geometry, "geom_type", type(geometry).__name__)
        try:
            if kind not in {"Polygon", "MultiPolygon"}:
                raise OutputError(f"{kind}; expected a Polygon or MultiPolygon")
            self._records.append(self.columns.record(properties))
        except OutputError as error:
            number = self.tally.features + len(self._records) + 1
            raise OutputError(f"{self.path}: feature {number}: {error}") from error
        self._geometries.append(geometry)
        self._vertices += shapely.get_num_coordinates(geometry)
        if len(self._records) >= BATCH_FEATURES or self._vertices >= BATCH_VERTICES:
            self._flush()

    def _close_quietly(self) -> None:
        with suppress(*_LIBRARY_ERRORS):
            self._sink.close()

    def _flush(self) -> None:
        if not self._records:
            return
        given: Geometries = np.array(self._geometries, dtype=object)
        records, self._geometries, self._records, self._vertices = self._records, [], [], 0
        try:
            geometries = self._areas(given)
            if self.columns.ending == ".geojson":
                geometries = self._to_lonlat(geometries)
            if self._size is not None:
                self._size.add(geometries, records)
                self._size.check(self.path)
            self.tally.add(shapely.get_coordinates(geometries), [list(record.values()) for record in records])
            self._sink.write(geometries, records)
        except _LIBRARY_ERRORS as error:
            raise self._failure(error) from error

    def _finish(self) -> None:
        """Write the rest, close, compare with what was given, put the metadata beside."""
        self._flush()
        try:
            self._sink.close()
            if self.columns.ending == ".gpkg":
                add_style(self._temporary, layer=self.layer, fields={f.name: f.kind for f in self.columns.fields})
            found = Tally.of(self._sink.read_back())
            problems = self.tally.differences(found, tolerance=self._tolerance)
            if self.columns.ending == ".gpkg":
                problems += geopackage.problems(self._temporary, layer=self.layer, written=self.tally)
            if self.columns.ending == ".shp" and not problems:
                problems = shapefile.problems(self._temporary, has_crs=self._crs_wkt is not None, written=self.tally)
            if problems:
                raise OutputError(f"{self.path}: not written as given: {'; '.join(problems)}. Is the disk full?")
            if self.columns.ending not in {".gpkg", ".parquet"}:
                self._write_sidecar()
        except _LIBRARY_ERRORS as error:
            raise self._failure(error) from error

    @property
    def _tolerance(self) -> float:
        return 10.0**-GEOJSON_DECIMALS if self.columns.ending == ".geojson" else 0.0

    def _open(self) -> Sink:
        if self.columns.ending == ".parquet":
            from samgeo.output.geoparquet import ParquetSink

            return ParquetSink(self._temporary, crs_wkt=self._crs_wkt, columns=self.columns, metadata=self._notes())
        notes = self._notes() if self.columns.ending == ".gpkg" else {}
        return _FionaSink(self._temporary, crs_wkt=self._crs_wkt, columns=self.columns, layer=self.layer, tags=notes)

    def _notes(self) -> dict[str, str]:
        """The metadata as text by name."""
        notes = {**self._metadata, **({"columns": self.columns.renamed} if self.columns.renamed else {})}
        return {name: value if isinstance(value, str) else _json(value) for name, value in notes.items()}

    def _write_sidecar(self) -> None:
        if not self._metadata and not self.columns.renamed:
            return
        digest = hashlib.sha256()
        with self._temporary.open("rb") as handle:
            while block := handle.read(1 << 20):
                digest.update(block)
        content = {
            "file": self.path.name,
            "sha256": digest.hexdigest(),
            "columns": {f.column: f.name for f in self.columns.fields},
            "metadata": self._metadata,
        }
        sidecar = self._temporary.with_name(self._temporary.name + ".json")
        sidecar.write_text(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")

    def _areas(self, geometries: Geometries) -> Geometries:
        """The geometries as two-dimensional MultiPolygons; raises `OutputError` that names one without an area."""
        bad = shapely.is_empty(geometries) | ~np.isfinite(shapely.bounds(geometries)).all(axis=1)
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            what = "empty geometry" if geometries[first].is_empty else "coordinates that are not finite"
            raise OutputError(f"{self.path}: feature {self.tally.features + first + 1}: {what}; expected an area")
        flat = shapely.force_2d(geometries)
        single = shapely.get_type_id(flat) == shapely.GeometryType.POLYGON
        flat[single] = shapely.multipolygons(flat[single], indices=np.arange(single.sum()))
        return np.asarray(flat, dtype=object)

    def _to_lonlat(self, geometries: Geometries) -> Geometries:
        from samgeo.output.lonlat import to_lonlat

        assert self._crs_wkt is not None
        return to_lonlat(geometries, self._crs_wkt)

    def _failure(self, error: BaseException) -> BaseException:
        """The error that a user sees for one of a library; ours stay as they are."""
        if isinstance(error, SamgeoError):
            return error
        return OutputError(
            f"{self.path}: cannot be written: {str(error)[:300]}. Is there room on the disk for all of it?"
        )


class _FionaSink:
    """A file that GDAL writes."""

    def __init__(
        self, path: Path, *, crs_wkt: str | None, columns: Columns, layer: str, tags: Mapping[str, str]
    ) -> None:
        self._path, self._columns, self._layer, self._tags = path, columns, layer, dict(tags)
        is_geojson = columns.ending == ".geojson"
        with _environment():
            self._collection = fiona.open(
                path,
                "w",
                driver=FORMATS[columns.ending],
                # RFC 7946 forbids to name the CRS; with one, GDAL would.
                crs_wkt="" if is_geojson else crs_wkt or "",
                schema={"geometry": "MultiPolygon", "properties": {f.name: f.stored for f in columns.fields}},
                encoding="UTF-8",
                **({} if columns.ending == ".shp" else {"layer": layer}),
                **_OPTIONS.get(columns.ending, {}),
                **({"DBF_DATE_LAST_UPDATE": f"{date_stamp():%Y-%m-%d}"} if columns.ending == ".shp" else {}),
            )
            try:
                if tags:
                    self._collection.update_tags(self._tags)
            except BaseException:
                self._collection.close()
                raise

    def write(self, geometries: Geometries, records: list[Record]) -> None:
        features = (
            {"type": "Feature", "geometry": {"type": "MultiPolygon", "coordinates": parts}, "properties": record}
            for parts, record in zip(_nested(geometries), records, strict=True)
        )
        with _environment():
            self._collection.writerecords(features)

    def close(self) -> None:
        with _environment():
            self._collection.close()

    def read_back(self) -> Iterator[tuple[Vertices, list[Any]]]:
        with _environment(), fiona.open(self._path, enabled_drivers=[FORMATS[self._columns.ending]]) as collection:
            if self._tags and collection.tags() != self._tags:
                raise OutputError(f"{self._path.name}: the metadata of the layer cannot be read back")
            for feature in collection:
                yield _vertices(feature.geometry), list(feature.properties.values())


_OPTIONS = {
    ".geojson": {"COORDINATE_PRECISION": str(GEOJSON_DECIMALS)},
    ".gpkg": {"SPATIAL_INDEX": "YES"},
    ".fgb": {"SPATIAL_INDEX": "YES"},
}


def _environment() -> AbstractContextManager[Any]:
    """GDAL's settings while a file is open: fixed date, no journal that outlives the file, no settings of the user's.

    The file is brought to disk once, by `staged`, so SQLite need not do so; the spatial index is built in one go when
    the file is closed, so that it does not depend on how threads take turns; as far as a fixed amount of memory goes,
    since what GDAL would take depends on the machine.
    """
    return fiona.Env(  # type: ignore[no-any-return]
        OGR_CURRENT_DATE=f"{date_stamp():%Y-%m-%dT%H:%M:%S.000Z}",
        OGR_SQLITE_JOURNAL="DELETE",
        OGR_SQLITE_SYNCHRONOUS="OFF",
        OGR_GPKG_ALLOW_THREADED_RTREE="NO",
        OGR_GPKG_MAX_RAM_USAGE_RTREE="24MB",
        SHAPE_ENCODING="UTF-8",
    )


def probe_output(
    path: Path,
    *,
    crs_wkt: str | None,
    inputs: Iterable[Path | str] = (),
    layer: str | None = None,
    overwrite: bool = False,
) -> None:
    """Refuse before any work what would be refused after it; for a raster of ids too.

    Raises `UsageError` for an ending, a layer name or a missing extra, `OutputExistsError` and `OutputError` as
    `probe_writable` and `FeatureWriter` do.
    """
    if ending_of(path) in FORMATS:
        _layer_name(path, layer)
        _check_crs(path, crs_wkt)
        if path.suffix.lower() == ".parquet":
            import samgeo.output.geoparquet  # noqa: F401
    probe_writable(path, inputs=inputs, overwrite=overwrite)
    if path.suffix.lower() == ".gpkg":
        geopackage.refuse_other_layers(path)


def check_size(path: Path, *, features: int, vertices: int, columns: Mapping[str, str]) -> None:
    """Refuse before writing what cannot fit. vertices: of all features, closing ones too; estimates will do.

    Raises `OutputError` if a Shapefile would pass 2 GB, or the disk has less room than the file will take.
    """
    fields = Columns.for_format(columns, ending_of(path))
    if fields.ending == ".shp":
        shapefile.Size(fields, features=features, vertices=vertices).check(path)
    per_vertex = 34 if fields.ending == ".geojson" else 16
    needed = per_vertex * vertices + (150 + 16 * len(fields.fields)) * features
    free = shutil.disk_usage(path.absolute().parent).free
    if needed > free:
        raise OutputError(
            f"{path}: {features} features with {vertices} vertices take about {needed / 1e6:.0f} MB, and the disk has "
            f"{free / 1e6:.0f} MB free. Fix: make room, write elsewhere, or --simplify"
        )


def _layer_name(path: Path, layer: str | None) -> str:
    name = path.stem if layer is None else layer
    ending = path.suffix.lower()
    if ending in {".shp", ".parquet"} and name != path.stem:
        raise UsageError(
            f"--layer {name}: the layer of {path.name} is {path.stem}. Fix: leave --layer out or write .gpkg"
        )
    if not name.strip() or name.lower().startswith(("gpkg_", "rtree_", "sqlite_")):
        raise UsageError(f"layer {name!r}: expected a name that does not start as GeoPackage's own. Fix: --layer NAME")
    return name


def _check_crs(path: Path, crs_wkt: str | None) -> None:
    if path.suffix.lower() != ".geojson":
        return
    if crs_wkt is None:
        raise OutputError(f"{path}: GeoJSON is in longitude and latitude, and there is no CRS. Fix: write .gpkg")
    from samgeo.output.lonlat import way_to_lonlat

    way_to_lonlat(CRS.from_wkt(crs_wkt))


def _nested(geometries: Geometries) -> list[Any]:
    """The coordinates of (n,) MultiPolygons as GeoJSON nests them."""
    _, xy, (ring_starts, polygon_starts, starts) = shapely.to_ragged_array(geometries)
    nested: list[Any] = xy.tolist()
    for offsets in (ring_starts, polygon_starts, starts):
        nested = [nested[a:b] for a, b in pairwise(offsets.tolist())]
    return nested


def _vertices(geometry: Any) -> list[tuple[float, float]]:
    """All vertices of a geometry as fiona reads it."""
    if geometry is None:
        return []
    polygons = geometry.coordinates if geometry.type == "MultiPolygon" else [geometry.coordinates]
    return list(chain.from_iterable(chain.from_iterable(polygons)))


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
