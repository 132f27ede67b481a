"""Assembly of placed prompts: objects in columns, the list of refusals, the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from samgeo.grid import Grid
from samgeo.pixels import FOREGROUND
from samgeo.prompts.columns import gather_values
from samgeo.prompts.layer import PromptLayer
from samgeo.prompts.objects import BAD_LABEL, CONTRADICTION, NO_OBJECT, ORPHAN, SECOND, Rows
from samgeo.prompts.placed import PlacedPrompts, Refusals
from samgeo.prompts.placement import (
    EMPTY,
    NO_AREA,
    NO_DOMAIN,
    NODATA,
    NOT_FINITE,
    OK,
    OUTSIDE,
    WRONG_TYPE,
    Placed,
)
from samgeo.prompts.route import Operation, Route

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

REASONS = {
    EMPTY: "no geometry",
    NOT_FINITE: "coordinates that are not finite numbers",
    NO_DOMAIN: "outside the domain of the raster's CRS",
    OUTSIDE: "outside the raster",
    NODATA: "on nodata",
    NO_AREA: "no width or no height; expected a box with an area",
    BAD_LABEL: "its label means neither on the object (1, fg, positive) nor beside it (0, bg, negative)",
    NO_OBJECT: "no value in the object column",
    CONTRADICTION: "clicks on one place are both on and beside the object",
    SECOND: "its object has one already; expected at most one box and one outline an object",
    ORPHAN: "its object has no click on it, box or outline that can be used",
}
"""What is said of a verdict; a wrong type of geometry is named."""

REPORTED_TWINS = 100


def assemble(
    rows: Rows, layers: Sequence[PromptLayer], placed: Sequence[Placed], names: Mapping[str, str]
) -> PlacedPrompts:
    """The objects of usable rows, in order of appearance; pixels are still counted from their corners.

    names: columns to their names in the result.
    """
    kinds = np.array([layer.kind for layer in layers])[rows.layer]
    used = rows.verdict == OK
    number = _dense(rows.object, used)
    count = int(number.max()) + 1
    points, boxes = (np.concatenate([getattr(one, name) for one in placed]) for name in ("points", "boxes"))
    clicks = np.flatnonzero(used & (kinds != "boxes") & (rows.twin < 0))
    order = clicks[np.lexsort((clicks, kinds[clicks] != "masks", number[clicks]))]
    offsets = np.searchsorted(number[order], np.arange(count + 1))
    own_boxes, polygons = np.full((count, 4), np.nan), np.full(count, None, dtype=object)
    for kind in ("masks", "boxes"):  # a box that was drawn counts more than that of an outline
        chosen = np.flatnonzero(used & (kinds == kind))
        own_boxes[number[chosen]] = boxes[chosen]
    outlines = np.flatnonzero(used & (kinds == "masks"))
    polygons[number[outlines]] = np.concatenate([one.polygons for one in placed])[outlines]
    source = _sources(kinds, used & (rows.label == FOREGROUND), number, count)
    columns, values = gather_values(layers, names, rows.layer[source], rows.index[source])
    return PlacedPrompts(
        offsets=offsets,
        points=points[order],
        labels=rows.label[order],
        boxes=own_boxes,
        polygons=polygons,
        windows=_windows(points[order], rows.label[order] == FOREGROUND, number[order], own_boxes),
        counts=np.bincount(number[used], minlength=count),
        prompt_ids=_object_ids(rows, layers, source),
        columns=columns,
        values=values,
        refusals=list_refusals(rows, layers, placed),
        report={},
    )


def list_refusals(rows: Rows, layers: Sequence[PromptLayer], placed: Sequence[Placed]) -> Refusals:
    """Every row that is refused, with its reason."""
    refused = np.flatnonzero(rows.verdict != OK)
    reasons = np.full(len(refused), None, dtype=object)
    for verdict, reason in REASONS.items():
        reasons[rows.verdict[refused] == verdict] = reason
    for position in np.flatnonzero(rows.verdict[refused] == WRONG_TYPE):
        layer, index = layers[rows.layer[refused[position]]], rows.index[refused[position]]
        expected = {"points": "a point", "masks": "a polygon"}[layer.kind]
        reasons[position] = f"a {layer.geometries[index].geom_type}; expected {expected}"
    distances = np.concatenate([one.distance_px for one in placed])[refused]
    distances[rows.verdict[refused] != OUTSIDE] = np.nan
    return Refusals(ids=_prompt_ids(rows, layers, refused), reasons=reasons, distances_px=distances)


def make_report(
    rows: Rows, layers: Sequence[PromptLayer], placed: Sequence[Placed], routes: Sequence[Route], *, grid: Grid
) -> dict[str, Any]:
    """What was done with the prompts; see `PlacedPrompts.report`."""
    used = rows.verdict == OK
    operations = [
        route.worst(one.way[used[rows.layer == number]])
        for number, (route, one) in enumerate(zip(routes, placed, strict=True))
    ]
    described = [
        {
            "name": layer.name,
            "kind": layer.kind,
            "crs": layer.frame.to_string() if isinstance(layer.frame, CRS) else layer.frame,
            "given": int((rows.layer == number).sum()),
            "accepted": int(used[rows.layer == number].sum()),
            "operation": operations[number].name,
            "accuracy_m": operations[number].accuracy_m,
            "accuracy_px": _in_pixels(operations[number], grid),
            "better_operation_without_grid": routes[number].better,
        }
        for number, layer in enumerate(layers)
    ]
    worst = max(operations, key=lambda one: np.inf if one.accuracy_m is None else one.accuracy_m)
    twins = np.flatnonzero(used & (rows.twin >= 0))
    pairs = zip(
        _prompt_ids(rows, layers, twins[:REPORTED_TWINS]),
        _prompt_ids(rows, layers, rows.twin[twins[:REPORTED_TWINS]]),
        strict=True,
    )
    return {
        "given": len(used),
        "accepted": int(used.sum()),
        "refused": int((~used).sum()),
        "objects": len(np.unique(rows.object[used])),
        "operation": worst.name,
        "accuracy_m": worst.accuracy_m,
        "accuracy_px": _in_pixels(worst, grid),
        "layers": described,
        "duplicates": len(twins),
        "duplicate_of": dict(pairs),
    }


def _in_pixels(operation: Operation, grid: Grid) -> float | None:
    """The accuracy of an operation in pixels of the grid; None where nobody has stated it."""
    return None if operation.accuracy_m is None else operation.accuracy_m / grid.gsd_m


def _dense(number: Integers, used: NDArray[np.bool_]) -> Integers:
    """(R,) objects of usable rows from 0 in order of appearance; -1 for others."""
    _, first, position = np.unique(number[used], return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    dense = np.full(len(number), -1, dtype=np.int64)
    dense[used] = rank[position]
    return dense


def _sources(kinds: NDArray[np.str_], used: NDArray[np.bool_], number: Integers, count: int) -> Integers:
    """(N,) the row that each object takes its attributes from: its box, else its outline, else its first click."""
    source = np.empty(count, dtype=np.int64)
    for kind in ("points", "masks", "boxes"):
        rows = np.flatnonzero(used & (kinds == kind))[::-1]
        source[number[rows]] = rows
    return source


def _windows(points: Floats, foreground: NDArray[np.bool_], number: Integers, boxes: Floats) -> Integers:
    """(N, 4) row, column, height and width of the pixels that foreground clicks and boxes touch."""
    low = np.where(np.isnan(boxes[:, :2]), np.inf, np.floor(boxes[:, :2]))
    high = np.where(np.isnan(boxes[:, 2:]), -np.inf, np.ceil(boxes[:, 2:]))
    np.minimum.at(low, number[foreground], np.floor(points[foreground]))
    np.maximum.at(high, number[foreground], np.floor(points[foreground]) + 1)
    size = np.maximum(high - low, 1)
    return np.stack([low[:, 1], low[:, 0], size[:, 1], size[:, 0]], axis=1).astype(np.int64)


def _object_ids(rows: Rows, layers: Sequence[PromptLayer], source: Integers) -> NDArray[np.object_]:
    """(N,) the name of each object, or the id of the prompt that it is."""
    found = np.full(len(source), None, dtype=object)
    for position, row in enumerate(source.tolist()):
        number = rows.object[row]
        if number < len(rows.names):
            found[position] = rows.names[number]
        else:
            found[position] = layers[rows.layer[row]].object_id(rows.index[row])
    return found


def _prompt_ids(rows: Rows, layers: Sequence[PromptLayer], chosen: Integers) -> NDArray[np.object_]:
    found = np.full(len(chosen), None, dtype=object)
    for position, row in enumerate(chosen.tolist()):
        found[position] = layers[rows.layer[row]].prompt_id(rows.index[row])
    return found
