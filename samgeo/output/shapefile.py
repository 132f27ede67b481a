"""What GDAL does not tell about a Shapefile: when it becomes too large, and whether its small files are whole."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from pyproj.exceptions import CRSError

from samgeo.errors import OutputError
from samgeo.output.columns import Columns
from samgeo.output.tally import Tally

_CODE, _VERSION, _HEADER_BYTES = 9994, 1000, 100


MOST_BYTES = 2**31 - 1
"""Largest .shp and .dbf that readers agree on; GDAL only warns here."""

_WIDTHS = {"str": 80, "float": 24, "int64": 18, "int32": 9, "date": 8, "bool": 1}
"""Bytes of a value in the .dbf, by type; a longer text makes its column wider."""


class Size:
    """How large the two big files of a Shapefile become. See the ESRI Shapefile Technical Description (1998)."""

    def __init__(self, columns: Columns, *, features: int = 0, vertices: int = 0) -> None:
        """features, vertices: what there is already or will be, one ring each."""
        self.features = features
        self.shp_bytes = _HEADER_BYTES + 56 * features + 16 * vertices
        self._widths = {field.name: _WIDTHS[field.stored] for field in columns.fields}

    def add(self, geometries: NDArray[np.object_], records: Sequence[Mapping[str, Any]]) -> None:
        """Count in (n,) MultiPolygons with their n records."""
        self.features += len(records)
        rings = len(shapely.get_rings(shapely.get_parts(geometries)))
        vertices = int(shapely.get_num_coordinates(geometries).sum())
        self.shp_bytes += 52 * len(records) + 4 * rings + 16 * vertices
        for record in records:
            for name, value in record.items():
                if isinstance(value, str):
                    self._widths[name] = max(self._widths[name], len(value.encode()))

    @property
    def dbf_bytes(self) -> int:
        """Bytes of the .dbf: a header, the columns, the records."""
        return 34 + 32 * len(self._widths) + self.features * (1 + sum(self._widths.values()))

    def check(self, path: Path) -> None:
        """Raise `OutputError` if a file would be larger than a Shapefile may be."""
        for ending, size in ((".shp", self.shp_bytes), (".dbf", self.dbf_bytes)):
            if size > MOST_BYTES:
                raise OutputError(
                    f"{path}: the {ending} would have {size / 1e9:.1f} GB, and a Shapefile ends at 2 GB. "
                    "Fix: write .gpkg"
                )


def problems(path: Path, *, has_crs: bool, written: Tally) -> list[str]:
    """What is wrong beside the features themselves: encoding, CRS, headers."""
    wrong = []
    if not _reads(path.with_suffix(".cpg"), "UTF-8"):
        wrong.append("the .cpg does not say UTF-8")
    if has_crs and not _is_crs(path.with_suffix(".prj")):
        wrong.append("the .prj is not whole")
    for ending in (".shp", ".shx"):
        file = path.with_suffix(ending)
        if not _has_header(file, written):
            wrong.append(f"the header of the {ending} is not that of its features")
    return wrong


def _reads(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="ascii", errors="replace").strip() == text


def _is_crs(path: Path) -> bool:
    """True if the file holds a whole CRS; the beginning of one is none, as its brackets stay open."""
    try:
        CRS.from_wkt(path.read_text(encoding="utf-8", errors="replace"))
    except (OSError, CRSError):
        return False
    return True


def _has_header(path: Path, written: Tally) -> bool:
    """True if the header states the length of the file and the extent of the features.

    See the ESRI Shapefile Technical Description (1998), table 1: lengths count 16-bit words.
    """
    with path.open("rb") as handle:
        header = handle.read(_HEADER_BYTES)
    if len(header) < _HEADER_BYTES:
        return False
    code, words = struct.unpack(">i20xi", header[:28])
    version, _, *extent = struct.unpack("<2i4d", header[28:68])
    if (code, 2 * words, version) != (_CODE, path.stat().st_size, _VERSION):
        return False
    return not written.features or np.array_equal(extent, written.extent)
