"""Columns of prompt layers on their way to features: names that do not clash with ours, one type each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.prompts.layer import PromptLayer
from samgeo.prompts.text import storable

TAKEN = frozenset(
    {
        "id",
        "prompt_id",
        "label",
        "label_score",
        "score",
        "stability",
        "area_m2",
        "perimeter_m",
        "tiles",
        "model",
        "fid",
        "geom",
        "geometry",
        "ogc_fid",
    }
)
"""Names that features have already, or that formats keep for themselves."""

_KINDS = {
    "integer": "int64",
    "floating": "float",
    "mixed-integer-float": "float",
    "decimal": "float",
    "boolean": "bool",
    "datetime64": "datetime",
    "datetime": "datetime",
    "date": "date",
}
"""What pandas infers of values -> type of a column; all else is text."""


def new_names(layers: Sequence[PromptLayer], *, without: str | None) -> dict[str, str]:
    """Column -> its name in the result, in order of appearance; `without` names one that stays behind."""
    taken = set(TAKEN)
    names: dict[str, str | None] = dict.fromkeys(name for layer in layers for name in layer.columns if name != without)
    for column in names:  # those that can stay as they are come first, so that they do
        if column.casefold() not in taken:
            names[column] = column
            taken.add(column.casefold())
    for column in (column for column, name in names.items() if name is None):
        name, number = f"prompt_{column}", 1
        while name.casefold() in taken:
            number += 1
            name = f"prompt_{column}_{number}"
        names[column] = name
        taken.add(name.casefold())
    return {column: str(name) for column, name in names.items()}


def gather_values(
    layers: Sequence[PromptLayer], names: Mapping[str, str], layer: NDArray[np.int64], index: NDArray[np.int64]
) -> tuple[dict[str, str], dict[str, NDArray[np.object_]]]:
    """Types and values of all columns, by their new names.

    layer, index: (N,) which prompt of which layer each object takes its values from.
    """
    kinds: dict[str, str] = {}
    values: dict[str, NDArray[np.object_]] = {}
    for column, name in names.items():
        found = np.full(len(layer), None, dtype=object)
        for number, one in enumerate(layers):
            mine = layer == number
            if column in one.columns:
                found[mine] = one.columns[column][one.rows[index[mine]]]
        kinds[name], values[name] = _clean(found)
    return kinds, values


def _clean(values: NDArray[np.object_]) -> tuple[str, NDArray[np.object_]]:
    """The type of a column and its values in it; None for what is missing."""
    import pandas as pd

    lists = np.fromiter((isinstance(value, (list, dict, tuple, np.ndarray)) for value in values), bool, len(values))
    missing = np.zeros(len(values), dtype=bool)
    missing[~lists] = pd.isna(values[~lists])
    clean = np.full(len(values), None, dtype=object)
    kind = _KINDS.get(pd.api.types.infer_dtype(values[~missing], skipna=True), "str")
    if kind == "int64" and any(not -(2**63) <= int(value) < 2**63 for value in values[~missing]):
        kind = "str"
    clean[~missing] = [_as_text(value) if kind == "str" else value for value in values[~missing]]
    return kind, clean


def _as_text(value: Any) -> str:
    if isinstance(value, (list, dict, tuple, np.ndarray)):
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        return str(storable(json.dumps(plain, ensure_ascii=False, default=str)))
    return str(value)
