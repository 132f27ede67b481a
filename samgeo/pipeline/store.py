"""PolygonStore: polygons wait on disk, a small table of them in memory."""

from __future__ import annotations

import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.errors import OutputError

_ROW = np.dtype(
    [
        ("offset", "i8"),  # where the polygon starts in the file, in bytes
        ("size", "u4"),
        ("key", "i4"),  # position of the prompt, or -1
        ("row", "i4"),  # bounding box, in pixels
        ("col", "i4"),
        ("height", "i4"),
        ("width", "i4"),
        ("first_col", "i4"),  # column of the first pixel in row-major order
        ("area_px", "i8"),
        ("score", "f4"),
        ("stability", "f4"),
        ("tiles", "i4"),
        ("label", "i2"),  # position in the list of labels, or -1
        ("label_score", "f4"),
    ]
)
"""What is kept in memory of one feature, 62 bytes."""


class PolygonStore:
    """Polygons in pixel space on disk, and a small table of them in memory. Not for several threads."""

    def __init__(self, output: Path | None = None) -> None:
        """output: beside it lies the file, without a name; it vanishes with this object. None: the system's choice."""
        self.output = output
        folder = None if output is None else output.absolute().parent
        self._file = tempfile.TemporaryFile(dir=folder, prefix=".samgeo-")  # noqa: SIM115  closed by close()
        weakref.finalize(self, self._file.close)  # results are values: nobody has to close them
        self._rows: NDArray[Any] = np.zeros(0, _ROW)
        self._count = 0
        self._end = 0
        self._has_read = False

    def __len__(self) -> int:
        return self._count

    @property
    def table(self) -> NDArray[Any]:
        """(n,) records of `_ROW`; a view."""
        return self._rows[: self._count]

    def make_room(self, features: int) -> None:
        """Have room for exactly so many more; the table grows by itself, too, and then by more than is asked."""
        try:
            self._rows.resize(self._count + features)  # in place, so that the table is never there twice
        except ValueError:  # somebody holds a view of it
            self._rows = np.concatenate([self.table, np.zeros(features, _ROW)])

    def add(self, geometry: Any, **row: float) -> None:
        """Append a polygon of pixel space; `row` gives the fields that are not read off it."""
        if self._count == len(self._rows):
            self.make_room(max(1024, self._count // 8))
        self._count += 1
        self.replace(self._count - 1, geometry, **row)

    def replace(self, index: int, geometry: Any, **row: float) -> None:
        """Put another polygon in the place of one; fields that are neither given nor read off it stay."""
        data = shapely.to_wkb(geometry)
        corners = shapely.get_coordinates(geometry)
        (left, top), (right, bottom) = corners.min(axis=0).astype(int), corners.max(axis=0).astype(int)
        record = self._rows[index]
        record["first_col"], record["area_px"] = corners[corners[:, 1] == top, 0].min(), round(geometry.area)
        record["offset"], record["size"] = self._end, len(data)
        record["row"], record["col"], record["height"], record["width"] = top, left, bottom - top, right - left
        for name, value in row.items():
            record[name] = value
        try:
            if self._has_read:  # to seek is to write what waits in the buffer
                self._file.seek(self._end)
                self._has_read = False
            self._file.write(data)
        except OSError as error:
            raise self._failure(error) from error
        self._end += len(data)

    def wkb(self, index: int) -> bytes:
        """The polygon as it was stored."""
        self._has_read = True
        try:
            self._file.seek(int(self._rows[index]["offset"]))
            return self._file.read(int(self._rows[index]["size"]))
        except OSError as error:
            raise self._failure(error) from error

    def polygon(self, index: int) -> Any:
        """The polygon in pixel space: x = column, y = row, whole numbers."""
        return shapely.from_wkb(self.wkb(index))

    def keep(self, order: NDArray[np.int64]) -> None:
        """Keep the features of these indices, in this order."""
        self._rows = self._rows[order]
        self._count = len(order)

    def take_out(self, index: int) -> np.void:
        """Forget one feature; those after it move up. Returns its row, with which `put_back` brings it back."""
        row: np.void = self._rows[index].copy()
        self.keep(np.delete(np.arange(self._count), index))
        return row

    def put_back(self, index: int, row: np.void) -> None:
        """Have a feature again where it was taken out; its polygon has stayed in the file."""
        self._rows = np.insert(self.table, index, row)
        self._count += 1

    def _failure(self, error: OSError) -> OutputError:
        where = tempfile.gettempdir() if self.output is None else self.output
        return OutputError(f"{where}: cannot keep polygons in this folder: {error}. Expected one with room on the disk")

    def close(self) -> None:
        """Give the disk space back."""
        self._file.close()
