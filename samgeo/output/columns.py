"""Columns of features: what each output format can hold, under which name, and the value as it takes it."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from samgeo.errors import OutputError, UsageError

FORMATS = {
    ".gpkg": "GPKG",
    ".shp": "ESRI Shapefile",
    ".geojson": "GeoJSON",
    ".fgb": "FlatGeobuf",
    ".parquet": "Parquet",
}
"""Ending of a vector output -> name of its format (but for Parquet: GDAL's driver)."""

LABEL_RASTERS = (".tif", ".tiff")
"""Endings of outputs that hold an id a pixel instead of features."""

KINDS = ("int32", "int64", "float", "bool", "str", "date", "datetime")
"""Types of a column, named as fiona names them; "int" is int64. Any of them may hold null."""

SHAPEFILE_NAMES = {"perimeter_m": "perim_m", "predicted_iou": "pred_iou"}
"""Short names for columns of ours that do not fit into the 10 bytes of a Shapefile's field name."""

SHAPEFILE_NAME_BYTES, SHAPEFILE_TEXT_BYTES, SHAPEFILE_INT_DIGITS = 10, 254, 18
SHAPEFILE_FLOAT_LIMIT = 1e15
"""Above it the 24 characters of a number lose digits."""

_RESERVED = {".gpkg": ("fid", "geom"), ".parquet": ("geometry",)}
_AS_TEXT = {".shp": ("datetime",), ".fgb": ("date",)}
_INT_LIMITS = {"int32": 2**31, "int64": 2**63}


@dataclass(frozen=True, kw_only=True)
class Field:
    """One column as one format holds it."""

    column: str
    """The name that the caller uses."""
    name: str
    """The name in the file."""
    kind: str
    """One of KINDS."""
    stored: str
    """One of KINDS: what the file holds; dates are text where a format has no dates."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The columns of one layer in one format."""

    ending: str
    """A key of FORMATS."""
    fields: tuple[Field, ...]
    """In the order of the file."""

    @classmethod
    def for_format(cls, columns: Mapping[str, str], ending: str) -> Columns:
        """Choose the field of each column. Raises `UsageError` for a type or ending that holds no features."""
        if ending not in FORMATS:
            raise UsageError(f"{ending} does not hold features; expected one of {', '.join(FORMATS)}")
        kinds = {column: "int64" if kind == "int" else kind for column, kind in columns.items()}
        for column, kind in kinds.items():
            if kind not in KINDS:
                raise UsageError(f"column {column}: type {kind}; expected one of int, {', '.join(KINDS)}")
        names = field_names(list(kinds), ending)
        as_text = _AS_TEXT.get(ending, ())
        return cls(
            ending=ending,
            fields=tuple(
                Field(column=column, name=names[column], kind=kind, stored="str" if kind in as_text else kind)
                for column, kind in kinds.items()
            ),
        )

    @property
    def renamed(self) -> dict[str, str]:
        """Column -> name in the file, of those whose name had to change."""
        return {field.column: field.name for field in self.fields if field.column != field.name}

    def record(self, properties: Mapping[str, Any]) -> dict[str, Any]:
        """Properties by column -> values by field name, each of its type or None; a column that is missing is null.

        Raises `OutputError` for a name that is no column and for a value that the format cannot hold as it is.
        """
        if unknown := properties.keys() - {field.column for field in self.fields}:
            raise OutputError(f"property {', '.join(sorted(unknown))}: expected only the columns that were declared")
        return {field.name: self._value(field, properties.get(field.column)) for field in self.fields}

    def _value(self, field: Field, value: Any) -> Any:
        if _is_null(value):
            return None
        try:
            clean = _CONVERSIONS[field.kind](value)
        except (TypeError, ValueError, OverflowError) as error:
            raise OutputError(f"column {field.column}: {value!r}; expected {field.kind} or null") from error
        if (
            isinstance(clean, int)
            and field.kind in _INT_LIMITS
            and not -_INT_LIMITS[field.kind] <= clean < _INT_LIMITS[field.kind]
        ):
            raise OutputError(f"column {field.column}: {clean}; expected a number that fits into {field.kind}")
        if field.stored == "str" and not isinstance(clean, str):
            clean = clean.isoformat()
        if reason := self._refusal(clean):
            raise OutputError(f"column {field.column}: {reason}. Fix: write .gpkg instead")
        return clean

    def _refusal(self, value: Any) -> str:
        """Why this format would change the value; empty if it would not."""
        if self.ending in {".shp", ".geojson"} and isinstance(value, float) and math.isinf(value):
            return f"{value}, and {FORMATS[self.ending]} holds finite numbers only"
        if self.ending != ".shp":
            return ""
        if isinstance(value, str) and len(value.encode()) > SHAPEFILE_TEXT_BYTES:
            return f"a text of {len(value.encode())} bytes, and a Shapefile holds {SHAPEFILE_TEXT_BYTES}"
        if isinstance(value, float) and abs(value) >= SHAPEFILE_FLOAT_LIMIT:
            return f"{value}, and a Shapefile holds numbers below {SHAPEFILE_FLOAT_LIMIT:g}"
        if type(value) is int and abs(value) >= 10 ** (SHAPEFILE_INT_DIGITS - 1):
            return f"{value}, and a Shapefile holds numbers of {SHAPEFILE_INT_DIGITS - 1} digits"
        return ""


def ending_of(path: Path) -> str:
    """The ending of an output in lower case; raises `UsageError` if it is neither in FORMATS nor in LABEL_RASTERS."""
    ending = path.suffix.lower()
    if ending not in (*FORMATS, *LABEL_RASTERS):
        expected = ", ".join((*FORMATS, LABEL_RASTERS[0]))
        raise UsageError(f"{path}: the ending is {ending or 'missing'}; expected one of {expected}")
    return ending


def field_names(columns: list[str], ending: str) -> dict[str, str]:
    """Column -> name in the file: never taken, never equal but for case; at most 10 bytes in a Shapefile."""
    taken = set(_RESERVED.get(ending, ()))
    names: dict[str, str] = {}
    limit = SHAPEFILE_NAME_BYTES if ending == ".shp" else 1000
    for column in columns:  # those that can stay as they are come first, so that they do
        if column and len(column.encode()) <= limit and column.casefold() not in taken:
            names[column] = column
            taken.add(column.casefold())
    for column in columns:
        if column not in names:
            wanted = SHAPEFILE_NAMES.get(column, column) if ending == ".shp" else column
            names[column] = _free_name(wanted or "column", limit, taken)
            taken.add(names[column].casefold())
    return names


def _free_name(wanted: str, limit: int, taken: set[str]) -> str:
    name, number = _cut(wanted, limit), 1
    while name.casefold() in taken:
        number += 1
        tail = f"_{number}"
        name = _cut(wanted, limit - len(tail)) + tail
    return name


def _cut(text: str, size: int) -> str:
    """The longest start of `text` that has at most `size` bytes in UTF-8."""
    return text.encode()[:size].decode(errors="ignore")


def _is_null(value: Any) -> bool:
    """True for None, NaN, NaT and NA: the values that are not equal to themselves, or cannot say whether they are."""
    if value is None:
        return True
    try:
        return bool(value != value)  # noqa: PLR0124
    except (TypeError, ValueError):
        return True


def _whole(value: Any) -> int:
    number = int(value)
    if isinstance(value, str) or number != value:
        raise ValueError(value)
    return number


def _truth(value: Any) -> bool:
    if isinstance(value, str) or value not in (0, 1):
        raise ValueError(value)
    return bool(value)


def _number(value: Any) -> float:
    if isinstance(value, str):
        raise TypeError(value)
    return float(value)


def _day(value: Any) -> dt.date:
    if isinstance(value, dt.datetime):
        return value.date()
    return value if isinstance(value, dt.date) else dt.date.fromisoformat(value)


def _moment(value: Any) -> dt.datetime:
    if isinstance(value, dt.datetime):
        return value
    if isinstance(value, dt.date):
        return dt.datetime(value.year, value.month, value.day)  # noqa: DTZ001 - a day has no time zone
    return dt.datetime.fromisoformat(value)


_CONVERSIONS: dict[str, Callable[[Any], Any]] = {
    "int32": _whole,
    "int64": _whole,
    "float": _number,
    "bool": _truth,
    "str": str,
    "date": _day,
    "datetime": _moment,
}
