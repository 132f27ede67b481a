"""PlacedPrompts: prompts in the pixels of a grid, one entry an object, in columns so that a million are no burden."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from samgeo.errors import PromptError
from samgeo.pixels import FOREGROUND, PADDING, PixelPrompts, Window

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Refusal:
    """A prompt that cannot be used."""

    prompt_id: str
    """Its kind and its id in its own layer, such as points/17."""
    reason: str
    """What was found."""
    distance_px: float | None = None
    """How many pixels outside the raster it lies, if that is why."""

    def __str__(self) -> str:
        far = "" if self.distance_px is None else f" by {self.distance_px:.4g} px"
        return f"{self.prompt_id}: {self.reason}{far}"


@dataclass(frozen=True, kw_only=True, eq=False)
class Refusals:
    """M prompts that cannot be used, in columns; iterating gives a `Refusal` each."""

    ids: NDArray[np.object_]
    """(M,) see `Refusal.prompt_id`."""
    reasons: NDArray[np.object_]
    """(M,) see `Refusal.reason`."""
    distances_px: NDArray[np.float32]
    """(M,) see `Refusal.distance_px`; NaN where that is not why."""

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Refusal]:
        for name, reason, distance in zip(self.ids, self.reasons, self.distances_px.tolist(), strict=True):
            yield Refusal(prompt_id=name, reason=reason, distance_px=None if math.isnan(distance) else distance)


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedObject:
    """What is known of one object, in pixels of the grid; in points and box an integer is a pixel's centre."""

    prompt_id: str
    """Value of the object column, or the id of the one prompt that it has."""
    window: Window
    """The pixels that the clicks on the object and its box touch."""
    points: Floats
    """(K, 2) x,y; K may be 0."""
    labels: Integers
    """(K,): 1 on the object, 0 beside it."""
    box: tuple[float, float, float, float] | None
    """x_min, y_min, x_max, y_max, cut to the raster."""
    polygon: Any
    """Rough outline that was drawn, in pixel space (an integer is a pixel's corner) and not cut to the raster, or None.
    Its box is in `box`, and a point inside it is the first of `points`."""
    attributes: Mapping[str, Any]
    """Columns of its layer by their names in the result."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PlacedPrompts:
    """N objects in prompt order, and what became of every prompt that was given."""

    offsets: Integers
    """(N + 1,): object i has the points offsets[i] to offsets[i + 1]."""
    points: Floats
    """(P, 2) x,y in pixels of the grid; an integer is a pixel's centre."""
    labels: Integers
    """(P,): 1 on the object, 0 beside it."""
    boxes: Floats
    """(N, 4) x_min, y_min, x_max, y_max, cut to the raster; NaN for an object without a box."""
    polygons: NDArray[np.object_] = field(repr=False)
    """(N,) outlines that were drawn, see `PlacedObject.polygon`."""
    windows: Integers
    """(N, 4) row, column, height and width of what the clicks on the object and its box touch."""
    counts: Integers
    """(N,) how many prompts make up each object, clicks that are given twice among them."""
    prompt_ids: NDArray[np.object_]
    """(N,) values of the object column, else the id of the one prompt of an object."""
    columns: Mapping[str, str]
    """Names in the result and types (int64, float, bool, str, date, datetime) of the layers' columns."""
    values: Mapping[str, NDArray[np.object_]] = field(repr=False)
    """Names in the result to (N,) values; None where there is none."""
    refusals: Refusals = field(repr=False)
    """Prompts that cannot be used, in the order given."""
    report: Mapping[str, Any]
    """For the record, fit for JSON: given, accepted and refused prompts; objects; operation, accuracy_m and
    accuracy_px of the reprojection, by layer and the worst of them; duplicates; renamed columns."""

    def __len__(self) -> int:
        return len(self.boxes)

    def first_click(self, index: int) -> Window:
        """The pixel of the first click on an object that has one."""
        part = slice(self.offsets[index], self.offsets[index + 1])
        col, row = np.rint(self.points[part][self.labels[part] == FOREGROUND][0]).astype(int).tolist()
        return Window(row=row, col=col, height=1, width=1)

    def __iter__(self) -> Iterator[PlacedObject]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> PlacedObject:
        """One object."""
        if not 0 <= index < len(self):
            raise IndexError(f"object {index}: expected 0 to {len(self) - 1}")
        mine = slice(self.offsets[index], self.offsets[index + 1])
        row, col, height, width = (int(number) for number in self.windows[index])
        box = tuple(float(number) for number in self.boxes[index])
        return PlacedObject(
            prompt_id=str(self.prompt_ids[index]),
            window=Window(row=row, col=col, height=height, width=width),
            points=self.points[mine],
            labels=self.labels[mine],
            box=None if np.isnan(box[0]) else (box[0], box[1], box[2], box[3]),
            polygon=self.polygons[index],
            attributes=self.attributes(index),
        )

    @property
    def refused(self) -> list[Refusal]:
        """The prompts that cannot be used, in the order given."""
        return list(self.refusals)

    def attributes(self, index: int) -> dict[str, Any]:
        """Columns of an object's layer by their names in the result."""
        return {name: values[index] for name, values in self.values.items()}

    def inside(self, window: Window) -> Integers:
        """The objects, in prompt order, whose middle pixel lies in `window`; cores of tiles share no object."""
        order, rows, cols = self._by_row
        first, last = np.searchsorted(rows, [window.row, window.row_end])
        near = slice(int(first), int(last))
        return np.sort(order[near][(cols[near] >= window.col) & (cols[near] < window.col_end)])

    def to_pixel_prompts(self, indices: Sequence[int] | Integers, window: Window) -> PixelPrompts:
        """The prompts of some objects in the pixels of a window, which is what a model takes.

        Clicks outside the window become padding, boxes are cut to it. Raises `PromptError` if only some of the objects
        have a box or if nothing of them lies in the window, for then no call of a model can take them together.
        """
        chosen = np.asarray(indices, dtype=np.int64)
        boxed = ~np.isnan(self.boxes[chosen, 0])
        if boxed.any() != boxed.all():
            raise PromptError(f"{boxed.sum()} of {len(chosen)} objects have a box; expected all or none in one call")
        origin = np.array([window.col, window.row], dtype=float)
        points, labels = self._padded(chosen)
        points -= origin
        outside = ~((points >= -0.5) & (points < np.array([window.width, window.height]) - 0.5)).all(axis=2)
        labels[outside] = PADDING
        points[labels == PADDING] = 0.0
        far = np.array([window.width, window.height] * 2) - 0.5
        boxes = np.clip(self.boxes[chosen] - np.tile(origin, 2), -0.5, far) if boxed.any() else None
        clicked = labels.shape[1] > 0
        return PixelPrompts(
            points=points.astype(np.float32) if clicked else None,
            labels=labels if clicked else None,
            boxes=None if boxes is None else boxes.astype(np.float32),
        )

    @cached_property
    def sha256(self) -> str:
        """Digest of everything that decides what a model is asked: two runs with equal digests ask the same."""
        digest = hashlib.sha256(self.offsets.tobytes())
        for array in (self.points, self.labels, self.boxes):
            digest.update(array.tobytes())
        for index in np.flatnonzero(~shapely.is_missing(self.polygons)):
            digest.update(shapely.to_wkb(self.polygons[index]))
        return digest.hexdigest()

    def _padded(self, chosen: Integers) -> tuple[Floats, Integers]:
        """(n, K, 2) points and (n, K) labels of objects, with padding up to the longest list."""
        starts, counts = self.offsets[chosen], np.diff(self.offsets)[chosen]
        slots = np.arange(int(counts.max(initial=0)))
        filled = slots < counts[:, None]
        source = np.where(filled, starts[:, None] + slots, 0)
        points = np.where(filled[..., None], self.points[source], 0.0) if len(slots) else np.zeros((len(chosen), 0, 2))
        labels = np.where(filled, self.labels[source], PADDING) if len(slots) else np.zeros((len(chosen), 0), np.int64)
        return points, labels

    @cached_property
    def _by_row(self) -> tuple[Integers, Integers, Integers]:
        """Objects by the row of their middle pixel, these rows, and the columns of the middle pixels."""
        row, col, height, width = self.windows.T
        rows, cols = row + (height - 1) // 2, col + (width - 1) // 2
        order = np.argsort(rows, kind="stable")
        return order, rows[order], cols[order]
