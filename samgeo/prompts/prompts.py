"""Prompts: what to segment, in map coordinates: clicks, boxes, rough outlines, words.

    samgeo.Prompts(points="trees.gpkg")                         every feature is an object
    samgeo.Prompts(points=table, object_column="tree", label_column="on")     several clicks an object, on and beside it
    samgeo.Prompts(boxes=[(13.40, 52.51, 13.41, 52.52)], crs="EPSG:4326")

`to_pixels` brings them to the pixels of a grid. Every prompt is accounted for there: it is part of an object, or it is
refused with a reason under its own id.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from samgeo.errors import NoUsablePromptError, PromptError, UsageError
from samgeo.grid import Grid
from samgeo.model.finder import BUILT_IN, FinderAddress, WordFinder
from samgeo.prompts.assembly import assemble, list_refusals, make_report
from samgeo.prompts.checks import (
    Valid,
    check_datum,
    check_extent,
    check_swapped,
    hits_few,
    nothing_left,
    refuse_nodata,
)
from samgeo.prompts.columns import new_names
from samgeo.prompts.files import layer_path
from samgeo.prompts.layer import Kind, PromptLayer, read_layer
from samgeo.prompts.objects import gather
from samgeo.prompts.placed import PlacedPrompts
from samgeo.prompts.placement import OK, Placed, place
from samgeo.prompts.route import Target, find_route
from samgeo.prompts.text import split_words


class Prompts:
    """Clicks, boxes, rough outlines and words, each layer in its own CRS."""

    def __init__(  # noqa: PLR0913 - every kind of prompt and what tells of it
        self,
        *,
        points: Any = None,
        boxes: Any = None,
        masks: Any = None,
        text: str | None = None,
        text_model: str | Path | FinderAddress | WordFinder | None = None,
        crs: object = None,
        object_column: str | None = None,
        label_column: str | None = None,
        labels: Sequence[int] | None = None,
    ) -> None:
        """Read prompts; a row of boxes or masks is an object, and so is a point unless a column says more.

        points: clicks. boxes: features that are known by their bounding box. masks: polygons, known by a rough outline.
            GeoDataFrame, GeoSeries, path, GeoJSON dict, or a sequence of shapely geometries; points also as rows of
            x, y and boxes as rows of x_min, y_min, x_max, y_max.
        text: words of what to look for, with commas between them.
        text_model: what finds them: a folder of Grounding DINO, OWLv2 or SAM 3 as the transformers library saves them,
            a name on the Hugging Face hub, or a `WordFinder`; None, or a weights file of it: samgeo-nano, which knows
            the words of `samgeo.model.vocabulary`.
        crs: CRS of what has none of its own: anything pyproj takes; "raster" for the raster's own; "pixel" for columns
            and rows of the raster as stored, where (0, 0) is its upper left corner and (0.5, 0.5) the centre of its
            first pixel. What has its own keeps it, and GeoJSON always has one.
        object_column: column that tells which prompts, of any layer that has it, are one object.
        label_column: column of the points: 1, fg or positive on the object, 0, bg or negative beside it.
        labels: the same for points without columns, one each.

        Without an object column, background clicks belong to the one object that there is. Raises `PromptError`.
        """
        given: dict[Kind, Any] = {"points": points, "boxes": boxes, "masks": masks}
        layers = [read_layer(kind, source, crs=crs) for kind, source in given.items() if source is not None]
        if labels is not None:
            if points is None or label_column is not None:
                raise PromptError("labels go with points and without label_column; expected one of the two")
            layers[0], label_column = _labelled(layers[0], labels), "label"
        self._settle(layers, object_column, label_column, text=text, finder=text_model)

    @classmethod
    def from_labels(cls, labels: Any, *, crs: object = None) -> Prompts:
        """Outlines to learn from, as `masks` and `crs` say above; messages speak of --labels-crs."""
        prompts = cls.__new__(cls)
        layer = read_layer("masks", labels, crs=crs, option="--labels-crs")
        prompts._settle([layer], None, None, text=None, finder=None)
        return prompts

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> Prompts | None:
        """The prompts of a command line, or None if there are none.

        options: points, boxes, masks (paths, one of them may be "-" for GeoJSON on stdin), point and box (sequences of
        numbers), prompt_crs, text, text_model, device, object_column, label_column. Point and box are in the
        raster's CRS unless prompt_crs says otherwise. Raises `PromptError`, and `UsageError` for options that would do
        nothing.
        """
        crs = options.get("prompt_crs")
        files: dict[Kind, Any] = {k: options[k] for k in ("points", "boxes", "masks") if options.get(k) is not None}
        if sum(str(source) == "-" for source in files.values()) > 1:
            raise UsageError(f"{' and '.join(f'--{kind} -' for kind in files)}: stdin can be read once only")
        layers = []
        inline: dict[Kind, str | None] = {"points": "point", "boxes": "box", "masks": None}
        for kind, option in inline.items():
            if kind in files:
                source = files[kind]
                layers.append(read_layer(kind, _stdin() if str(source) == "-" else source, crs=crs))
            if option is not None and options.get(option):
                layer = read_layer(kind, np.array(options[option], dtype=float), crs="raster" if crs is None else crs)
                ids = np.arange(1, len(layer) + 1).astype(object)
                layers.append(replace(layer, name=f"--{option}", prefix=option, ids=ids))
        text, finder = options.get("text"), options.get("text_model")
        if finder is not None or text is not None:
            finder = FinderAddress(
                name=BUILT_IN if finder is None else str(finder), device=options.get("device", "auto")
            )
        if not layers:
            _refuse_idle(options)
        if not layers and text is None:
            return None
        prompts = cls.__new__(cls)
        prompts._settle(layers, options.get("object_column"), options.get("label_column"), text=text, finder=finder)
        return prompts

    def _settle(
        self,
        layers: Sequence[PromptLayer],
        object_column: str | None,
        label_column: str | None,
        *,
        text: str | None,
        finder: str | Path | FinderAddress | WordFinder | None,
    ) -> None:
        self.layers = tuple(layers)
        """The layers as they were read: points, boxes, masks."""
        self.words = () if text is None else split_words(text)
        """What to look for, in Unicode's form NFC."""
        self.finder = FinderAddress(name=str(finder)) if isinstance(finder, (str, Path)) else finder
        """What finds the words."""
        self.object_column = object_column
        """The column that joins prompts to objects."""
        self.label_column = label_column
        """The column that tells clicks on from clicks beside an object."""
        if not self.layers and not self.words:
            raise PromptError("no prompts: expected points, boxes, masks or text")

    def __len__(self) -> int:
        """Number of prompts that were given; words do not count."""
        return sum(len(layer) for layer in self.layers)

    def __repr__(self) -> str:
        parts = [f"{len(layer)} {layer.kind}" for layer in self.layers] + [repr(word) for word in self.words]
        return f"Prompts({', '.join(parts)})"

    @property
    def files(self) -> list[Path]:
        """The files that the layers came from."""
        return [path for layer in self.layers if (path := layer_path(layer.name)).exists()]

    def to_pixels(
        self, grid: Grid, *, valid: Valid | None = None, native_grid: Grid | None = None, strict_crs: bool = False
    ) -> PlacedPrompts:
        """Bring all prompts to the pixels of a grid and put them together to objects.

        A point belongs to the raster from its left and upper edge to before its right and lower one. Boxes are cut to
        the raster. A box from another CRS becomes the pixel bounds of its edges, which are curves there; an outline
        becomes its bounds and a point inside it.

        valid: tells which pixels have data; clicks elsewhere are refused.
        native_grid: the grid that "pixel" coordinates refer to, if `grid` is a coarser or finer one.

        strict_crs: refuse prompts that a change of datum may move by more than a pixel; else there is a warning.

        Raises `NoUsablePromptError` if no prompt can be used, and `PromptError` if hardly any lies on the raster, or if
        x and y are swapped.
        """
        if not self.layers:
            raise PromptError(f"only words ({', '.join(self.words)}); expected points, boxes or masks to place")
        routes = [find_route(layer, grid) for layer in self.layers]
        native = native_grid or grid
        placed = [
            _place(layer, Target(grid=grid, route=route, native=native))
            for layer, route in zip(self.layers, routes, strict=True)
        ]
        for layer, one, route in zip(self.layers, placed, routes, strict=True):
            check_datum(layer, one, route, grid, strict=strict_crs)
            if valid is not None and layer.kind == "points":
                refuse_nodata(one, valid)
        rows = gather(self.layers, placed, object_column=self.object_column, label_column=self.label_column)
        refusals = list_refusals(rows, self.layers, placed)
        if not (rows.verdict == OK).any():
            raise NoUsablePromptError(nothing_left(refusals, placed, grid), frozenset(refusals.reasons))
        report = make_report(rows, self.layers, placed, routes, grid=grid)
        names = new_names(self.layers, without=self.label_column)
        report["renamed_columns"] = {old: new for old, new in names.items() if old != new}
        objects = assemble(rows, self.layers, placed, names)
        # The grid counts pixels from their corners, networks from their centres.
        return replace(
            objects, points=objects.points - 0.5, boxes=objects.boxes - 0.5, refusals=refusals, report=report
        )


def _place(layer: PromptLayer, target: Target) -> Placed:
    placed = place(layer, target)
    if hits_few(placed):
        check_swapped(layer, placed, place(layer, target, swapped=True))
        check_extent(layer, placed, target.grid)
    return placed


def _labelled(layer: PromptLayer, labels: Sequence[int]) -> PromptLayer:
    if len(labels) != len(layer.ids):
        raise PromptError(f"{len(labels)} labels for {len(layer.ids)} points; expected one each")
    return replace(layer, columns={**layer.columns, "label": np.array(labels, dtype=object)})


def _refuse_idle(options: Mapping[str, Any]) -> None:
    """Raise `UsageError` if there are options about prompts and no prompts."""
    if options.get("text") is None and options.get("text_model") is not None:
        raise UsageError("--text-model without --text does nothing. Fix: leave it out, or give --text WORDS")
    idle = [name for name in ("object_column", "label_column", "prompt_crs") if options.get(name) is not None]
    if idle:
        name = f"--{idle[0].replace('_', '-')}"
        raise UsageError(f"{name} without prompts does nothing. Fix: leave it out, or give --points or --boxes")


def _stdin() -> dict[str, Any]:
    """GeoJSON from standard input."""
    try:
        data = json.load(sys.stdin)
    except ValueError as error:
        raise PromptError(f"stdin: no JSON: {error}. Expected GeoJSON, for a prompt file named -") from error
    if not isinstance(data, dict):
        raise PromptError(f"stdin: JSON {type(data).__name__}; expected a GeoJSON object")
    return data
