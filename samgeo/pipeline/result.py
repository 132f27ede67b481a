"""Segmentation: the features that `segment` found, in id order, read from disk as they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import shapely

from samgeo.commit import Ready
from samgeo.grid import Grid
from samgeo.output.columns import LABEL_RASTERS, ending_of
from samgeo.output.labels import LabelWriter
from samgeo.pipeline.coverage import simplified_together
from samgeo.pipeline.painting import BLOCK_PX, blocks, paint
from samgeo.pipeline.store import PolygonStore
from samgeo.polygons import Ground, measure_all, simplify, smooth, to_map
from samgeo.settings import Settings
from samgeo.squaring import square

if TYPE_CHECKING:
    import geopandas

    from samgeo.prompts.placed import PlacedPrompts

COLUMNS = {
    "id": "int64",
    "prompt_id": "str",
    "label": "str",
    "score": "float",
    "stability": "float",
    "area_m2": "float",
    "perimeter_m": "float",
    "tiles": "int32",
    "model": "str",
}
"""What every feature carries, and its type. If the model says what things are, `label_score` follows, and then come the
columns of the prompt layer."""

BATCH_BYTES = 2**16
"""So much of the polygons, and one more, is brought to the map and measured at once."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One object on the map."""

    geometry: Any
    """Polygon or MultiPolygon in map coordinates."""
    attributes: Mapping[str, Any]
    """Column to value; `id` among them."""

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """As a GeoJSON feature, in map coordinates: what other libraries take."""
        return {
            "type": "Feature",
            "id": str(self.attributes["id"]),
            "properties": dict(self.attributes),
            "geometry": shapely.geometry.mapping(self.geometry),
        }


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where features come from: what their attributes say besides what is measured."""

    model: str
    """Name of the model."""
    labels: tuple[str, ...] = ()
    """Labels that the model gave; features have positions in it."""
    placed: PlacedPrompts | None = None
    """The prompted objects, whose ids and columns the features take over."""


class Segmentation:
    """Features in id order: `len`, iteration, indexing, `to_gdf`, `to_file`. A context manager; closing frees the disk.

    Geometry is kept on disk in pixels and brought to the map when a feature is asked for, so memory does not grow with
    the size of the features.
    """

    def __init__(
        self,
        store: PolygonStore,
        *,
        grid: Grid,
        settings: Settings,
        origin: Origin,
        metadata: Mapping[str, Any],
        report: Mapping[str, Any],
        exclusive: bool = False,
        owns_store: bool = True,
    ) -> None:
        """store: in id order. exclusive: none in it overlap. owns_store: it is closed with this object."""
        self._store = store
        self._owns_store = owns_store
        self._settings = settings
        self._origin = origin
        self._exclusive = exclusive
        self.grid = grid
        self.metadata = dict(metadata)
        """What was segmented with what: raster, model, tiling, settings; fit for JSON."""
        self.report = dict(report)
        """What was done: prompts accepted and refused with reasons, tiles, features; fit for JSON."""
        self.path: Path | None = None
        """The file that was written, if any."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Segmentation({len(self)} features on {self.grid})"

    def __len__(self) -> int:
        return len(self._store)

    def __iter__(self) -> Iterator[Feature]:
        return chain.from_iterable(map(self._features, self._batches()))

    def __getitem__(self, index: int) -> Feature:
        """The feature with the id `index` + 1."""
        if not 0 <= index < len(self):
            raise IndexError(f"feature {index}: expected 0 to {len(self) - 1}")
        return next(self._features(range(index, index + 1)))

    def _batches(self) -> Iterator[range]:
        """All features, some at a time."""
        start, size = 0, 0
        for index in range(len(self)):
            size += int(self._store.table["size"][index])
            if size >= BATCH_BYTES or index == len(self) - 1:
                yield range(start, index + 1)
                start, size = index + 1, 0

    def _features(self, indices: range) -> Iterator[Feature]:
        """Some features; what is the same for all is found out once."""
        geometries = to_map(np.array([self._outline(index) for index in indices], dtype=object), self.grid)
        for index, geometry, ground in zip(indices, geometries, measure_all(geometries, self.crs), strict=True):
            yield Feature(geometry=geometry, attributes=self._attributes(index, ground))

    def _attributes(self, index: int, ground: Ground) -> dict[str, Any]:
        row = self._store.table[index]
        key, label, placed = int(row["key"]), int(row["label"]), self._origin.placed
        sure = {"label_score": float(row["label_score"])} if self._origin.labels else {}
        attributes = {
            "id": index + 1,
            "prompt_id": None if placed is None else str(placed.prompt_ids[key]),
            "label": self._origin.labels[label] if label >= 0 else None,
            "score": float(row["score"]),
            "stability": float(row["stability"]),
            "area_m2": ground.area_m2,
            "perimeter_m": ground.perimeter_m,
            "tiles": int(row["tiles"]),
            "model": self._origin.model,
        }
        more = {} if placed is None else placed.attributes(key)
        return attributes | sure | more

    def _outline(self, index: int) -> Any:
        """The polygon as the settings want it, in pixel space."""
        if self._exclusive and self._settings.simplify_m:
            return self._simplified_together.polygon(index)
        return pleasant(self._store.polygon(index), self.grid, self._settings)

    @cached_property
    def _simplified_together(self) -> PolygonStore:
        tolerance_m, max_vertices = self._settings.simplify_m, self._settings.max_vertices
        return simplified_together(self._store, self.grid, tolerance_m, max_vertices=max_vertices)

    @property
    def crs(self) -> Any:
        """CRS of the geometries; None where the raster has none."""
        return self.grid.crs

    @property
    def columns(self) -> dict[str, str]:
        """Names and types of the attributes."""
        sure = {"label_score": "float"} if self._origin.labels else {}
        return COLUMNS | sure | ({} if self._origin.placed is None else dict(self._origin.placed.columns))

    @property
    def __geo_interface__(self) -> dict[str, Any]:
        """As a GeoJSON feature collection, in map coordinates."""
        return {"type": "FeatureCollection", "features": [feature.__geo_interface__ for feature in self]}

    def to_gdf(self) -> geopandas.GeoDataFrame:
        """All features in memory."""
        import geopandas

        features = list(self)
        rows = {name: [feature.attributes[name] for feature in features] for name in self.columns}
        return geopandas.GeoDataFrame(rows, geometry=[feature.geometry for feature in features], crs=self.grid.crs_wkt)

    def to_file(
        self, path: str | Path, *, layer: str | None = None, overwrite: bool = False, ready: Ready | None = None
    ) -> Path:
        """Write all features: .gpkg .shp .geojson .fgb .parquet by the ending, or .tif for a raster of ids.

        The file appears under its name when it is complete and verified. In a raster of ids the feature with the higher
        score, then the smaller one, has the pixels that features share. `ready` is called with the whole file before.

        Raises `OutputExistsError` if it is there and `overwrite` is False, and `OutputError` if it cannot be written.
        """
        from samgeo.output.vector import FeatureWriter  # takes a while to load

        target = Path(path)
        if ending_of(target) in LABEL_RASTERS:
            self._write_labels(target, overwrite=overwrite, ready=ready)
        else:
            with FeatureWriter(
                target,
                crs_wkt=self.grid.crs_wkt,
                columns=self.columns,
                layer=layer or self._settings.layer,
                metadata=self.metadata,
                overwrite=overwrite,
                ready=ready,
            ) as writer:
                self._check_size(target)
                for feature in self:
                    writer.write(feature.geometry, feature.attributes)
        self.path = target
        return target

    def _check_size(self, target: Path) -> None:
        """Refuse what cannot fit before it is written; how short simplified outlines will be is not known yet."""
        if not self._settings.simplify_m and not self._settings.square:
            from samgeo.output.vector import check_size

            vertices = int(self._store.table["size"].sum()) // 16  # two doubles each
            check_size(target, features=len(self), vertices=vertices, columns=self.columns)

    def close(self) -> None:
        """Free the disk space; the features are gone, a file that was written stays."""
        if self._owns_store:
            self._store.close()
        if "_simplified_together" in vars(self):
            self._simplified_together.close()

    def _write_labels(self, path: Path, *, overwrite: bool, ready: Ready | None) -> None:
        numbers = np.arange(1, len(self) + 1, dtype=np.int32)
        with LabelWriter(path, grid=self.grid, metadata=self.metadata, overwrite=overwrite, ready=ready) as writer:
            for block in blocks(*self.grid.shape, BLOCK_PX):
                writer.write(block, paint(self._store, numbers, block))


def outline(polygon: Any, grid: Grid, settings: Settings) -> Any:
    """A polygon of pixel space as the settings want it, in map coordinates."""
    return to_map(pleasant(polygon, grid, settings), grid)


def pleasant(polygon: Any, grid: Grid, settings: Settings) -> Any:
    """A polygon of pixel space as the settings want it."""
    if settings.square:
        polygon = square(polygon, grid)
    if settings.smooth:
        polygon = smooth(polygon)
    if settings.simplify_m:
        polygon = simplify(polygon, settings.simplify_m, grid)
    return polygon
