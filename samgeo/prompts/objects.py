"""From prompts to objects: which clicks, boxes and outlines belong together, and which contradict each other.

Every row of every layer gets an object and keeps its verdict or gets one; nothing is dropped without it. All rows are
handled at once, in the order given: points, boxes, masks.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.pixels import BACKGROUND, FOREGROUND
from samgeo.prompts.layer import PromptLayer
from samgeo.prompts.placement import OK, Placed

Integers = NDArray[np.int64]
Bools = NDArray[np.bool_]

BAD_LABEL, NO_OBJECT, CONTRADICTION, SECOND, ORPHAN = range(20, 25)
"""Verdicts that go on where those of `placement` end."""

LABELS = dict.fromkeys(("1", "fg", "foreground", "positive", "pos", "true", "+"), FOREGROUND) | dict.fromkeys(
    ("0", "bg", "background", "negative", "neg", "false", "-"), BACKGROUND
)
"""What a label column may say, in any case."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Rows:
    """The R prompts of all layers."""

    layer: Integers
    """(R,) which layer."""
    index: Integers
    """(R,) which prompt of it."""
    verdict: NDArray[np.int8]
    """(R,) OK or why it is refused."""
    label: Integers
    """(R,) 1 on the object, 0 beside it; 1 for boxes and masks."""
    object: Integers
    """(R,) which object; those that the object column names come first."""
    twin: Integers
    """(R,) the earlier row that is the same click, or -1."""
    names: tuple[str, ...]
    """Names of the objects that the object column names; position k is object k."""


def gather(
    layers: Sequence[PromptLayer], placed: Sequence[Placed], *, object_column: str | None, label_column: str | None
) -> Rows:
    """Put the rows of all layers together and find their objects.

    Raises `PromptError` if a named column is nowhere, or if background clicks could belong to several objects.
    """
    sizes = [len(layer) for layer in layers]
    layer, index = np.repeat(np.arange(len(layers)), sizes), np.concatenate([np.arange(size) for size in sizes])
    verdict = np.concatenate([one.verdict for one in placed])
    label = _labels(layers, label_column)
    number, names = _objects(layers, object_column)
    verdict[(verdict == OK) & (label < 0)] = BAD_LABEL
    verdict[(verdict == OK) & (number < 0)] = NO_OBJECT
    clicks = np.array([one.kind == "points" for one in layers])[layer]
    # The points of a multipoint name their object too: their row.
    named = np.array([object_column in one.columns for one in layers])[layer]
    several = np.concatenate([one.parts > 0 for one in layers])
    _attach_background(number, clicks & (label == BACKGROUND) & ~named, label == FOREGROUND)
    twin = _find_twins(
        np.concatenate([one.points for one in placed]), (number, named | several), label, (verdict, clicks)
    )
    for kind in ("boxes", "masks"):
        _refuse_seconds(number, np.array([one.kind == kind for one in layers])[layer], verdict)
    usable = (verdict == OK) & (label == FOREGROUND)
    verdict[(verdict == OK) & ~np.isin(number, number[usable])] = ORPHAN
    return Rows(layer=layer, index=index, verdict=verdict, label=label, object=number, twin=twin, names=names)


def object_name(value: Any) -> str | None:
    """What a value of the object column calls its object; None if it is empty. 7, 7.0 and "7" are one object."""
    if value is None or isinstance(value, (float, np.floating)):
        if value is None or not np.isfinite(value):
            return None
        value = int(value) if float(value).is_integer() else value
    return unicodedata.normalize("NFC", str(value).strip()) or None


def _labels(layers: Sequence[PromptLayer], column: str | None) -> Integers:
    """(R,) 1, 0, or -1 for what means neither."""
    _require(column, "label", [layer for layer in layers if layer.kind == "points"])
    return np.concatenate([_layer_labels(layer, column) for layer in layers])


def _layer_labels(layer: PromptLayer, column: str | None) -> Integers:
    if layer.kind != "points" or column is None or column not in layer.columns:
        return np.full(len(layer), FOREGROUND, dtype=np.int64)
    known = {name: LABELS.get(name.casefold(), -1) for name in map(str, map(object_name, layer.columns[column]))}
    names = map(str, map(object_name, layer.columns[column]))
    return np.fromiter((known[name] for name in names), dtype=np.int64, count=len(layer.ids))[layer.rows]


def _objects(layers: Sequence[PromptLayer], column: str | None) -> tuple[Integers, tuple[str, ...]]:
    """(R,) the object of every row, -1 where the object column is empty; and the names of the first objects."""
    _require(column, "object", layers)
    numbers: dict[str, int] = {}
    found, free = [], sum(len(layer) for layer in layers)
    for layer in layers:
        if column is None or column not in layer.columns:
            own = free + np.arange(len(layer.ids))  # numbers that no named object has
            free += len(layer.ids)
        else:
            names = map(object_name, layer.columns[column])
            own = np.array([-1 if name is None else numbers.setdefault(name, len(numbers)) for name in names])
        found.append(own[layer.rows])
    return np.concatenate(found), tuple(numbers)


def _require(column: str | None, what: str, layers: Sequence[PromptLayer]) -> None:
    if column is None or any(column in layer.columns for layer in layers):
        return
    there = sorted({name for layer in layers for name in layer.columns})
    raise PromptError(
        f"--{what}-column {column}: no such column in {', '.join(layer.name for layer in layers) or 'any points'}; "
        f"expected one of {', '.join(there) or 'none, since there are no columns'}"
    )


def _attach_background(number: Integers, homeless: Bools, foreground: Bools) -> None:
    """Give background clicks of a layer without objects to the one object that there is."""
    if not homeless.any():
        return
    objects = np.unique(number[foreground & (number >= 0)])
    if len(objects) != 1:
        raise PromptError(
            f"{int(homeless.sum())} background clicks and {len(objects)} objects: a background click must belong to "
            "one object. Fix: name the column that tells which with --object-column"
        )
    number[homeless] = objects[0]


def _find_twins(
    points: NDArray[np.float64],
    objects: tuple[Integers, Bools],
    label: Integers,
    state: tuple[NDArray[np.int8], Bools],
) -> Integers:
    """(R,) the first of equal clicks or -1; clicks on one place that are both on and beside an object are refused.

    Clicks that name no object and lie on one place mean one object, and get its number.
    """
    (number, named), (verdict, clicks) = objects, state
    twin = np.full(len(points), -1, dtype=np.int64)
    rows = np.flatnonzero(clicks & (verdict == OK))
    if len(rows) == 0:
        return twin
    background = label[rows] == BACKGROUND
    # Where there is background, what it may contradict must show its object.
    home = number[rows] if background.any() else np.where(named[rows], number[rows], -1)
    x, y = points[rows].T
    order = np.lexsort((y, x, home))
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(home[order]) != 0) | (np.diff(x[order]) != 0) | (np.diff(y[order]) != 0)
    starts = np.flatnonzero(new)
    group = np.cumsum(new) - 1
    lows, highs = (reduce.reduceat(label[rows[order]], starts) for reduce in (np.minimum, np.maximum))
    verdict[rows[order]] = np.where((lows != highs)[group], CONTRADICTION, OK)
    repeated = ~new & (lows == highs)[group]
    first = rows[order[starts[group]]]
    twin[rows[order[repeated]]] = first[repeated]
    number[rows[order[repeated]]] = number[first[repeated]]
    return twin


def _refuse_seconds(number: Integers, kind: Bools, verdict: NDArray[np.int8]) -> None:
    """Keep the first usable row of a kind of each object."""
    rows = np.flatnonzero(kind & (verdict == OK))
    _, first = np.unique(number[rows], return_index=True)
    verdict[np.delete(rows, first)] = SECOND
