"""GeoParquet, written a batch at a time (https://geoparquet.org/releases/v1.1.0/). Needs the extra `parquet`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import shapely
from pyproj import CRS

from samgeo.errors import OutputError, UsageError
from samgeo.output.columns import Columns
from samgeo.output.tally import Vertices

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise UsageError(
        "Parquet needs pyarrow, which is not installed. Fix: pip install 'samgeo[parquet]', or write .gpkg"
    ) from error

_TYPES = {
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "str": pa.string(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
}


class ParquetSink:
    """An open GeoParquet file: WKB in the column `geometry`, metadata of the layer under the key `samgeo`."""

    def __init__(self, path: Path, *, crs_wkt: str | None, columns: Columns, metadata: Mapping[str, str]) -> None:
        self._path, self._metadata = path, json.dumps(metadata, sort_keys=True, ensure_ascii=False).encode()
        fields = [pa.field(f.name, _TYPES[f.stored]) for f in columns.fields]
        geo = {
            "version": "1.1.0",
            "primary_column": "geometry",
            "columns": {
                "geometry": {
                    "encoding": "WKB",
                    "geometry_types": ["MultiPolygon"],
                    "crs": None if crs_wkt is None else CRS.from_wkt(crs_wkt).to_json_dict(),
                }
            },
        }
        self._schema = pa.schema(
            [*fields, pa.field("geometry", pa.binary(), nullable=False)],
            metadata={b"geo": json.dumps(geo, sort_keys=True).encode(), b"samgeo": self._metadata},
        )
        self._writer = pq.ParquetWriter(path, self._schema, compression="zstd")

    def write(self, geometries: Any, records: list[dict[str, Any]]) -> None:
        """Append (n,) MultiPolygons with their n records as one row group."""
        arrays = [pa.array([record[f.name] for record in records], type=f.type) for f in list(self._schema)[:-1]]
        arrays.append(pa.array(shapely.to_wkb(geometries, byte_order=1), type=pa.binary()))
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def close(self) -> None:
        """Write the footer; a second time does nothing."""
        self._writer.close()

    def read_back(self) -> Iterator[tuple[Vertices, list[Any]]]:
        """Vertices and values of each feature."""
        with pq.ParquetFile(self._path) as file:
            if file.schema_arrow.metadata != self._schema.metadata:
                raise OutputError(f"{self._path.name}: the metadata cannot be read back")
            for batch in file.iter_batches(batch_size=2_000):
                rows = batch.to_pylist()
                geometries = shapely.from_wkb([row.pop("geometry") for row in rows])
                for geometry, row in zip(geometries, rows, strict=True):
                    yield shapely.get_coordinates(geometry), list(row.values())
